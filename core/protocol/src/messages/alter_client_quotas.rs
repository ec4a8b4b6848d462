//! AlterClientQuotas (key 49), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct AlterClientQuotasRequest: AlterClientQuotas [0..=1, flexible 1..] {
        entries: Vec<AlterClientQuotasRequestEntryData> [0..],
        validate_only: bool [0..],
    }

    pub struct AlterClientQuotasRequestEntryData {
        entity: Vec<AlterClientQuotasRequestEntityData> [0..],
        ops: Vec<OpData> [0..],
    }

    pub struct AlterClientQuotasRequestEntityData {
        entity_type: String [0..],
        entity_name: Option<String> [0.., nullable 0..] = Some(String::new()),
    }

    pub struct OpData {
        key: String [0..],
        value: f64 [0..],
        remove: bool [0..],
    }
}

message! {
    pub struct AlterClientQuotasResponse: AlterClientQuotas [0..=1, flexible 1..] {
        throttle_time_ms: i32 [0..],
        entries: Vec<AlterClientQuotasResponseEntryData> [0..],
    }

    pub struct AlterClientQuotasResponseEntryData {
        error_code: ErrorCode [0..],
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        entity: Vec<AlterClientQuotasResponseEntityData> [0..],
    }

    pub struct AlterClientQuotasResponseEntityData {
        entity_type: String [0..],
        entity_name: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}
