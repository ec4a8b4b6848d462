//! Whether a member is there: the connection it was heard over last, and what follows when that one
//! closes without a word.
//!
//! ```text
//!                 its connection closes                 the grace is over
//!   heard over c ───────────────────────► absent since ─────────────────► are there signs of it?
//!        ▲                                    │  ▲                          │ not for    │ yes
//!        └── any request of the member ───────┘  └──── another look ◄───────┼─ a grace ──┘
//!            over another connection                                        ▼
//!                                                                 gone; at once if it was replaced
//! ```
//!
//! While there are signs it is looked for again and again, at first after a fifth of the grace: a process
//! that is started again shows that it is another one by its first join, and that comes soon.
//!
//! A process that dies closes its connections; that is how its death is known in milliseconds. A
//! client that lives and lost its connection opens another at once. What counts as a sign of that is
//! told in [`Clients`](crate::Clients). The member's ordinary session runs on all the while, so
//! absence only ever ends a membership earlier. Why this expels nobody who lives:
//! `docs/decisions/0025-disconnect-grace.md`.

use std::sync::Arc;

use super::event::GroupEffect;
use super::request::ConnectionId;
use super::timer_key::TimerKey;
use super::turn::{Heard, Turn};
use crate::clients::Signs;
use crate::shard::Timestamp;
use crate::timers::{Alarm, Timers};

/// A member in its group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose<'a> {
    pub(crate) group: &'a Arc<str>,
    pub(crate) member: &'a Arc<str>,
}

impl Whose<'_> {
    fn over(self, connection: ConnectionId) -> (ConnectionId, Arc<str>, Arc<str>) {
        (connection, self.group.clone(), self.member.clone())
    }
}

/// Where and when a member was heard last, and its absence if that connection closed.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    connection: Option<ConnectionId>,
    last: LastSign,
    absence: Option<Box<Absence>>,
}

/// The last sign of a member. It is kept whether or not the member's session ends with its connection: if
/// the session runs out, this tells for how long nobody has worked on what the member had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastSign {
    /// It was heard then, and its connection is still open as far as that is known.
    Heard(Timestamp),
    /// The connection it was heard over closed then.
    Lost(Timestamp),
}

impl Default for LastSign {
    fn default() -> Self {
        Self::Heard(0)
    }
}

#[derive(Debug)]
struct Absence {
    since: Timestamp,
    /// When the member is looked for next.
    look: Alarm,
    /// Until when there were signs of it.
    hoped_until: Timestamp,
}

/// What to do about a member that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Nothing yet.
    Wait,
    /// Its time is over. It has been absent since then.
    Gone(Timestamp),
}

impl Presence {
    /// Tells whether that is the connection the member was heard over last.
    pub(crate) fn is_heard_over(&self, connection: Option<ConnectionId>) -> bool {
        connection.is_none() || self.connection == connection
    }

    /// Takes in that the member spoke over the connection of this turn.
    pub(crate) fn hear(&mut self, turn: &mut Turn<'_>, whose: Whose<'_>) {
        let Some(connection) = turn.connection else { return };
        if self.connection == Some(connection) {
            self.note_sign(turn.now);
            return;
        }
        self.forget(turn.timers, turn.heard, whose);
        turn.heard.insert(whose.over(connection));
        self.connection = Some(connection);
        self.last = LastSign::Heard(turn.now);
    }

    /// Takes in that the member gave a sign over a connection it is known by. One that came in before that
    /// connection closed, and is handled after, is older than its end.
    pub(crate) fn note_sign(&mut self, now: Timestamp) {
        if let LastSign::Heard(at) = &mut self.last {
            *at = now;
        }
    }

    /// Returns since when there has been no sign of the member: since the connection closed over which it was
    /// heard last, or since it was heard if that one is open.
    pub(crate) fn silent_since(&self) -> Timestamp {
        match self.last {
            LastSign::Heard(at) | LastSign::Lost(at) => at,
        }
    }

    /// Returns when the connection closed over which the member was heard last, if it did.
    pub(crate) fn lost_since(&self) -> Option<Timestamp> {
        match self.last {
            LastSign::Heard(_) => None,
            LastSign::Lost(at) => Some(at),
        }
    }

    /// Takes in that the member asked for something that any of its connections may carry.
    pub(crate) fn see(&mut self, turn: &mut Turn<'_>, whose: Whose<'_>) {
        if self.lost_since().is_some() {
            self.hear(turn, whose);
        }
    }

