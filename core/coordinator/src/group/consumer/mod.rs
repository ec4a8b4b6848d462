//! The consumer group protocol (KIP-848): the coordinator assigns, members follow at their own pace.
//!
//! Three epochs tell how far everybody is:
//!
//! ```text
//! group epoch         raised when members come and go, subscribe to something else, or topics change
//!   └► target epoch   the group epoch for which the target assignment was made: who is to have what
//!        └► member epoch   how far this member has come: it has what that target gives it, as far as
//!                          others have let go of it
//! ```
//!
//! A member that has to give something up stays in its epoch until it says that it did; one that waits
//! for others' partitions is in the new epoch already and is given them one by one. So the group never
//! stops as a whole, and each partition goes from hand to hand ([`reconcile`]).
//!
//! All of this is hard state: a coordinator that starts anew knows what the one before knew, and members
//! notice nothing. Soft are the timers and the story of the rebalance under way.
//!
//! Members of the classic protocol can be in such a group while it goes from one protocol to the other,
//! see [`classic_member`] and [`migrate`].

mod assigning;
mod beat;
mod classic_member;
mod commit;
mod describe;
mod draft;
mod group;
mod heartbeat;
mod interval;
mod leave;
mod member_timers;
mod migrate;
mod partitions;
mod presence;
mod reconcile;
mod record;
mod refusal;
mod regex;
mod state;
mod story;
mod target;
mod telling;
mod timers;
mod topic_changes;

pub(crate) use self::classic_member::{
    heartbeat as classic_heartbeat, join, leave as classic_leave, sync,
};
pub(crate) use self::commit::Allowed;
pub(crate) use self::describe::describe;
pub(crate) use self::group::ConsumerGroup;
pub(crate) use self::heartbeat::heartbeat;
pub(crate) use self::leave::handle_member_timeout;
pub(crate) use self::migrate::make_way;
pub use self::partitions::OwnedPartitions;
pub(crate) use self::presence::handle_signs;
pub use self::record::{
    ClassicSubscription, ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata,
    MemberState, ResolvedRegex, TargetEpoch,
};
pub(crate) use self::state::Stored;
