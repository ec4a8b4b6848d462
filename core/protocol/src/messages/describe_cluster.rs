//! DescribeCluster (key 60): the brokers or the controllers of a cluster (KIP-700, KIP-919).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks who makes up the cluster.
    pub struct DescribeClusterRequest: DescribeCluster [0..=2, flexible 0..] {
        /// Whether to tell what the caller may do with the cluster.
        include_cluster_authorized_operations: bool [0..],
        /// What is asked about: 1 brokers, 2 controllers.
        endpoint_type: i8 [1..] = 1,
        /// Whether to list brokers that are cut off too (KIP-1073).
        include_fenced_brokers: bool [2..],
    }
}

message! {
    /// Lists the nodes of the cluster.
    pub struct DescribeClusterResponse: DescribeCluster [0..=2, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..],
        /// What the answer is about: 1 brokers, 2 controllers.
        endpoint_type: i8 [1..] = 1,
        /// The cluster's id, or null if it is not known.
        cluster_id: String [0..],
        /// The id of the controller, or -1 if there is none.
        controller_id: i32 [0..] = -1,
        /// The nodes of the cluster.
        brokers: Vec<DescribeClusterBroker> [0..],
        /// What the caller may do with the cluster, one bit per operation; i32::MIN if it was not
        /// asked for.
        cluster_authorized_operations: i32 [0..] = i32::MIN,
    }

    /// A node of the cluster.
    pub struct DescribeClusterBroker {
        /// The broker's id.
        broker_id: i32 [0..],
        /// The host name to connect to.
        host: String [0..],
        /// The port to connect to.
        port: i32 [0..],
        /// The rack the node stands in, or null.
        rack: Option<String> [0.., nullable 0..],
        /// Whether the broker is cut off from its clients.
        is_fenced: bool [2..],
    }
}
