//! AlterClientQuotas (key 49): quotas of users, clients and addresses are set or removed
//! (KIP-546).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Sets or removes quotas.
    pub struct AlterClientQuotasRequest: AlterClientQuotas [0..=1, flexible 1..] {
        /// The entities and what to change for them.
        entries: Vec<AlterClientQuotasRequestEntryData> [0..],
        /// Whether to check without doing it.
        validate_only: bool [0..],
    }

    /// One quota entity and what to change for it.
    pub struct AlterClientQuotasRequestEntryData {
        /// The parts of the entity's name.
        entity: Vec<AlterClientQuotasRequestEntityData> [0..],
        /// What to set and remove.
        ops: Vec<OpData> [0..],
    }

    /// One part of the name of a quota entity.
    pub struct AlterClientQuotasRequestEntityData {
        /// The type: `user`, `client-id` or `ip`.
        entity_type: String [0..],
        /// The name, or null for the default of the type.
        entity_name: Option<String> [0.., nullable 0..] = Some(String::new()),
    }

    /// One quota to set or remove.
    pub struct OpData {
        /// The quota's name.
        key: String [0..],
        /// The quota's value.
        value: f64 [0..],
        /// Whether to remove the quota instead of setting it.
        remove: bool [0..],
    }
}

message! {
    /// Says for each entity whether its quotas were changed.
    pub struct AlterClientQuotasResponse: AlterClientQuotas [0..=1, flexible 1..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// The outcome for each entity.
        entries: Vec<AlterClientQuotasResponseEntryData> [0..],
    }

    /// The outcome for one quota entity.
    pub struct AlterClientQuotasResponseEntryData {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The parts of the entity's name.
        entity: Vec<AlterClientQuotasResponseEntityData> [0..],
    }

    /// One part of the name of a quota entity.
    pub struct AlterClientQuotasResponseEntityData {
        /// The type: `user`, `client-id` or `ip`.
        entity_type: String [0..],
        /// The name, or null for the default of the type.
        entity_name: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}
