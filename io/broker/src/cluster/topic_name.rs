//! What a topic may be called.

use super::api_error::ApiError;
use kohort_protocol::ErrorCode;

const TOPIC_NAME_MAX: usize = 249;

/// Says why a name cannot be a topic's, if it cannot.
pub(crate) fn check_topic_name(name: &str) -> Result<(), ApiError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let reason = if name.is_empty() {
        "it is empty".to_owned()
    } else if name == "." || name == ".." {
        format!("`{name}` is a folder's name")
    } else if name.len() > TOPIC_NAME_MAX {
        format!("`{name}` is longer than {TOPIC_NAME_MAX} characters")
    } else if !name.chars().all(legal) {
        format!("`{name}` has characters other than ASCII letters, digits, `.`, `_` and `-`")
    } else {
        return Ok(());
    };
    let message = format!("this cannot be a topic's name: {reason}");
    Err(ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message))
}
