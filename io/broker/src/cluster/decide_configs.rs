//! What a request to change properties leads to: records to append, or why not.

use super::api_error::ApiError;
use super::broker_values;
use super::record::{MetadataRecord, Resource, ResourceKind};
use super::state::ClusterState;
use super::topic_name::check_topic_name;
use crate::config::{
    self, GroupProperty, Kind, Settings, TopicConfig, TopicProperty, check_group_property,
    check_group_values, check_topic_property, list_with,
};
use kohort_protocol::ErrorCode;
use std::collections::BTreeMap;

/// One change of one property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigChange {
    pub(crate) name: String,
    pub(crate) operation: ConfigOperation,
    pub(crate) value: Option<String>,
}

/// What a change does, in the wire's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigOperation {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

impl ConfigOperation {
    pub(crate) fn from_i8(number: i8) -> Option<Self> {
        [Self::Set, Self::Delete, Self::Append, Self::Subtract]
            .into_iter()
            .find(|operation| *operation as i8 == number)
    }
}

/// The longest value of a property, as the log's strings have it.
const CONFIG_VALUE_MAX: usize = i16::MAX as usize;

/// Returns the records that change properties of a resource one by one.
pub(crate) fn alter_configs(
    state: &ClusterState,
    settings: &Settings,
    resource: &Resource,
    changes: &[ConfigChange],
) -> Result<Vec<MetadataRecord>, ApiError> {
    check_name(resource)?;
    let current = state.configs.get(resource);
    let mut records = Vec::new();
    for ConfigChange { name, operation, value } in changes {
        let given = value.as_deref();
        let next = match operation {
            // What has no value stays without one, also under a name nobody knows.
            ConfigOperation::Delete if check_known(resource.kind, name).is_err() => continue,
            ConfigOperation::Delete => None,
            ConfigOperation::Set => Some(given.ok_or_else(|| null_value(name))?.to_owned()),
            ConfigOperation::Append | ConfigOperation::Subtract => {
                let items = given.ok_or_else(|| null_value(name))?;
                let now = list_value(resource.kind, name, *operation, current, settings)?;
                let append = *operation == ConfigOperation::Append;
                let mut next = list_with(&now, items, append);
                if append && items.split(',').any(|item| item.trim().is_empty()) {
                    // Nothing is an item, too, and one that most lists do not take.
                    next.push(',');
                }
                Some(next)
            }
        };
        let next = next.map(|value| check_value(resource, name, &value)).transpose()?;
        let resource = resource.clone();
        records.push(MetadataRecord::Config { resource, name: name.clone(), value: next });
    }
    check_together(resource, current, &records, settings)?;
    check_exists(state, resource)?;
    Ok(records)
}

/// Returns the records that make a resource's properties exactly these.
pub(crate) fn replace_configs(
    state: &ClusterState,
    settings: &Settings,
    resource: &Resource,
    values: &[(String, Option<String>)],
) -> Result<Vec<MetadataRecord>, ApiError> {
    check_name(resource)?;
    let mut next = BTreeMap::new();
    for (name, value) in values {
        let value = value.as_deref().ok_or_else(|| null_value(name))?;
        next.insert(name.clone(), check_value(resource, name, value)?);
    }
    check_values(resource, &next, settings)?;
    check_exists(state, resource)?;
    let current = state.configs.get(resource).into_iter().flat_map(BTreeMap::keys);
    let gone: Vec<String> = current.filter(|name| !next.contains_key(*name)).cloned().collect();
    let records = next.into_iter().map(|(name, value)| (name, Some(value)));
    Ok(records
        .chain(gone.into_iter().map(|name| (name, None)))
        .map(|(name, value)| MetadataRecord::Config { resource: resource.clone(), name, value })
        .collect())
}

fn check_name(resource: &Resource) -> Result<(), ApiError> {
    match resource.kind {
        ResourceKind::Topic => check_topic_name(&resource.name),
        ResourceKind::Group if resource.name.is_empty() => {
            Err(ApiError::new(ErrorCode::INVALID_REQUEST, "name the group"))
        }
        ResourceKind::Broker | ResourceKind::Group => Ok(()),
    }
}

/// Looked at last: of a topic that is missing and a value that is wrong Kafka tells the value.
fn check_exists(state: &ClusterState, resource: &Resource) -> Result<(), ApiError> {
    if resource.kind == ResourceKind::Topic && !state.topics.contains_key(&resource.name) {
        let message = format!("there is no topic `{}`", resource.name);
        return Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
    }
    Ok(())
}

