//! Held heartbeats: an answer that waits until there is something to tell.
//!
//! A member that is told of a rebalance by its next heartbeat hears of it up to an interval too late.
//! So it may ask, with its heartbeat, that the answer be held for that interval, and hears at once:
//!
//! ```text
//!   heartbeat, hold 3 s ──► nothing happens ───────── 3 s ──► NONE
//!   heartbeat, hold 3 s ──► a rebalance begins ─────────────► REBALANCE_IN_PROGRESS
//! ```
//!
//! It costs as many requests as before, and what is held is bounded: one heartbeat for each connection.
//! Answers leave a connection in the order of its requests, so whatever else comes over it to this
//! shard first lets the held one go. Why, and what clients have to know:
//! `docs/decisions/0026-held-heartbeats.md`.

use super::presence::Whose;
use super::request::ConnectionId;
use super::timer_key::TimerKey;
use super::turn::{Holders, Turn};
use crate::outcome::ReplyTo;
use crate::shard::Timestamp;
use crate::timers::{Alarm, Timers};

/// A member's held heartbeat, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<Box<HeldReply>>);

#[derive(Debug)]
struct HeldReply {
    from: ReplyTo,
    connection: ConnectionId,
    end: Alarm,
}

impl Held {
    /// Tells whether an answer is held.
    pub(crate) fn is_held(&self) -> bool {
        self.0.is_some()
    }

    /// Holds the answer to a heartbeat for that long.
    pub(crate) fn hold(
        &mut self,
        turn: &mut Turn<'_>,
        whose: Whose<'_>,
        from: ReplyTo,
        connection: ConnectionId,
        hold_ms: Timestamp,
    ) {
        let mut end = Alarm::default();
        turn.timers.arm(&mut end, turn.now + hold_ms, || hold_key(whose));
        turn.holders.insert(connection, (whose.group.clone(), whose.member.clone()));
        self.0 = Some(Box::new(HeldReply { from, connection, end }));
    }

    /// Returns whose answer is due now, and holds nothing any more.
    pub(crate) fn release(
        &mut self,
        timers: &mut Timers<TimerKey>,
        holders: &mut Holders,
    ) -> Option<ReplyTo> {
        let mut held = self.0.take()?;
        timers.disarm(&mut held.end);
        holders.remove(&held.connection);
        Some(held.from)
    }

    /// Handles the end of the time it was to be held.
    pub(crate) fn handle_timeout(
        &mut self,
        turn: &mut Turn<'_>,
        whose: Whose<'_>,
    ) -> Option<ReplyTo> {
        let held = self.0.as_mut()?;
        if !turn.timers.ring(&mut held.end, turn.now, || hold_key(whose)) {
            return None;
        }
        self.release(turn.timers, turn.holders)
    }
}

/// Returns for how long a heartbeat is held that asks for `asked_ms`: not so long that the member
/// would be given up meanwhile.
pub(crate) fn bounded(asked_ms: i32, session_timeout_ms: i32) -> Timestamp {
    asked_ms.clamp(0, session_timeout_ms / 2).into()
}

fn hold_key(whose: Whose<'_>) -> TimerKey {
    TimerKey::Hold { group: whose.group.clone(), member: whose.member.clone() }
}
