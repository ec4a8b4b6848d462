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
/// When more rates are held, those that are over are dropped.
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
    rates: Mutex<HashMap<(Counted, Sharers), Rate>>,
    window: Window,
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
        if rates.len() >= RATES_SWEPT_AT {
            rates.retain(|_, rate| !rate.is_over(now, self.window));
        }
        let full = rates.len() >= RATES_MAX;
        let held = (what, sharers);
        if full && !rates.contains_key(&held) {
            return Duration::ZERO;
        }
        let rate = rates.entry(held).or_default();
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
