//! AlterConfigs (key 33), versions 0–2, and IncrementalAlterConfigs (key 44), versions 0–1: changes
//! properties of topics, brokers and groups (KIP-339, KIP-848).
//!
//! * 33/2 and 44/1 are flexible. The older API replaces all properties of a resource: what a request
//!   does not name is unset. The newer one sets, deletes, appends to and subtracts from single ones.
//! * Changes are checked, durable before the answer, and in force with it.
//! * Properties of client metrics and loggers cannot be set.

use crate::cluster::api_error::ApiError;
use crate::cluster::command::ConfigEdit;
use crate::cluster::decide_configs::{ConfigChange, ConfigOperation};
use crate::cluster::record::{Resource, ResourceKind};
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, alter_configs, incremental_alter_configs,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) fn replace(node: &Arc<Node>, context: Context, request: AlterConfigsRequest) -> Answer {
    let wanted = request.resources.into_iter().map(|resource| {
        let values = resource.configs.into_iter().map(|config| (config.name, config.value));
        let edit = ConfigEdit::Replace(values.collect());
        (resource.resource_type, resource.resource_name, Ok(edit))
    });
    let (node, wanted) = (Arc::clone(node), wanted.collect());
    context.answer_later(async move {
        let outcomes = alter(&node, wanted, request.validate_only).await;
        let responses =
            outcomes.into_iter().map(|outcome| alter_configs::AlterConfigsResourceResponse {
                error_code: outcome.error.code,
                error_message: outcome.error.message,
                resource_type: outcome.resource_type,
                resource_name: outcome.resource_name,
            });
        AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() }
    })
}

pub(crate) fn incremental(
    node: &Arc<Node>,
    context: Context,
    request: IncrementalAlterConfigsRequest,
) -> Answer {
    let wanted = request.resources.into_iter().map(|resource| {
        let changes = resource.configs.into_iter().map(|config| {
            let operation = ConfigOperation::from_i8(config.config_operation).ok_or_else(|| {
                refused(format!("there is no operation {}", config.config_operation))
            })?;
            Ok(ConfigChange { name: config.name, operation, value: config.value })
        });
        let edit = changes.collect::<Result<_, _>>().map(ConfigEdit::Incremental);
        (resource.resource_type, resource.resource_name, edit)
    });
    let (node, wanted) = (Arc::clone(node), wanted.collect());
    context.answer_later(async move {
        let outcomes = alter(&node, wanted, request.validate_only).await;
        let responses = outcomes.into_iter().map(|outcome| {
            incremental_alter_configs::AlterConfigsResourceResponse {
                error_code: outcome.error.code,
                error_message: outcome.error.message,
                resource_type: outcome.resource_type,
                resource_name: outcome.resource_name,
            }
        });
        IncrementalAlterConfigsResponse {
            responses: responses.collect(),
            ..IncrementalAlterConfigsResponse::default()
        }
    })
}

/// A resource as a request names it, and what to do with it.
type Wanted = (i8, String, Result<ConfigEdit, ApiError>);

struct Outcome {
    resource_type: i8,
    resource_name: String,
    error: ApiError,
}

async fn alter(node: &Node, wanted: Vec<Wanted>, validate_only: bool) -> Vec<Outcome> {
    let mut times: HashMap<(i8, String), usize> = HashMap::new();
    for (kind, name, _) in &wanted {
        *times.entry((*kind, name.clone())).or_default() += 1;
    }
    let mut outcomes = Vec::with_capacity(wanted.len());
    let mut edits = Vec::new();
    let mut places = Vec::new();
    for (resource_type, resource_name, edit) in wanted {
        let once = times[&(resource_type, resource_name.clone())] == 1;
        let checked = edit.and_then(|edit| {
            if !once {
                return Err(refused("a resource comes twice in the request".to_owned()));
            }
            check_edit(&edit)?;
            Ok((resource(node, resource_type, &resource_name)?, edit))
        });
        let error = match checked {
            Ok(edit) => {
                places.push(outcomes.len());
                edits.push(edit);
                ErrorCode::NONE.into()
            }
            Err(error) => error,
        };
        outcomes.push(Outcome { resource_type, resource_name, error });
    }
    let results = node.controller.configure(edits, validate_only).await;
    for (place, result) in places.into_iter().zip(results) {
        if let Err(error) = result {
            outcomes[place].error = error;
        }
    }
    outcomes
}

/// Checks what holds for any resource: no name twice, no value missing.
fn check_edit(edit: &ConfigEdit) -> Result<(), ApiError> {
    let named: Vec<(&str, bool)> = match edit {
        ConfigEdit::Replace(values) => {
            values.iter().map(|(name, value)| (name.as_str(), value.is_none())).collect()
        }
        ConfigEdit::Incremental(changes) => {
            let lacks = |change: &ConfigChange| {
                change.operation != ConfigOperation::Delete && change.value.is_none()
            };
            changes.iter().map(|change| (change.name.as_str(), lacks(change))).collect()
        }
    };
    let mut seen = HashSet::new();
    if !named.iter().all(|(name, _)| seen.insert(*name)) {
        return Err(refused("a property comes twice for one resource".to_owned()));
    }
    let nulls: Vec<&str> = named.iter().filter(|(_, null)| *null).map(|(name, _)| *name).collect();
    if nulls.is_empty() {
        return Ok(());
    }
    Err(refused(format!("these are null, which only a deletion may be: {}", nulls.join(", "))))
}

/// Resources whose properties can be described and not altered.
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;

/// Returns the resource a request names, if it is one whose properties can be set here.
fn resource(node: &Node, kind: i8, name: &str) -> Result<Resource, ApiError> {
    let Some(kind) = ResourceKind::from_i8(kind) else {
        let what = match kind {
            BROKER_LOGGER => "levels of loggers cannot be altered while the broker runs".to_owned(),
            CLIENT_METRICS => "subscriptions to client metrics are not served".to_owned(),
            _ => format!("there is no resource type {kind}"),
        };
        return Err(refused(what));
    };
    match (kind, name.parse::<i32>()) {
        (ResourceKind::Topic, _) if name.is_empty() => {
            return Err(refused(
                "topics have no defaults of their own: alter those of the broker".to_owned(),
            ));
        }
        (ResourceKind::Broker, Err(_)) if !name.is_empty() => {
            return Err(refused(format!("`{name}` is no broker's id")));
        }
        (ResourceKind::Broker, Ok(id)) if id != node.id => {
            let message = format!("this is broker {}, not {name}", node.id);
            return Err(refused(message));
        }
        (ResourceKind::Broker, Ok(id)) => return Ok(Resource { kind, name: id.to_string() }),
        _ => {}
    }
    Ok(Resource { kind, name: name.to_owned() })
}

fn refused(message: String) -> ApiError {
    ApiError::new(ErrorCode::INVALID_REQUEST, message)
}
