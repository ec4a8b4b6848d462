//! DescribeConfigs (key 32), versions 1–4: the properties of topics and brokers, with where each value
//! comes from.
//!
//! * 1 adds synonyms; 3 types and documentation; 4 is flexible.
//! * A topic and this broker return every property Kafka has; "all brokers" (an empty name) returns
//!   what has been altered for all. A group returns what it has of its own and the broker's values for
//!   the rest, a subscription to client metrics its defaults, the broker's logger its level.
//! * A resource named more than once is described once, and what comes after an answer of 64 MiB is
//!   refused.

use super::config_entries::{self, Entry};
use crate::cluster::api_error::ApiError;
use crate::cluster::record::ResourceKind;
use crate::cluster::topic_name::check_topic_name;
use crate::config::{Kind, Source};
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use kohort_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The most bytes of names, values and documentation that one answer tells: enough for all that can be
/// told of ten thousand topics. A request costs next to nothing and may name any number of groups,
/// each of which has every property.
const ANSWER_BYTES: usize = 64 << 20;
/// How many resources are described at once on the connection's own thread.
const FEW: usize = 4;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: DescribeConfigsRequest,
) -> Answer {
    if request.resources.len() <= FEW {
        return context.answer(&respond(node, request));
    }
    let node = Arc::clone(node);
    context.answer_aside(move || respond(&node, request))
}

/// Answers with each resource once, however often it is named, and refuses those that come after the
/// answer is full.
fn respond(node: &Node, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let (with_synonyms, with_docs) = (request.include_synonyms, request.include_documentation);
    let mut room = Room(ANSWER_BYTES);
    let mut results = Vec::new();
    for Wanted { resource_type, resource_name, keys } in distinct(request.resources) {
        let described = room.is_there().and_then(|()| entries(node, resource_type, &resource_name));
        let result = DescribeConfigsResult {
            resource_type,
            resource_name,
            ..DescribeConfigsResult::default()
        };
        results.push(match described {
            Ok(entries) => {
                let wanted = |entry: &Entry| keys.as_ref().is_none_or(|k| k.contains(&entry.name));
                let configs: Vec<_> = entries
                    .into_iter()
                    .filter(wanted)
                    .map(|entry| on_the_wire(entry, with_synonyms, with_docs))
                    .collect();
                room.take(&configs);
                DescribeConfigsResult { configs, ..result }
            }
            Err(error) => DescribeConfigsResult {
                error_code: error.code,
                error_message: error.message,
                ..result
            },
        });
    }
    DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }
}

/// A resource somebody wants to know of.
#[derive(Debug, PartialEq)]
struct Wanted {
    resource_type: i8,
    resource_name: String,
    /// Which of its properties; nothing for all.
    keys: Option<HashSet<String>>,
}

/// Returns each resource once, in the request's order, with all the properties wanted of it.
fn distinct(resources: Vec<DescribeConfigsResource>) -> Vec<Wanted> {
    let mut places = HashMap::new();
    let mut all: Vec<Wanted> = Vec::new();
    for DescribeConfigsResource { resource_type, resource_name, configuration_keys } in resources {
        // An empty list stands for all, as in Kafka's own client.
        let keys = configuration_keys.filter(|keys| !keys.is_empty());
        let keys = keys.map(|keys| keys.into_iter().collect::<HashSet<String>>());
        let place = *places.entry((resource_type, resource_name.clone())).or_insert(all.len());
        match all.get_mut(place) {
            None => all.push(Wanted { resource_type, resource_name, keys }),
            Some(known) => {
                known.keys = known.keys.take().zip(keys).map(|(mut known, more)| {
                    known.extend(more);
                    known
                });
            }
        }
    }
    all
}

/// How many bytes the answer may still have.
struct Room(usize);

impl Room {
    fn is_there(&self) -> Result<(), ApiError> {
        if self.0 > 0 {
            return Ok(());
        }
        let message =
            format!("the answer has {ANSWER_BYTES} bytes: ask for fewer resources or properties");
        Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message))
    }

    fn take(&mut self, configs: &[DescribeConfigsResourceResult]) {
        self.0 = self.0.saturating_sub(configs.iter().map(size).sum());
    }
}

/// Returns about how many bytes a property takes in the answer.
fn size(config: &DescribeConfigsResourceResult) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let synonyms = config.synonyms.iter().map(|one| one.name.len() + length(&one.value) + 5);
    config.name.len()
        + length(&config.value)
        + length(&config.documentation)
        + 16
        + synonyms.sum::<usize>()
}

const TOPIC: i8 = ResourceKind::Topic as i8;
const BROKER: i8 = ResourceKind::Broker as i8;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = ResourceKind::Group as i8;

fn entries(node: &Node, resource_type: i8, name: &str) -> Result<Vec<Entry>, ApiError> {
    let settings = node.config.settings();
    let refused = |message: String| ApiError::new(ErrorCode::INVALID_REQUEST, message);
    match resource_type {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
        DescribeConfigsResource {
            resource_type: GROUP,
            resource_name: name.to_owned(),
            configuration_keys: keys.map(|keys| keys.iter().map(|&key| key.into()).collect()),
        }
    }

    fn wanted(name: &str, keys: Option<&[&str]>) -> Wanted {
        Wanted {
            resource_type: GROUP,
            resource_name: name.to_owned(),
            keys: keys.map(|keys| keys.iter().map(|&key| key.into()).collect()),
        }
    }

    #[test]
    fn a_resource_named_again_is_one_with_all_the_properties_wanted() {
        let (a, b): (&[&str], &[&str]) = (&["a"], &["b", "a"]);
        let named = [
            ("g", Some(a)),
            ("h", Some(a)),
            ("g", Some(b)),
            ("h", None),
            ("h", Some(a)),
            ("i", None),
        ];
        let resources = named.map(|(name, keys)| resource(name, keys)).to_vec();
        let expected = [wanted("g", Some(&["a", "b"])), wanted("h", None), wanted("i", None)];
        assert_eq!(distinct(resources), expected);
    }

    #[test]
    fn an_answer_that_is_full_takes_no_more_resources() {
        let config = DescribeConfigsResourceResult {
            name: "a".repeat(40),
            documentation: Some("b".repeat(50)),
            ..DescribeConfigsResourceResult::default()
        };
        let mut room = Room(200);
        for _ in 0..2 {
            assert_eq!(room.is_there(), Ok(()));
            room.take(std::slice::from_ref(&config));
        }
        assert_eq!(room.is_there().unwrap_err().code, ErrorCode::POLICY_VIOLATION);
    }
}
