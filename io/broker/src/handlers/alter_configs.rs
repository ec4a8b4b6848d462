//! AlterConfigs (key 33), versions 0–2: replaces all properties of a topic or a broker. The older form
//! of IncrementalAlterConfigs: what a request does not name is unset.
//!
//! * 2 is flexible.

use crate::cluster::command::ConfigEdit;
use crate::cluster::decide::ApiError;
use crate::cluster::record::{Resource, ResourceKind};
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::alter_configs::AlterConfigsResourceResponse;
use kohort_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use std::sync::Arc;

pub(crate) fn handle(node: &Arc<Node>, context: Context, request: AlterConfigsRequest) -> Answer {
    let node = Arc::clone(node);
    context.answer_later(async move {
        let mut responses = Vec::with_capacity(request.resources.len());
        let mut edits = Vec::new();
        let mut places = Vec::new();
        for resource in request.resources {
            let mut response = AlterConfigsResourceResponse {
                error_message: None,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                ..AlterConfigsResourceResponse::default()
            };
            match resource_of(&node, resource.resource_type, resource.resource_name) {
                Ok(target) => {
                    let values = resource.configs.into_iter();
                    let values = values.map(|config| (config.name, config.value)).collect();
                    places.push(responses.len());
                    edits.push((target, ConfigEdit::Replace(values)));
                }
                Err(error) => {
                    response.error_code = error.code;
                    response.error_message = error.message;
                }
            }
            responses.push(response);
        }
        let results = node.controller.configure(edits, request.validate_only).await;
        for (place, result) in places.into_iter().zip(results) {
            if let Err(error) = result {
                responses[place].error_code = error.code;
                responses[place].error_message = error.message;
            }
        }
        AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }
    })
}

/// Returns the resource a request names, if it is one that has properties here.
pub(super) fn resource_of(node: &Node, kind: i8, name: String) -> Result<Resource, ApiError> {
    match ResourceKind::from_i8(kind) {
        Some(ResourceKind::Broker) if !name.is_empty() && name != node.id.to_string() => {
            Err(ApiError::new(
                ErrorCode::INVALID_REQUEST,
                format!(
                    "Unexpected broker id, expected {} or empty string, but received {name}",
                    node.id
                ),
            ))
        }
        Some(kind) => Ok(Resource { kind, name }),
        None => Err(ApiError::new(
            ErrorCode::INVALID_REQUEST,
            format!("Resources of type {kind} have no properties here."),
        )),
    }
}
