//! Who may commit offsets to a classic group, and when.
//!
//! | the request names | Empty | Preparing | Completing | Stable |
//! |---|---|---|---|---|
//! | nothing (generation −1, no member) | yes | UNKNOWN_MEMBER_ID | UNKNOWN_MEMBER_ID | UNKNOWN_MEMBER_ID |
//! | a member and its generation | – | yes | REBALANCE_IN_PROGRESS | yes |
//! | a member and another generation | – | ILLEGAL_GENERATION | ILLEGAL_GENERATION | ILLEGAL_GENERATION |
//! | somebody unknown | UNKNOWN_MEMBER_ID | UNKNOWN_MEMBER_ID | UNKNOWN_MEMBER_ID | UNKNOWN_MEMBER_ID |
//!
//! Preparing takes commits because members save their work while they revoke. Completing does not:
//! the member knows the new generation already, but not what it owns in it.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::OffsetCommitRequest;

use super::state::{ClassicGroup, ClassicState};
use crate::group::turn::Turn;

impl ClassicGroup {
    /// Checks whether the request may commit. A member that may is alive: its session starts anew.
    pub(crate) fn allow_commit(
        &mut self,
        turn: &mut Turn<'_>,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        let member_id = &request.member_id;
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        self.check_member(member_id, request.group_instance_id.as_deref())?;
        if generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        if matches!(self.state, ClassicState::CompletingRebalance { .. }) {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.refresh_session(turn, member_id);
        self.see(turn, member_id);
        Ok(())
    }
}
