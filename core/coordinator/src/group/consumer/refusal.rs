//! Why a heartbeat is refused, and how the member hears.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;

/// Why a heartbeat is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) error: ErrorCode,
    pub(super) why: String,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, why: impl Into<String>) -> Self {
        Self { error, why: why.into() }
    }

    pub(super) fn no_group(id: &str) -> Self {
        Self::new(ErrorCode::GROUP_ID_NOT_FOUND, format!("there is no consumer group {id}"))
    }

    pub(super) fn unknown_member(name: &str) -> Self {
        Self::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("there is no member {name} in the group"))
    }

    pub(crate) fn into_response(self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            error_code: self.error,
            error_message: Some(self.why),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }
}

/// Returns the answer that is nothing but an error.
pub(super) fn refused(error: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: error,
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
