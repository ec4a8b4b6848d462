//! Owned partitions that their topic does not have: a mistake of whoever assigned them, unless they are so new
//! that the broker asked does not know of them yet. So several pictures have to lack one, over a while, before the
//! application is told; it is told again as long as that lasts, since partitions can be added.

use std::collections::BTreeMap;

use super::types::{Timestamp, TopicPartition};

/// See the [module](self).
#[derive(Debug, Default)]
pub struct MissingPartitions(BTreeMap<TopicPartition, Missing>);

#[derive(Debug)]
struct Missing {
    pictures: u32,
    tell_at: Timestamp,
}

/// How many pictures have to lack a partition: the one it was missed in, and two that were asked for since.
const PICTURES: u32 = 3;

impl MissingPartitions {
    /// Takes what a new picture lacks; returns what to tell now, which is not told again for `pause_ms`.
    pub fn look<'a>(
        &mut self,
        now: Timestamp,
        pause_ms: i64,
        lacking: impl Iterator<Item = &'a TopicPartition>,
    ) -> Vec<TopicPartition> {
        let mut told = Vec::new();
        let mut before = std::mem::take(&mut self.0);
        for partition in lacking {
            let known = before.remove(partition);
            let mut it = known.unwrap_or(Missing { pictures: 0, tell_at: now + pause_ms });
            it.pictures = it.pictures.saturating_add(1);
            if it.pictures >= PICTURES && now >= it.tell_at {
                it.tell_at = now + pause_ms;
                told.push(partition.clone());
            }
            self.0.insert(partition.clone(), it);
        }
        told
    }
}
