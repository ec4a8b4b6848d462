//! AlterReplicaLogDirs (key 34): moves partitions to other data folders of a broker (KIP-113).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for partitions to be moved.
    pub struct AlterReplicaLogDirsRequest: AlterReplicaLogDirs [1..=2, flexible 2..] {
        /// The folders and what is to be moved there.
        dirs: Vec<AlterReplicaLogDir> [1..],
    }

    /// A folder and what is to be moved there.
    pub struct AlterReplicaLogDir {
        /// The folder's path.
        path: String [1..],
        /// Each topic concerned.
        topics: Vec<AlterReplicaLogDirTopic> [1..],
    }

    /// A topic and the partitions to be moved.
    pub struct AlterReplicaLogDirTopic {
        /// The topic's name.
        name: String [1..],
        /// Which partitions, counted from 0.
        partitions: Vec<i32> [1..],
    }
}

message! {
    /// Says for each partition whether its move began.
    pub struct AlterReplicaLogDirsResponse: AlterReplicaLogDirs [1..=2, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// Each topic concerned.
        results: Vec<AlterReplicaLogDirTopicResult> [1..],
    }

    /// The outcome for one topic.
    pub struct AlterReplicaLogDirTopicResult {
        /// The topic's name.
        topic_name: String [1..],
        /// The outcome for each partition.
        partitions: Vec<AlterReplicaLogDirPartitionResult> [1..],
    }

    /// The outcome for one partition.
    pub struct AlterReplicaLogDirPartitionResult {
        /// The partition, counted from 0.
        partition_index: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
    }
}
