//! Puts a producer together from its configuration.

use super::{Partitioner, Producer};
use crate::config::{ConfigError, ProducerConfig, Properties};
use crate::error::BuildError;
use crate::net::TokenProvider;

/// Configures a [`Producer`]: by Kafka's property names, or by a typed [`ProducerConfig`].
///
/// ```no_run
/// # fn f(config: kohort::config::ProducerConfig) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use kohort::producer::{ProducerBuilder, RoundRobin};
///
/// let producer = ProducerBuilder::from(config)
///     .bootstrap_servers("localhost:9092")
///     .with(|config| config.linger(Duration::from_millis(20)))
///     .partitioner(RoundRobin::default())
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct ProducerBuilder {
    config: ProducerConfig,
    partitioner: Option<Box<dyn Partitioner>>,
    error: Option<ConfigError>,
}

impl From<ProducerConfig> for ProducerBuilder {
    fn from(config: ProducerConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl ProducerBuilder {
    /// Sets the servers to start from: `host:port`, separated by commas.
    #[must_use]
    pub fn bootstrap_servers(self, servers: &str) -> Self {
        self.set("bootstrap.servers", servers)
    }

    /// Sets a property by Kafka's name. A wrong name or value is reported by [`build`](Self::build).
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        if let Err(error) = self.config.set(name, value) {
            self.error.get_or_insert(error);
        }
        self
    }

    /// Changes the typed configuration.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(ProducerConfig) -> ProducerConfig) -> Self {
        self.config = change(self.config);
        self
    }

    /// Has OAUTHBEARER ask `provider` for a token before each authentication.
    #[must_use]
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.config.common = self.config.common.token_provider(provider);
        self
    }

    /// Has `partitioner` choose the partitions of records that name none, in place of Kafka's default.
    #[must_use]
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.partitioner = Some(Box::new(partitioner));
        self
    }

    /// Starts the producer. The first connection is made in the background.
    pub fn build(self) -> Result<Producer, BuildError> {
        match self.error {
            Some(error) => Err(error.into()),
            None => Producer::start(self.config, self.partitioner),
        }
    }
}
