//! DescribeLogDirs (key 35): the data folders of a broker and what fills them (KIP-113, KIP-827).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the sizes of partitions.
    pub struct DescribeLogDirsRequest: DescribeLogDirs [1..=5, flexible 2..] {
        /// The topics of interest, or null for all.
        topics: Option<Vec<DescribableLogDirTopic>> [1.., nullable 1..] = Some(Vec::new()),
    }

    /// A topic, and which of its partitions are of interest.
    pub struct DescribableLogDirTopic {
        /// The topic's name.
        topic: String [1..],
        /// The partitions of interest.
        partitions: Vec<i32> [1..],
    }
}

message! {
    /// Lists the data folders.
    pub struct DescribeLogDirsResponse: DescribeLogDirs [1..=5, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [3..],
        /// The folders.
        results: Vec<DescribeLogDirsResult> [1..],
    }

    /// A data folder and the partitions in it.
    pub struct DescribeLogDirsResult {
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
        /// The folder's path.
        log_dir: String [1..],
        /// Each topic concerned.
        topics: Vec<DescribeLogDirsTopic> [1..],
        /// How many bytes the folder's volume has, or -1.
        total_bytes: i64 [4..] = -1,
        /// How many bytes of the volume are free, or -1.
        usable_bytes: i64 [4..] = -1,
        /// Whether the folder takes no new partitions (KIP-1066).
        is_cordoned: bool [5..],
    }

    /// A topic with partitions in the folder.
    pub struct DescribeLogDirsTopic {
        /// The topic's name.
        name: String [1..],
        /// Each partition concerned.
        partitions: Vec<DescribeLogDirsPartition> [1..],
    }

    /// A partition in the folder and its size.
    pub struct DescribeLogDirsPartition {
        /// The partition, counted from 0.
        partition_index: i32 [1..],
        /// How many bytes the partition takes in this folder.
        partition_size: i64 [1..],
        /// How far a copy on its way is behind the partition, or how far the log end is above the
        /// safe offset.
        offset_lag: i64 [1..],
        /// Whether this copy is on its way to become the partition's place.
        is_future_key: bool [1..],
    }
}
