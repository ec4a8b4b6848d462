//! The broker's two clocks, both in milliseconds since 1970.
//!
//! *Wall time* is the system's, and jumps when somebody sets that. Records are stamped with it, and what
//! is kept for so long is as old as it says. *Steady time* began at wall time when the broker started and never
//! jumps: sessions, graces, delays and quotas go by it, since a member is not silent for an hour because the
//! clock was put forward.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) type Timestamp = i64;

/// How long reading both clocks may take, for what is between them to count.
const AT_ONCE: Duration = Duration::from_micros(100);

/// How often both clocks are read to get them at once.
const READINGS: usize = 3;

/// Tells both times.
#[derive(Debug)]
pub(crate) struct Clock {
    begun: Instant,
    /// Wall time at `begun`, since 1970.
    begun_at: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        let (begun, begun_at) = read_both();
        Self { begun, begun_at }
    }
}

impl Clock {
    /// Returns wall time. It may be less than it was.
    #[expect(clippy::unused_self, reason = "whoever tells the time was given a clock")]
    pub(crate) fn wall(&self) -> Timestamp {
        wall().as_millis() as Timestamp
    }

    /// Returns steady time.
    pub(crate) fn steady(&self) -> Timestamp {
        self.steady_at(Instant::now()).as_millis() as Timestamp
    }

    /// Returns steady time, and how far wall time is ahead of it: less than zero if it is behind. While nobody
    /// sets the clock that is always the same, so that what is told of one moment twice has one date.
    pub(crate) fn steady_and_ahead(&self) -> (Timestamp, i64) {
        let (now, wall) = read_both();
        let steady = self.steady_at(now);
        (steady.as_millis() as Timestamp, ahead(steady, wall))
    }

    fn steady_at(&self, now: Instant) -> Duration {
        self.begun_at + now.duration_since(self.begun)
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Reads both clocks at once: again if the thread had to wait between the two.
fn read_both() -> (Instant, Duration) {
    let read = || {
        let before = Instant::now();
        let wall = wall();
        (before, wall, before.elapsed())
    };
    let mut readings = (0..READINGS).map(|_| read());
    let at_once = readings.find(|(_, _, took)| *took < AT_ONCE);
    let (now, wall, _) = at_once.unwrap_or_else(read);
    (now, wall)
}

/// Returns how many milliseconds wall time is ahead, to the nearest: both clocks' milliseconds do not end at
/// the same moment, and a difference of them would be one more or less from one reading to the next.
fn ahead(steady: Duration, wall: Duration) -> i64 {
    let micros = wall.as_micros() as i64 - steady.as_micros() as i64;
    (micros + 500).div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_readings_around_the_end_of_a_millisecond_say_the_same() {
        let micros = Duration::from_micros;
        assert_eq!(ahead(micros(1_999), micros(2_000)), 0);
        assert_eq!(ahead(micros(2_000), micros(1_999)), 0);
        assert_eq!(ahead(micros(1_999), micros(5_002)), 3);
        assert_eq!(ahead(micros(5_002), micros(1_999)), -3);
        assert_eq!(ahead(micros(5_400), micros(1_600)), -4);
    }
}
