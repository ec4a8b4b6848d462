//! Heartbeat: a member is alive, and learns whether the group rebalances.
//!
//! This is the most frequent request of all: two map look-ups and a store.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::HeartbeatRequest;

use super::state::{ClassicGroup, ClassicState};
use crate::group::turn::Turn;

impl ClassicGroup {
    /// Handles a Heartbeat: returns what to answer.
    ///
    /// The session is refreshed even when the answer is REBALANCE_IN_PROGRESS: the member is there,
    /// it only has not heard yet. In CompletingRebalance all is well; members begin to send
    /// heartbeats as soon as they have joined.
    pub(crate) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let member_id = request.member_id.as_str();
        self.check_member(member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        match self.state {
            ClassicState::Empty => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            _ => self.refresh_session(turn, member_id),
        }
        match self.state {
            ClassicState::PreparingRebalance { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }
}
