//! The only place that asks what time it is.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time in Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Returns a seed that differs between clients, and between starts of one.
pub(crate) fn seed() -> u64 {
    // The standard library keys its hash maps by the system's random numbers.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    random ^ (since.as_nanos() as u64) ^ (u64::from(std::process::id()) << 32)
}

/// Returns a time in milliseconds, as the machines count with: they add these to the time, so one
/// beyond all clocks is cut to one that no
/// client lives to see.
pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(MS_MAX)
}

/// A hundred years.
const MS_MAX: i64 = 100 * 365 * 24 * 3_600_000;
