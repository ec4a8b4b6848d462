//! The classic group protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! The coordinator keeps the membership and counts generations; one of the members, the leader,
//! makes the assignment. What a generation agreed on is hard state and written when the leader
//! hands its assignment in; how the members get there is soft state and starts over after a
//! restart.

mod commit;
mod convert;
mod heartbeat;
mod join;
mod leave;
mod member;
mod moves;
mod presence;
mod rebalance;
mod roster;
mod state;
mod static_member;
mod story;
mod sync;

pub(crate) use convert::{ConvertedMember, HandedOver};
pub(crate) use join::check_join;
pub(crate) use leave::{cause_of_leave, leave_response, leaving_members, member_response};
pub(crate) use state::{ClassicGroup, ClassicState};
