//! Durations, counted by size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets in microseconds; one more bucket holds what is longer.
pub const DURATION_BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000, 30_000_000,
];

const BUCKETS: usize = DURATION_BOUNDS_US.len() + 1;

/// Durations that were recorded. Recording takes no lock.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

/// How many durations of which size there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DurationCounts {
    /// By the bounds they are within; not cumulative.
    pub buckets: [u64; BUCKETS],
    /// Their sum.
    pub nanoseconds: u64,
}

impl Durations {
    /// Counts a duration.
    pub fn record(&self, duration: Duration) {
        let nanoseconds = duration.as_nanos() as u64;
        self.buckets[bucket(nanoseconds / 1000)].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

fn bucket(microseconds: u64) -> usize {
    let bounds = &DURATION_BOUNDS_US;
    bounds.iter().position(|bound| microseconds <= *bound).unwrap_or(bounds.len())
}

impl DurationCounts {
    /// Adds what was recorded.
    pub fn add(&mut self, durations: &Durations) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&durations.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.nanoseconds += durations.nanoseconds.load(Ordering::Relaxed);
    }

    /// Returns how many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        for (microseconds, expected) in [(0, 0), (50, 0), (51, 1), (30_000_000, 15), (1 << 40, 16)]
        {
            assert_eq!(bucket(microseconds), expected, "{microseconds} us");
        }
    }
}
