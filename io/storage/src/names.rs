//! The names that folders, files and the metadata topic have, whoever uses them.

use kohort_protocol::Uuid;

/// The folder below the data folder in which partitions lie.
pub(crate) const PARTITIONS: &str = "partitions";
/// The folder of the write-ahead log.
pub(crate) const WAL: &str = "wal";
/// The lock file.
pub(crate) const LOCK: &str = ".lock";
/// The checkpoint, in the data folder.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";
/// The file in a partition's folder that tells which partition it is.
pub(crate) const PARTITION_FILE: &str = "partition";

/// The id of the topic in which the broker keeps its own metadata: the one Kafka reserves for it.
pub const METADATA_TOPIC_ID: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// The name of that topic.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
