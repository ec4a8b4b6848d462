//! Random numbers for ids, from the operating system's entropy by way of the standard library.

use kohort_protocol::Uuid;
use std::hash::{BuildHasher, RandomState};

/// Returns 64 random bits: a keyed hash under a key nobody else has.
pub(crate) fn word() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Returns a random id.
pub(crate) fn uuid() -> Uuid {
    let bits = u128::from(word()) << 64 | u128::from(word());
    Uuid::from_random(bits.to_be_bytes())
}

/// Returns a random id for a topic: one whose text does not begin with a dash, which a command
/// line would take for an option.
pub(crate) fn topic_id() -> Uuid {
    loop {
        let id = uuid();
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}
