//! Configurations of topics, brokers and groups (KIP-226, KIP-339).
//!
//! A broker's own configuration is asked of that broker; one request to any broker is about all the others.

use std::collections::BTreeMap;

use kohort_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsSynonym,
};
use kohort_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use kohort_protocol::{ErrorCode, Request};

use super::changes::{Changes, Rules};
use super::error::{check, unanswered};
use super::{Admin, AdminError, Session};

/// What has a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// What its values look like; nothing from a broker before Kafka 2.6.
    pub value_type: Option<ConfigType>,
    /// Every value that somebody set, under whichever name it counts for this key, and the default: the one that
    /// counts first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// A value that a key has from somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name it was set under, such as `log.retention.ms` for a topic's `retention.ms`.
    pub name: String,
    /// The value; `None` where it is a secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
}

/// What the values of a key look like (KIP-569).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// A number of 32 bits.
    Int,
    /// A number of 16 bits.
    Short,
    /// A number of 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Several, separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// A secret.
    Password,
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
    /// Returns every key of some configurations, each for itself.
    ///
    /// # Errors
    /// [`AdminError::UnknownBroker`] for a broker the cluster does not have, `UNKNOWN_TOPIC_OR_PARTITION` for a topic.
    pub async fn describe_configs(
        &self,
        resources: Vec<ConfigResource>,
    ) -> Result<Outcomes<Vec<ConfigEntry>>, AdminError> {
        self.change(resources, CONFIGS, |session, changes| async move {
            session.describe_configs(&changes).await
        })
        .await
    }

    /// Returns every key of one configuration.
    ///
    /// # Errors
    /// As [`describe_configs`](Self::describe_configs) for the resource.
    pub async fn describe_config(
        &self,
        resource: ConfigResource,
    ) -> Result<Vec<ConfigEntry>, AdminError> {
        only(&resource, self.describe_configs(vec![resource.clone()]).await?)
    }

    /// Changes some keys of some configurations and leaves the others; all of a resource's changes or none.
    ///
    /// # Errors
    /// `INVALID_CONFIG` for a resource with an unknown key or a value out of range, [`AdminError::UnknownBroker`].
    pub async fn incremental_alter_configs(
        &self,
        changes: BTreeMap<ConfigResource, Vec<ConfigChange>>,
    ) -> Result<Outcomes<()>, AdminError> {
        self.change_configs(changes, false).await
    }

    /// Asks what [`incremental_alter_configs`](Self::incremental_alter_configs) would answer, and changes nothing.
    ///
    /// # Errors
    /// As `incremental_alter_configs`.
    pub async fn validate_config_changes(
        &self,
        changes: BTreeMap<ConfigResource, Vec<ConfigChange>>,
    ) -> Result<Outcomes<()>, AdminError> {
        self.change_configs(changes, true).await
    }

    /// Changes some keys of one configuration and leaves the others; all of them or none.
    ///
    /// # Errors
    /// As [`incremental_alter_configs`](Self::incremental_alter_configs) for the resource.
    pub async fn alter_config(
        &self,
        resource: ConfigResource,
        changes: Vec<ConfigChange>,
    ) -> Result<(), AdminError> {
        let changes = BTreeMap::from([(resource.clone(), changes)]);
        only(&resource, self.incremental_alter_configs(changes).await?)
    }

    async fn change_configs(
        &self,
        wanted: BTreeMap<ConfigResource, Vec<ConfigChange>>,
        validate_only: bool,
    ) -> Result<Outcomes<()>, AdminError> {
        let resources: Vec<ConfigResource> = wanted.keys().cloned().collect();
        self.change(resources, CONFIGS, move |session, changes| {
            let wanted = wanted.clone();
            async move { session.alter_configs(wanted, validate_only, &changes).await }
        })
        .await
    }
}

/// What became of each resource.
type Outcomes<T> = BTreeMap<ConfigResource, Result<T, AdminError>>;

/// To set a key twice, or to ask for it twice, is to do so once; so what passes may be asked for again.
const CONFIGS: Rules<ConfigResource> =
    Rules { what: ToString::to_string, passes: AdminError::is_retriable, denial: None };

/// Returns the outcome of the only resource of a call.
fn only<T>(resource: &ConfigResource, mut outcomes: Outcomes<T>) -> Result<T, AdminError> {
    outcomes.remove(resource).unwrap_or_else(|| Err(unanswered(resource.to_string())))
}

