//! Changes of topics: they are made, get more partitions, and are deleted.
//!
//! One request, to the controller, is about all topics of a call. The functions whose names begin with `validate`
//! send the same with `validate_only`: the broker says what it would answer and does nothing.

use std::collections::BTreeMap;

use kohort_protocol::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use kohort_protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kohort_protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use kohort_protocol::{ErrorCode, Uuid};

use super::changes::{Changes, Rules};
use super::error::{check, unanswered};
use super::topics::topic_named;
use super::{Admin, AdminError, Session};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    name: String,
    partitions: i32,
    replication_factor: i16,
    replicas: Vec<Vec<i32>>,
    configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// Returns a topic with the broker's default number of partitions and replicas.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: -1,
            replication_factor: -1,
            replicas: Vec::new(),
            configs: BTreeMap::new(),
        }
    }

    /// Sets the number of partitions, 1 or more.
    #[must_use]
    pub fn partitions(mut self, count: i32) -> Self {
        self.partitions = count;
        self
    }

    /// Sets the number of replicas, 1 or more.
    #[must_use]
    pub fn replication_factor(mut self, count: i16) -> Self {
        self.replication_factor = count;
        self
    }

    /// Names the brokers that shall have each partition, from partition 0 on, the preferred leader first. It
    /// takes the place of the numbers of partitions and replicas.
    #[must_use]
    pub fn replicas(mut self, of_each: impl IntoIterator<Item = Vec<i32>>) -> Self {
        self.replicas = of_each.into_iter().collect();
        self
    }

    /// Sets a topic config under Kafka's name, such as `retention.ms`.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// A topic that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id, or zero from a broker that tells none (before Kafka 2.8).
    pub topic_id: Uuid,
    /// Its number of partitions, or -1 from a broker that does not tell (before Kafka 2.4).
    pub partitions: i32,
    /// Its number of replicas, or -1 likewise.
    pub replication_factor: i16,
}

/// How many partitions a topic shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPartitions {
    total: i32,
    replicas: Option<Vec<Vec<i32>>>,
}

impl NewPartitions {
    /// Raises the number to `total`; the brokers choose where the new ones go.
    pub fn up_to(total: i32) -> Self {
        Self { total, replicas: None }
    }

    /// Names the brokers that shall have each new partition, the preferred leader first.
    #[must_use]
    pub fn replicas(mut self, of_each_new: impl IntoIterator<Item = Vec<i32>>) -> Self {
        self.replicas = Some(of_each_new.into_iter().collect());
        self
    }
}

impl Admin {
    /// Creates topics, each for itself. Of two with one name the later counts.
    ///
    /// # Errors
    /// `TOPIC_ALREADY_EXISTS`, `INVALID_TOPIC_EXCEPTION`, `INVALID_PARTITIONS`, `INVALID_REPLICATION_FACTOR`,
    /// `INVALID_REPLICA_ASSIGNMENT` and `INVALID_CONFIG` for a topic, as [`AdminError::Refused`]. A topic that exists
    /// may be this call's own, if a connection was lost with the answer: its message says so then. A Kafka
    /// broker that loses its controller asks the next one again as well, and does not say so.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
    ) -> Result<Outcomes<CreatedTopic>, AdminError> {
        self.make_topics(topics, false).await
    }

    /// Asks what [`create_topics`](Self::create_topics) would answer, and creates nothing.
    ///
    /// # Errors
    /// As `create_topics`.
    pub async fn validate_topics(
        &self,
        topics: Vec<NewTopic>,
    ) -> Result<Outcomes<CreatedTopic>, AdminError> {
        self.make_topics(topics, true).await
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// As [`create_topics`](Self::create_topics) for the topic.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic, AdminError> {
        let name = topic.name.clone();
        only(&name, self.create_topics(vec![topic]).await?)
    }

    async fn make_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Result<Outcomes<CreatedTopic>, AdminError> {
        let topics: BTreeMap<String, NewTopic> =
            topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
        let names: Vec<String> = topics.keys().cloned().collect();
        self.change(names, topics_with(ErrorCode::TOPIC_ALREADY_EXISTS), move |session, changes| {
            let wanted = remaining(&changes, &topics);
            async move { session.create_topics(wanted, validate_only, &changes).await }
        })
        .await
    }

    /// Deletes topics, each for itself.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` for a topic that is not there.
    pub async fn delete_topics(&self, names: Vec<String>) -> Result<Outcomes<()>, AdminError> {
        self.change(
            names,
            topics_with(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            |session, changes| async move { session.delete_topics(&changes).await },
        )
        .await
    }

    /// Gives topics more partitions, each for itself.
    ///
    /// # Errors
    /// `INVALID_PARTITIONS` for a topic that has as many already, `INVALID_REPLICA_ASSIGNMENT`,
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    pub async fn create_partitions(
        &self,
        topics: BTreeMap<String, NewPartitions>,
    ) -> Result<Outcomes<()>, AdminError> {
        self.make_partitions(topics, false).await
    }

    /// Asks what [`create_partitions`](Self::create_partitions) would answer, and creates none.
    ///
    /// # Errors
    /// As `create_partitions`.
    pub async fn validate_partitions(
        &self,
        topics: BTreeMap<String, NewPartitions>,
    ) -> Result<Outcomes<()>, AdminError> {
        self.make_partitions(topics, true).await
    }

    /// Raises a topic's number of partitions to `total`.
    ///
    /// # Errors
    /// As [`create_partitions`](Self::create_partitions) for the topic.
    pub async fn create_partitions_of(&self, topic: &str, total: i32) -> Result<(), AdminError> {
        let wanted = BTreeMap::from([(topic.to_owned(), NewPartitions::up_to(total))]);
        only(topic, self.create_partitions(wanted).await?)
    }

    async fn make_partitions(
        &self,
        topics: BTreeMap<String, NewPartitions>,
        validate_only: bool,
    ) -> Result<Outcomes<()>, AdminError> {
        let names: Vec<String> = topics.keys().cloned().collect();
        self.change(names, topics_with(ErrorCode::INVALID_PARTITIONS), move |session, changes| {
            let wanted = remaining(&changes, &topics);
            async move { session.create_partitions(wanted, validate_only, &changes).await }
        })
        .await
    }
}

