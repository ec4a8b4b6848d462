//! DescribeConfigs (key 32), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct DescribeConfigsRequest: DescribeConfigs [1..=4, flexible 4..] {
        resources: Vec<DescribeConfigsResource> [1..],
        include_synonyms: bool [1..],
        include_documentation: bool [3..],
    }

    pub struct DescribeConfigsResource {
        resource_type: i8 [1..],
        resource_name: String [1..],
        configuration_keys: Option<Vec<String>> [1.., nullable 1..] = Some(Vec::new()),
    }
}

message! {
    pub struct DescribeConfigsResponse: DescribeConfigs [1..=4, flexible 4..] {
        throttle_time_ms: i32 [1..],
        results: Vec<DescribeConfigsResult> [1..],
    }

    pub struct DescribeConfigsResult {
        error_code: ErrorCode [1..],
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
        resource_type: i8 [1..],
        resource_name: String [1..],
        configs: Vec<DescribeConfigsResourceResult> [1..],
    }

    pub struct DescribeConfigsResourceResult {
        name: String [1..],
        value: Option<String> [1.., nullable 1..] = Some(String::new()),
        read_only: bool [1..],
        config_source: i8 [1..] = -1,
        is_sensitive: bool [1..],
        synonyms: Vec<DescribeConfigsSynonym> [1..],
        config_type: i8 [3..],
        documentation: Option<String> [3.., nullable 3..] = Some(String::new()),
    }

    pub struct DescribeConfigsSynonym {
        name: String [1..],
        value: Option<String> [1.., nullable 1..] = Some(String::new()),
        source: i8 [1..],
    }
}
