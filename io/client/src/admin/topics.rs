//! Which topics there are, and the cluster itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_client_core::metadata::{Broker, MetadataScope, MetadataView, TopicView};
use kohort_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use kohort_protocol::{ErrorCode, Uuid};

use super::error::{check, unanswered};
use super::{Admin, AdminError, Session};

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
    /// Lists all topics by name, the broker's own among them.
    ///
    /// # Errors
    /// Only if no broker can be asked.
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
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` for a topic that is not there.
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
    ///
    /// # Errors
    /// Only if no broker can be asked.
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

pub(super) fn topic_named(name: &str) -> String {
    format!("topic `{name}`")
}
