//! ListConfigResources (key 74), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct ListConfigResourcesRequest: ListConfigResources [0..=1, flexible 0..] {
        resource_types: Vec<i8> [1..],
    }
}

message! {
    pub struct ListConfigResourcesResponse: ListConfigResources [0..=1, flexible 0..] {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        config_resources: Vec<ConfigResource> [0..],
    }

    pub struct ConfigResource {
        resource_name: String [0..],
        resource_type: i8 [1..] = 16,
    }
}
