//! Heartbeat (key 12), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct HeartbeatRequest: Heartbeat [0..=4, flexible 4..] {
        group_id: String [0..],
        generation_id: i32 [0..],
        member_id: String [0..],
        group_instance_id: Option<String> [3.., nullable 3..],
    }
}

message! {
    pub struct HeartbeatResponse: Heartbeat [0..=4, flexible 4..] {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
    }
}
