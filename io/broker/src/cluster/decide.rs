//! What a request to change the metadata leads to: records to append, or why not.
//!
//! Nothing here changes anything: the controller appends what is returned and replays it once it
//! is durable.

use super::api_error::ApiError;
use super::decide_configs::check_topic_values;
use super::record::{MetadataRecord, Resource, ResourceKind};
use super::state::ClusterState;
use super::topic_name::check_topic_name;
use crate::config::{Settings, check_topic_property};
use kohort_protocol::{ErrorCode, Uuid};
use std::collections::BTreeMap;

/// A topic somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    /// -1 leaves it to the broker.
    pub(crate) partitions: i32,
    /// -1 leaves it to the broker.
    pub(crate) replication_factor: i16,
    /// Which brokers are to hold which partition; empty leaves it to the broker.
    pub(crate) assignments: Vec<(i32, Vec<i32>)>,
    pub(crate) configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic as the broker makes it when its creator says nothing.
    pub(crate) fn with_defaults(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            partitions: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }
}

/// The most partitions one request may add, as in Kafka: each costs memory and files for good.
const PARTITIONS_PER_REQUEST: i32 = 10_000;
/// The most records one request may add to the metadata's log, as in Kafka, where a request is one
/// batch: so a topic of its own of ten thousand partitions is one record too many.
const RECORDS_PER_REQUEST: usize = 10_000;
/// What tools take for the log of metadata, which is no topic.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Refuses a request whose topics would have too many partitions together, whatever else is wrong
/// with them.
pub(crate) fn check_partitions_in_all(
    settings: &Settings,
    topics: &[NewTopic],
) -> Result<(), ApiError> {
    let wanted = |topic: &NewTopic| match topic.partitions {
        _ if !topic.assignments.is_empty() => topic.assignments.len() as i64,
        -1 => i64::from(settings.typed().num_partitions),
        given => i64::from(given.max(0)),
    };
    let all: i64 = topics.iter().map(wanted).sum();
    check_partition_count(i32::try_from(all).unwrap_or(i32::MAX))
}

/// Refuses a request that would add too many records.
pub(crate) fn check_record_count(records: usize) -> Result<(), ApiError> {
    if records > RECORDS_PER_REQUEST {
        let message = format!(
            "it takes {records} records of metadata, and one request may add {RECORDS_PER_REQUEST}"
        );
        return Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message));
    }
    Ok(())
}

