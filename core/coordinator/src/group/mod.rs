//! The group coordinator's shard: takes requests to their groups and records to their state.
//!
//! A group id names one entry. It holds the group's offsets and the group itself, which is of one
//! type at a time; a group that was only ever committed to is an empty classic one. An entry comes
//! into being when a member joins or a record is replayed, and goes with a group's tombstone when nothing of
//! it is left in the log and nobody is in it. One whose offsets were deleted has its tombstone from the search
//! for expired offsets, so that until then it can be described and deleted, as in Kafka.

mod causes;
mod classic;
mod committed_offset;
mod consumer;
mod describe;
mod entry;
mod event;
mod event_times;
mod hold;
mod housekeeping;
mod membership;
mod offsets;
mod own;
mod presence;
mod record;
mod refused;
mod request;
mod revocation;
mod routing;
mod shard;
mod slowest;
mod snapshot;
mod survey;
mod timer_key;
mod turn;
mod who;

pub use self::committed_offset::CommittedOffset;
pub use self::consumer::{
    ClassicSubscription, ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata,
    MemberState, OwnedPartitions, ResolvedRegex, TargetEpoch,
};
pub use self::event::{CauseKind, Given, GroupEffect, Move, Owner, Rebalance, RebalanceCause};
pub use self::record::{ClassicMemberMetadata, ClassicMetadata, GroupRecord, RecordBuffers};
pub use self::request::{ConnectionId, GroupCall, GroupRequest, GroupResponse, RequestContext};
pub use self::revocation::Revocation;
pub use self::routing::{merge, partition_for, split};
pub use self::shard::{GroupShard, HardState};
pub use self::slowest::{Delay, Slowest};
pub use self::snapshot::SnapshotPosition;
pub use self::survey::SurveyedGroup;
pub use self::turn::GroupOutcome;
pub use self::who::Who;
