//! DescribeLogDirs (key 35), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct DescribeLogDirsRequest: DescribeLogDirs [1..=5, flexible 2..] {
        topics: Option<Vec<DescribableLogDirTopic>> [1.., nullable 1..] = Some(Vec::new()),
    }

    pub struct DescribableLogDirTopic {
        topic: String [1..],
        partitions: Vec<i32> [1..],
    }
}

message! {
    pub struct DescribeLogDirsResponse: DescribeLogDirs [1..=5, flexible 2..] {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [3..],
        results: Vec<DescribeLogDirsResult> [1..],
    }

    pub struct DescribeLogDirsResult {
        error_code: ErrorCode [1..],
        log_dir: String [1..],
        topics: Vec<DescribeLogDirsTopic> [1..],
        total_bytes: i64 [4..] = -1,
        usable_bytes: i64 [4..] = -1,
        is_cordoned: bool [5..],
    }

    pub struct DescribeLogDirsTopic {
        name: String [1..],
        partitions: Vec<DescribeLogDirsPartition> [1..],
    }

    pub struct DescribeLogDirsPartition {
        partition_index: i32 [1..],
        partition_size: i64 [1..],
        offset_lag: i64 [1..],
        is_future_key: bool [1..],
    }
}