impl Session {
    async fn describe_configs(
        &self,
        changes: &Changes<ConfigResource, Vec<ConfigEntry>>,
    ) -> Result<(), AdminError> {
        for (whom, resources) in by_broker(changes.remaining()) {
            let resource = |resource: &ConfigResource| {
                let (resource_type, resource_name) = resource.on_the_wire();
                let configuration_keys = None;
                DescribeConfigsResource { resource_type, resource_name, configuration_keys }
            };
            let request = DescribeConfigsRequest {
                resources: resources.iter().map(resource).collect(),
                include_synonyms: true,
                ..DescribeConfigsRequest::default()
            };
            let Some(answer) = self.ask_about(whom, &resources, &request, changes).await? else {
                continue;
            };
            for result in answer.results {
                let at = (result.resource_type, result.resource_name);
                note(changes, &resources, at, result.error_code, result.error_message, || {
                    result.configs.into_iter().map(ConfigEntry::from).collect()
                });
            }
        }
        Ok(())
    }

    async fn alter_configs(
        &self,
        mut wanted: BTreeMap<ConfigResource, Vec<ConfigChange>>,
        validate_only: bool,
        changes: &Changes<ConfigResource, ()>,
    ) -> Result<(), AdminError> {
        for (whom, resources) in by_broker(changes.remaining()) {
            let mut resource = |resource: &ConfigResource| {
                let (resource_type, resource_name) = resource.on_the_wire();
                let configs = wanted.remove(resource).unwrap_or_default();
                let configs = configs.into_iter().map(AlterableConfig::from).collect();
                AlterConfigsResource { resource_type, resource_name, configs }
            };
            let resources_changed = resources.iter().map(&mut resource).collect();
            let request =
                IncrementalAlterConfigsRequest { resources: resources_changed, validate_only };
            let Some(answer) = self.ask_about(whom, &resources, &request, changes).await? else {
                continue;
            };
            for result in answer.responses {
                let at = (result.resource_type, result.resource_name);
                note(changes, &resources, at, result.error_code, result.error_message, || ());
            }
        }
        Ok(())
    }

    /// Asks one broker or any. That there is no such broker concerns its own configuration alone.
    async fn ask_about<R: Request, T>(
        &self,
        whom: Option<i32>,
        resources: &[ConfigResource],
        request: &R,
        changes: &Changes<ConfigResource, T>,
    ) -> Result<Option<R::Response>, AdminError> {
        let asked = match whom {
            Some(node) => self.ask_node(node, request).await,
            None => self.ask_any(request).await,
        };
        match asked {
            Ok(answer) => Ok(Some(answer)),
            Err(AdminError::UnknownBroker { broker }) => {
                for resource in resources {
                    changes.note(resource.clone(), Err(AdminError::UnknownBroker { broker }));
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Sorts resources by the broker that must be asked itself; those of `None` may be asked of any.
fn by_broker(resources: Vec<ConfigResource>) -> BTreeMap<Option<i32>, Vec<ConfigResource>> {
    let mut sorted: BTreeMap<Option<i32>, Vec<ConfigResource>> = BTreeMap::new();
    for resource in resources {
        let whom = match &resource {
            ConfigResource::Broker(node) => Some(*node),
            ConfigResource::Topic(_) | ConfigResource::AllBrokers | ConfigResource::Group(_) => {
                None
            }
        };
        sorted.entry(whom).or_default().push(resource);
    }
    sorted
}

/// Takes note of what was answered for one of these resources.
fn note<T>(
    changes: &Changes<ConfigResource, T>,
    resources: &[ConfigResource],
    at: (i8, String),
    code: ErrorCode,
    message: Option<String>,
    value: impl FnOnce() -> T,
) {
    if let Some(resource) = resources.iter().find(|one| one.on_the_wire() == at) {
        let result = check(code, message, || resource.to_string()).map(|()| value());
        changes.note(resource.clone(), result);
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

impl ConfigSource {
    fn from_number(number: i8) -> Self {
        match number {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            8 => Self::Group,
            other => Self::Other(other),
        }
    }
}

impl ConfigType {
    /// Returns the type of Kafka's number; 0 is that of none.
    fn from_number(number: i8) -> Option<Self> {
        Some(match number {
            1 => Self::Boolean,
            2 => Self::String,
            3 => Self::Int,
            4 => Self::Short,
            5 => Self::Long,
            6 => Self::Double,
            7 => Self::List,
            8 => Self::Class,
            9 => Self::Password,
            _ => return None,
        })
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
        let synonym = |synonym: DescribeConfigsSynonym| ConfigSynonym {
            name: synonym.name,
            value: synonym.value,
            source: ConfigSource::from_number(synonym.source),
        };
        Self {
            name: entry.name,
            value: entry.value,
            source: ConfigSource::from_number(entry.config_source),
            read_only: entry.read_only,
            sensitive: entry.is_sensitive,
            value_type: ConfigType::from_number(entry.config_type),
            synonyms: entry.synonyms.into_iter().map(synonym).collect(),
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
