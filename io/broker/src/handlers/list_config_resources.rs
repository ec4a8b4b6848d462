//! ListConfigResources (key 74), versions 0–1: what has properties (KIP-1142).
//!
//! * 0 lists subscriptions to client metrics alone; 1 lists any type.
//! * Groups and subscriptions to client metrics are listed when they have properties of their own; the
//!   latter cannot have any here.

use crate::cluster::record::ResourceKind;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::list_config_resources::ConfigResource;
use kohort_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use std::sync::Arc;

const TOPIC: i8 = ResourceKind::Topic as i8;
const BROKER: i8 = ResourceKind::Broker as i8;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = ResourceKind::Group as i8;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: ListConfigResourcesRequest,
) -> Answer {
    let served: &[i8] = match context.version {
        0 => &[CLIENT_METRICS],
        _ => &[GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC],
    };
    let wanted = &request.resource_types;
    if wanted.iter().any(|kind| !served.contains(kind)) {
        return context.answer(&ListConfigResourcesResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION,
            ..ListConfigResourcesResponse::default()
        });
    }
    let mut config_resources = Vec::new();
    for &resource_type in served {
        if !wanted.is_empty() && !wanted.contains(&resource_type) {
            continue;
        }
        let mut put = |resource_name: String| {
            config_resources.push(ConfigResource { resource_name, resource_type });
        };
        match resource_type {
            BROKER_LOGGER | BROKER => put(node.id.to_string()),
            TOPIC => {
                node.metadata.topics.all().iter().for_each(|topic| put(topic.name.to_string()));
            }
            GROUP => {
                let state = node.metadata.state.read();
                let groups = state.configs.keys().filter(|of| of.kind == ResourceKind::Group);
                groups.for_each(|of| put(of.name.clone()));
            }
            _ => {}
        }
    }
    context.answer(&ListConfigResourcesResponse {
        config_resources,
        ..ListConfigResourcesResponse::default()
    })
}
