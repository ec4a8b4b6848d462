//! Where a shard's calls are decided: by its task, or by the connection that brings one.
//!
//! ```text
//! call ─► is the desk free, and does nobody wait? ── yes ─► decided at once, on the connection's own thread
//!                                                 └─ no ──► queue ─► decided by the task
//! ```
//!
//! Almost always the desk is free, and then a heartbeat is answered before its connection's task does anything
//! else: nobody is woken and nothing goes from hand to hand. The order in which calls are decided is the order in
//! which they come to the desk. A connection never waits for it, and passes nobody by: while a message is in the
//! queue, or waits for room in it, all others go there too. So does whoever comes while the shard has something to
//! do first: topics to learn, deadlines to see to, or batches enough on their way to the disk.

use super::message::{Decided, Queued, ShardMessage};
use super::serving::Serving;
use crate::clock::Timestamp;
use crate::cluster::topics::OFFSETS_TOPIC;
use crate::counters::Gauge;
use crate::vital::Vital;
use kohort_coordinator::GroupCall;
use parking_lot::{Mutex, MutexGuard};
use std::fmt;

/// What the task of a shard and the connections share.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Nothing while the shard is loading, and after its end.
    serving: Mutex<Option<Serving>>,
    /// Messages that are queued and not decided.
    line: Gauge,
    name: ShardName,
    vital: Vital,
}

/// What a shard is called, should it fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardName(pub(crate) i32);

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the group coordinator of partition {} of {OFFSETS_TOPIC}", self.0)
    }
}

impl Desk {
    pub(crate) fn new(name: ShardName, vital: Vital) -> Self {
        Self { serving: Mutex::default(), line: Gauge::default(), name, vital }
    }

    /// Gives a message its place in the line.
    pub(crate) fn queue(&self, message: impl Into<ShardMessage>) -> Queued {
        Queued { message: message.into(), place: self.line.begin() }
    }

    /// Gives the desk to a connection that has a call, unless somebody comes first.
    pub(crate) fn free(&self) -> Option<FreeDesk<'_>> {
        let mut guard = self.serving.try_lock()?;
        // Under the lock: what was queued before it was taken has been decided, or still has its place.
        if self.line.count() > 0 {
            return None;
        }
        let now = guard.as_mut()?.free_at()?;
        Some(FreeDesk { desk: self, turn: Turn(guard), now })
    }

    /// Waits for the desk, for as long as a connection's one call takes. There is none when a connection
    /// panicked at it.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let guard = self.serving.lock();
        guard.is_some().then_some(Turn(guard))
    }

    /// Has calls decided from now on.
    pub(super) fn open(&self, serving: Serving) {
        *self.serving.lock() = Some(serving);
    }

    /// Has no more calls decided.
    pub(super) fn close(&self) -> Option<Serving> {
        self.serving.lock().take()
    }
}

/// The desk, for one call.
#[derive(Debug)]
pub(crate) struct FreeDesk<'a> {
    desk: &'a Desk,
    turn: Turn<'a>,
    now: Timestamp,
}

impl FreeDesk<'_> {
    /// Decides the call. `shows` as in [`ShardCall`](super::ShardCall).
    pub(crate) fn decide(self, call: GroupCall, shows: bool) -> Decided {
        let now = self.now;
        self.guarded(|serving| serving.decide_now(now, call, shows))
    }

    /// Works at the desk. A panic is the shard's, whoever's thread it is.
    fn guarded<T>(mut self, work: impl FnOnce(&mut Serving) -> T) -> T {
        let _guard = self.desk.vital.guard(self.desk.name);
        work(self.turn.serving())
    }
}

/// Somebody's turn at the desk. A panic ends the shard: nobody knows what is left of it.
#[derive(Debug)]
pub(super) struct Turn<'a>(MutexGuard<'a, Option<Serving>>);

impl Turn<'_> {
    pub(super) fn serving(&mut self) -> &mut Serving {
        self.0.as_mut().expect("a turn is given while there is a shard")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(mut serving) = self.0.take()
        {
            serving.call_task();
        }
    }
}

#[cfg(test)]
mod tests;
