//! Owned partitions that their topic does not have: a mistake of whoever assigned them, unless they are so new
//! that the broker asked does not know of them yet. So several pictures have to lack one, over a while, before the
//! application is told; it is told again as long as that lasts, since partitions can be added.

use std::collections::BTreeMap;

use kohort_protocol::ErrorCode;

use super::{Action, ConsumerMachine, Fault};
use crate::consumer::types::{Timestamp, TopicPartition};

/// What lacks a partition, and since when.
#[derive(Debug)]
pub(super) struct Missing {
    pictures: u32,
    tell_at: Timestamp,
}

/// What is known of the partitions that are missing.
pub(super) type MissingPartitions = BTreeMap<TopicPartition, Missing>;

/// How many pictures have to lack a partition: the one it was missed in, and two that were asked for since.
const PICTURES: u32 = 3;

impl ConsumerMachine {
    /// Takes that there is a new picture: tells the application of partitions that it lacks as others did.
    pub(super) fn look_for_missing(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let pause = self.config.retry_backoff_max_ms;
        let mut before = std::mem::take(&mut self.missing);
        for (partition, slot) in self.positions.iter() {
            if slot.revoking || !self.view.lacks(&partition.topic, partition.partition) {
                continue;
            }
            let known = before.remove(partition);
            let mut it = known.unwrap_or(Missing { pictures: 0, tell_at: now + pause });
            it.pictures = it.pictures.saturating_add(1);
            if it.pictures >= PICTURES && now >= it.tell_at {
                it.tell_at = now + pause;
                let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                let partition = partition.clone();
                actions.push(Action::Fault(Fault::Partition { partition, code }));
            }
            self.missing.insert(partition.clone(), it);
        }
    }
}
