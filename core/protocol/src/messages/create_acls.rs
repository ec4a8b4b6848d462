//! CreateAcls (key 30), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct CreateAclsRequest: CreateAcls [1..=3, flexible 2..] {
        creations: Vec<AclCreation> [1..],
    }

    pub struct AclCreation {
        resource_type: i8 [1..],
        resource_name: String [1..],
        resource_pattern_type: i8 [1..] = 3,
        principal: String [1..],
        host: String [1..],
        operation: i8 [1..],
        permission_type: i8 [1..],
    }
}

message! {
    pub struct CreateAclsResponse: CreateAcls [1..=3, flexible 2..] {
        throttle_time_ms: i32 [1..],
        results: Vec<AclCreationResult> [1..],
    }

    pub struct AclCreationResult {
        error_code: ErrorCode [1..],
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
    }
}
