//! DescribeAcls (key 29): which access rules match (KIP-140).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the access rules that match in every respect.
    pub struct DescribeAclsRequest: DescribeAcls [1..=3, flexible 2..] {
        /// The resource's type: 1 any, 2 topic, 3 group, 4 cluster, 5 transactional id, 6 token, 7
        /// user.
        resource_type_filter: i8 [1..],
        /// The name the resource must have, or null for any.
        resource_name_filter: Option<String> [1.., nullable 1..] = Some(String::new()),
        /// How the name must be matched: 1 either way, 2 any rule that applies to it, 3 as it is, 4
        /// as a prefix.
        pattern_type_filter: i8 [1..] = 3,
        /// Whom the rule must be about, or null for anyone.
        principal_filter: Option<String> [1.., nullable 1..] = Some(String::new()),
        /// The address the rule must be about, or null for any.
        host_filter: Option<String> [1.., nullable 1..] = Some(String::new()),
        /// The operation, as Kafka numbers them: 3 read, 4 write, 8 describe and so on.
        operation: i8 [1..],
        /// Which rules: 1 any, 2 those that deny, 3 those that allow.
        permission_type: i8 [1..],
    }
}

message! {
    /// Lists the rules, sorted by resource.
    pub struct DescribeAclsResponse: DescribeAcls [1..=3, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
        /// What went wrong in words, or null.
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
        /// The resources.
        resources: Vec<DescribeAclsResource> [1..],
    }

    /// A resource and the rules it has.
    pub struct DescribeAclsResource {
        /// The resource's type: 2 topic, 3 group, 4 cluster, 5 transactional id, 6 token, 7 user.
        resource_type: i8 [1..],
        /// The resource's name.
        resource_name: String [1..],
        /// How the name is matched: 3 as it is, 4 as a prefix.
        pattern_type: i8 [1..] = 3,
        /// The rules of the resource.
        acls: Vec<AclDescription> [1..],
    }

    /// An access rule.
    pub struct AclDescription {
        /// Whom the rule is about, such as `User:alice`.
        principal: String [1..],
        /// The address the rule is about, or `*`.
        host: String [1..],
        /// The operation, as Kafka numbers them: 3 read, 4 write, 8 describe and so on.
        operation: i8 [1..],
        /// 2 denies, 3 allows.
        permission_type: i8 [1..],
    }
}
