//! What a group of the new protocol (KIP-848) keeps in `__consumer_offsets`.
//!
//! | kind | record | says |
//! |---|---|---|
//! | 3 | [`ConsumerGroupMetadataValue`] | the group's epoch and what its topics hashed to |
//! | 4 | [`ConsumerGroupPartitionMetadataValue`] | the topics themselves, before Kafka 4.1; only deleted now |
//! | 5 | [`ConsumerGroupMemberMetadataValue`] | who a member is and what it wants |
//! | 6 | [`ConsumerGroupTargetAssignmentMetadataValue`] | the epoch the target assignment was made for |
//! | 7 | [`ConsumerGroupTargetAssignmentMemberValue`] | what a member shall have in the end |
//! | 8 | [`ConsumerGroupCurrentMemberAssignmentValue`] | what a member has now and must still give up |
//! | 16 | [`ConsumerGroupRegularExpressionValue`] | which topics a pattern stands for |
//!
//! All values have one version, 0, in the flexible style; what was added since is in tagged fields.

use bytes::Bytes;

use super::{record_key, record_value};
use crate::Uuid;
use crate::message::message;

message! {
    /// Which group: the key of its epoch.
    pub struct ConsumerGroupMetadataKey: payload [3..=3] {
        /// The group.
        group_id: String [3..],
    }
}

message! {
    /// The epoch of a group.
    pub struct ConsumerGroupMetadataValue: payload [0..=0, flexible 0..] {
        /// The epoch of the group, raised by every change of members or topics.
        epoch: i32 [0..],
        /// What the group's topics with their partitions and racks hash to (KIP-1101), or 0.
        metadata_hash: i64 [0.., tag 0],
    }
}

message! {
    /// Which group: the key of what Kafka 4.0 kept about its topics.
    pub struct ConsumerGroupPartitionMetadataKey: payload [4..=4] {
        /// The group.
        group_id: String [4..],
    }
}

message! {
    /// The topics of a group, as Kafka 4.0 kept them.
    pub struct ConsumerGroupPartitionMetadataValue: payload [0..=0, flexible 0..] {
        /// Each topic.
        topics: Vec<TopicMetadata> [0..],
    }

    /// A topic of the group.
    pub struct TopicMetadata {
        /// The topic's id.
        topic_id: Uuid [0..],
        /// The topic's name.
        topic_name: String [0..],
        /// How many partitions it had.
        num_partitions: i32 [0..],
        /// Where the partitions were; empty if that was not known.
        partition_metadata: Vec<PartitionMetadata> [0..],
    }

    /// A partition and where it was.
    pub struct PartitionMetadata {
        /// The partition, counted from 0.
        partition: i32 [0..],
        /// The racks of its replicas.
        racks: Vec<String> [0..],
    }
}

message! {
    /// Which member of which group: the key of who it is.
    pub struct ConsumerGroupMemberMetadataKey: payload [5..=5] {
        /// The group.
        group_id: String [5..],
        /// The member's id.
        member_id: String [5..],
    }
}

message! {
    /// A member: who it is and what it wants.
    pub struct ConsumerGroupMemberMetadataValue: payload [0..=0, flexible 0..] {
        /// The name of a static member, or null.
        instance_id: Option<String> [0.., nullable 0..],
        /// The rack the member stands in, or null.
        rack_id: Option<String> [0.., nullable 0..],
        /// What the member's client calls itself.
        client_id: String [0..],
        /// Where the member connects from.
        client_host: String [0..],
        /// The topics the member wants by name.
        subscribed_topic_names: Vec<String> [0..],
        /// A pattern for the topics the member wants, or null.
        subscribed_topic_regex: Option<String> [0.., nullable 0..],
        /// How many milliseconds the member may take to give partitions up.
        rebalance_timeout_ms: i32 [0..] = -1,
        /// The assignor the member would like, or null.
        server_assignor: Option<String> [0.., nullable 0..],
        /// What a member of the classic protocol said of itself; null for one of the new protocol.
        /// Mind the default, which is Kafka's: a record without this field is of a classic member, so
        /// a null is always written.
        classic_member_metadata: Option<ClassicMemberMetadata> [0.., nullable 0.., tag 0]
            = Some(ClassicMemberMetadata::default()),
    }

    /// What a group of the new protocol keeps of a member that speaks the classic one.
    pub struct ClassicMemberMetadata {
        /// After how many milliseconds without heartbeat the member is taken out.
        session_timeout_ms: i32 [0..],
        /// What the member can speak, most wanted first.
        supported_protocols: Vec<ClassicProtocol> [0..],
    }

    /// A protocol the classic member can speak.
    pub struct ClassicProtocol {
        /// The protocol's name.
        name: String [0..],
        /// What the member said in it.
        metadata: Bytes [0..],
    }
}

