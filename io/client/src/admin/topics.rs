//! Topics and the cluster itself.

use std::collections::BTreeMap;
use std::future::Future;
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

use super::changes::{Changes, Rules};
use super::error::{check, unanswered};
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
        let name = topic.name.clone();
        self.change_topic(name, move |session, changes| {
            let topic = topic.clone();
            async move { session.create_topic(topic, &changes).await }
        })
        .await
    }

    /// Deletes topics, each for itself.
    pub async fn delete_topics(
        &self,
        names: Vec<String>,
    ) -> Result<BTreeMap<String, Result<(), AdminError>>, AdminError> {
        self.change(names, TOPICS, |session, changes| async move {
            session.delete_topics(&changes).await
        })
        .await
    }

    /// Raises a topic's number of partitions to `total`.
    ///
    /// # Errors
    /// `INVALID_PARTITIONS` if it has as many already.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), AdminError> {
        let topic = topic.to_owned();
        self.change_topic(topic.clone(), move |session, changes| {
            let topic = topic.clone();
            async move { session.create_partitions(topic, total, &changes).await }
        })
        .await
    }

    /// Has one topic changed.
    async fn change_topic<T, F, A>(&self, name: String, attempt: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: Fn(Session, Arc<TopicChanges<T>>) -> A + Send + 'static,
        A: Future<Output = Result<(), AdminError>> + Send + 'static,
    {
        let mut done = self.change([name.clone()], TOPICS, attempt).await?;
        done.remove(&name).unwrap_or_else(|| Err(unanswered(topic_named(&name))))
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
            let what = || topic_named(&name);
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
    async fn create_topic(
        &self,
        topic: NewTopic,
        changes: &TopicChanges<CreatedTopic>,
    ) -> Result<(), AdminError> {
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
        for topic in self.ask_controller(&request).await?.topics {
            let created =
                CreatedTopic { topic_id: topic.topic_id, partitions: topic.num_partitions };
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
        name: String,
        count: i32,
        changes: &TopicChanges<()>,
    ) -> Result<(), AdminError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name, count, assignments: None }],
            timeout_ms: self.broker_timeout_ms(),
            validate_only: false,
        };
        for topic in self.ask_controller(&request).await?.results {
            let what = || topic_named(&topic.name);
            let result = check(topic.error_code, topic.error_message, what);
            changes.note(topic.name, result);
        }
        Ok(())
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
        let connection = self.cluster.any_connection().await?;
        let version = connection.version::<MetadataRequest>()?;
        let answer = connection.send(&request).await?;
        check(answer.error_code, None, || "the cluster's metadata".to_owned())?;
        let scope = MetadataScope::SomeTopics;
        let (view, errors) = MetadataView::default().merge(&answer, version, scope);
        let errors = errors.topics.into_iter().map(|(name, code)| (name.to_string(), code));
        Ok((view, errors.collect()))
    }
}

type TopicChanges<T> = Changes<String, T>;

/// A topic that took too long may be there, or gone, all the same: that is told and not tried again, as
/// by Kafka's own client.
const TOPICS: Rules<String> =
    Rules { what: |name| topic_named(name), passes: AdminError::was_not_begun };

fn topic_named(name: &str) -> String {
    format!("topic `{name}`")
}
