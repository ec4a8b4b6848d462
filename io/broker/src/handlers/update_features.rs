//! UpdateFeatures (key 57), versions 0–2: levels of the cluster's features (KIP-584).
//!
//! * 1 adds validation without doing it and the kind of change; 2 answers with one error for all.
//! * Each feature that ApiVersions announces has one level, so there is none to change to.

use crate::handlers::api_versions::FEATURES;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use std::sync::Arc;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: UpdateFeaturesRequest) -> Answer {
    let refused = request.feature_updates.iter().find_map(|update| {
        let (feature, level) = (update.feature.as_str(), update.max_version_level);
        let reason = match FEATURES.iter().find(|(name, _)| *name == feature) {
            Some((_, only)) if *only == level => return None,
            Some((_, only)) => format!("only supports versions {only}"),
            None => "does not support this feature.".to_owned(),
        };
        Some(format!(
            "The update failed for all features since the following feature had an error: Invalid \
             update version {level} for feature {feature}. Controller {} {reason}",
            node.id
        ))
    });
    let (error_code, error_message) = match refused {
        None => (ErrorCode::NONE, None),
        message => (ErrorCode::INVALID_UPDATE_VERSION, message),
    };
    context.answer(&UpdateFeaturesResponse {
        error_code,
        error_message,
        ..UpdateFeaturesResponse::default()
    })
}
