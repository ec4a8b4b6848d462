//! WriteTxnMarkers (key 27): a transaction's end is written into its partitions (KIP-98).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks a broker to write the ends of transactions.
    pub struct WriteTxnMarkersRequest: WriteTxnMarkers [1..=2, flexible 1..] {
        /// The ends, one for each transaction.
        markers: Vec<WritableTxnMarker> [1..],
    }

    /// The end of one transaction.
    pub struct WritableTxnMarker {
        /// The producer's id, or -1.
        producer_id: i64 [1..],
        /// The producer's epoch, or -1.
        producer_epoch: i16 [1..],
        /// Whether the transaction is committed; if not, it is aborted.
        transaction_result: bool [1..],
        /// Each topic concerned.
        topics: Vec<WritableTxnMarkerTopic> [1..],
        /// The epoch of the transaction coordinator.
        coordinator_epoch: i32 [1..],
        /// The version of the transaction protocol the markers belong to (KIP-1228).
        transaction_version: i8 [2..],
    }

    /// A topic and the partitions to write the end to.
    pub struct WritableTxnMarkerTopic {
        /// The topic's name.
        name: String [1..],
        /// Which partitions, counted from 0.
        partition_indexes: Vec<i32> [1..],
    }
}

message! {
    /// Says for each partition whether the end was written.
    pub struct WriteTxnMarkersResponse: WriteTxnMarkers [1..=2, flexible 1..] {
        /// The ends, one for each transaction.
        markers: Vec<WritableTxnMarkerResult> [1..],
    }

    /// The outcome for one transaction.
    pub struct WritableTxnMarkerResult {
        /// The producer's id, or -1.
        producer_id: i64 [1..],
        /// Each topic concerned.
        topics: Vec<WritableTxnMarkerTopicResult> [1..],
    }

    /// The outcome for one topic.
    pub struct WritableTxnMarkerTopicResult {
        /// The topic's name.
        name: String [1..],
        /// Each partition concerned.
        partitions: Vec<WritableTxnMarkerPartitionResult> [1..],
    }

    /// The outcome for one partition.
    pub struct WritableTxnMarkerPartitionResult {
        /// The partition, counted from 0.
        partition_index: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
    }
}
