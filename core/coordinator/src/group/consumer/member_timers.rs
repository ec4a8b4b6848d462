//! What of one member is only known until the coordinator stops.

use crate::group::hold::Held;
use crate::group::presence::Presence;
use crate::group::timer_key::{MemberAlarm, TimerKey};
use crate::timers::{Alarm, Timers};

/// The alarms of one member, and what else is known of it until the coordinator stops.
#[derive(Debug, Default)]
pub(super) struct MemberTimers {
    /// It has not said that it owns what it was given, and may not have heard of it.
    pub(super) unheard: bool,
    pub(super) session: Alarm,
    /// The end of the time to give partitions up.
    pub(super) revocation: Alarm,
    /// The end of the time to join again, of a classic member that was told to.
    pub(super) join: Alarm,
    pub(super) join_is_armed: bool,
    /// The end of the time to ask for an assignment, of a classic member that joined.
    pub(super) sync: Alarm,
    pub(super) presence: Presence,
    pub(super) held: Held,
}

impl MemberTimers {
    pub(super) fn alarm(&mut self, which: MemberAlarm) -> &mut Alarm {
        match which {
            MemberAlarm::Session => &mut self.session,
            MemberAlarm::Revocation => &mut self.revocation,
            MemberAlarm::Join => &mut self.join,
            MemberAlarm::Sync => &mut self.sync,
        }
    }

    pub(super) fn disarm_all(&mut self, timers: &mut Timers<TimerKey>) {
        for alarm in [&mut self.session, &mut self.revocation, &mut self.join, &mut self.sync] {
            timers.disarm(alarm);
        }
    }
}