message! {
    /// Which group: the key of its target assignment's epoch.
    pub struct ConsumerGroupTargetAssignmentMetadataKey: payload [6..=6] {
        /// The group.
        group_id: String [6..],
    }
}

message! {
    /// The epoch of a group's target assignment.
    pub struct ConsumerGroupTargetAssignmentMetadataValue: payload [0..=0, flexible 0..] {
        /// The group epoch the target assignment was made for.
        assignment_epoch: i32 [0..],
        /// When it was made (KIP-1263), in Unix milliseconds, or 0.
        assignment_timestamp: i64 [0.., tag 0],
    }
}

message! {
    /// Which member of which group: the key of what it shall have.
    pub struct ConsumerGroupTargetAssignmentMemberKey: payload [7..=7] {
        /// The group.
        group_id: String [7..],
        /// The member's id.
        member_id: String [7..],
    }
}

message! {
    /// What a member shall have in the end.
    pub struct ConsumerGroupTargetAssignmentMemberValue: payload [0..=0, flexible 0..] {
        /// The partitions, by topic.
        topic_partitions: Vec<TopicPartition> [0..],
    }

    /// A topic and the partitions of it that the member shall have.
    pub struct TopicPartition {
        /// The topic's id.
        topic_id: Uuid [0..],
        /// Each partition concerned.
        partitions: Vec<i32> [0..],
    }
}

message! {
    /// Which member of which group: the key of what it has.
    pub struct ConsumerGroupCurrentMemberAssignmentKey: payload [8..=8] {
        /// The group.
        group_id: String [8..],
        /// The member's id.
        member_id: String [8..],
    }
}

message! {
    /// What a member has now and must still give up.
    pub struct ConsumerGroupCurrentMemberAssignmentValue: payload [0..=0, flexible 0..] {
        /// The member's epoch.
        member_epoch: i32 [0..],
        /// The epoch before, which a member that missed an answer still has.
        previous_member_epoch: i32 [0..],
        /// 0 stable, 1 it must give partitions up, 2 others must, 127 unknown.
        state: i8 [0..],
        /// The partitions that are the member's.
        assigned_partitions: Vec<TopicPartitions> [0..],
        /// The partitions the member must still give up.
        partitions_pending_revocation: Vec<TopicPartitions> [0..],
    }

    /// A topic and some of its partitions.
    pub struct TopicPartitions {
        /// The topic's id.
        topic_id: Uuid [0..],
        /// Each partition concerned.
        partitions: Vec<i32> [0..],
        /// The member's epoch when it was given each partition, in the order of the partitions
        /// (KIP-1251); empty or null if that was not kept.
        assignment_epochs: Option<Vec<i32>> [0.., nullable 0.., tag 0] = Some(Vec::new()),
    }
}

message! {
    /// Which pattern in which group: the key of the topics it stands for.
    pub struct ConsumerGroupRegularExpressionKey: payload [16..=16] {
        /// The group.
        group_id: String [16..],
        /// The pattern.
        regular_expression: String [16..],
    }
}

message! {
    /// The topics a pattern stands for.
    pub struct ConsumerGroupRegularExpressionValue: payload [0..=0, flexible 0..] {
        /// The topics by name.
        topics: Vec<String> [0..],
        /// The version of the metadata they were found in.
        version: i64 [0..],
        /// When they were looked for, in Unix milliseconds.
        timestamp: i64 [0..],
    }
}

record_key! {
    ConsumerGroupMetadataKey, ConsumerGroupPartitionMetadataKey, ConsumerGroupMemberMetadataKey,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupRegularExpressionKey
}

record_value! {
    ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataValue,
    ConsumerGroupMemberMetadataValue, ConsumerGroupTargetAssignmentMetadataValue,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupRegularExpressionValue
}
