//! Lines of the log that peers cause: a few each minute. Metrics count the rest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_has_its_few_lines() {
        let pace = LogPace::default();
        for minute in [0, 1, 7] {
            let said = (0..100).filter(|_| pace.allows_in(minute)).count();
            assert_eq!(said as u64, LINES_A_MINUTE);
        }
    }
}
