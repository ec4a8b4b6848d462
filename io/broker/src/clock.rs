//! The broker's two clocks, both in milliseconds since 1970.
//!
//! *Wall time* is the system's, and jumps when somebody sets that. Records are stamped with it, and what
//! is kept for so long is as old as it says. *Steady time* began at wall time when the broker started and never
//! jumps: sessions, graces, delays and quotas go by it, since a member is not silent for an hour because the
//! clock was put forward.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) type Timestamp = i64;

/// Tells both times.
#[derive(Debug)]
pub(crate) struct Clock {
    begun: Instant,
    begun_at: Timestamp,
}

impl Default for Clock {
    fn default() -> Self {
        Self { begun: Instant::now(), begun_at: wall() }
    }
}

impl Clock {
    /// Returns wall time. It may be less than it was.
    #[expect(clippy::unused_self, reason = "whoever tells the time was given a clock")]
    pub(crate) fn wall(&self) -> Timestamp {
        wall()
    }

    /// Returns steady time.
    pub(crate) fn steady(&self) -> Timestamp {
        self.begun_at + self.begun.elapsed().as_millis() as Timestamp
    }

    /// Returns steady time, and how far wall time is ahead of it: less than zero if it is behind.
    pub(crate) fn steady_and_ahead(&self) -> (Timestamp, i64) {
        let steady = self.steady();
        (steady, wall() - steady)
    }
}

fn wall() -> Timestamp {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as Timestamp)
}
