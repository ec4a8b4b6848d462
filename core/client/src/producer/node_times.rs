//! How long nodes keep what is ready for them waiting (`partitioner.availability.timeout.ms`).

/// Since when a node has not taken what is ready for it.
#[derive(Debug, Default)]
pub(super) struct NodeTimes {
    /// When something was ready the last time.
    ready: i64,
    /// When it could be sent something the last time.
    sent_to: i64,
}

impl NodeTimes {
    /// Takes note that something is ready for it, which it can be sent if it is `free`.
    pub(super) fn note(&mut self, now: i64, free: bool) {
        // The first sight of a node counts as a time it was sent something.
        if free || self.ready == 0 {
            self.sent_to = now;
        }
        self.ready = now;
    }

    /// Returns for how long something has been ready and could not be sent.
    pub(super) fn waits_for_ms(&self) -> i64 {
        self.ready - self.sent_to
    }
}
