//! Fetch (key 1): records are read.
//!
//! Version 7 brought sessions, in which only changes are sent (KIP-227); 12 the check for diverged
//! logs (KIP-595); 13 topic ids instead of names (KIP-516).

use bytes::Bytes;

use crate::message::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Asks for records of many partitions, and says how long to wait for them.
    pub struct FetchRequest: Fetch [4..=18, flexible 12..] {
        /// The cluster's id, or null if it is not known.
        cluster_id: Option<String> [12.., nullable 12.., tag 0],
        /// The id of the replica that asks; -1 for consumers.
        replica_id: i32 [4..=14] = -1,
        /// Who asks, if it is a replica.
        replica_state: ReplicaState [15.., tag 1],
        /// How many milliseconds to wait for `min_bytes`.
        max_wait_ms: i32 [4..],
        /// How many bytes to wait for.
        min_bytes: i32 [4..],
        /// How many bytes the answer may have; one batch is always sent whole.
        max_bytes: i32 [4..] = i32::MAX,
        /// 0 to read everything, 1 to read only what is committed.
        isolation_level: i8 [4..],
        /// The session's id, or 0 if there is none.
        session_id: i32 [7..],
        /// The session's epoch: 0 opens a full session, -1 goes without.
        session_epoch: i32 [7..] = -1,
        /// Each topic concerned.
        topics: Vec<FetchTopic> [4..],
        /// What to take out of the session.
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        /// The rack the reader stands in, or empty.
        rack_id: String [11..],
    }

    /// Who the reader is, if it is a replica (KIP-903).
    pub struct ReplicaState {
        /// The id of the replica that asks; -1 for consumers.
        replica_id: i32 [15..] = -1,
        /// The replica's broker epoch, or -1.
        replica_epoch: i64 [15..] = -1,
    }

    /// A topic and the partitions to read.
    pub struct FetchTopic {
        /// The topic's name.
        topic: String [4..=12],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [13..],
        /// Each partition concerned.
        partitions: Vec<FetchPartition> [4..],
    }

    /// A partition and where to read on.
    pub struct FetchPartition {
        /// The partition, counted from 0.
        partition: i32 [4..],
        /// The leader epoch the client knows, or -1; a broker that knows another refuses.
        current_leader_epoch: i32 [9..] = -1,
        /// The offset to read from.
        fetch_offset: i64 [4..],
        /// The leader epoch of the last record the reader has, or -1.
        last_fetched_epoch: i32 [12..] = -1,
        /// The first offset a replica has; -1 from consumers.
        log_start_offset: i64 [5..] = -1,
        /// How many bytes to send of this partition; one batch is always sent whole.
        partition_max_bytes: i32 [4..],
        /// The id of the folder a replica stores the partition in (KIP-853).
        replica_directory_id: Uuid [17.., tag 0],
        /// The high watermark a replica knows (KIP-1166); i64::MAX if it does not take part.
        high_watermark: i64 [18.., tag 1] = i64::MAX,
    }

    /// A topic and the partitions of it to take out of the session.
    pub struct ForgottenTopic {
        /// The topic's name.
        topic: String [7..=12],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [13..],
        /// Each partition concerned.
        partitions: Vec<i32> [7..],
    }
}

message! {
    /// Brings records.
    pub struct FetchResponse: Fetch [4..=18, flexible 12..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [4..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [7..],
        /// The session's id, or 0 if there is none.
        session_id: i32 [7..],
        /// The answer for each topic.
        responses: Vec<FetchableTopicResponse> [4..],
        /// Where the leaders named in the answer can be reached (KIP-951).
        node_endpoints: Vec<NodeEndpoint> [16.., tag 0],
    }

    /// The answer for one topic.
    pub struct FetchableTopicResponse {
        /// The topic's name.
        topic: String [4..=12],
        /// The topic's id; zero if it is not known.
        topic_id: Uuid [13..],
        /// Each partition concerned.
        partitions: Vec<PartitionData> [4..],
    }

    /// The answer for one partition.
    pub struct PartitionData {
        /// The partition, counted from 0.
        partition_index: i32 [4..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [4..],
        /// The offset below which records are safe to read, or -1.
        high_watermark: i64 [4..],
        /// The offset below which every transaction has ended, or -1.
        last_stable_offset: i64 [4..] = -1,
        /// The first offset the partition still has, or -1.
        log_start_offset: i64 [5..] = -1,
        /// Where the reader's log departs from ours, if it does.
        diverging_epoch: EpochEndOffset [12.., tag 0],
        /// Who leads the partition now, if the reader is wrong about it (KIP-951).
        current_leader: LeaderIdAndEpoch [12.., tag 1],
        /// The snapshot to read instead of records, if there is one.
        snapshot_id: SnapshotId [12.., tag 2],
        /// Aborted transactions with records in the answer; for read_committed readers only.
        aborted_transactions: Option<Vec<AbortedTransaction>> [4.., nullable 4..] = Some(Vec::new()),
        /// The replica the reader should turn to, or -1 (KIP-392).
        preferred_read_replica: i32 [11..] = -1,
        /// Whole record batches, one after the other, or null.
        records: Option<Bytes> [4.., nullable 4..] = Some(Bytes::new()),
    }

    /// Where the reader's log departs from the leader's (KIP-595).
    pub struct EpochEndOffset {
        /// The last epoch both logs have.
        epoch: i32 [12..] = -1,
        /// The offset at which the epoch ended, or -1 if it is not known.
        end_offset: i64 [12..] = -1,
    }

    /// Who leads the partition now.
    pub struct LeaderIdAndEpoch {
        /// The id of the leader, or -1 if there is none.
        leader_id: i32 [12..] = -1,
        /// The epoch of the partition's leader, or -1.
        leader_epoch: i32 [12..] = -1,
    }

    /// The snapshot to read instead, in the metadata log only (KIP-630).
    pub struct SnapshotId {
        /// The offset at which the epoch ended, or -1 if it is not known.
        end_offset: i64 [4..] = -1,
        /// The snapshot's epoch.
        epoch: i32 [4..] = -1,
    }

    /// A transaction whose records in the answer are to be passed over.
    pub struct AbortedTransaction {
        /// The producer's id, or -1.
        producer_id: i64 [4..],
        /// The offset of the transaction's first record.
        first_offset: i64 [4..],
    }

    /// Where a leader named in the answer can be reached (KIP-951).
    pub struct NodeEndpoint {
        /// The node's id.
        node_id: i32 [16..],
        /// The host name to connect to.
        host: String [16..],
        /// The port to connect to.
        port: i32 [16..],
        /// The rack the node stands in, or null.
        rack: Option<String> [16.., nullable 16..],
    }
}
