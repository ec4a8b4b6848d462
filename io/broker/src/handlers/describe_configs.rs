//! DescribeConfigs (key 32), versions 1–4: the properties of topics and brokers, with where each value
//! comes from.
//!
//! * 1 adds synonyms; 3 types and documentation; 4 is flexible.
//! * A topic and this broker return every property Kafka has; "all brokers" (an empty name) returns
//!   what has been altered for all. A group returns what it has of its own and the broker's values for
//!   the rest, a subscription to client metrics its defaults, the broker's logger its level.

use super::config_entries::{self, Entry};
use crate::cluster::decide::{ApiError, check_topic_name};
use crate::cluster::record::ResourceKind;
use crate::config::{Kind, Source};
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use kohort_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use std::sync::Arc;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: DescribeConfigsRequest,
) -> Answer {
    let (with_synonyms, with_docs) = (request.include_synonyms, request.include_documentation);
    let results = request
        .resources
        .into_iter()
        .map(|resource| {
            let wanted = resource.configuration_keys.as_ref();
            // An empty list stands for all, as in Kafka's own client.
            let wanted = wanted.filter(|keys| !keys.is_empty());
            let result = DescribeConfigsResult {
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                ..DescribeConfigsResult::default()
            };
            match entries(node, &resource) {
                Ok(entries) => DescribeConfigsResult {
                    configs: entries
                        .into_iter()
                        .filter(|entry| wanted.is_none_or(|keys| keys.contains(&entry.name)))
                        .map(|entry| on_the_wire(entry, with_synonyms, with_docs))
                        .collect(),
                    ..result
                },
                Err(error) => DescribeConfigsResult {
                    error_code: error.code,
                    error_message: error.message,
                    ..result
                },
            }
        })
        .collect();
    context.answer(&DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() })
}

const TOPIC: i8 = ResourceKind::Topic as i8;
const BROKER: i8 = ResourceKind::Broker as i8;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = ResourceKind::Group as i8;

fn entries(node: &Node, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, ApiError> {
    let name = &resource.resource_name;
    let settings = node.config.settings();
    let refused = |message: String| ApiError::new(ErrorCode::INVALID_REQUEST, message);
    match resource.resource_type {
        TOPIC => {
            check_topic_name(name)?;
            let state = node.metadata.state.read();
            if !state.topics.contains_key(name) {
                return Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ""));
            }
            let own = state.config(ResourceKind::Topic, name);
            Ok(config_entries::topic_entries(&own, &settings))
        }
        BROKER if name.is_empty() => Ok(config_entries::default_broker_entries(&settings)),
        BROKER => {
            check_broker(node, name, " (all of them have the empty name)")?;
            Ok(config_entries::broker_entries(&settings))
        }
        BROKER_LOGGER if name.is_empty() => {
            Err(refused("loggers are of one broker: name its id".to_owned()))
        }
        BROKER_LOGGER => {
            check_broker(node, name, "")?;
            Ok(config_entries::logger_entries())
        }
        CLIENT_METRICS if name.is_empty() => {
            Err(refused("name the subscription of client metrics".to_owned()))
        }
        CLIENT_METRICS => Ok(config_entries::client_metrics_entries()),
        GROUP if name.is_empty() => Err(refused("name the group".to_owned())),
        GROUP => {
            let own = node.metadata.state.read().config(ResourceKind::Group, name);
            Ok(config_entries::group_entries(&own, &settings))
        }
        other => {
            Err(refused(format!("`{name}` has the resource type {other}, which is not known here")))
        }
    }
}

fn check_broker(node: &Node, name: &str, or: &str) -> Result<(), ApiError> {
    let message = match name.parse::<i32>() {
        Ok(id) if id == node.id => return Ok(()),
        Ok(_) => format!("this is broker {}{or}, not {name}", node.id),
        Err(_) => format!("`{name}` is no broker's id"),
    };
    Err(ApiError::new(ErrorCode::INVALID_REQUEST, message))
}

fn on_the_wire(
    entry: Entry,
    with_synonyms: bool,
    with_docs: bool,
) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.into_iter().filter(|_| with_synonyms);
    DescribeConfigsResourceResult {
        name: entry.name,
        value: entry.value,
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.kind == Some(Kind::Password)
            || (entry.kind.is_none() && entry.source != Source::Logger),
        synonyms: synonyms
            .map(|(name, value, source)| DescribeConfigsSynonym {
                name,
                value,
                source: source as i8,
            })
            .collect(),
        config_type: entry.kind.map_or(0, Kind::wire_type),
        documentation: with_docs.then(|| entry.doc.to_owned()),
    }
}
