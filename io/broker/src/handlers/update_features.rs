//! UpdateFeatures (key 57), versions 0–2: levels of the cluster's features (KIP-584).
//!
//! * 1 adds validation without doing it and the kind of change; 2 answers with one error for all.
//! * ApiVersions announces no feature, so none has a level to change.

use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use std::sync::Arc;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: UpdateFeaturesRequest) -> Answer {
    let (error_code, error_message) = match request.feature_updates.first() {
        None => (ErrorCode::NONE, None),
        Some(update) => {
            let message = format!(
                "The update failed for all features since the following feature had an error: \
                 Invalid update version {} for feature {}. Controller {} does not support this \
                 feature.",
                update.max_version_level, update.feature, node.id
            );
            (ErrorCode::INVALID_UPDATE_VERSION, Some(message))
        }
    };
    context.answer(&UpdateFeaturesResponse {
        error_code,
        error_message,
        ..UpdateFeaturesResponse::default()
    })
}
