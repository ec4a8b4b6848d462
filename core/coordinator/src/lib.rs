//! The broker's group coordinator as a replayable state machine.
//!
//! [`GroupShard`] decides for the groups of one partition of `__consumer_offsets`. It is a plain
//! value in the shape of [`Shard`]; whoever owns it, the *shell*, brings the requests and the time
//! and does what the [`Outcome`] says:
//!
//! ```text
//!               handle(now, from, call)          records ──► append, one batch ──┐
//!  clients ───► handle_timeout(now)      ─────►  replies ──► wait until durable ─┼─► clients
//!  time         handle_metadata(now, image)      effects ──► then run            │
//!                       ▲                                                        │
//!                    replay(record) ◄────────── as soon as appended ─────────────┘
//!                       ▲
//!                       └────────────────────── the log, when the shard is loaded
//! ```
//!
//! # The contract
//!
//! 1. **Hard state is what the log says, and only [`Shard::replay`] writes it**: the offsets of
//!    each group, and of each classic group its last complete generation. Live and on load it is
//!    the same function, so a shard rebuilt from the log equals the live one in
//!    [`GroupShard::hard_state`], after every step. *Soft state* is everything else: who is joining,
//!    what is parked, which timer runs when. Handlers change it, and it may be lost.
//! 2. **For classic groups the line runs as in Kafka.** A record is written when a leader hands in
//!    its assignment, when a group becomes empty, and when a static member returns under a new id.
//!    A join phase is soft: members that were in one when the coordinator went away find an older
//!    generation or no group and join again. (Kafka also writes an empty record when a group is
//!    founded, to fit its runtime. It says no more than that the group exists, and we do not.)
//!    [`Shard::handle_loaded`] makes a group that has members in the log Stable and arms a session
//!    for each of them, so a restart by itself rebalances nothing.
//! 3. **Replay at once, reply when durable.** The shell replays the records as soon as they are
//!    enqueued and may bring the next request then. It holds the replies and effects back until the
//!    records are on disk, and lets those of later outcomes leave only after those of earlier ones,
//!    also if they have no records themselves: otherwise somebody could be told of a state that is
//!    lost a moment later.
//! 4. **A failed append drops the shard.** The shell turns every reply that it holds back into a
//!    failure ([`GroupResponse::into_failed`]), answers what is parked inside the shard
//!    ([`Shard::resign`]), in both cases with [`error_for_failed_append`], and loads a new shard
//!    from the log. There is no other way back, so the way is well trodden: it is how a broker
//!    starts. In particular a leader's SyncGroup whose record is lost fails together with everybody
//!    who waited for it, and the members join again.
//! 5. **Every request is answered exactly once**, maybe much later and by the outcome of another
//!    event. A member that asks again while its request is parked gets the older one back with
//!    NOT_COORDINATOR.
//! 6. **Time never goes back, and randomness is a seed.** [`Shard::handle_timeout`] handles one
//!    timer per call; the shell calls it while [`Shard::poll_timeout`] is due.
//!
//! # Example
//!
//! ```
//! use kohort_coordinator::{
//!     ConnectionId, GroupCall, GroupConfig, GroupResponse, GroupShard, ReplyTo, RequestContext, Shard,
//! };
//! use kohort_protocol::ErrorCode;
//! use kohort_protocol::messages::HeartbeatRequest;
//!
//! let mut shard = GroupShard::new(GroupConfig::default(), 42);
//! let context = RequestContext {
//!     api_version: 4,
//!     client_id: "app".into(),
//!     client_host: "/127.0.0.1".into(),
//!     connection: ConnectionId(1),
//! };
//! let request = HeartbeatRequest { group_id: "g".into(), ..HeartbeatRequest::default() };
//! let outcome = shard.handle(0, ReplyTo(7), GroupCall { context, request: request.into() });
//!
//! let [(ReplyTo(7), GroupResponse::Heartbeat(response))] = &outcome.replies[..] else { panic!() };
//! assert_eq!(response.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
//! ```

mod clients;
mod config;
mod group;
mod handover;
mod losses;
mod member_ids;
mod metadata;
mod outcome;
mod patience;
mod shard;
mod timers;

pub use clients::{Clients, Closing, Signs};
pub use config::{GroupConfig, MigrationPolicy};
pub use group::{
    CauseKind, ClassicMemberMetadata, ClassicMetadata, ClassicSubscription, CommittedOffset,
    ConnectionId, ConsumerRecord, CurrentAssignment, Delay, Given, GroupCall, GroupEffect,
    GroupEpoch, GroupOutcome, GroupRecord, GroupRequest, GroupResponse, GroupShard, HardState,
    MemberMetadata, MemberState, Move, OwnedPartitions, Owner, Rebalance, RebalanceCause,
    RecordBuffers, RequestContext, ResolvedRegex, Revocation, Slowest, SnapshotPosition,
    SurveyedGroup, TargetEpoch, Who, merge, partition_for, split,
};
pub use handover::{Handover, Handovers};
pub use metadata::{GroupProperties, MetadataImage, TopicImage};
pub use outcome::{Outcome, ReplyTo, error_for_failed_append};
pub use patience::Patience;
pub use shard::{Shard, Timestamp};
