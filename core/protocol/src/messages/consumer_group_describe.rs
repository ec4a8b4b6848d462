//! ConsumerGroupDescribe (key 69): the state of groups of the new protocol (KIP-848).

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Asks for the state of consumer groups.
    pub struct ConsumerGroupDescribeRequest: ConsumerGroupDescribe [0..=1, flexible 0..] {
        /// The groups of interest.
        group_ids: Vec<String> [0..],
        /// Whether to tell what the caller may do with each group.
        include_authorized_operations: bool [0..],
    }
}

message! {
    /// Tells the state of each group asked for.
    pub struct ConsumerGroupDescribeResponse: ConsumerGroupDescribe [0..=1, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// The groups.
        groups: Vec<DescribedGroup> [0..],
    }

    /// A consumer group: its epochs and its members.
    pub struct DescribedGroup {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..],
        /// The group.
        group_id: String [0..],
        /// The group's state, such as `Stable`; empty after an error.
        group_state: String [0..],
        /// The epoch of the group, raised by every change of members or topics.
        group_epoch: i32 [0..],
        /// The group epoch the target assignment was made for.
        assignment_epoch: i32 [0..],
        /// The assignor in use.
        assignor_name: String [0..],
        /// Everyone in the group.
        members: Vec<Member> [0..],
        /// What the caller may do with the group, one bit per operation; i32::MIN if it was not
        /// asked for.
        authorized_operations: i32 [0..] = i32::MIN,
    }

    /// A member: who it is, what it wants and what it has.
    pub struct Member {
        /// The member's id.
        member_id: String [0..],
        /// The name of a static member, or null.
        instance_id: Option<String> [0.., nullable 0..],
        /// The rack the member stands in, or null.
        rack_id: Option<String> [0.., nullable 0..],
        /// The member's epoch.
        member_epoch: i32 [0..],
        /// What the member's client calls itself.
        client_id: String [0..],
        /// Where the member connects from.
        client_host: String [0..],
        /// The topics the member wants.
        subscribed_topic_names: Vec<String> [0..],
        /// A pattern for the topics the member wants, or null.
        subscribed_topic_regex: Option<String> [0.., nullable 0..],
        /// What the member has now.
        assignment: Assignment [0..],
        /// What the member shall have in the end.
        target_assignment: Assignment [0..],
        /// How the member takes part: 0 classic, 1 consumer, -1 unknown.
        member_type: i8 [1..] = -1,
    }

    /// A topic and some of its partitions.
    pub struct TopicPartitions {
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [0..],
        /// The topic's name.
        topic_name: String [0..],
        /// Each partition concerned.
        partitions: Vec<i32> [0..],
    }

    /// The partitions that belong to a member.
    pub struct Assignment {
        /// The partitions, by topic.
        topic_partitions: Vec<TopicPartitions> [0..],
    }
}
