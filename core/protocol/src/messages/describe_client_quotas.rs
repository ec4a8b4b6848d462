//! DescribeClientQuotas (key 48), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct DescribeClientQuotasRequest: DescribeClientQuotas [0..=1, flexible 1..] {
        components: Vec<ComponentData> [0..],
        strict: bool [0..],
    }

    pub struct ComponentData {
        entity_type: String [0..],
        match_type: i8 [0..],
        r#match: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}

message! {
    pub struct DescribeClientQuotasResponse: DescribeClientQuotas [0..=1, flexible 1..] {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        entries: Option<Vec<EntryData>> [0.., nullable 0..] = Some(Vec::new()),
    }

    pub struct EntryData {
        entity: Vec<EntityData> [0..],
        values: Vec<ValueData> [0..],
    }

    pub struct EntityData {
        entity_type: String [0..],
        entity_name: Option<String> [0.., nullable 0..] = Some(String::new()),
    }

    pub struct ValueData {
        key: String [0..],
        value: f64 [0..],
    }
}
