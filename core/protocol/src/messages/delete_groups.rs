//! DeleteGroups (key 42): groups without members are removed with their offsets (KIP-229).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Removes groups that have no members.
    pub struct DeleteGroupsRequest: DeleteGroups [0..=2, flexible 2..] {
        /// The groups to remove.
        groups_names: Vec<String> [0..],
    }
}

message! {
    /// Says for each group whether it was removed.
    pub struct DeleteGroupsResponse: DeleteGroups [0..=2, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// The outcome for each.
        results: Vec<DeletableGroupResult> [0..],
    }

    /// The outcome for one group.
    pub struct DeletableGroupResult {
        /// The group.
        group_id: String [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
    }
}
