//! Randomness, as far as a folder needs it.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number nobody can guess, from the seeds the standard library draws for its maps.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
