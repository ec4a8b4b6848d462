//! One attempt at a new picture: whom to ask, and what the answer changes.

use std::sync::Arc;
use std::time::Duration;

use kohort_client_core::metadata::{Broker, MetadataScope, Topics};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use tokio::time::Instant;

use super::{Refresher, bootstrap_view};
use crate::cluster::error::ClusterError;
use crate::cluster::failures::Failures;
use crate::config::RecoveryStrategy;
use crate::net::{BrokerConnection, NetError, Purpose};

impl Refresher {
    pub(in crate::cluster) async fn any_connection(
        &self,
    ) -> Result<BrokerConnection, ClusterError> {
        let mut failed = Failures::default();
        for broker in self.candidates() {
            match self.pool.connection(&broker, Purpose::General).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed.note(error),
            }
        }
        self.request(false);
        Err(failed.error().unwrap_or_else(|| self.no_answer()))
    }

    /// The nodes to try: connected ones first, then those whose back-off is shortest, and among
    /// equals by chance, so that clients spread.
    fn candidates(&self) -> Vec<Broker> {
        let view = self.view();
        let mut wanted = self.wanted.lock();
        let mut ranked: Vec<(bool, Duration, u64, &Broker)> = view
            .brokers()
            .map(|broker| {
                let connected = self.pool.existing(broker, Purpose::General).is_some();
                let wait = self.pool.wait(broker.id, Purpose::General);
                (!connected, wait, wanted.jitter.next_u64(), broker)
            })
            .collect();
        ranked.sort();
        ranked.into_iter().map(|(_, _, _, broker)| broker.clone()).collect()
    }

    /// Asks one node after the other until one answers; `true` if the answer leaves nothing to
    /// ask again about.
    ///
    /// It starts over from the bootstrap servers when no known node can be reached (KIP-899), when
    /// none of them has answered by `trigger`, and when one says so itself (KIP-1102).
    pub(super) async fn attempt(
        &self,
        topics: &Topics,
        trigger: Instant,
    ) -> Result<bool, ClusterError> {
        let rebootstraps = self.recovery == RecoveryStrategy::Rebootstrap;
        let mut failed = Failures::default();
        let mut candidates = self.candidates();
        let mut bootstrapped = candidates.iter().all(|broker| broker.id < 0);
        loop {
            for broker in candidates.drain(..) {
                let asked = self.ask(&broker, topics);
                let answer = if rebootstraps && !bootstrapped {
                    match tokio::time::timeout_at(trigger, asked).await {
                        Ok(answer) => answer,
                        Err(_) => break,
                    }
                } else {
                    asked.await
                };
                match answer {
                    Ok((version, response)) if response.error_code == ErrorCode::NONE => {
                        return Ok(self.take(&broker, &response, version, topics));
                    }
                    Ok((_, response)) => {
                        tracing::info!(node = broker.id, code = %response.error_code, "no metadata");
                        failed.refused = Some(response.error_code);
                        if response.error_code == ErrorCode::REBOOTSTRAP_REQUIRED && rebootstraps {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(node = broker.id, %error, "no metadata from this node");
                        failed.note(error);
                    }
                }
            }
            if bootstrapped || !rebootstraps {
                return Err(failed.error().unwrap_or_else(|| self.no_answer()));
            }
            tracing::debug!("starting over from the bootstrap servers");
            bootstrapped = true;
            candidates = bootstrap_view(&self.bootstrap).brokers().cloned().collect();
        }
    }

    /// Returns a node's answer and the version it came in.
    async fn ask(
        &self,
        broker: &Broker,
        topics: &Topics,
    ) -> Result<(i16, MetadataResponse), NetError> {
        let connection = self.pool.connection(broker, Purpose::General).await?;
        let named = |name: &Arc<str>| MetadataRequestTopic {
            name: Some(name.to_string()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: match topics {
                Topics::Some(names) => Some(names.iter().map(named).collect()),
                Topics::All => None,
            },
            allow_auto_topic_creation: self.allow_auto_create,
            ..MetadataRequest::default()
        };
        Ok((connection.version::<MetadataRequest>()?, connection.send(&request).await?))
    }

    fn take(
        &self,
        from: &Broker,
        response: &MetadataResponse,
        version: i16,
        asked: &Topics,
    ) -> bool {
        let scope = match asked {
            Topics::Some(_) => MetadataScope::SomeTopics,
            Topics::All => MetadataScope::AllTopics,
        };
        let (next, errors) = self.view.borrow().merge(response, version, scope);
        // Bootstrap servers are some of the nodes: keep the connections to them under their new names.
        for old in bootstrap_view(&self.bootstrap).brokers().chain([from]) {
            let same = next.brokers().find(|it| it.host == old.host && it.port == old.port);
            if let Some(node) = same.filter(|node| node.id != old.id) {
                self.pool.rename(old.id, node.id);
            }
        }
        self.pool.retain(|id| next.broker(id).is_some());
        let settled = errors.topics.iter().all(|(_, code)| !code.is_retriable());
        self.view.send_replace(Arc::new(next));
        self.drop_unfollowed();
        settled && !errors.leaderless
    }
}
