//! DescribeAcls (key 29), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct DescribeAclsRequest: DescribeAcls [1..=3, flexible 2..] {
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
    pub struct DescribeAclsResponse: DescribeAcls [1..=3, flexible 2..] {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [1..],
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
        resources: Vec<DescribeAclsResource> [1..],
    }

    pub struct DescribeAclsResource {
        resource_type: i8 [1..],
        resource_name: String [1..],
        pattern_type: i8 [1..] = 3,
        acls: Vec<AclDescription> [1..],
    }

    pub struct AclDescription {
        principal: String [1..],
        host: String [1..],
        operation: i8 [1..],
        permission_type: i8 [1..],
    }
}