/// Returns the records that create a topic.
pub(crate) fn create_topic(
    state: &ClusterState,
    settings: &Settings,
    node_id: i32,
    topic: &NewTopic,
    id: Uuid,
) -> Result<Vec<MetadataRecord>, ApiError> {
    check_topic_name(&topic.name)?;
    if topic.name == METADATA_TOPIC {
        let message = format!("`{METADATA_TOPIC}` is the name of Kafka's own log of metadata");
        return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
    }
    if state.topics.contains_key(&topic.name) {
        let message = format!("the topic `{}` exists already", topic.name);
        return Err(ApiError::new(ErrorCode::TOPIC_ALREADY_EXISTS, message));
    }
    if let Some(other) = state.topic_with_the_metrics_of(&topic.name) {
        let message =
            format!("`{}` and the topic `{other}` would have the same name in metrics", topic.name);
        return Err(ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
    }
    let partitions = partitions_of_new_topic(settings, node_id, topic)?;
    let mut records = vec![MetadataRecord::Topic { name: topic.name.clone(), id }];
    let mut own = BTreeMap::new();
    for (name, value) in &topic.configs {
        let Some(value) = value else {
            let message = format!("`{name}` is null: leave it out to have the default");
            return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
        };
        let value = check_topic_property(name, value)
            .map_err(|reason| ApiError::new(ErrorCode::INVALID_CONFIG, reason))?;
        let resource = Resource { kind: ResourceKind::Topic, name: topic.name.clone() };
        own.insert(name.clone(), value.clone());
        records.push(MetadataRecord::Config { resource, name: name.clone(), value: Some(value) });
    }
    check_topic_values(&own, settings)?;
    records.extend(new_partitions(id, node_id, 0..partitions));
    Ok(records)
}

/// Returns the records that delete a topic.
pub(crate) fn delete_topic(
    state: &ClusterState,
    enabled: bool,
    id: Uuid,
) -> Result<Vec<MetadataRecord>, ApiError> {
    if !enabled {
        return Err(ApiError::new(
            ErrorCode::TOPIC_DELETION_DISABLED,
            "delete.topic.enable is false on this broker",
        ));
    }
    match state.topic_name(id) {
        Some(_) => Ok(vec![MetadataRecord::RemoveTopic { id }]),
        None => Err(ErrorCode::UNKNOWN_TOPIC_ID.into()),
    }
}

/// Returns the records that give a topic `count` partitions in all.
pub(crate) fn add_partitions(
    state: &ClusterState,
    node_id: i32,
    name: &str,
    count: i32,
    assignments: Option<&[Vec<i32>]>,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let topic = state.topics.get(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let have = topic.leader_epochs.len() as i32;
    if count == have {
        let message = format!("it has {have} partitions already");
        return Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
    }
    if count < have {
        let message = format!(
            "`{name}` has {have} partitions, and their number can only grow: {count} is fewer"
        );
        return Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
    }
    check_partition_count(count - have)?;
    if let Some(assignments) = assignments {
        if assignments.len() as i32 != count - have {
            let message = format!(
                "{} partitions are to be added, but {} are assigned",
                count - have,
                assignments.len()
            );
            return Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        }
        assignments.iter().try_for_each(|brokers| check_assignment(node_id, brokers))?;
    }
    Ok(new_partitions(topic.id, node_id, have..count).collect())
}

fn partitions_of_new_topic(
    settings: &Settings,
    node_id: i32,
    topic: &NewTopic,
) -> Result<i32, ApiError> {
    if !topic.assignments.is_empty() {
        for (given, what) in [
            (i32::from(topic.replication_factor), "replication factor"),
            (topic.partitions, "numPartitions"),
        ] {
            if given != -1 {
                let message = format!("with an assignment of replicas {what} must be -1");
                return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
            }
        }
        let refused = |message| ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message);
        let mut indexes: Vec<i32> = topic.assignments.iter().map(|(index, _)| *index).collect();
        indexes.sort_unstable();
        if let Some([twice, _]) = indexes.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(refused(format!("partition {twice} is assigned twice")));
        }
        if indexes.iter().zip(0..).any(|(index, place)| *index != place) {
            return Err(refused(
                "the assigned partitions must be 0, 1, 2 and so on, none left out".to_owned(),
            ));
        }
        topic.assignments.iter().try_for_each(|(_, brokers)| check_assignment(node_id, brokers))?;
        check_partition_count(indexes.len() as i32)?;
        return Ok(indexes.len() as i32);
    }
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return Err(ApiError::new(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "the replication factor must be 1, or -1 for the default",
        ));
    }
    if topic.partitions < -1 || topic.partitions == 0 {
        return Err(ApiError::new(
            ErrorCode::INVALID_PARTITIONS,
            "a topic needs at least one partition, or -1 for the default number",
        ));
    }
    if topic.replication_factor > 1 {
        let message =
            format!("{} replicas cannot be had: this is the only broker", topic.replication_factor);
        return Err(ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
    }
    let partitions = match topic.partitions {
        -1 => settings.typed().num_partitions,
        given => given,
    };
    check_partition_count(partitions)?;
    Ok(partitions)
}

fn check_partition_count(added: i32) -> Result<(), ApiError> {
    if added > PARTITIONS_PER_REQUEST {
        let message = format!("one request may add at most {PARTITIONS_PER_REQUEST} partitions");
        return Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message));
    }
    Ok(())
}

/// Checks where somebody wants a partition: this broker is the only place.
pub(crate) fn check_assignment(node_id: i32, brokers: &[i32]) -> Result<(), ApiError> {
    let what = if brokers.is_empty() {
        "no replica for a partition".to_owned()
    } else if let Some(other) = brokers.iter().filter(|broker| **broker != node_id).min() {
        format!("broker {other}, which does not exist")
    } else if brokers.len() > 1 {
        format!("the broker {node_id} more than once")
    } else {
        return Ok(());
    };
    let message = format!("the assignment names {what}");
    Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message))
}

