//! OffsetCommit (key 8): a group's positions are stored.
//!
//! From version 9 the generation may be a member epoch (KIP-848); version 10 has topic ids.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Stores positions of a group.
    pub struct OffsetCommitRequest: OffsetCommit [2..=10, flexible 8..] {
        /// The group.
        group_id: String [2..],
        /// The member's generation or, in the new protocol, its epoch; -1 if no member commits.
        generation_id_or_member_epoch: i32 [2..] = -1,
        /// The member's id.
        member_id: String [2..],
        /// The name of a static member (KIP-345), or null.
        group_instance_id: Option<String> [7.., nullable 7..],
        /// How many milliseconds to keep the positions; -1 for the broker's setting.
        retention_time_ms: i64 [2..=4] = -1,
        /// The topics and positions.
        topics: Vec<OffsetCommitRequestTopic> [2..],
    }

    /// A topic to store positions of.
    pub struct OffsetCommitRequestTopic {
        /// The topic's name.
        name: String [2..=9],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [10..],
        /// Each partition concerned.
        partitions: Vec<OffsetCommitRequestPartition> [2..],
    }

    /// A partition and the position to store.
    pub struct OffsetCommitRequestPartition {
        /// The partition, counted from 0.
        partition_index: i32 [2..],
        /// The position: the offset of the next record to consume.
        committed_offset: i64 [2..],
        /// The leader epoch of the last record consumed, or -1.
        committed_leader_epoch: i32 [6..] = -1,
        /// What the client wants to remember with the position.
        committed_metadata: Option<String> [2.., nullable 2..] = Some(String::new()),
    }
}

message! {
    /// Says for each partition whether the position was stored.
    pub struct OffsetCommitResponse: OffsetCommit [2..=10, flexible 8..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [3..],
        /// Each topic concerned.
        topics: Vec<OffsetCommitResponseTopic> [2..],
    }

    /// The outcome for one topic.
    pub struct OffsetCommitResponseTopic {
        /// The topic's name.
        name: String [2..=9],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [10..],
        /// Each partition concerned.
        partitions: Vec<OffsetCommitResponsePartition> [2..],
    }

    /// The outcome for one partition.
    pub struct OffsetCommitResponsePartition {
        /// The partition, counted from 0.
        partition_index: i32 [2..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [2..],
    }
}
