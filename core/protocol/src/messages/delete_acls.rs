//! DeleteAcls (key 31), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct DeleteAclsRequest: DeleteAcls [1..=3, flexible 2..] {
        filters: Vec<DeleteAclsFilter> [1..],
    }

    pub struct DeleteAclsFilter {
        resource_type_filter: i8 [1..],
        resource_name_filter: Option<String> [1.., nullable 1..] = Some(String::new()),
        pattern_type_filter: i8 [1..] = 3,
        principal_filter: Option<String> [1.., nullable 1..] = Some(String::new()),
        host_filter: Option<String> [1.., nullable 1..] = Some(String::new()),
        operation: i8 [1..],
        permission_type: i8 [1..],
    }
}

message! {
    pub struct DeleteAclsResponse: DeleteAcls [1..=3, flexible 2..] {
        throttle_time_ms: i32 [1..],
        filter_results: Vec<DeleteAclsFilterResult> [1..],
    }

    pub struct DeleteAclsFilterResult {
        error_code: ErrorCode [1..],
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
        matching_acls: Vec<DeleteAclsMatchingAcl> [1..],
    }

    pub struct DeleteAclsMatchingAcl {
        error_code: ErrorCode [1..],
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
        resource_type: i8 [1..],
        resource_name: String [1..],
        pattern_type: i8 [1..] = 3,
        principal: String [1..],
        host: String [1..],
        operation: i8 [1..],
        permission_type: i8 [1..],
    }
}