fn new_partitions(
    topic_id: Uuid,
    leader: i32,
    indexes: std::ops::Range<i32>,
) -> impl Iterator<Item = MetadataRecord> {
    indexes.map(move |index| MetadataRecord::Partition { topic_id, index, leader, leader_epoch: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_with(names: &[&str]) -> ClusterState {
        let mut state = ClusterState::default();
        for (number, name) in names.iter().enumerate() {
            let topic = NewTopic::with_defaults(name);
            let id = Uuid([number as u8 + 1; 16]);
            for record in create_topic(&state, &Settings::default(), 1, &topic, id).unwrap() {
                state.apply(&record);
            }
        }
        state
    }

    fn refusal(state: &ClusterState, topic: &NewTopic) -> ErrorCode {
        create_topic(state, &Settings::default(), 1, topic, Uuid([9; 16])).unwrap_err().code
    }

    #[test]
    fn bad_topic_names_are_refused() {
        for name in ["", ".", "..", "a b", "ü", &"x".repeat(250)] {
            assert_eq!(
                check_topic_name(name).unwrap_err().code,
                ErrorCode::INVALID_TOPIC_EXCEPTION
            );
        }
        assert!(check_topic_name(&"x".repeat(249)).is_ok());
    }

    #[test]
    fn topics_are_refused_for_kafkas_reasons() {
        let state = state_with(&["a.b"]);
        let topic = NewTopic::with_defaults("t");
        assert_eq!(
            refusal(&state, &NewTopic::with_defaults("a.b")),
            ErrorCode::TOPIC_ALREADY_EXISTS
        );
        assert_eq!(
            refusal(&state, &NewTopic::with_defaults("a_b")),
            ErrorCode::INVALID_TOPIC_EXCEPTION
        );
        let changed = |change: fn(&mut NewTopic)| {
            let mut topic = topic.clone();
            change(&mut topic);
            topic
        };
        for (topic, code) in [
            (changed(|t| t.name = METADATA_TOPIC.to_owned()), ErrorCode::INVALID_REQUEST),
            (changed(|t| t.partitions = 0), ErrorCode::INVALID_PARTITIONS),
            (changed(|t| t.partitions = i32::MAX), ErrorCode::POLICY_VIOLATION),
            (changed(|t| t.replication_factor = 0), ErrorCode::INVALID_REPLICATION_FACTOR),
            (changed(|t| t.replication_factor = 2), ErrorCode::INVALID_REPLICATION_FACTOR),
            (
                changed(|t| t.assignments = vec![(1, vec![1])]),
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            ),
            (
                changed(|t| t.assignments = vec![(0, vec![2])]),
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            ),
            (
                changed(|t| t.configs = vec![("x".into(), Some("1".into()))]),
                ErrorCode::INVALID_CONFIG,
            ),
            (
                changed(|t| t.configs = vec![("retention.ms".into(), None)]),
                ErrorCode::INVALID_CONFIG,
            ),
        ] {
            assert_eq!(refusal(&state, &topic), code, "{topic:?}");
        }
    }

    #[test]
    fn the_partitions_of_a_request_are_counted_over_its_topics() {
        let wanting = |partitions| NewTopic { partitions, ..NewTopic::with_defaults("t") };
        let assigned = NewTopic {
            assignments: (0..4000).map(|index| (index, vec![1])).collect(),
            ..NewTopic::with_defaults("t")
        };
        let check = |topics: &[NewTopic]| {
            check_partitions_in_all(&Settings::default(), topics).map_err(|error| error.code)
        };
        assert_eq!(check(&[wanting(6000), assigned.clone()]), Ok(()));
        let refused = Err(ErrorCode::POLICY_VIOLATION);
        assert_eq!(check(&[wanting(6000), wanting(-1), assigned]), refused);
        assert_eq!(check(&[wanting(i32::MAX), wanting(i32::MAX), wanting(2)]), refused);
        assert_eq!(check(&[wanting(10_000), wanting(i32::MIN)]), Ok(()));
    }

    #[test]
    fn partitions_only_grow() {
        let mut state = state_with(&["t"]);
        assert_eq!(
            add_partitions(&state, 1, "t", 1, None).unwrap_err().code,
            ErrorCode::INVALID_PARTITIONS
        );
        for record in add_partitions(&state, 1, "t", 3, None).unwrap() {
            state.apply(&record);
        }
        assert_eq!(state.topics["t"].leader_epochs, [0, 0, 0]);
        assert_eq!(
            add_partitions(&state, 1, "t", 2, None).unwrap_err().code,
            ErrorCode::INVALID_PARTITIONS
        );
        assert_eq!(
            add_partitions(&state, 1, "x", 2, None).unwrap_err().code,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        );
    }

    #[test]
    fn an_assignment_names_this_broker_once_for_each_partition_that_is_to_be() {
        let state = state_with(&["t"]);
        let grown = |assigned: &[&[i32]]| {
            let assigned: Vec<Vec<i32>> = assigned.iter().map(|brokers| brokers.to_vec()).collect();
            let records = add_partitions(&state, 1, "t", 3, Some(&assigned));
            records.map(|records| records.len()).map_err(|error| error.code)
        };
        let refused = Err(ErrorCode::INVALID_REPLICA_ASSIGNMENT);
        assert_eq!(grown(&[&[1], &[1]]), Ok(2));
        for wrong in [&[&[1][..]][..], &[&[1], &[1], &[1]], &[&[1], &[2]], &[&[1], &[1, 1]]] {
            assert_eq!(grown(wrong), refused, "{wrong:?}");
        }
        let created = |indexes: &[i32], partitions| {
            let assignments = indexes.iter().map(|index| (*index, vec![1])).collect();
            let topic = NewTopic { partitions, assignments, ..NewTopic::with_defaults("new") };
            let records = create_topic(&state, &Settings::default(), 1, &topic, Uuid([9; 16]));
            // The topic's own record comes first.
            records.map(|records| records.len() - 1).map_err(|error| error.code)
        };
        assert_eq!(created(&[1, 0], -1), Ok(2));
        assert_eq!(created(&[0, 0], -1), refused);
        assert_eq!(created(&[0, 2], -1), refused);
        assert_eq!(created(&[0, 1], 2), Err(ErrorCode::INVALID_REQUEST));
    }
}
