//! The target assignment: who is to have what, and when that has to be worked out anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_assignor::server::{self, GroupSpec, PartitionSet, Topics};
use kohort_protocol::Uuid;

use crate::metadata::MetadataImage;

/// Divides the partitions among the members; `None` if the assignor cannot, which leaves the group with
/// the target that it has.
pub(super) fn assign(
    assignor: &str,
    group: &GroupSpec,
    image: &MetadataImage,
) -> Option<BTreeMap<Arc<str>, Arc<PartitionSet>>> {
    let assignor = server::by_name(assignor).or_else(|| server::by_name(FALLBACK_ASSIGNOR))?;
    let assignment = assignor.assign(group, &Counts(image)).ok()?;
    Some(assignment.members)
}

struct Counts<'a>(&'a MetadataImage);

impl Topics for Counts<'_> {
    fn partition_count(&self, topic: Uuid) -> Option<i32> {
        self.0.topic_by_id(topic).map(|topic| topic.partitions)
    }
}

/// Returns a number that is another one when a subscribed topic comes, goes, is created anew or gets
/// more partitions (KIP-1101); 0 if none of the topics exists.
///
/// Kafka's hash is another function. It is only ever compared with an older value of its own, so a
/// coordinator that takes over the other's log raises each group's epoch once.
pub(super) fn metadata_hash(topics: &BTreeSet<Arc<str>>, image: &MetadataImage) -> i64 {
    let mut hash = 0;
    for topic in topics.iter().filter_map(|name| image.topic(name)) {
        let (high, low) = topic.id.0.split_at(8);
        for word in [high, low] {
            hash = mix(hash, u64::from_be_bytes(word.try_into().expect("it is half of 16 bytes")));
        }
        hash = mix(hash, u64::from(topic.partitions.unsigned_abs()));
    }
    hash as i64
}

/// Takes a word into a hash: the finishing steps of SplitMix64, which let every bit touch every other.
fn mix(hash: u64, word: u64) -> u64 {
    let mut mixed = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What stands in for an assignor that is configured and does not exist.
const FALLBACK_ASSIGNOR: &str = "uniform";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::TopicImage;

    fn image(topics: &[(&str, u8, i32)]) -> MetadataImage {
        let topic = |(name, id, partitions): &(&str, u8, i32)| TopicImage {
            name: (*name).into(),
            id: Uuid([*id; 16]),
            partitions: *partitions,
        };
        topics.iter().map(topic).collect()
    }

    #[test]
    fn the_hash_changes_with_the_subscribed_topics_and_with_nothing_else() {
        let hash = |names: &[&str], topics: &[(&str, u8, i32)]| {
            metadata_hash(&names.iter().map(|name| Arc::from(*name)).collect(), &image(topics))
        };
        let usual = hash(&["a", "b"], &[("a", 1, 3), ("b", 2, 1)]);
        assert_eq!(hash(&["a", "b"], &[("a", 1, 3), ("b", 2, 1), ("c", 3, 1)]), usual);
        assert_eq!(hash(&["a", "b", "missing"], &[("a", 1, 3), ("b", 2, 1)]), usual);
        assert_ne!(hash(&["a", "b"], &[("a", 1, 4), ("b", 2, 1)]), usual, "more partitions");
        assert_ne!(hash(&["a", "b"], &[("a", 9, 3), ("b", 2, 1)]), usual, "created anew");
        assert_ne!(hash(&["a", "b"], &[("a", 1, 3)]), usual, "gone");
        assert_eq!(hash(&["missing"], &[("a", 1, 3)]), 0);
    }
}
