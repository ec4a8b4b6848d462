//! DescribeConfigs (key 32), versions 1–4: the properties of topics and brokers, with where each value
//! comes from.
//!
//! * 1 adds synonyms; 3 types and documentation; 4 is flexible.
//! * A topic and this broker return every property Kafka has; "all brokers" (an empty name) returns
//!   what has been altered for all. Loggers, groups and client metrics are not served.

use crate::cluster::decide::{ApiError, check_topic_name};
use crate::cluster::record::ResourceKind;
use crate::config::{self, Kind, Settings, Source, TOPIC_PROPERTIES, effective, properties};
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use kohort_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One property as it is described.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
    read_only: bool,
    kind: Kind,
    doc: &'static str,
    synonyms: Vec<(String, Option<String>, Source)>,
}

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
                error_message: None,
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

fn entries(node: &Node, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, ApiError> {
    let name = &resource.resource_name;
    let settings = node.config.settings();
    match ResourceKind::from_i8(resource.resource_type) {
        Some(ResourceKind::Topic) => {
            check_topic_name(name)?;
            let state = node.metadata.state.read();
            if !state.topics.contains_key(name) {
                return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into());
            }
            Ok(topic_entries(&state.config(ResourceKind::Topic, name), &settings))
        }
        Some(ResourceKind::Broker) if name.is_empty() => {
            let altered = settings.dynamic(true);
            Ok(broker_entries(&settings, true)
                .into_iter()
                .filter(|entry| altered.contains_key(&entry.name))
                .collect())
        }
        Some(ResourceKind::Broker) if *name == node.id.to_string() => {
            Ok(broker_entries(&settings, false))
        }
        Some(ResourceKind::Broker) => Err(ApiError::new(
            ErrorCode::INVALID_REQUEST,
            format!(
                "Unexpected broker id, expected {} or empty string, but received {name}",
                node.id
            ),
        )),
        None => Err(ApiError::new(
            ErrorCode::INVALID_REQUEST,
            format!("Resources of type {} have no properties here.", resource.resource_type),
        )),
    }
}

/// Returns every property of a topic that has `own` values.
pub(crate) fn topic_entries(own: &BTreeMap<String, String>, settings: &Settings) -> Vec<Entry> {
    TOPIC_PROPERTIES
        .iter()
        .map(|property| {
            let mut synonyms: Vec<(String, Option<String>, Source)> = Vec::new();
            if let Some(value) = own.get(property.name) {
                synonyms.push((property.name.to_owned(), Some(value.clone()), Source::Topic));
            }
            for (synonym, _) in property.synonyms {
                let set = settings.sources(synonym);
                synonyms.extend(set.map(|(source, value)| {
                    ((*synonym).to_owned(), Some(value.to_owned()), source)
                }));
            }
            // By level first, then in the order of the table; sorting is stable.
            synonyms.sort_by_key(|(_, _, source)| *source as i8);
            let source = synonyms.first().map_or(Source::Default, |(_, _, source)| *source);
            // The default shown is that of the broker property that comes first, if it has one.
            if let Some((synonym, _)) = property.synonyms.first()
                && let Some(default) = config::property(synonym).and_then(|known| known.default)
            {
                let value = Some(default.to_owned());
                synonyms.push(((*synonym).to_owned(), value, Source::Default));
            }
            Entry {
                name: property.name.to_owned(),
                value: Some(effective(property.name, own, settings)),
                source,
                read_only: false,
                kind: property.kind,
                doc: property.doc,
                synonyms,
            }
        })
        .collect()
}

fn broker_entries(settings: &Settings, for_all: bool) -> Vec<Entry> {
    let entry = |property: &'static config::Property| {
        let secret = property.kind == Kind::Password;
        let shown = |value: &str| (!secret).then(|| value.to_owned());
        let mut synonyms: Vec<(String, Option<String>, Source)> = settings
            .sources(property.name)
            .filter(|(source, _)| !for_all || *source == Source::DynamicDefault)
            .map(|(source, value)| (property.name.to_owned(), shown(value), source))
            .collect();
        let source = synonyms.first().map_or(Source::Default, |(_, _, source)| *source);
        let in_force = synonyms.first().map(|(_, value, _)| value.clone());
        if !for_all && let Some(default) = property.default {
            synonyms.push((property.name.to_owned(), shown(default), Source::Default));
        }
        Entry {
            name: property.name.to_owned(),
            value: in_force.unwrap_or_else(|| property.default.and_then(shown)),
            source,
            read_only: !property.effect.is_dynamic(),
            kind: property.kind,
            doc: property.doc,
            synonyms,
        }
    };
    properties().map(entry).collect()
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
        is_sensitive: entry.kind == Kind::Password,
        synonyms: synonyms
            .map(|(name, value, source)| DescribeConfigsSynonym {
                name,
                value,
                source: source as i8,
            })
            .collect(),
        config_type: entry.kind.wire_type(),
        documentation: with_docs.then(|| entry.doc.to_owned()),
    }
}
