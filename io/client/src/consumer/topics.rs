//! Which topics there are, and what partitions: as the brokers say when asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_client_core::metadata::{MetadataScope, MetadataView, PartitionView, TopicView};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::metadata::MetadataRequest;

use super::{Consumer, ConsumerError};
use crate::cluster::{Cluster, ClusterError};

impl Consumer {
    /// Returns the partitions of a topic, subscribed to or not; none if there is no such topic, which
    /// asking may create (`allow.auto.create.topics`). Tried again until `default.api.timeout.ms` is over.
    ///
    /// ```no_run
    /// # async fn f(consumer: &kohort::consumer::Consumer) -> Result<(), Box<dyn std::error::Error>> {
    /// use kohort::TopicPartition;
    ///
    /// let partitions = consumer.partitions_for("orders").await?;
    /// let all = partitions.iter().map(|it| TopicPartition::new("orders", it.index));
    /// consumer.assign(all).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ConsumerError::Topic`] for a topic that this client may not describe, [`ConsumerError::Cluster`] for a
    /// cluster that refuses it, [`ConsumerError::TimedOut`] for what does not pass in time.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionView>, ConsumerError> {
        let (cluster, topic) = (self.cluster.clone(), Arc::from(topic));
        self.retry(move || partitions_for(cluster.clone(), Arc::clone(&topic))).await
    }

    /// Returns the partitions of every topic that this client may describe, the broker's own included.
    /// Tried again until `default.api.timeout.ms` is over.
    ///
    /// # Errors
    /// As [`partitions_for`](Self::partitions_for), but for the topic.
    pub async fn list_topics(
        &self,
    ) -> Result<BTreeMap<Arc<str>, Vec<PartitionView>>, ConsumerError> {
        let cluster = self.cluster.clone();
        self.retry(move || list_topics(cluster.clone())).await
    }
}

async fn partitions_for(
    cluster: Cluster,
    topic: Arc<str>,
) -> Result<Vec<PartitionView>, ConsumerError> {
    // Followed for the moment, so that the answer has it.
    let _held = cluster.hold_topics(BTreeSet::from([topic.clone()]));
    let view = cluster.refresh().await?;
    match (view.topic(&topic), cluster.topic_error(&topic)) {
        (Some(known), _) => Ok(known.partitions.clone()),
        (None, None | Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)) => Ok(Vec::new()),
        (None, Some(code)) => Err(ConsumerError::Topic { topic, code }),
    }
}

async fn list_topics(
    cluster: Cluster,
) -> Result<BTreeMap<Arc<str>, Vec<PartitionView>>, ConsumerError> {
    let connection = cluster.any_connection().await?;
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let version = connection.version::<MetadataRequest>().map_err(ClusterError::from)?;
    let answer = connection.send(&request).await.map_err(ClusterError::from)?;
    if !answer.error_code.is_ok() {
        let (what, code) = ("the cluster's metadata".to_owned(), answer.error_code);
        return Err(ClusterError::Refused { what, code, message: None }.into());
    }
    let (view, _) = MetadataView::default().merge(&answer, version, MetadataScope::AllTopics);
    let partitions = |topic: &Arc<TopicView>| (topic.name.clone(), topic.partitions.clone());
    Ok(view.topics().map(partitions).collect())
}
