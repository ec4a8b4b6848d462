//! Numbers that look random and are the same every time for a seed.

use std::ops::Range;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Returns dice for a seed; zero would only ever throw zeros.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Returns a time of a range, each order of magnitude as likely as another: most are short.
    pub(crate) fn time(&mut self, range: &Range<Duration>) -> Duration {
        let (low, high) = (range.start.as_secs_f64().ln(), range.end.as_secs_f64().ln());
        let part = (self.next() % 10_000) as f64 / 1e4;
        Duration::from_secs_f64((low + (high - low) * part).exp())
    }

    /// Returns one of several; there is at least one.
    pub(crate) fn choose<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
