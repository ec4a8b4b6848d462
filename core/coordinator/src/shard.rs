//! The shape every coordinator has: events and the time go in, records, replies and effects come
//! out.
//!
//! A shard is a value. It owns no clock, socket, file, task or channel, so a test can run it a
//! million times a second and a simulation can interleave it with anything. The rules that tie the
//! methods together are told once, in the [crate documentation](crate).

use kohort_protocol::ErrorCode;

use crate::metadata::MetadataImage;
use crate::outcome::{Outcome, ReplyTo};

/// A point in time: milliseconds since the Unix epoch. Within a shard it neither goes backwards nor jumps, even if
/// the system's clock is set.
pub type Timestamp = i64;

/// One replayable state machine that decides for one partition of a coordinator's log.
pub trait Shard {
    /// What a client asks.
    type Request;
    /// What it is answered.
    type Response;
    /// What the log keeps.
    type Record;
    /// What else the shell is asked to do.
    type Effect;

    /// Decides about one request. The answer may come with a later outcome.
    fn handle(
        &mut self,
        now: Timestamp,
        from: ReplyTo,
        request: Self::Request,
    ) -> Outcome<Self::Record, Self::Response, Self::Effect>;

    /// Returns when [`Shard::handle_timeout`] wants to be called next, if ever.
    ///
    /// It may be early: a call that finds nothing to do returns an empty outcome.
    fn poll_timeout(&self) -> Option<Timestamp>;

    /// Handles at most one due timer.
    ///
    /// One and not all, so that what the first one appends is replayed before the second one
    /// decides. The caller repeats it while [`Shard::poll_timeout`] is due.
    fn handle_timeout(
        &mut self,
        now: Timestamp,
    ) -> Outcome<Self::Record, Self::Response, Self::Effect>;

    /// Takes up work after the log was replayed: rebuilds soft state and arms timers.
    fn handle_loaded(
        &mut self,
        now: Timestamp,
    ) -> Outcome<Self::Record, Self::Response, Self::Effect>;

    /// Takes in a new picture of the cluster's topics.
    fn handle_metadata(
        &mut self,
        now: Timestamp,
        image: &MetadataImage,
    ) -> Outcome<Self::Record, Self::Response, Self::Effect>;

    /// Applies one record of the log. The only writer of hard state, live and on load alike.
    fn replay(&mut self, record: &Self::Record);

    /// Gives up: returns an answer with `error` for every request that is still parked.
    ///
    /// Called before a shard is dropped, be it that an append failed, that the coordinator moves
    /// or that the broker stops.
    fn resign(&mut self, error: ErrorCode) -> Vec<(ReplyTo, Self::Response)>;
}
