//! The last ones of what there may be any number of.

use std::collections::VecDeque;

/// Adds to the last things that happened, of which so many are `kept`.
pub(super) fn remember<T>(last: &mut VecDeque<T>, kept: usize, one: T) {
    if last.len() == kept {
        last.pop_front();
    }
    last.push_back(one);
}

/// Names or addresses that nobody uses any more. One that is used again stays in the list, so with each goes
/// how often it had been left by then.
#[derive(Debug)]
pub(super) struct Deserted<K>(VecDeque<(K, u64)>);

impl<K> Default for Deserted<K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K> Deserted<K> {
    /// Adds one that was left. Returns the one to forget, if it has not been used since it was left so often.
    pub(super) fn add(&mut self, key: K, times: u64) -> Option<(K, u64)> {
        self.0.push_back((key, times));
        (self.0.len() > DESERTED_KEPT).then(|| self.0.pop_front())?
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// How many names, and how many addresses, are remembered that nobody uses any more.
pub(super) const DESERTED_KEPT: usize = 1_000;
