//! OffsetFetch (key 9): a group's stored positions are read.
//!
//! Up to version 7 the request is about one group, from version 8 about many (KIP-709); version 10
//! has topic ids.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Asks for the positions of groups.
    pub struct OffsetFetchRequest: OffsetFetch [1..=10, flexible 6..] {
        /// The group.
        group_id: String [1..=7],
        /// The topics of interest, or null for all that have positions; up to version 7.
        topics: Option<Vec<OffsetFetchRequestTopic>> [1..=7, nullable 2..=7] = Some(Vec::new()),
        /// The groups.
        groups: Vec<OffsetFetchRequestGroup> [8..],
        /// Whether to refuse while a transaction may still change the position (KIP-447).
        require_stable: bool [7..],
    }

    /// A topic and the partitions to tell about, up to version 7.
    pub struct OffsetFetchRequestTopic {
        /// The topic's name.
        name: String [1..=7],
        /// Which partitions, counted from 0.
        partition_indexes: Vec<i32> [1..=7],
    }

    /// A group, and what to tell about it.
    pub struct OffsetFetchRequestGroup {
        /// The group.
        group_id: String [8..],
        /// The member's id, or null if no member asks.
        member_id: Option<String> [9.., nullable 9..],
        /// The member's epoch, or -1 if no member asks.
        member_epoch: i32 [9..] = -1,
        /// The topics of interest, or null for all that have positions.
        topics: Option<Vec<OffsetFetchRequestTopics>> [8.., nullable 8..] = Some(Vec::new()),
    }

    /// A topic and the partitions to tell about.
    pub struct OffsetFetchRequestTopics {
        /// The topic's name.
        name: String [8..=9],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [10..],
        /// Which partitions, counted from 0.
        partition_indexes: Vec<i32> [8..],
    }
}

message! {
    /// Tells the positions.
    pub struct OffsetFetchResponse: OffsetFetch [1..=10, flexible 6..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [3..],
        /// Each topic concerned.
        topics: Vec<OffsetFetchResponseTopic> [1..=7],
        /// What went wrong, if anything did.
        error_code: ErrorCode [2..=7],
        /// The groups.
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// The positions in one topic, up to version 7.
    pub struct OffsetFetchResponseTopic {
        /// The topic's name.
        name: String [1..=7],
        /// Each partition concerned.
        partitions: Vec<OffsetFetchResponsePartition> [1..=7],
    }

    /// The position in one partition, up to version 7.
    pub struct OffsetFetchResponsePartition {
        /// The partition, counted from 0.
        partition_index: i32 [1..=7],
        /// The position, or -1 if none is stored.
        committed_offset: i64 [1..=7],
        /// The leader epoch of the last record consumed, or -1.
        committed_leader_epoch: i32 [5..=7] = -1,
        /// What the client asked to remember with the position.
        metadata: Option<String> [1..=7, nullable 1..=7] = Some(String::new()),
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..=7],
    }

    /// The positions of one group.
    pub struct OffsetFetchResponseGroup {
        /// The group.
        group_id: String [8..],
        /// Each topic concerned.
        topics: Vec<OffsetFetchResponseTopics> [8..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [8..],
    }

    /// The positions in one topic.
    pub struct OffsetFetchResponseTopics {
        /// The topic's name.
        name: String [8..=9],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [10..],
        /// Each partition concerned.
        partitions: Vec<OffsetFetchResponsePartitions> [8..],
    }

    /// The position in one partition.
    pub struct OffsetFetchResponsePartitions {
        /// The partition, counted from 0.
        partition_index: i32 [8..],
        /// The position, or -1 if none is stored.
        committed_offset: i64 [8..],
        /// The leader epoch of the last record consumed, or -1.
        committed_leader_epoch: i32 [8..] = -1,
        /// What the client asked to remember with the position.
        metadata: Option<String> [8.., nullable 8..] = Some(String::new()),
        /// What went wrong, if anything did.
        error_code: ErrorCode [8..],
    }
}
