//! The ways into the group, back to the start, and to the classic protocol.

use std::collections::BTreeSet;

use kohort_protocol::{ErrorCode, Uuid};

use super::{
    ClassicMembership, ConsumerMembership, Eviction, GroupAction, JOIN_EPOCH, LostReason,
    MembershipError, State,
};
use crate::backoff::Jitter;
use crate::consumer::types::Timestamp;

impl ConsumerMembership {
    pub(super) fn join(&mut self, now: Timestamp, reason: &str, actions: &mut Vec<GroupAction>) {
        actions.push(GroupAction::Rebalancing(reason.to_owned()));
        self.state = State::Joining;
        // It is the same id: a leave would take what comes now for what was before.
        self.farewell = None;
        self.next_at = now;
        self.sent = None;
    }

    pub(super) fn lose(&mut self, reason: LostReason, actions: &mut Vec<GroupAction>) {
        self.revocation = None;
        let partitions: BTreeSet<_> = std::mem::take(&mut self.owned).into_keys().collect();
        if !partitions.is_empty() {
            actions.push(GroupAction::Lost { partitions, reason });
        }
    }

    /// Forgets everything about the present membership but what is wanted and the member's id.
    pub(super) fn reset(&mut self) {
        self.epoch = JOIN_EPOCH;
        self.target.clear();
        self.announce = false;
        self.sent = None;
        self.flight.forget_all();
        self.unheard = false;
        self.eviction = Eviction::No;
    }

    pub(in crate::consumer::membership) fn fail(
        &mut self,
        error: MembershipError,
        actions: &mut Vec<GroupAction>,
    ) {
        self.lose(LostReason::Failed, actions);
        self.reset();
        self.state = State::Failed;
        self.refusal = Some(error.clone());
        actions.push(GroupAction::Failed(error));
    }

    /// Takes that the coordinator refused the member, which stays as it is unless nobody can change that:
    /// somebody may give it the right, or make room for it, before its session ends.
    pub(super) fn refuse(&mut self, code: ErrorCode, actions: &mut Vec<GroupAction>) {
        let error = MembershipError::Refused { group_id: self.config.group_id.clone(), code };
        self.tell(error, actions);
    }

    pub(super) fn tell(&mut self, error: MembershipError, actions: &mut Vec<GroupAction>) {
        if error.is_final() {
            return self.fail(error, actions);
        }
        self.refusal = Some(error.clone());
        actions.push(GroupAction::Failed(error));
    }

    /// Says why this protocol cannot be used here, once the coordinator has refused it.
    pub(in crate::consumer::membership) fn refused(&self) -> Option<ErrorCode> {
        self.refused
    }

    /// Goes on as a member of a classic group.
    pub(in crate::consumer::membership) fn become_classic(
        &mut self,
        now: Timestamp,
    ) -> (ClassicMembership, Vec<GroupAction>) {
        let mut classic = ClassicMembership::new(std::mem::take(&mut self.config));
        classic.ids = self.ids.clone();
        classic.coordinator = self.coordinator;
        classic.by_pattern = self.wanted.by_pattern;
        let mut actions = Vec::new();
        if !self.wanted.topics.is_empty() {
            actions = classic.handle_subscription(now, self.wanted.topics.clone());
        }
        (classic, actions)
    }
}

/// Makes a member's id as Kafka's clients do: a random uuid (KIP-1082).
pub(super) fn member_id(seed: u64) -> String {
    let mut random = Jitter::seeded(seed ^ MEMBER_ID_SALT);
    loop {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        let id = Uuid::from_random(bytes).to_string();
        // Command lines would take it for an option.
        if !id.starts_with('-') {
            return id;
        }
    }
}

/// Keeps ids from being numbers that the same seed decides elsewhere.
const MEMBER_ID_SALT: u64 = 0x4B49_502D_3834_3800;
