//! Which topics the picture of the cluster is to cover.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_client_core::backoff::Jitter;
use kohort_client_core::metadata::Topics;

#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) topics: Topics,
    /// Topics that questions under way are about, with how many hold each.
    pub(super) held: BTreeMap<Arc<str>, usize>,
    /// Counts the requests for an answer; the task answers all up to the number it saw.
    pub(super) requests: u64,
    /// Whether one of them need not wait for the back-off.
    pub(super) at_once: bool,
    pub(super) jitter: Jitter,
}

impl Wanted {
    pub(super) fn all(&self) -> Topics {
        match &self.topics {
            Topics::Some(followed) => {
                Topics::Some(followed.iter().chain(self.held.keys()).cloned().collect())
            }
            Topics::All => Topics::All,
        }
    }
}
