//! Which partition, by its topic's id and name and its number, and what its folder is called.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use kohort_protocol::Uuid;

use crate::error::StorageError;
use crate::wal::entry::PartitionKey;

/// Which partition: the topic's id makes it unique, its name is for people.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The id of the topic.
    pub topic_id: Uuid,
    /// The name of the topic.
    pub topic: Arc<str>,
    /// The partition's number in the topic.
    pub index: i32,
}

impl PartitionId {
    pub(crate) fn key(&self) -> PartitionKey {
        (self.topic_id, self.index)
    }

    /// Returns a number that differs from partition to partition.
    pub(crate) fn seed(&self) -> u64 {
        let (high, low) = self.topic_id.0.split_at(8);
        let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        half(high) ^ half(low).rotate_left(32) ^ u64::from(self.index.unsigned_abs()) << 40
    }
}

impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// Characters of a topic's name in its folders' names: with index and id the name stays below the 255
/// that file systems allow. The whole name is in the folder's `partition` file.
pub(crate) const NAME_MAX: usize = 200;

/// Returns the name of a partition's folder: `<topic>-<index>.<topic id in hex>`. The id makes it
/// differ from that of an earlier topic of the same name; hex, because some file systems take upper
/// and lower case for the same.
pub(crate) fn dir_name(id: &PartitionId) -> String {
    let topic: String = id.topic.chars().take(NAME_MAX).collect();
    let mut name = format!("{topic}-{}.", id.index);
    for byte in id.topic_id.0 {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Checks that a topic name has no character that means something in a path. The broker's own check
/// is stricter about words; this one keeps the disk safe whatever the broker does.
pub(crate) fn check_topic_name(name: &str) -> Result<(), StorageError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let sound = !name.is_empty() && name.len() <= 249 && name.chars().all(legal);
    if sound && name != "." && name != ".." {
        Ok(())
    } else {
        Err(StorageError::InvalidTopicName { name: name.to_owned() })
    }
}