fn check_known(kind: ResourceKind, name: &str) -> Result<(), ApiError> {
    let reason = match kind {
        ResourceKind::Topic if TopicProperty::named(name).is_none() => {
            format!("topics have no property `{name}`")
        }
        ResourceKind::Broker
            if config::property(name).or(config::listener_property(name)).is_none() =>
        {
            config::unknown(name).to_string()
        }
        ResourceKind::Group if GroupProperty::named(name).is_none() => {
            format!("groups have no property `{name}`")
        }
        _ => return Ok(()),
    };
    Err(ApiError::new(ErrorCode::INVALID_CONFIG, reason))
}

fn check_value(resource: &Resource, name: &str, value: &str) -> Result<String, ApiError> {
    let invalid = |reason: String| ApiError::new(ErrorCode::INVALID_CONFIG, reason);
    if value.len() > CONFIG_VALUE_MAX {
        return Err(invalid(format!("{name} is longer than {CONFIG_VALUE_MAX} bytes")));
    }
    match resource.kind {
        ResourceKind::Topic => return check_topic_property(name, value).map_err(invalid),
        ResourceKind::Group => return check_group_property(name, value).map_err(invalid),
        ResourceKind::Broker => {}
    }
    // What is wrong with a broker's property is an invalid request, as in Kafka (KAFKA-13609).
    let refused = |reason: String| ApiError::new(ErrorCode::INVALID_REQUEST, reason);
    let of_listener = config::listener_property(name);
    let Some(property) = config::property(name).or(of_listener) else {
        return Err(invalid(config::unknown(name).to_string()));
    };
    if !property.effect.is_dynamic() {
        return Err(refused(format!("{name} is only read at start")));
    }
    if is_of_one_listener(name) {
        return Err(refused(format!(
            "{name} belongs to a listener: put the listener's prefix before it"
        )));
    }
    let own = match of_listener {
        Some(property) => !LISTENERS_OF_ALL.contains(&property.name),
        None => is_of_one_broker(name),
    };
    if resource.name.is_empty() && own {
        return Err(refused(format!("{name} is each broker's own: name the broker's id")));
    }
    property
        .kind
        .check(value)
        .map_err(|reason| refused(format!("{name} cannot be `{value}`: {reason}")))
}

/// Keys and certificates: Kafka alters them for one listener at a time.
fn is_of_one_listener(name: &str) -> bool {
    ["ssl.keystore.", "ssl.truststore.", "ssl.key.password"].iter().any(|p| name.starts_with(p))
}

/// What may be altered of a listener for all brokers at once: Kafka's `ClusterLevelListenerConfigs`.
const LISTENERS_OF_ALL: &[&str] =
    &["max.connections", "max.connection.creation.rate", "num.network.threads"];

/// What listeners and folders are about differs between brokers.
fn is_of_one_broker(name: &str) -> bool {
    name.starts_with("ssl.")
        || name.starts_with("sasl.")
        || matches!(name, "principal.builder.class" | "cordoned.log.dirs")
}

/// Checks properties of a resource against each other, once `changes` are made to its own.
fn check_together(
    resource: &Resource,
    own: Option<&BTreeMap<String, String>>,
    changes: &[MetadataRecord],
    settings: &Settings,
) -> Result<(), ApiError> {
    let mut own = own.cloned().unwrap_or_default();
    for change in changes {
        let MetadataRecord::Config { name, value, .. } = change else { continue };
        match value {
            Some(value) => drop(own.insert(name.clone(), value.clone())),
            None => drop(own.remove(name)),
        }
    }
    check_values(resource, &own, settings)
}

fn check_values(
    resource: &Resource,
    own: &BTreeMap<String, String>,
    settings: &Settings,
) -> Result<(), ApiError> {
    match resource.kind {
        ResourceKind::Topic => check_topic_values(own, settings),
        ResourceKind::Group => check_group_values(own, settings)
            .map_err(|reason| ApiError::new(ErrorCode::INVALID_CONFIG, reason)),
        ResourceKind::Broker => broker_values::check(own, resource.name.is_empty(), settings),
    }
}