/// What became of each topic, by name.
type Outcomes<T> = BTreeMap<String, Result<T, AdminError>>;

/// Returns what is wanted of those topics that are still to be asked for.
fn remaining<T, W: Clone>(
    changes: &TopicChanges<T>,
    wanted: &BTreeMap<String, W>,
) -> BTreeMap<String, W> {
    let names = changes.remaining();
    names.into_iter().filter_map(|name| Some((name.clone(), wanted.get(&name)?.clone()))).collect()
}

/// Returns the outcome of the only topic of a call.
fn only<T>(name: &str, mut outcomes: Outcomes<T>) -> Result<T, AdminError> {
    outcomes.remove(name).unwrap_or_else(|| Err(unanswered(topic_named(name))))
}

impl Session {
    async fn create_topics(
        &self,
        topics: BTreeMap<String, NewTopic>,
        validate_only: bool,
        changes: &TopicChanges<CreatedTopic>,
    ) -> Result<(), AdminError> {
        let request = CreateTopicsRequest {
            topics: topics.into_values().map(CreatableTopic::from).collect(),
            timeout_ms: self.broker_timeout_ms(),
            validate_only,
        };
        for topic in self.ask_controller(&request).await?.topics {
            let created = CreatedTopic {
                topic_id: topic.topic_id,
                partitions: topic.num_partitions,
                replication_factor: topic.replication_factor,
            };
            let what = || topic_named(&topic.name);
            let result = check(topic.error_code, topic.error_message, what).map(|()| created);
            changes.note(topic.name, result);
        }
        Ok(())
    }

    async fn delete_topics(&self, changes: &TopicChanges<()>) -> Result<(), AdminError> {
        let names = changes.remaining();
        let state =
            |name: &String| DeleteTopicState { name: Some(name.clone()), ..Default::default() };
        let request = DeleteTopicsRequest {
            topics: names.iter().map(state).collect(),
            topic_names: names,
            timeout_ms: self.broker_timeout_ms(),
        };
        for topic in self.ask_controller(&request).await?.responses {
            let name = topic.name.unwrap_or_default();
            let result = check(topic.error_code, topic.error_message, || topic_named(&name));
            changes.note(name, result);
        }
        Ok(())
    }

    async fn create_partitions(
        &self,
        topics: BTreeMap<String, NewPartitions>,
        validate_only: bool,
        changes: &TopicChanges<()>,
    ) -> Result<(), AdminError> {
        let assignment = |broker_ids| CreatePartitionsAssignment { broker_ids };
        let topic = |(name, wanted): (String, NewPartitions)| CreatePartitionsTopic {
            name,
            count: wanted.total,
            assignments: wanted.replicas.map(|all| all.into_iter().map(assignment).collect()),
        };
        let request = CreatePartitionsRequest {
            topics: topics.into_iter().map(topic).collect(),
            timeout_ms: self.broker_timeout_ms(),
            validate_only,
        };
        for topic in self.ask_controller(&request).await?.results {
            let what = || topic_named(&topic.name);
            let result = check(topic.error_code, topic.error_message, what);
            changes.note(topic.name, result);
        }
        Ok(())
    }
}

impl From<NewTopic> for CreatableTopic {
    fn from(topic: NewTopic) -> Self {
        // Kafka refuses numbers beside named brokers.
        let named = !topic.replicas.is_empty();
        let replicas = |(partition_index, broker_ids)| CreatableReplicaAssignment {
            partition_index,
            broker_ids,
        };
        let config = |(name, value)| CreatableTopicConfig { name, value: Some(value) };
        Self {
            name: topic.name,
            num_partitions: if named { -1 } else { topic.partitions },
            replication_factor: if named { -1 } else { topic.replication_factor },
            assignments: (0..).zip(topic.replicas).map(replicas).collect(),
            configs: topic.configs.into_iter().map(config).collect(),
        }
    }
}

type TopicChanges<T> = Changes<String, T>;

/// A topic that took too long may be there, or gone, all the same: that is told and not tried again, as
/// by Kafka's own client.
const fn topics_with(denial: ErrorCode) -> Rules<String> {
    Rules {
        what: |name| topic_named(name),
        passes: AdminError::was_not_begun,
        denial: Some(denial),
    }
}
