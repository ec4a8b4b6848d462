//! AlterConfigs (key 33), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct AlterConfigsRequest: AlterConfigs [0..=2, flexible 2..] {
        resources: Vec<AlterConfigsResource> [0..],
        validate_only: bool [0..],
    }

    pub struct AlterConfigsResource {
        resource_type: i8 [0..],
        resource_name: String [0..],
        configs: Vec<AlterableConfig> [0..],
    }

    pub struct AlterableConfig {
        name: String [0..],
        value: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}

message! {
    pub struct AlterConfigsResponse: AlterConfigs [0..=2, flexible 2..] {
        throttle_time_ms: i32 [0..],
        responses: Vec<AlterConfigsResourceResponse> [0..],
    }

    pub struct AlterConfigsResourceResponse {
        error_code: ErrorCode [0..],
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        resource_type: i8 [0..],
        resource_name: String [0..],
    }
}
