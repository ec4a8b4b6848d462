//! IncrementalAlterConfigs (key 44), versions 0–1: sets, deletes, appends to and subtracts from
//! properties of topics and brokers (KIP-339).
//!
//! * 1 is flexible.
//! * Changes are checked, durable before the answer, and in force with it.

use super::alter_configs::resource_of;
use crate::cluster::command::ConfigEdit;
use crate::cluster::decide::ApiError;
use crate::cluster::decide_configs::{ConfigChange, ConfigOperation};
use crate::cluster::record::Resource;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse,
};
use kohort_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use std::collections::HashSet;
use std::sync::Arc;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: IncrementalAlterConfigsRequest,
) -> Answer {
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
            match edit(&node, resource) {
                Ok(edit) => {
                    places.push(responses.len());
                    edits.push(edit);
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
        IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
    })
}

fn edit(node: &Node, resource: AlterConfigsResource) -> Result<(Resource, ConfigEdit), ApiError> {
    let target = resource_of(node, resource.resource_type, resource.resource_name)?;
    let mut seen = HashSet::new();
    let mut changes = Vec::with_capacity(resource.configs.len());
    for config in resource.configs {
        let operation = ConfigOperation::from_i8(config.config_operation).ok_or_else(|| {
            let message =
                format!("Unknown operation {} on {}.", config.config_operation, config.name);
            ApiError::new(ErrorCode::INVALID_REQUEST, message)
        })?;
        if !seen.insert(config.name.clone()) {
            let message = format!("The request names {} more than once.", config.name);
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
        changes.push(ConfigChange { name: config.name, operation, value: config.value });
    }
    Ok((target, ConfigEdit::Incremental(changes)))
}
