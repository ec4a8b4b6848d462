//! The broker's clock: Unix milliseconds that never go backwards.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) type Timestamp = i64;

/// Reads the system's clock, and repeats its latest answer while the system's clock lags behind it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    latest: AtomicI64,
}

impl Clock {
    /// Returns the time.
    pub(crate) fn now(&self) -> Timestamp {
        let system = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_millis() as Timestamp);
        let latest = self.latest.load(Ordering::Relaxed);
        // Mostly the millisecond has been seen before, and nothing need be written that others read.
        if latest >= system {
            return latest;
        }
        self.latest.fetch_max(system, Ordering::Relaxed).max(system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_until_the_system_has_caught_up() {
        let ahead = Clock::default().now() + 3_600_000;
        let clock = Clock { latest: AtomicI64::new(ahead) };
        assert_eq!([clock.now(), clock.now()], [ahead; 2]);
    }
}
