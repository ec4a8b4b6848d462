//! Puts a producer together from its configuration.

use super::{Partitioner, Producer};
use crate::builder_settings::builder_settings;
use crate::config::{ConfigError, ProducerConfig};
use crate::error::BuildError;

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
    builder_settings!(ProducerConfig);

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
