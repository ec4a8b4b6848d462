//! Quotas: bytes produced, bytes consumed and time taken, by user and client id (KIP-13, KIP-55,
//! KIP-124).
//!
//! Who is over a quota is answered all the same, with how long to wait, and nothing more is read from
//! the connection for that long. Unlike in Kafka a fetch over its quota brings its records: the next
//! one comes the later. Quotas of addresses and of changes to topics are kept and not enforced.

pub(crate) mod rate;
pub(crate) mod rules;
pub(crate) mod toll;

use parking_lot::{Mutex, RwLock};
use rate::{Rate, Window};
use rules::{QuotaRules, Sharers, bound};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whoever connects without proving who they are.
pub(crate) const ANONYMOUS: &str = "ANONYMOUS";
/// When more rates are held, those that are over are dropped: once a sample, since it looks at them all.
const RATES_SWEPT_AT: usize = 1024;
/// Beyond this many rates, new clients are not held to their quota: memory is not theirs to take.
const RATES_MAX: usize = 100_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    BytesProduced,
    BytesConsumed,
    /// The time requests take, in percent of one thread's.
    Time,
}

impl Counted {
    /// Returns the name quotas are set under.
    const fn key(self) -> &'static str {
        match self {
            Counted::BytesProduced => "producer_byte_rate",
            Counted::BytesConsumed => "consumer_byte_rate",
            Counted::Time => "request_percentage",
        }
    }
}

/// The quotas in force and the rates held against them.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// Whether any is set: a broker without quotas pays for this look alone.
    any: AtomicBool,
    rules: RwLock<Arc<QuotaRules>>,
    rates: Mutex<Rates>,
    window: Window,
}

/// The rates held, and when those that are over are looked for next.
#[derive(Debug, Default)]
struct Rates {
    held: HashMap<(Counted, Sharers), Rate>,
    sweep_at: i64,
}

impl Rates {
    fn sweep(&mut self, now: i64, window: Window) {
        if self.held.len() >= RATES_SWEPT_AT && now >= self.sweep_at {
            self.held.retain(|_, rate| !rate.is_over(now, window));
            self.sweep_at = now + window.sample_ms;
        }
    }
}

impl Quotas {
    /// Begins with the quotas that were loaded.
    pub(crate) fn new(rules: QuotaRules, samples: i32, sample_seconds: i32) -> Self {
        let window =
            Window { samples: samples as usize, sample_ms: i64::from(sample_seconds) * 1000 };
        let any = AtomicBool::new(!rules.is_empty());
        Self { any, rules: RwLock::new(Arc::new(rules)), rates: Mutex::default(), window }
    }

    /// Puts other quotas in force.
    pub(crate) fn replace(&self, rules: QuotaRules) {
        let any = !rules.is_empty();
        *self.rules.write() = Arc::new(rules);
        self.any.store(any, Ordering::Relaxed);
    }

    /// Returns whether any quota is set.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Counts what a client took, and returns how long it is to wait.
    pub(crate) fn count(&self, what: Counted, client_id: &str, amount: f64, now: i64) -> Duration {
        let rules = Arc::clone(&self.rules.read());
        let Some((sharers, bound)) = bound(&rules, what.key(), ANONYMOUS, client_id) else {
            return Duration::ZERO;
        };
        let mut rates = self.rates.lock();
        rates.sweep(now, self.window);
        let full = rates.held.len() >= RATES_MAX;
        let held = (what, sharers);
        if full && !rates.held.contains_key(&held) {
            return Duration::ZERO;
        }
        let rate = rates.held.entry(held).or_default();
        rate.record(amount, now, self.window);
        let wait = rate.throttle_ms(bound, now, self.window);
        // Kafka lets nobody wait for longer than a sample because of the time requests take.
        let longest = if what == Counted::Time { self.window.sample_ms } else { i64::MAX };
        Duration::from_millis(wait.min(longest).max(0) as u64)
    }

    /// Counts the time a request took.
    pub(crate) fn count_time(&self, client_id: &str, took: Duration, now: i64) -> Duration {
        self.count(Counted::Time, client_id, took.as_secs_f64() * 100.0, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::{Part, QuotaEntity};
    use std::collections::BTreeMap;

    /// Quotas of each client id's own over windows of eleven seconds.
    fn quotas(what: Counted, bound: f64) -> Quotas {
        let entity = QuotaEntity { client_id: Part::Default, ..QuotaEntity::default() };
        let rules = BTreeMap::from([(entity, BTreeMap::from([(what.key().to_owned(), bound)]))]);
        Quotas::new(rules, 11, 1)
    }

    #[test]
    fn memory_is_for_so_many_clients_and_comes_back_when_they_are_silent() {
        let quotas = quotas(Counted::BytesProduced, 1.0);
        let count = |client: &str, now| quotas.count(Counted::BytesProduced, client, 1e6, now);
        for number in 0..RATES_MAX {
            quotas.count(Counted::BytesProduced, &number.to_string(), 1e6, 0);
        }
        assert!(count("one more", 0).is_zero());
        assert!(!count("0", 10_000).is_zero(), "who is known is held to it");
        assert!(!count("one more", 11_000).is_zero());
        assert_eq!(quotas.rates.lock().held.len(), 2);
    }

    #[test]
    fn nobody_waits_for_longer_than_a_sample_because_of_time() {
        let wait = |what| quotas(what, 1.0).count(what, "c", 1e6, 0);
        assert_eq!(wait(Counted::Time), Duration::from_secs(1));
        assert!(wait(Counted::BytesProduced) > Duration::from_secs(1));
    }
}
