//! CreateAcls (key 30): access rules are added (KIP-140).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Adds access rules.
    pub struct CreateAclsRequest: CreateAcls [1..=3, flexible 2..] {
        /// The rules to add.
        creations: Vec<AclCreation> [1..],
    }

    /// An access rule to add.
    pub struct AclCreation {
        /// The resource's type: 2 topic, 3 group, 4 cluster, 5 transactional id, 6 token, 7 user.
        resource_type: i8 [1..],
        /// The resource's name.
        resource_name: String [1..],
        /// How the name is matched: 3 as it is, 4 as a prefix.
        resource_pattern_type: i8 [1..] = 3,
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

message! {
    /// Says for each rule whether it was added.
    pub struct CreateAclsResponse: CreateAcls [1..=3, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// The outcome for each.
        results: Vec<AclCreationResult> [1..],
    }

    /// The outcome for one rule.
    pub struct AclCreationResult {
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
        /// What went wrong in words, or null.
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
    }
}
