//! DescribeClientQuotas (key 48): which quotas are set for whom (KIP-546).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the quotas of matching entities.
    pub struct DescribeClientQuotasRequest: DescribeClientQuotas [0..=1, flexible 1..] {
        /// What the parts of the entity's name must look like.
        components: Vec<ComponentData> [0..],
        /// Whether entities with further parts in their names are left out.
        strict: bool [0..],
    }

    /// What one part of the entity's name must look like.
    pub struct ComponentData {
        /// The type: `user`, `client-id` or `ip`.
        entity_type: String [0..],
        /// How to match: 0 this name, 1 the default, 2 any name.
        match_type: i8 [0..],
        /// The name to match, if the match type asks for one.
        r#match: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}

message! {
    /// Lists entities and their quotas.
    pub struct DescribeClientQuotasResponse: DescribeClientQuotas [0..=1, flexible 1..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The entities that match, or null after an error.
        entries: Option<Vec<EntryData>> [0.., nullable 0..] = Some(Vec::new()),
    }

    /// A quota entity and its quotas.
    pub struct EntryData {
        /// The parts of the entity's name.
        entity: Vec<EntityData> [0..],
        /// The quotas.
        values: Vec<ValueData> [0..],
    }

    /// One part of the name of a quota entity.
    pub struct EntityData {
        /// The type: `user`, `client-id` or `ip`.
        entity_type: String [0..],
        /// The name, or null for the default of the type.
        entity_name: Option<String> [0.., nullable 0..] = Some(String::new()),
    }

    /// One quota.
    pub struct ValueData {
        /// The quota's name.
        key: String [0..],
        /// The quota's value.
        value: f64 [0..],
    }
}
