//! Topics and the cluster itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_client_core::metadata::{Broker, MetadataScope, MetadataView, TopicView};
use kohort_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use kohort_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kohort_protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use kohort_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use kohort_protocol::{ErrorCode, Uuid};

use super::error::check;
use super::{Admin, AdminError, Session};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    name: String,
    partitions: i32,
    replication_factor: i16,
    configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// Returns a topic with the broker's default number of partitions and replicas.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), partitions: -1, replication_factor: -1, configs: BTreeMap::new() }
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
    /// Its number of partitions, or -1 from a broker that does not tell.
    pub partitions: i32,
}

/// A topic in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicListing {
    /// Its name.
    pub name: String,
    /// Its id, or zero from a broker that tells none.
    pub topic_id: Uuid,
    /// Whether the broker keeps its own state in it.
    pub internal: bool,
    /// Its number of partitions.
    pub partitions: usize,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id, if it has one.
    pub cluster_id: Option<String>,
    /// The node it names as its controller, or -1.
    pub controller_id: i32,
    /// Its brokers, by id.
    pub brokers: Vec<Broker>,
}

impl Admin {
    /// Creates a topic.
    ///
    /// # Errors
    /// `TOPIC_ALREADY_EXISTS`, `INVALID_TOPIC_EXCEPTION`, `INVALID_PARTITIONS`,
    /// `INVALID_REPLICATION_FACTOR` and `INVALID_CONFIG` as [`AdminError::Refused`].
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic, AdminError> {
        self.run(move |session| {
            let topic = topic.clone();
            async move { session.create_topic(topic).await }
        })
        .await
    }

    /// Deletes topics, each for itself.
    pub async fn delete_topics(
        &self,
        names: Vec<String>,
    ) -> Result<BTreeMap<String, Result<(), AdminError>>, AdminError> {
        self.run(move |session| {
            let names = names.clone();
            async move { session.delete_topics(names).await }
        })
        .await
    }

    /// Raises a topic's number of partitions to `total`.
    ///
    /// # Errors
    /// `INVALID_PARTITIONS` if it has as many already.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), AdminError> {
        let topic = topic.to_owned();
        self.run(move |session| {
            let topic = topic.clone();
            async move { session.create_partitions(topic, total).await }
        })
        .await
    }

    /// Lists all topics by name, the broker's own among them.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, AdminError> {
        let view = self.run(|session| async move { session.metadata(None).await }).await?.0;
        let listing = |topic: &Arc<TopicView>| TopicListing {
            name: topic.name.to_string(),
            topic_id: topic.id,
            internal: topic.internal,
            partitions: topic.partitions.len(),
        };
        Ok(view.topics().map(listing).collect())
    }

    /// Describes topics, each for itself.
    pub async fn describe_topics(
        &self,
        names: Vec<String>,
    ) -> Result<BTreeMap<String, Result<Arc<TopicView>, AdminError>>, AdminError> {
        let wanted = names.clone();
        let (view, errors) = self
            .run(move |session| {
                let names = wanted.clone();
                async move { session.metadata(Some(names)).await }
            })
            .await?;
        let describe = |name: String| {
            let what = || format!("topic `{name}`");
            let result = match (errors.get(&name), view.topic(&name)) {
                (Some(code), _) => check(*code, None, what).and(Err(unanswered(what()))),
                (None, Some(topic)) => Ok(topic.clone()),
                (None, None) => Err(unanswered(what())),
            };
            (name, result)
        };
        Ok(names.into_iter().map(describe).collect())
    }

    /// Describes the cluster.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        let names = Some(Vec::new());
        let (view, _) = self
            .run(move |session| {
                let names = names.clone();
                async move { session.metadata(names).await }
            })
            .await?;
        Ok(ClusterDescription {
            cluster_id: view.cluster_id.clone(),
            controller_id: view.controller_id,
            brokers: view.brokers().cloned().collect(),
        })
    }
}

impl Session {
    async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic, AdminError> {
        let what = format!("topic `{}`", topic.name);
        let config = |(name, value)| CreatableTopicConfig { name, value: Some(value) };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name,
                num_partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                configs: topic.configs.into_iter().map(config).collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: self.broker_timeout_ms(),
            validate_only: false,
        };
        let mut answer = self.ask_any(&request).await?;
        let result = answer.topics.pop().ok_or_else(|| unanswered(what.clone()))?;
        check(result.error_code, result.error_message, || what)?;
        Ok(CreatedTopic { topic_id: result.topic_id, partitions: result.num_partitions })
    }

    async fn delete_topics(
        &self,
        names: Vec<String>,
    ) -> Result<BTreeMap<String, Result<(), AdminError>>, AdminError> {
        let state =
            |name: &String| DeleteTopicState { name: Some(name.clone()), ..Default::default() };
        let request = DeleteTopicsRequest {
            topics: names.iter().map(state).collect(),
            topic_names: names.clone(),
            timeout_ms: self.broker_timeout_ms(),
        };
        let answer = self.ask_any(&request).await?;
        let mut results: BTreeMap<String, Result<(), AdminError>> = names
            .into_iter()
            .map(|name| {
                let missing = unanswered(format!("topic `{name}`"));
                (name, Err(missing))
            })
            .collect();
        for topic in answer.responses {
            let name = topic.name.unwrap_or_default();
            let result = check(topic.error_code, topic.error_message, || format!("topic `{name}`"));
            results.insert(name, result);
        }
        Ok(results)
    }

    async fn create_partitions(&self, topic: String, total: i32) -> Result<(), AdminError> {
        let what = format!("topic `{topic}`");
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: topic, count: total, assignments: None }],
            timeout_ms: self.broker_timeout_ms(),
            validate_only: false,
        };
        let mut answer = self.ask_any(&request).await?;
        let result = answer.results.pop().ok_or_else(|| unanswered(what.clone()))?;
        check(result.error_code, result.error_message, || what)
    }

    /// Asks for metadata of all topics (`None`) or of some; never creates one.
    pub(super) async fn metadata(
        &self,
        names: Option<Vec<String>>,
    ) -> Result<(MetadataView, BTreeMap<String, ErrorCode>), AdminError> {
        let topic = |name| MetadataRequestTopic { name: Some(name), ..Default::default() };
        let request = MetadataRequest {
            topics: names.map(|names| names.into_iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer = self.ask_any(&request).await?;
        check(answer.error_code, None, || "the cluster's metadata".to_owned())?;
        let (view, errors) = MetadataView::default().merge(&answer, MetadataScope::SomeTopics);
        let errors = errors.topics.into_iter().map(|(name, code)| (name.to_string(), code));
        Ok((view, errors.collect()))
    }
}

pub(super) fn unanswered(what: String) -> AdminError {
    AdminError::Unanswered { what }
}
