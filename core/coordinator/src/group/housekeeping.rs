//! The shard's own recurring work: offsets that expire, and those of topics that are gone.

use super::entry::Groups;
use super::offsets::{Sweep, TopicSweep};
use super::timer_key::TimerKey;
use super::turn::Turn;
use crate::timers::Alarm;

/// The shard's own recurring work.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    pub(super) expiry: Alarm,
    pub(super) expired: Sweep,
    pub(super) deletion: Alarm,
    pub(super) deleted: TopicSweep,
}

impl Housekeeping {
    pub(super) fn handle_expiry(&mut self, groups: &Groups, turn: &mut Turn<'_>) {
        if !turn.timers.ring(&mut self.expiry, turn.now, || TimerKey::OffsetExpiry) {
            return;
        }
        if self.expired.run(groups, turn) {
            self.arm_expiry(turn);
        } else {
            turn.timers.arm(&mut self.expiry, turn.now, || TimerKey::OffsetExpiry);
        }
    }

    pub(super) fn arm_expiry(&mut self, turn: &mut Turn<'_>) {
        let next = turn.now + turn.config.offsets_retention_check_interval_ms;
        turn.timers.arm(&mut self.expiry, next, || TimerKey::OffsetExpiry);
    }

    pub(super) fn handle_deletion(&mut self, groups: &mut Groups, turn: &mut Turn<'_>) {
        if turn.timers.ring(&mut self.deletion, turn.now, || TimerKey::TopicDeletion) {
            self.delete_offsets(groups, turn);
        }
    }

    pub(super) fn delete_offsets(&mut self, groups: &mut Groups, turn: &mut Turn<'_>) {
        if !self.deleted.run(groups, turn) {
            turn.timers.arm(&mut self.deletion, turn.now, || TimerKey::TopicDeletion);
        }
    }
}
