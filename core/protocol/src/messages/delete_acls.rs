//! DeleteAcls (key 31): access rules that match are removed (KIP-140).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Removes all access rules that match one of the filters.
    pub struct DeleteAclsRequest: DeleteAcls [1..=3, flexible 2..] {
        /// Which rules to remove.
        filters: Vec<DeleteAclsFilter> [1..],
    }

    /// Which rules to remove: those that match in every respect.
    pub struct DeleteAclsFilter {
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
    /// Lists for each filter what was removed.
    pub struct DeleteAclsResponse: DeleteAcls [1..=3, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// The outcome for each filter.
        filter_results: Vec<DeleteAclsFilterResult> [1..],
    }

    /// The outcome for one filter.
    pub struct DeleteAclsFilterResult {
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
        /// What went wrong in words, or null.
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
        /// The rules that matched.
        matching_acls: Vec<DeleteAclsMatchingAcl> [1..],
    }

    /// A rule that matched, and whether it could be removed.
    pub struct DeleteAclsMatchingAcl {
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
        /// What went wrong in words, or null.
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
        /// The resource's type: 2 topic, 3 group, 4 cluster, 5 transactional id, 6 token, 7 user.
        resource_type: i8 [1..],
        /// The resource's name.
        resource_name: String [1..],
        /// How the name is matched: 3 as it is, 4 as a prefix.
        pattern_type: i8 [1..] = 3,
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
