//! WriteTxnMarkers (key 27), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct WriteTxnMarkersRequest: WriteTxnMarkers [1..=2, flexible 1..] {
        markers: Vec<WritableTxnMarker> [1..],
    }

    pub struct WritableTxnMarker {
        producer_id: i64 [1..],
        producer_epoch: i16 [1..],
        transaction_result: bool [1..],
        topics: Vec<WritableTxnMarkerTopic> [1..],
        coordinator_epoch: i32 [1..],
        transaction_version: i8 [2..],
    }

    pub struct WritableTxnMarkerTopic {
        name: String [1..],
        partition_indexes: Vec<i32> [1..],
    }
}

message! {
    pub struct WriteTxnMarkersResponse: WriteTxnMarkers [1..=2, flexible 1..] {
        markers: Vec<WritableTxnMarkerResult> [1..],
    }

    pub struct WritableTxnMarkerResult {
        producer_id: i64 [1..],
        topics: Vec<WritableTxnMarkerTopicResult> [1..],
    }

    pub struct WritableTxnMarkerTopicResult {
        name: String [1..],
        partitions: Vec<WritableTxnMarkerPartitionResult> [1..],
    }

    pub struct WritableTxnMarkerPartitionResult {
        partition_index: i32 [1..],
        error_code: ErrorCode [1..],
    }
}
