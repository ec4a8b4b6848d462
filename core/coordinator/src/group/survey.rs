//! What there is in a shard, for whoever counts: no request of a client, and nothing changes.

use std::ops::Bound;
use std::sync::Arc;

use super::shard::GroupShard;

/// A group in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedGroup {
    /// The group's id.
    pub id: Arc<str>,
    /// The state's name in Kafka's answers.
    pub state: &'static str,
    /// How many members it has.
    pub members: usize,
    /// What it has committed: topic, partition and offset.
    pub offsets: Vec<(Arc<str>, i32, i64)>,
}

impl GroupShard {
    /// Returns the groups whose ids come after `after`, in order, until they hold `offsets_max`
    /// offsets together: at least one, if there is one. The rest is for another turn, so that a large
    /// shard is not held up for long.
    pub fn survey(&self, after: Option<&str>, offsets_max: usize) -> Vec<SurveyedGroup> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut surveyed = Vec::new();
        // A group counts besides its offsets: many have few.
        let mut looked_at = 0;
        for entry in self.groups.range::<str, _>((from, Bound::Unbounded)).map(|(_, entry)| entry) {
            let offsets = entry.offsets.after(None);
            let offsets =
                offsets.map(|(topic, offset)| (Arc::clone(topic), offset.partition, offset.offset));
            let group = SurveyedGroup {
                id: Arc::clone(&entry.id),
                state: entry.group.state_name(),
                members: entry.group.member_count(),
                offsets: offsets.collect(),
            };
            looked_at += 1 + group.offsets.len();
            surveyed.push(group);
            if looked_at >= offsets_max {
                break;
            }
        }
        surveyed
    }
}
