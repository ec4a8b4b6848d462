//! DescribeQuorum (key 55): the voters of the metadata log and how far they are (KIP-595, KIP-836,
//! KIP-853).

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Asks for the state of a quorum.
    pub struct DescribeQuorumRequest: DescribeQuorum [0..=2, flexible 0..] {
        /// The topics of interest: the metadata log's.
        topics: Vec<DescribeQuorumRequestTopic> [0..],
    }

    /// A topic and the partitions of interest.
    pub struct DescribeQuorumRequestTopic {
        /// The topic's name.
        topic_name: String [0..],
        /// Which partitions.
        partitions: Vec<DescribeQuorumRequestPartition> [0..],
    }

    /// A partition of interest.
    pub struct DescribeQuorumRequestPartition {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
    }
}

message! {
    /// Tells leader, voters and observers.
    pub struct DescribeQuorumResponse: DescribeQuorum [0..=2, flexible 0..] {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [2.., nullable 2..] = Some(String::new()),
        /// Each topic concerned.
        topics: Vec<DescribeQuorumResponseTopic> [0..],
        /// Where the voters are.
        nodes: Vec<DescribeQuorumResponseNode> [2..],
    }

    /// The answer for one topic.
    pub struct DescribeQuorumResponseTopic {
        /// The topic's name.
        topic_name: String [0..],
        /// Each partition concerned.
        partitions: Vec<DescribeQuorumResponsePartition> [0..],
    }

    /// The answer for one partition.
    pub struct DescribeQuorumResponsePartition {
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [2.., nullable 2..] = Some(String::new()),
        /// The leader, or -1.
        leader_id: i32 [0..],
        /// The leader's epoch.
        leader_epoch: i32 [0..],
        /// The offset after the last committed record.
        high_watermark: i64 [0..],
        /// Those who vote.
        current_voters: Vec<ReplicaState> [0..],
        /// Those who only follow.
        observers: Vec<ReplicaState> [0..],
    }

    /// How far a replica is.
    pub struct ReplicaState {
        /// The replica's node.
        replica_id: i32 [0..],
        /// The id of the folder the replica is in.
        replica_directory_id: Uuid [2..],
        /// The offset after the replica's last record, or -1.
        log_end_offset: i64 [0..],
        /// When the replica last fetched, in Unix milliseconds by the leader's clock, or -1.
        last_fetch_timestamp: i64 [1..] = -1,
        /// When the replica last had everything, in Unix milliseconds by the leader's clock, or -1.
        last_caught_up_timestamp: i64 [1..] = -1,
    }

    /// A voter and where it listens.
    pub struct DescribeQuorumResponseNode {
        /// The node.
        node_id: i32 [2..],
        /// Its listeners.
        listeners: Vec<DescribeQuorumResponseListener> [2..],
    }

    /// A controller's listener.
    pub struct DescribeQuorumResponseListener {
        /// The listener's name.
        name: String [2..],
        /// The host.
        host: String [2..],
        /// The port.
        port: u16 [2..],
    }
}
