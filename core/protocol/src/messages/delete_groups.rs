//! DeleteGroups (key 42), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct DeleteGroupsRequest: DeleteGroups [0..=2, flexible 2..] {
        groups_names: Vec<String> [0..],
    }
}

message! {
    pub struct DeleteGroupsResponse: DeleteGroups [0..=2, flexible 2..] {
        throttle_time_ms: i32 [0..],
        results: Vec<DeletableGroupResult> [0..],
    }

    pub struct DeletableGroupResult {
        group_id: String [0..],
        error_code: ErrorCode [0..],
    }
}
