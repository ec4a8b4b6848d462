//! How fast something goes, over a sliding window, and how long to wait when that is too fast.
//!
//! Kafka's accounting (`Rate`, `SampledStat`, `QuotaUtils`): the window is `quota.window.num` samples
//! of `quota.window.size.seconds` each. The rate is the sum of the samples over the time they span,
//! but never over less than all samples but one: a first burst is not a rate. Who goes too fast waits
//! until the sum, spread over the longer time, is within the bound.

use std::collections::VecDeque;

/// The samples a rate is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) samples: usize,
    pub(crate) sample_ms: i64,
}

/// What went by lately.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Rate {
    /// When each sample began and its sum, the oldest first.
    samples: VecDeque<(i64, f64)>,
}

impl Rate {
    /// Notes that `amount` went by.
    pub(crate) fn record(&mut self, amount: f64, now: i64, window: Window) {
        self.forget(now, window);
        match self.samples.back_mut() {
            Some((start, sum)) if now - *start < window.sample_ms => *sum += amount,
            _ => self.samples.push_back((now, amount)),
        }
    }

    /// Returns how many milliseconds to wait for the rate to be within `bound` a second.
    pub(crate) fn throttle_ms(&mut self, bound: f64, now: i64, window: Window) -> i64 {
        self.forget(now, window);
        let Some((oldest, _)) = self.samples.front() else { return 0 };
        let sum: f64 = self.samples.iter().map(|(_, sum)| sum).sum();
        let least = window.sample_ms * (window.samples as i64 - 1).max(1);
        let span = ((now - oldest).max(least)) as f64;
        let rate = sum / span * 1000.0;
        if rate <= bound { 0 } else { ((rate - bound) / bound * span).round() as i64 }
    }

    /// Tells whether nothing that counts is left.
    pub(crate) fn is_over(&mut self, now: i64, window: Window) -> bool {
        self.forget(now, window);
        self.samples.is_empty()
    }

    fn forget(&mut self, now: i64, window: Window) {
        let whole = window.sample_ms * window.samples as i64;
        while self.samples.front().is_some_and(|(start, _)| now - start >= whole) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { samples: 11, sample_ms: 1000 };

    #[test]
    fn a_burst_counts_over_the_whole_window() {
        let mut rate = Rate::default();
        rate.record(10_000.0, 0, WINDOW);
        assert_eq!(rate.throttle_ms(1000.0, 0, WINDOW), 0);
        rate.record(10_000.0, 5, WINDOW);
        // 20 000 in 10 s are twice the bound: they are within it after 10 s more.
        assert_eq!(rate.throttle_ms(1000.0, 5, WINDOW), 10_000);
    }

    #[test]
    fn who_waits_as_told_keeps_the_bound() {
        let mut rate = Rate::default();
        let (mut now, mut sent) = (0, 0.0);
        while now < 100_000 {
            rate.record(5000.0, now, WINDOW);
            sent += 5000.0;
            now += 1 + rate.throttle_ms(1000.0, now, WINDOW);
        }
        let mean = sent / now as f64 * 1000.0;
        assert!((900.0..1200.0).contains(&mean), "{mean}");
    }

    #[test]
    fn what_is_past_the_window_is_forgotten() {
        let mut rate = Rate::default();
        rate.record(1e9, 0, WINDOW);
        assert!(rate.throttle_ms(1.0, 10_999, WINDOW) > 0);
        assert_eq!(rate.throttle_ms(1.0, 11_000, WINDOW), 0);
        assert!(rate.is_over(11_000, WINDOW));
    }
}
