//! Lines of the log that peers cause: a few each minute. Metrics count the rest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells whether there may be one more line of a kind.
#[derive(Debug)]
pub(crate) struct LogPace {
    begun: Instant,
    /// The minute since `begun`, and how many lines there were in it.
    lines: AtomicU64,
}

/// Enough to see what goes on, few enough that nobody fills a disk with them.
const LINES_A_MINUTE: u64 = 10;
const COUNT_BITS: u32 = 16;

impl Default for LogPace {
    fn default() -> Self {
        Self { begun: Instant::now(), lines: AtomicU64::new(0) }
    }
}

impl LogPace {
    /// Asks for one line.
    pub(crate) fn allows(&self) -> bool {
        self.allows_in(self.begun.elapsed().as_secs() / 60)
    }

    fn allows_in(&self, minute: u64) -> bool {
        let one_more = |state: u64| {
            let said =
                if state >> COUNT_BITS == minute { state & ((1 << COUNT_BITS) - 1) } else { 0 };
            (said < LINES_A_MINUTE).then_some(minute << COUNT_BITS | (said + 1))
        };
        self.lines.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }
}

/// Lines about something that goes on: the first at once, then one a minute with how often it happened.
#[derive(Debug, Default)]
pub(crate) struct LastingPace {
    told: Option<Instant>,
    untold: u64,
}

const LASTING_LINE_EVERY: Duration = Duration::from_secs(60);

impl LastingPace {
    /// Notes that it happened. Returns how often it did since the last line, if it is time for one.
    pub(crate) fn note(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < LASTING_LINE_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_at_once_and_then_once_a_minute_with_its_count() {
        let mut pace = LastingPace::default();
        let start = Instant::now();
        let told = (0..150).map(|second| (second, pace.note(start + Duration::from_secs(second))));
        let told: Vec<_> = told.filter(|(_, times)| times.is_some()).collect();
        assert_eq!(told, [(0, Some(1)), (60, Some(60)), (120, Some(60))]);
    }

    #[test]
    fn each_minute_has_its_few_lines() {
        let pace = LogPace::default();
        for minute in [0, 1, 7] {
            let said = (0..100).filter(|_| pace.allows_in(minute)).count();
            assert_eq!(said as u64, LINES_A_MINUTE);
        }
    }
}