/// Checks a topic's properties against each other.
pub(super) fn check_topic_values(
    own: &BTreeMap<String, String>,
    settings: &Settings,
) -> Result<(), ApiError> {
    let topic = TopicConfig::new(own, settings);
    let (min, max) = (topic.min_compaction_lag_ms, topic.max_compaction_lag_ms);
    if min <= max {
        return Ok(());
    }
    let message = format!("min.compaction.lag.ms ({min}) is above max.compaction.lag.ms ({max})");
    Err(ApiError::new(ErrorCode::INVALID_CONFIG, message))
}

/// Returns the value in force of a list, which is what items are added to and taken from.
fn list_value(
    kind: ResourceKind,
    name: &str,
    operation: ConfigOperation,
    own: Option<&BTreeMap<String, String>>,
    settings: &Settings,
) -> Result<String, ApiError> {
    check_known(kind, name)?;
    let (is_list, value) = match (kind, TopicProperty::named(name), config::property(name)) {
        (ResourceKind::Topic, Some(property), _) => {
            let empty = BTreeMap::new();
            let value = config::effective(name, own.unwrap_or(&empty), settings);
            (matches!(property.kind, Kind::List(_)), value)
        }
        (ResourceKind::Broker, _, Some(property)) => (
            matches!(property.kind, Kind::List(_)),
            settings.value(property).unwrap_or_default().to_owned(),
        ),
        _ => (false, String::new()),
    };
    if is_list {
        return Ok(value);
    }
    let operation = if operation == ConfigOperation::Append { "APPEND" } else { "SUBTRACT" };
    let message = format!("{operation} is for lists, which {name} is not");
    Err(ApiError::new(ErrorCode::INVALID_CONFIG, message))
}

