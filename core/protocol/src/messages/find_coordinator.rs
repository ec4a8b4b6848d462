//! FindCoordinator (key 10): which broker looks after a group or a transactional id.

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the coordinator of one key, or from version 4 of many (KIP-699).
    pub struct FindCoordinatorRequest: FindCoordinator [0..=6, flexible 3..] {
        /// What to find the coordinator of.
        key: String [0..=3],
        /// What the keys are: 0 groups, 1 transactional ids, 2 share partitions.
        key_type: i8 [1..],
        /// The keys to find the coordinators of.
        coordinator_keys: Vec<String> [4..],
    }
}

message! {
    /// Tells where the coordinators are.
    pub struct FindCoordinatorResponse: FindCoordinator [0..=6, flexible 3..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..=3],
        /// What went wrong in words, or null.
        error_message: Option<String> [1..=3, nullable 1..=3] = Some(String::new()),
        /// The coordinator's id, or -1.
        node_id: i32 [0..=3],
        /// The host name to connect to.
        host: String [0..=3],
        /// The port to connect to.
        port: i32 [0..=3],
        /// The coordinator of each key.
        coordinators: Vec<Coordinator> [4..],
    }

    /// The coordinator of one key.
    pub struct Coordinator {
        /// The group, transactional id or share partition.
        key: String [4..],
        /// The node's id.
        node_id: i32 [4..],
        /// The host name to connect to.
        host: String [4..],
        /// The port to connect to.
        port: i32 [4..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [4..],
        /// What went wrong in words, or null.
        error_message: Option<String> [4.., nullable 4..] = Some(String::new()),
    }
}
