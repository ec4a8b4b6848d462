//! What the last attempts met, for those who are told in the end that their time was up.
//!
//! It is kept for each partition and not for each batch: while one is tried again, those behind it wait
//! and may never have an attempt of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_protocol::messages::produce::PartitionProduceResponse;

use super::delivery::{Completion, Words};
use super::requests::SentBatch;
use crate::cluster::ClusterError;

/// The partitions whose last attempt failed: what it met, and when. As many as there are partitions.
#[derive(Default)]
pub(super) struct Attempts {
    met: BTreeMap<(Arc<str>, i32), (i64, Arc<ClusterError>)>,
}

impl Attempts {
    /// Notes a failure after which the batch is tried again: the leader's answer, or why there was none.
    pub(super) fn failed(
        &mut self,
        now: i64,
        batch: &SentBatch,
        answer: Option<&PartitionProduceResponse>,
        words: &Words,
    ) {
        let refused = answer.map(|answer| ClusterError::Refused {
            what: "the last answer of its leader".to_owned(),
            code: answer.error_code,
            message: answer.error_message.clone(),
        });
        if let Some(error) = refused.map(Arc::new).or_else(|| words.cause.clone()) {
            self.met.insert((batch.topic.clone(), batch.partition), (now, error));
        }
    }

    /// Notes that an attempt succeeded.
    pub(super) fn succeeded(&mut self, batch: &SentBatch) {
        if !self.met.is_empty() {
            self.met.remove(&(batch.topic.clone(), batch.partition));
        }
    }

    /// Forgets what was met before `since`: it says nothing of records that were sent later.
    pub(super) fn forget_before(&mut self, since: i64) {
        self.met.retain(|_, (at, _)| *at >= since);
    }

    /// Returns what the last attempt for the partition of a batch met.
    pub(super) fn met(&self, batch: &Completion) -> Option<Arc<ClusterError>> {
        self.met.get(&(batch.topic.clone(), batch.partition)).map(|(_, error)| error.clone())
    }
}
