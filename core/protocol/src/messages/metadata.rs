//! Metadata (key 3): the brokers of a cluster and the partitions of topics.
//!
//! In version 0 an empty list of topics means all of them; later null does, and an empty list
//! means none.

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Asks about topics, and whether to make those that are missing.
    pub struct MetadataRequest: Metadata [0..=13, flexible 9..] {
        /// The topics of interest; null for all (in version 0: none named).
        topics: Option<Vec<MetadataRequestTopic>> [0.., nullable 1..] = Some(Vec::new()),
        /// Whether missing topics may be made if the broker allows it too.
        allow_auto_topic_creation: bool [4..] = true,
        /// Whether to tell what the caller may do with the cluster.
        include_cluster_authorized_operations: bool [8..=10],
        /// Whether to tell what the caller may do with each topic.
        include_topic_authorized_operations: bool [8..],
    }

    /// A topic of interest, by name or from version 10 by id (KIP-516).
    pub struct MetadataRequestTopic {
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [10..],
        /// The topic's name, or null if it is asked for by id.
        name: Option<String> [0.., nullable 10..] = Some(String::new()),
    }
}

message! {
    /// Describes the cluster and the topics.
    pub struct MetadataResponse: Metadata [0..=13, flexible 9..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [3..],
        /// The brokers that are alive.
        brokers: Vec<MetadataResponseBroker> [0..],
        /// The cluster's id, or null if it is not known.
        cluster_id: Option<String> [2.., nullable 2..],
        /// The id of the controller, or -1 if there is none.
        controller_id: i32 [1..] = -1,
        /// Each topic concerned.
        topics: Vec<MetadataResponseTopic> [0..],
        /// What the caller may do with the cluster, one bit per operation; i32::MIN if it was not
        /// asked for.
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
        /// What went wrong, if anything did.
        error_code: ErrorCode [13..],
    }

    /// A broker and where it can be reached.
    pub struct MetadataResponseBroker {
        /// The node's id.
        node_id: i32 [0..],
        /// The host name to connect to.
        host: String [0..],
        /// The port to connect to.
        port: i32 [0..],
        /// The rack the node stands in, or null.
        rack: Option<String> [1.., nullable 1..],
    }

    /// A topic and its partitions.
    pub struct MetadataResponseTopic {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The topic's name, or null if it was asked for by an unknown id.
        name: Option<String> [0.., nullable 12..] = Some(String::new()),
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [10..],
        /// Whether Kafka itself uses the topic.
        is_internal: bool [1..],
        /// Each partition concerned.
        partitions: Vec<MetadataResponsePartition> [0..],
        /// What the caller may do with the topic, one bit per operation; i32::MIN if it was not
        /// asked for.
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }

    /// A partition: its leader and its replicas.
    pub struct MetadataResponsePartition {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The partition, counted from 0.
        partition_index: i32 [0..],
        /// The id of the leader, or -1 if there is none.
        leader_id: i32 [0..],
        /// The epoch of the partition's leader, or -1.
        leader_epoch: i32 [7..] = -1,
        /// All replicas, preferred leader first.
        replica_nodes: Vec<i32> [0..],
        /// The replicas in sync.
        isr_nodes: Vec<i32> [0..],
        /// The replicas that cannot be reached.
        offline_replicas: Vec<i32> [5..],
    }
}
