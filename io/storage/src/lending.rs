//! How many places in segments' files wait to be sent: each keeps a file open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places in files that may wait to be sent at once. They keep files open.
const LENT_MAX: usize = 4096;

/// Counts the places in files that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Lending(Arc<AtomicUsize>);

/// One such place, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lent(Arc<AtomicUsize>);

impl Lending {
    /// Lends one more place, if there are not too many.
    pub(crate) fn lend(&self) -> Option<Lent> {
        if self.0.fetch_add(1, Ordering::Relaxed) < LENT_MAX {
            return Some(Lent(Arc::clone(&self.0)));
        }
        self.0.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
