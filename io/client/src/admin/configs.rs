//! Configurations of topics, brokers and groups (KIP-226, KIP-339).

use kohort_protocol::Request;
use kohort_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use kohort_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use super::error::{check, unanswered};
use super::{Admin, AdminError, Session};

/// What has a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// A broker, by node id; it is asked itself, as only it knows its static configuration.
    Broker(i32),
    /// All brokers: what was set while they ran, and counts where a broker has nothing of its own.
    AllBrokers,
    /// A group, by id (KIP-848, KIP-932).
    Group(String),
}

/// Where a value comes from, the one that wins over the others first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on the group.
    Group,
    /// Set on this broker while it ran.
    DynamicBroker,
    /// Set on all brokers while they ran.
    DynamicDefaultBroker,
    /// Given to the broker when it started.
    StaticBroker,
    /// Nobody set it.
    Default,
    /// A source that this client does not know, by Kafka's number.
    Other(i8),
}

/// One key of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// Its value; `None` where there is none, or it is a secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
    /// Whether it is a secret.
    pub sensitive: bool,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets a value.
    Set(String, String),
    /// Goes back to the default.
    Delete(String),
    /// Adds to a list.
    Append(String, String),
    /// Removes from a list.
    Subtract(String, String),
}

impl Admin {
    /// Returns every key of a configuration.
    ///
    /// # Errors
    /// [`AdminError::UnknownBroker`] for a broker the cluster does not have.
    pub async fn describe_configs(
        &self,
        resource: ConfigResource,
    ) -> Result<Vec<ConfigEntry>, AdminError> {
        self.run(move |session| {
            let resource = resource.clone();
            async move { session.describe_configs(resource).await }
        })
        .await
    }

    /// Changes some keys of a configuration and leaves the others; all of them or none.
    ///
    /// # Errors
    /// `INVALID_CONFIG` for an unknown key or a value out of range.
    pub async fn alter_configs(
        &self,
        resource: ConfigResource,
        changes: Vec<ConfigChange>,
    ) -> Result<(), AdminError> {
        self.run(move |session| {
            let (resource, changes) = (resource.clone(), changes.clone());
            async move { session.alter_configs(resource, changes).await }
        })
        .await
    }
}

impl Session {
    async fn describe_configs(
        &self,
        resource: ConfigResource,
    ) -> Result<Vec<ConfigEntry>, AdminError> {
        let (resource_type, resource_name) = resource.on_the_wire();
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type,
                resource_name,
                configuration_keys: None,
            }],
            ..DescribeConfigsRequest::default()
        };
        let mut answer = self.ask_about(&resource, &request).await?;
        let result = answer.results.pop().ok_or_else(|| unanswered(resource.to_string()))?;
        check(result.error_code, result.error_message, || resource.to_string())?;
        Ok(result.configs.into_iter().map(ConfigEntry::from).collect())
    }

    async fn alter_configs(
        &self,
        resource: ConfigResource,
        changes: Vec<ConfigChange>,
    ) -> Result<(), AdminError> {
        let (resource_type, resource_name) = resource.on_the_wire();
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type,
                resource_name,
                configs: changes.into_iter().map(AlterableConfig::from).collect(),
            }],
            validate_only: false,
        };
        let mut answer = self.ask_about(&resource, &request).await?;
        let result = answer.responses.pop().ok_or_else(|| unanswered(resource.to_string()))?;
        check(result.error_code, result.error_message, || resource.to_string())
    }

    async fn ask_about<R: Request>(
        &self,
        resource: &ConfigResource,
        request: &R,
    ) -> Result<R::Response, AdminError> {
        match resource {
            ConfigResource::Broker(node) => self.ask_node(*node, request).await,
            ConfigResource::Topic(_) | ConfigResource::AllBrokers | ConfigResource::Group(_) => {
                self.ask_any(request).await
            }
        }
    }
}

impl ConfigResource {
    /// Kafka's number for the kind, and the name.
    fn on_the_wire(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (2, name.clone()),
            Self::Broker(node) => (4, node.to_string()),
            Self::AllBrokers => (4, String::new()),
            Self::Group(id) => (32, id.clone()),
        }
    }
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "the configuration of topic `{name}`"),
            Self::Broker(node) => write!(f, "the configuration of broker {node}"),
            Self::AllBrokers => write!(f, "the configuration of all brokers"),
            Self::Group(id) => write!(f, "the configuration of group `{id}`"),
        }
    }
}

impl From<DescribeConfigsResourceResult> for ConfigEntry {
    fn from(entry: DescribeConfigsResourceResult) -> Self {
        let source = match entry.config_source {
            1 => ConfigSource::Topic,
            2 => ConfigSource::DynamicBroker,
            3 => ConfigSource::DynamicDefaultBroker,
            4 => ConfigSource::StaticBroker,
            5 => ConfigSource::Default,
            8 => ConfigSource::Group,
            other => ConfigSource::Other(other),
        };
        Self {
            name: entry.name,
            value: entry.value,
            source,
            read_only: entry.read_only,
            sensitive: entry.is_sensitive,
        }
    }
}

impl From<ConfigChange> for AlterableConfig {
    fn from(change: ConfigChange) -> Self {
        let (config_operation, name, value) = match change {
            ConfigChange::Set(name, value) => (0, name, Some(value)),
            ConfigChange::Delete(name) => (1, name, None),
            ConfigChange::Append(name, value) => (2, name, Some(value)),
            ConfigChange::Subtract(name, value) => (3, name, Some(value)),
        };
        Self { name, config_operation, value }
    }
}
