//! OffsetForLeaderEpoch (key 23): where an epoch of a partition's leader ended (KIP-101, KIP-320).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks where leader epochs ended, to find out whether a log was cut.
    pub struct OffsetForLeaderEpochRequest: OffsetForLeaderEpoch [2..=4, flexible 4..] {
        /// The id of the replica that asks; -1 for consumers, -2 for tools.
        replica_id: i32 [3..] = -2,
        /// Each topic concerned.
        topics: Vec<OffsetForLeaderTopic> [2..],
    }

    /// A topic to look into.
    pub struct OffsetForLeaderTopic {
        /// The topic's name.
        topic: String [2..],
        /// Each partition concerned.
        partitions: Vec<OffsetForLeaderPartition> [2..],
    }

    /// A partition and the epoch in question.
    pub struct OffsetForLeaderPartition {
        /// The partition, counted from 0.
        partition: i32 [2..],
        /// The leader epoch the client knows, or -1; a broker that knows another refuses.
        current_leader_epoch: i32 [2..] = -1,
        /// The epoch whose end is wanted.
        leader_epoch: i32 [2..],
    }
}

message! {
    /// Tells where the epochs ended.
    pub struct OffsetForLeaderEpochResponse: OffsetForLeaderEpoch [2..=4, flexible 4..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [2..],
        /// Each topic concerned.
        topics: Vec<OffsetForLeaderTopicResult> [2..],
    }

    /// The answer for one topic.
    pub struct OffsetForLeaderTopicResult {
        /// The topic's name.
        topic: String [2..],
        /// Each partition concerned.
        partitions: Vec<EpochEndOffset> [2..],
    }

    /// The answer for one partition.
    pub struct EpochEndOffset {
        /// What went wrong, if anything did.
        error_code: ErrorCode [2..],
        /// The partition, counted from 0.
        partition: i32 [2..],
        /// The epoch the end belongs to, or -1.
        leader_epoch: i32 [2..] = -1,
        /// The offset at which the epoch ended, or -1 if it is not known.
        end_offset: i64 [2..] = -1,
    }
}
