//! How long to wait before the next attempt: exponential, bounded, with jitter.
//!
//! Kafka's rule (KIP-580): attempt `n` waits `initial * 2^n`, never more than `max`, and then moves
//! by up to ±20 % so that clients which failed together do not come back together. The source of
//! the jitter is handed in, so a test with a fixed seed sees fixed delays.

use std::time::Duration;

/// Delays that double from `initial` to `max`, give or take [`Backoff::JITTER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    /// How far a delay strays from its nominal value, as Kafka's clients do.
    pub const JITTER: f64 = 0.2;

    /// Returns a back-off from `initial` to `max`; a smaller `max` lowers `initial` to it.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial: initial.min(max), max }
    }

    /// Returns the delay after `failures` failures in a row; none before the first one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use kohort_client_core::backoff::{Backoff, Jitter};
    /// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    /// let mut jitter = Jitter::none();
    /// assert_eq!(backoff.delay(0, &mut jitter), Duration::ZERO);
    /// assert_eq!(backoff.delay(2, &mut jitter), Duration::from_millis(200));
    /// ```
    pub fn delay(&self, failures: u32, jitter: &mut Jitter) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let doublings = (failures - 1).min(Self::DOUBLINGS_MAX);
        let nominal = self.initial.saturating_mul(1 << doublings).min(self.max);
        // A maximum beyond all clocks is one's right.
        let strayed = nominal.as_secs_f64() * jitter.factor(Self::JITTER);
        Duration::try_from_secs_f64(strayed).unwrap_or(Duration::MAX)
    }

    /// 2^20 times the smallest back-off is past every sensible maximum.
    const DOUBLINGS_MAX: u32 = 20;
}

/// A seeded source of jitter (SplitMix64: eight bytes of state, good enough to spread clients).
#[derive(Debug, Clone)]
pub struct Jitter {
    state: Option<u64>,
}

impl Jitter {
    /// Returns a source that gives the same sequence for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self { state: Some(seed) }
    }

    /// Returns a source that never strays: every factor is 1.
    pub fn none() -> Self {
        Self { state: None }
    }

    /// Returns a factor in `1 - spread ..= 1 + spread`.
    pub fn factor(&mut self, spread: f64) -> f64 {
        if self.state.is_none() {
            return 1.0;
        }
        let unit = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        1.0 + spread * (2.0 * unit - 1.0)
    }

    /// Returns the next number of the sequence; always 0 from [`Jitter::none`].
    pub fn next_u64(&mut self) -> u64 {
        let Some(state) = &mut self.state else { return 0 };
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_until_the_maximum() {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let delays: Vec<u128> = (0..8)
            .map(|failures| backoff.delay(failures, &mut Jitter::none()).as_millis())
            .collect();
        assert_eq!(delays, [0, 50, 100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_repeats_for_its_seed() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(100));
        let run = |seed| {
            let mut jitter = Jitter::seeded(seed);
            (0..100).map(|_| backoff.delay(1, &mut jitter)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        for delay in run(7) {
            assert!((80..=120).contains(&delay.as_millis()), "{delay:?} strays too far");
        }
    }

    #[test]
    fn a_huge_number_of_failures_does_not_overflow() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(u64::MAX));
        assert!(backoff.delay(u32::MAX, &mut Jitter::none()) >= Duration::from_secs(1 << 20));
    }

    #[test]
    fn no_back_off_is_too_long_to_stray() {
        let backoff = Backoff::new(Duration::MAX, Duration::MAX);
        let mut jitter = Jitter::seeded(1);
        assert!((0..100).all(|_| backoff.delay(1, &mut jitter) > Duration::MAX / 2));
    }
}
