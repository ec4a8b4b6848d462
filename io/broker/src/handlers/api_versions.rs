//! ApiVersions (key 18), versions 0–4: what this broker serves.
//!
//! * 1 adds the throttle time; 2 changes nothing; 3 adds the client's name and features (KIP-511);
//!   4 allows features whose lowest version is 0.
//! * A version we do not know is answered with UNSUPPORTED_VERSION in version 0, with the table, so
//!   that the client can step down. The response's header is always version 0.
//! * One feature is announced, `group.version`: groups of the consumer protocol (KIP-848) are served. Those
//!   others that Kafka 4.3 has stand for its own metadata and for protocols not served here yet.

use crate::node::Node;
use crate::request::{Answer, Context, Response};
use kohort_protocol::ErrorCode;
use kohort_protocol::frame::encode_response;
use kohort_protocol::messages::api_versions::{FinalizedFeatureKey, SupportedFeatureKey};
use kohort_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use std::sync::Arc;

/// A feature and its level, which is the only one there is.
pub(crate) const FEATURES: [(&str, i16); 1] = [("group.version", 1)];

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: ApiVersionsRequest) -> Answer {
    let named = |text: &str| is_client_name(text);
    let valid = context.version < 3
        || (named(&request.client_software_name) && named(&request.client_software_version));
    let response = if valid {
        table(node, ErrorCode::NONE)
    } else {
        ApiVersionsResponse {
            error_code: ErrorCode::INVALID_REQUEST,
            ..ApiVersionsResponse::default()
        }
    };
    context.answer(&response)
}

/// Answers a version we do not know.
pub(crate) fn unsupported(node: &Node, correlation_id: i32) -> Answer {
    let table = table(node, ErrorCode::UNSUPPORTED_VERSION);
    let response = encode_response(&table, 0, correlation_id);
    Answer::Ready(match response {
        Ok(frame) => Response::Frame(frame).telling(vec![ErrorCode::UNSUPPORTED_VERSION]),
        Err(error) => Response::Broken(error.to_string()),
    })
}

fn table(node: &Node, error_code: ErrorCode) -> ApiVersionsResponse {
    let supported = |(name, level): (&str, i16)| SupportedFeatureKey {
        name: name.to_owned(),
        min_version: level,
        max_version: level,
    };
    let finalized = |(name, level): (&str, i16)| FinalizedFeatureKey {
        name: name.to_owned(),
        max_version_level: level,
        min_version_level: level,
    };
    ApiVersionsResponse {
        error_code,
        api_keys: node.advertised.clone(),
        supported_features: FEATURES.map(supported).into(),
        // They never change.
        finalized_features_epoch: 0,
        finalized_features: FEATURES.map(finalized).into(),
        ..ApiVersionsResponse::default()
    }
}

/// KIP-511: letters, digits, '-' and '.', beginning and ending with a letter or digit.
fn is_client_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_names_are_checked_as_kip_511_says() {
        for good in ["apache-kafka-java", "librdkafka", "v2.15.0", "a"] {
            assert!(is_client_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a_b", ".", "ä"] {
            assert!(!is_client_name(bad), "{bad}");
        }
    }
}