    /// Takes in that the peer closed the connection the member was heard over last. `ends` says whether its
    /// session is to end with it.
    pub(crate) fn lose(&mut self, turn: &mut Turn<'_>, whose: Whose<'_>, ends: bool) {
        let now = turn.now;
        self.last = LastSign::Lost(now);
        if !ends {
            return;
        }
        let mut absence = Absence { since: now, look: Alarm::default(), hoped_until: now };
        absence.wait(turn, whose, grace_ms(turn));
        self.absence = Some(Box::new(absence));
    }

    /// Handles the end of a grace: asks for signs of the member.
    pub(crate) fn handle_timeout(
        &mut self,
        turn: &mut Turn<'_>,
        whose: Whose<'_>,
        client_id: &Arc<str>,
        client_host: &Arc<str>,
    ) {
        let Some(absence) = &mut self.absence else { return };
        if !turn.timers.ring(&mut absence.look, turn.now, || absence_key(whose)) {
            return;
        }
        turn.outcome.effects.push(GroupEffect::SeekSigns {
            group: whose.group.clone(),
            member: whose.member.clone(),
            client_id: client_id.clone(),
            client_host: client_host.clone(),
            since: absence.since,
        });
    }

    /// Takes in what there is of the member, whose session may last that long.
    pub(crate) fn judge(
        &mut self,
        turn: &mut Turn<'_>,
        whose: Whose<'_>,
        signs: Signs,
        session_timeout_ms: i32,
    ) -> Absent {
        let Some(absence) = &mut self.absence else { return Absent::Wait };
        let (now, grace_ms) = (turn.now, grace_ms(turn));
        if signs == Signs::Hoped {
            absence.hoped_until = now;
        }
        let over = now >= absence.since + i64::from(session_timeout_ms);
        if over || signs == Signs::Replaced || now >= absence.hoped_until + grace_ms {
            return Absent::Gone(absence.since);
        }
        let next = ((now - absence.since) / LOOKS).clamp(grace_ms / LOOKS, grace_ms).max(1);
        absence.wait(turn, whose, next);
        Absent::Wait
    }

    /// Takes in that the member is away on purpose: its connection may close.
    pub(crate) fn excuse(
        &mut self,
        timers: &mut Timers<TimerKey>,
        heard: &mut Heard,
        whose: Whose<'_>,
        now: Timestamp,
    ) {
        self.forget(timers, heard, whose);
        self.last = LastSign::Heard(now);
    }

    /// Lets go of the connection and of the absence: the member goes, or is somewhere else.
    pub(crate) fn forget(
        &mut self,
        timers: &mut Timers<TimerKey>,
        heard: &mut Heard,
        whose: Whose<'_>,
    ) {
        if let Some(connection) = self.connection.take() {
            heard.remove(&whose.over(connection));
        }
        if let Some(mut absence) = self.absence.take() {
            timers.disarm(&mut absence.look);
        }
    }
}

impl Absence {
    fn wait(&mut self, turn: &mut Turn<'_>, whose: Whose<'_>, for_ms: Timestamp) {
        turn.timers.arm(&mut self.look, turn.now + for_ms, || absence_key(whose));
    }
}

pub(crate) fn grace_ms(turn: &Turn<'_>) -> Timestamp {
    turn.config.group_disconnect_grace_ms.max(0).into()
}

/// Tells whether a member's session is to end with its connection.
pub(crate) fn ends_with_connection(turn: &Turn<'_>, is_static: bool) -> bool {
    turn.config.group_disconnect_grace_ms >= 0
        && (!is_static || turn.config.group_disconnect_grace_static)
}

/// Takes out everybody who was heard last over a connection.
pub(crate) fn take_heard(heard: &mut Heard, connection: ConnectionId) -> Vec<(Arc<str>, Arc<str>)> {
    let mut taken = Vec::new();
    let first = (connection, Arc::from(""), Arc::from(""));
    while let Some(entry) = heard.range(&first..).next().filter(|entry| entry.0 == connection) {
        let entry = entry.clone();
        heard.remove(&entry);
        taken.push((entry.1, entry.2));
    }
    taken
}

fn absence_key(whose: Whose<'_>) -> TimerKey {
    TimerKey::Absence { group: whose.group.clone(), member: whose.member.clone() }
}

/// A member of which there are signs is looked for that often within the time it has been absent, but no more
/// often than that within a grace, and no less often than once in one.
const LOOKS: Timestamp = 5;