fn null_value(name: &str) -> ApiError {
    ApiError::new(ErrorCode::INVALID_REQUEST, format!("The value of {name} is null."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::decide::{NewTopic, create_topic};
    use kohort_protocol::Uuid;

    fn state_with(name: &str) -> ClusterState {
        let mut state = ClusterState::default();
        let topic = NewTopic::with_defaults(name);
        for record in create_topic(&state, &Settings::default(), 1, &topic, Uuid([1; 16])).unwrap()
        {
            state.apply(&record);
        }
        state
    }

    #[test]
    fn property_of_one_listener_is_altered_as_the_property_is_and_mostly_for_one_broker() {
        let state = ClusterState::default();
        let alter = |broker: &str, name: &str, value: &str| {
            let resource = Resource { kind: ResourceKind::Broker, name: broker.to_owned() };
            let change = ConfigChange {
                name: name.to_owned(),
                operation: ConfigOperation::Set,
                value: Some(value.to_owned()),
            };
            let altered = alter_configs(&state, &Settings::default(), &resource, &[change]);
            altered.map(|records| records.len()).map_err(|error| error.code)
        };
        let (refused, unknown) = (ErrorCode::INVALID_REQUEST, ErrorCode::INVALID_CONFIG);
        assert_eq!(alter("", "listener.name.plaintext.max.connections", "99"), Ok(1));
        assert_eq!(alter("1", "listener.name.plaintext.max.connections", "99"), Ok(1));
        assert_eq!(alter("1", "listener.name.plaintext.ssl.keystore.location", "f"), Ok(1));
        assert_eq!(alter("", "listener.name.x.ssl.keystore.location", "f"), Err(refused));
        assert_eq!(alter("1", "ssl.keystore.location", "f"), Err(refused));
        assert_eq!(alter("1", "listener.name.plaintext.max.connections", "x"), Err(refused));
        assert_eq!(alter("1", "listener.name.plaintext.log.dirs", "d"), Err(refused));
        assert_eq!(alter("1", "listener.name.plaintext.nonsense", "1"), Err(unknown));
        assert_eq!(alter("1", "listener.name.max", "1"), Err(unknown));
    }

    #[test]
    fn lists_can_be_appended_to_and_scalars_cannot() {
        let state = state_with("t");
        let resource = Resource { kind: ResourceKind::Topic, name: "t".to_owned() };
        let change = |name: &str, operation, value: &str| ConfigChange {
            name: name.to_owned(),
            operation,
            value: Some(value.to_owned()),
        };
        let settings = Settings::default();
        let append = [change("cleanup.policy", ConfigOperation::Append, "compact")];
        assert_eq!(
            alter_configs(&state, &settings, &resource, &append),
            Ok(vec![MetadataRecord::Config {
                resource: resource.clone(),
                name: "cleanup.policy".to_owned(),
                value: Some("delete,compact".to_owned()),
            }])
        );
        for bad in [
            change("cleanup.policy", ConfigOperation::Append, ""),
            change("retention.ms", ConfigOperation::Append, "1"),
            change("retention.ms", ConfigOperation::Set, "x"),
            change("nonsense", ConfigOperation::Set, "1"),
        ] {
            let error = alter_configs(&state, &settings, &resource, &[bad]).unwrap_err();
            assert_eq!(error.code, ErrorCode::INVALID_CONFIG);
        }
    }

    #[test]
    fn of_what_nobody_knows_nothing_is_deleted_and_nothing_is_added_to() {
        let state = state_with("t");
        let alter = |kind, name: &str, property: &str, operation| {
            let resource = Resource { kind, name: name.to_owned() };
            let value = (operation != ConfigOperation::Delete).then(|| "x".to_owned());
            let change = ConfigChange { name: property.to_owned(), operation, value };
            let altered = alter_configs(&state, &Settings::default(), &resource, &[change]);
            altered.map(|records| records.len()).map_err(|error| error.code)
        };
        for (kind, name, known) in [
            (ResourceKind::Topic, "t", "retention.ms"),
            (ResourceKind::Broker, "1", "message.max.bytes"),
            (ResourceKind::Group, "g", "consumer.session.timeout.ms"),
        ] {
            assert_eq!(alter(kind, name, known, ConfigOperation::Delete), Ok(1), "{known}");
            assert_eq!(alter(kind, name, "nonsense", ConfigOperation::Delete), Ok(0), "{known}");
            for property in ["nonsense", known] {
                let altered = alter(kind, name, property, ConfigOperation::Append);
                assert_eq!(altered, Err(ErrorCode::INVALID_CONFIG), "{property} of {known}");
            }
        }
    }

    #[test]
    fn a_value_that_no_log_could_hold_is_refused() {
        let resource = Resource { kind: ResourceKind::Topic, name: "t".to_owned() };
        let replace = |replicas: i32| {
            let all: Vec<String> = (0..replicas).map(|index| format!("{index:04}:1")).collect();
            let values =
                [("leader.replication.throttled.replicas".to_owned(), Some(all.join(",")))];
            let state = state_with("t");
            let replaced = replace_configs(&state, &Settings::default(), &resource, &values);
            replaced.map(|records| records.len()).map_err(|error| error.code)
        };
        // Seven bytes for each of them but the last.
        assert_eq!(replace(4681), Ok(1));
        assert_eq!(replace(4682), Err(ErrorCode::INVALID_CONFIG));
    }

    #[test]
    fn a_group_s_properties_are_checked_against_the_broker_s_bounds() {
        let (state, settings) = (ClusterState::default(), Settings::default());
        let resource = Resource { kind: ResourceKind::Group, name: "g".to_owned() };
        let alter = |resource: &Resource, name: &str, value: &str| {
            let change = ConfigChange {
                name: name.to_owned(),
                operation: ConfigOperation::Set,
                value: Some(value.to_owned()),
            };
            alter_configs(&state, &settings, resource, &[change])
        };
        let records = alter(&resource, "consumer.session.timeout.ms", "50000").unwrap();
        assert_eq!(records.len(), 1);
        for (name, value) in [
            ("consumer.session.timeout.ms", "1000"),
            ("consumer.heartbeat.interval.ms", "20000"),
            ("consumer.heartbeat.interval.ms", "x"),
            ("retention.ms", "1"),
        ] {
            let error = alter(&resource, name, value).unwrap_err();
            assert_eq!(error.code, ErrorCode::INVALID_CONFIG, "{name}={value}");
        }
        let nobody = Resource { kind: ResourceKind::Group, name: String::new() };
        let error = alter(&nobody, "consumer.session.timeout.ms", "50000").unwrap_err();
        assert_eq!(error.code, ErrorCode::INVALID_REQUEST);
    }

    #[test]
    fn replacing_properties_drops_those_not_named() {
        let mut state = state_with("t");
        let resource = Resource { kind: ResourceKind::Topic, name: "t".to_owned() };
        let pair = |name: &str| (name.to_owned(), Some("5".to_owned()));
        for name in ["retention.ms", "segment.ms"] {
            for record in
                replace_configs(&state, &Settings::default(), &resource, &[pair(name)]).unwrap()
            {
                state.apply(&record);
            }
        }
        let config = state.config(ResourceKind::Topic, "t");
        assert_eq!(config.keys().collect::<Vec<_>>(), ["segment.ms"]);
    }
}
