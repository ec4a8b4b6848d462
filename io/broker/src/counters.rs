//! Numbers that many threads add to.
//!
//! Each thread adds to one of a few shards, so that the processors do not pass one cache line to and
//! fro for every request: an addition costs a few nanoseconds. A scrape sums the shards. A shard's
//! memory is taken when its first thread comes by.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// As many as a broker has threads for connections at most.
const SHARDS: usize = 8;

/// Copies of `T`, one for each thread or for a few.
#[derive(Debug)]
pub(crate) struct Sharded<T>([OnceLock<Box<T>>; SHARDS]);

impl<T> Default for Sharded<T> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; SHARDS])
    }
}

impl<T: Default> Sharded<T> {
    /// Returns this thread's copy.
    pub(crate) fn mine(&self) -> &T {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        self.0[MINE.with(|mine| *mine)].get_or_init(Box::default)
    }

    /// Returns the copies in use.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> + Clone {
        self.0.iter().filter_map(|shard| shard.get().map(|shard| &**shard))
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many of something are under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicUsize>);

/// One of them. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl Gauge {
    pub(crate) fn begin(&self) -> UnderWay {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.0))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_of_many_threads_are_all_found() {
        let counters = Sharded::<Counter>::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1000).for_each(|_| counters.mine().add(1)));
            }
        });
        assert_eq!(counters.all().map(Counter::get).sum::<u64>(), 20_000);
    }
}
