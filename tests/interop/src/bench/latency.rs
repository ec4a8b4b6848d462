//! How long answers took: every one is kept, so that a percentile is one of them.

use std::time::Duration;

/// The times of the answers of a run.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    pub(crate) fn add(&mut self, time: Duration) {
        self.micros.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn count(&self) -> u64 {
        self.micros.len() as u64
    }

    /// Returns the milliseconds within which each of `shares` of the answers came.
    pub(crate) fn percentiles<const N: usize>(&mut self, shares: [f64; N]) -> [f64; N] {
        self.micros.sort_unstable();
        let last = self.micros.len().saturating_sub(1);
        shares.map(|share| {
            let at = (share * last as f64).ceil() as usize;
            self.micros.get(at.min(last)).map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
        })
    }
}
