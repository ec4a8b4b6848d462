//! ConsumerGroupHeartbeat (key 68): the one request of the new group protocol (KIP-848).
//!
//! A member joins, reports what it owns, learns what it may own and leaves with it. Fields that
//! did not change since the last heartbeat are null or -1.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Keeps a member in its group and reports what changed on its side.
    pub struct ConsumerGroupHeartbeatRequest: ConsumerGroupHeartbeat [0..=1, flexible 0..] {
        /// The group.
        group_id: String [0..],
        /// The member's id.
        member_id: String [0..],
        /// The member's epoch: 0 to join, -1 to leave, -2 to leave for a while as a static member.
        member_epoch: i32 [0..],
        /// The name of a static member, or null.
        instance_id: Option<String> [0.., nullable 0..],
        /// The rack the member stands in, or null.
        rack_id: Option<String> [0.., nullable 0..],
        /// How many milliseconds the member may take to give partitions up; -1 if unchanged.
        rebalance_timeout_ms: i32 [0..] = -1,
        /// The topics the member wants; null if that did not change.
        subscribed_topic_names: Option<Vec<String>> [0.., nullable 0..],
        /// A pattern for the topics the member wants, or null.
        subscribed_topic_regex: Option<String> [1.., nullable 1..],
        /// The assignor the member would like, or null if unchanged.
        server_assignor: Option<String> [0.., nullable 0..],
        /// The partitions the member owns; null if that did not change.
        topic_partitions: Option<Vec<ConsumerGroupHeartbeatRequestTopicPartitions>> [0.., nullable 0..],
        /// For how many milliseconds the coordinator may hold the answer unless something happens
        /// before. A field of Kohort's own: others pass over it and answer at once.
        hold_ms: i32 [0.., tag 19272],
    }

    /// A topic and the partitions of it that the member owns.
    pub struct ConsumerGroupHeartbeatRequestTopicPartitions {
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [0..],
        /// Each partition concerned.
        partitions: Vec<i32> [0..],
    }
}

message! {
    /// Tells the member its epoch and, when it changed, its assignment.
    pub struct ConsumerGroupHeartbeatResponse: ConsumerGroupHeartbeat [0..=1, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..],
        /// The member's id.
        member_id: Option<String> [0.., nullable 0..],
        /// The member's epoch.
        member_epoch: i32 [0..],
        /// How many milliseconds the member waits between heartbeats.
        heartbeat_interval_ms: i32 [0..],
        /// What the member may own; null if that did not change.
        assignment: Option<Assignment> [0.., nullable 0..],
        /// Whether the coordinator holds answers when asked to; said only to who asks. A field of
        /// Kohort's own.
        holds: bool [0.., tag 19272],
    }

    /// The partitions the member may own.
    pub struct Assignment {
        /// The partitions, by topic.
        topic_partitions: Vec<ConsumerGroupHeartbeatResponseTopicPartitions> [0..],
    }

    /// A topic and the partitions of it that the member may own.
    pub struct ConsumerGroupHeartbeatResponseTopicPartitions {
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [0..],
        /// Each partition concerned.
        partitions: Vec<i32> [0..],
    }
}
