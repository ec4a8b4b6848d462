//! Who may commit offsets to a consumer group, and who may ask for them.
//!
//! | the request names | an empty group | a group with members |
//! |---|---|---|
//! | no epoch (below 0) | yes | UNKNOWN_MEMBER_ID, unless it names a member as well |
//! | a member and its epoch | – | yes |
//! | a member and an older epoch | – | what was given to the member in that epoch or before |
//! | a member and a newer epoch | – | STALE_MEMBER_EPOCH |
//! | somebody unknown | UNKNOWN_MEMBER_ID | UNKNOWN_MEMBER_ID |
//!
//! A member's epoch is raised without its doing, and a commit that was on its way then is none the less
//! its own: it counts for every partition that the member has had since, up to those it still has to give
//! up (KIP-1251). A partition that came later, or went, is refused by itself.
//!
//! A member of the classic protocol has its epoch for a generation and hears ILLEGAL_GENERATION instead.
//! A member of the consumer protocol has to use version 9 or newer, in which the field is its epoch.
//!
//! Commits do not keep a session alive: only heartbeats do.

use std::cmp::Ordering;

use kohort_assignor::server::PartitionId;
use kohort_protocol::messages::OffsetCommitRequest;
use kohort_protocol::{ErrorCode, Uuid};

use super::group::ConsumerGroup;
use super::state::Member;

/// What of a commit is taken.
#[derive(Debug)]
pub(crate) enum Allowed {
    /// Everything.
    All,
    /// What the member was given in this epoch or before.
    GivenBy { member: Box<Member>, epoch: i32 },
}

impl Allowed {
    /// Checks one partition of the commit.
    pub(crate) fn check(&self, topic: Uuid, index: i32) -> Result<(), ErrorCode> {
        let Self::GivenBy { member, epoch } = self else {
            return Ok(());
        };
        let partition = PartitionId { topic, index };
        let current = &member.current;
        let given = current.assigned.epoch(partition).or_else(|| current.revoking.epoch(partition));
        if given.is_some_and(|given| given <= *epoch) { Ok(()) } else { Err(stale(member)) }
    }
}

impl ConsumerGroup {
    /// Checks whether the request may commit.
    pub(crate) fn allow_commit(
        &self,
        version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<Allowed, ErrorCode> {
        let epoch = request.generation_id_or_member_epoch;
        if epoch < 0 && self.is_empty() {
            return Ok(Allowed::All);
        }
        let member = self.state.member(&request.member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if version < FIRST_VERSION_WITH_EPOCHS && !member.is_classic() {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        match epoch.cmp(&member.current.epoch) {
            Ordering::Equal => Ok(Allowed::All),
            Ordering::Greater => Err(stale(&member)),
            Ordering::Less => Ok(Allowed::GivenBy { member: Box::new(member), epoch }),
        }
    }

    /// Checks whether a member that names itself may read offsets.
    pub(crate) fn allow_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = self.state.member(member_id.unwrap_or_default());
        let member = member.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if epoch == member.current.epoch { Ok(()) } else { Err(stale(&member)) }
    }
}

fn stale(member: &Member) -> ErrorCode {
    if member.is_classic() { ErrorCode::ILLEGAL_GENERATION } else { ErrorCode::STALE_MEMBER_EPOCH }
}

const FIRST_VERSION_WITH_EPOCHS: i16 = 9;
