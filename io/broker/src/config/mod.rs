//! Configuration: Kafka's names, types, ranges and defaults, declared once.
//!
//! [`Settings`] is what was set and where (command line or file, and what AlterConfigs has set
//! since); [`BrokerConfig`] and [`TopicConfig`] are the typed values that follow from it. A name
//! that is not in the tables is refused with the nearest one that is.

mod broker_properties;
mod cross_checks;
mod group_config;
mod group_properties;
mod inert_properties;
mod listeners;
mod live;
mod nearest;
mod properties_file;
mod topic_properties;
mod value;

pub use broker_properties::{APPLIED_PROPERTIES, BrokerConfig, Effect, Property};
pub(crate) use group_config::group_config;
pub(crate) use group_properties::{
    CLIENT_METRICS, GROUP_PROPERTIES, GroupProperty, check_group_property, check_group_values,
    group_properties,
};
pub use inert_properties::INERT_PROPERTIES;
pub(crate) use inert_properties::ONLY_WHEN_SET;
use inert_properties::is_passed_over;
pub(crate) use listeners::{ListenerConfig, Listeners};
pub(crate) use live::LiveConfig;
pub use topic_properties::{
    TOPIC_PROPERTIES, TopicConfig, TopicProperty, check_topic_property, effective, list_with,
};
pub use value::Kind;
pub(crate) use value::{limit_for_address, split_list};

use std::collections::BTreeMap;
use thiserror::Error;

pub(crate) const COMPRESSION: Kind =
    Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);

/// Why a property was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No property has that name.
    #[error("unknown property `{name}`; the nearest is `{nearest}`")]
    Unknown {
        /// The name that was given.
        name: String,
        /// The known name that looks most like it.
        nearest: &'static str,
    },
    /// The value does not fit the property.
    #[error("`{name}` cannot be `{value}`: {reason}")]
    Invalid {
        /// The property.
        name: String,
        /// The value that was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a properties file has an escape that stands for no character.
    #[error("line {line}: `{escape}` is not an escape of the form \\uXXXX")]
    BadEscape {
        /// The line's number, from 1.
        line: usize,
        /// What it says.
        escape: String,
    },
    /// A line of a properties file was refused.
    #[error("line {line}: {error}")]
    AtLine {
        /// The line's number, from 1.
        line: usize,
        /// Why.
        error: Box<ConfigError>,
    },
}

/// What has been set, by where it was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// From the command line, the builder or the properties file.
    at_start: BTreeMap<String, String>,
    /// Altered for all brokers while the broker ran.
    dynamic_default: BTreeMap<String, String>,
    /// Altered for this broker while the broker ran.
    dynamic: BTreeMap<String, String>,
}

/// Where a value in force comes from, in DescribeConfigs' numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// The topic's own.
    Topic = 1,
    /// Altered for this broker.
    DynamicBroker = 2,
    /// Altered for all brokers.
    DynamicDefault = 3,
    /// Set at start.
    Static = 4,
    /// The default.
    Default = 5,
    /// A logger's level.
    Logger = 6,
    /// The group's own.
    Group = 8,
}

impl Settings {
    /// Sets a property as at start, after checking its name and value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let value =
            if is_passed_over(name) { value.trim().to_owned() } else { checked(name, value)? };
        self.at_start.insert(name.to_owned(), value);
        Ok(())
    }

    /// Sets every property of a Java properties file.
    pub fn set_all(&mut self, file: &[u8]) -> Result<(), ConfigError> {
        let entries = properties_file::parse(&properties_file::decode(file))?;
        let providers = entries.iter().find(|entry| entry.name == "config.providers");
        let providers = split_list(providers.map_or("", |entry| &entry.value));
        let providers: Vec<String> = providers.map(str::to_owned).collect();
        for properties_file::Entry { line, name, value } in &entries {
            refuse_provided(&providers, name, value)
                .and_then(|()| self.set(name, value))
                .map_err(|error| ConfigError::AtLine { line: *line, error: Box::new(error) })?;
        }
        Ok(())
    }

    /// Brings the settings of the start together once all are made, and checks what concerns more
    /// than one.
    pub(crate) fn complete(&mut self) -> Result<(), ConfigError> {
        // Either name of the node's id stands for both, as in Kafka.
        for (given, other) in [("node.id", "broker.id"), ("broker.id", "node.id")] {
            let Some(id) = self.at_start.get(given).cloned() else { continue };
            let same = self.at_start.entry(other.to_owned()).or_insert_with(|| id.clone());
            if *same != id {
                let reason = format!("{other} says {same}, and they must agree");
                return Err(invalid(given, &id, &reason));
            }
        }
        self.check_together()?;
        let config = self.typed();
        if !config.process_roles.is_empty() && !config.process_roles.iter().any(|r| r == "broker") {
            let roles = config.process_roles.join(",");
            return Err(invalid("process.roles", &roles, "a broker is all there is to start"));
        }
        let queued = config.queued_max_request_bytes;
        if queued > 0 && queued < i64::from(config.socket_request_max_bytes) {
            let reason = "one request of socket.request.max.bytes must find room in it";
            return Err(invalid("queued.max.request.bytes", &queued.to_string(), reason));
        }
        if !config.authorizer_class_name.is_empty() {
            let reason = "there is no authorizer here: everybody may do everything; leave it out if \
                          that is meant";
            return Err(invalid("authorizer.class.name", &config.authorizer_class_name, reason));
        }
        for (name, value) in &self.at_start {
            refuse_provided(&config.config_providers, name, value)?;
        }
        Ok(())
    }

    /// Checks values in force that must fit each other.
    pub(crate) fn check_together(&self) -> Result<(), ConfigError> {
        cross_checks::check(self)
    }

    /// Replaces what was altered while the broker ran, for this broker or for all.
    pub(crate) fn replace_dynamic(&mut self, for_all: bool, values: BTreeMap<String, String>) {
        if for_all {
            self.dynamic_default = values;
        } else {
            self.dynamic = values;
        }
    }

    /// Returns what was altered while the broker ran, for this broker or for all.
    pub fn dynamic(&self, for_all: bool) -> &BTreeMap<String, String> {
        if for_all { &self.dynamic_default } else { &self.dynamic }
    }

    /// Returns the value in force of a property that has been set anywhere.
    pub fn explicit<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.sources(name).map(|(_, value)| value).next()
    }

    /// Returns the places a property has been set in, the one in force first.
    pub fn sources<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (Source, &'a str)> {
        [
            (Source::DynamicBroker, &self.dynamic),
            (Source::DynamicDefault, &self.dynamic_default),
            (Source::Static, &self.at_start),
        ]
        .into_iter()
        .filter_map(move |(source, values)| Some((source, values.get(name)?.as_str())))
    }

    /// Returns the value in force of a broker property; `None` is null.
    pub fn value<'a>(&'a self, property: &'a Property) -> Option<&'a str> {
        self.sources(property.name).map(|(_, value)| value).next().or(property.default)
    }

    /// Returns the properties set at start that change something here, with their values. None of them
    /// is a secret.
    pub(crate) fn applied(&self) -> impl Iterator<Item = (&str, &str)> {
        let set = self.at_start.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        set.filter(|(name, _)| property(name).is_some_and(|property| !property.effect.is_inert()))
    }

    /// Returns the properties set at start that change nothing here.
    pub fn inert(&self) -> impl Iterator<Item = &str> {
        let names = self.at_start.keys().map(String::as_str);
        names.filter(|name| property(name).is_none_or(|property| property.effect.is_inert()))
    }

    /// Returns the properties set at start that are in no table.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = &str> {
        self.at_start.keys().map(String::as_str).filter(|name| property(name).is_none())
    }

    /// Returns the typed configuration that follows from these settings.
    pub fn typed(&self) -> BrokerConfig {
        BrokerConfig::from_values(|name| {
            property(name).and_then(|property| {
                self.sources(property.name).map(|(_, value)| value).next().or(property.default)
            })
        })
    }
}

/// Returns the broker's properties that are one thing in several units, the finest first, if the one
/// of that name is among them.
pub(crate) fn broker_synonyms(name: &str) -> &'static [&'static str] {
    const UNITS: [&[&str]; 4] = [
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
    ];
    if name == "log.flush.scheduler.interval.ms" {
        return &[];
    }
    UNITS.into_iter().find(|names| names.contains(&name)).unwrap_or_default()
}

/// Returns the broker property of that name.
pub fn property(name: &str) -> Option<&'static Property> {
    properties().find(|property| property.name == name)
}

/// Returns the broker property that `listener.name.<listener>.<property>` sets for one listener.
pub(crate) fn listener_property(name: &str) -> Option<&'static Property> {
    property(name.strip_prefix("listener.name.")?.split_once('.')?.1)
}

/// Returns every broker property.
pub fn properties() -> impl Iterator<Item = &'static Property> {
    APPLIED_PROPERTIES.iter().chain(INERT_PROPERTIES)
}

/// Checks a broker property and returns its value as it will be kept.
pub(crate) fn checked(name: &str, value: &str) -> Result<String, ConfigError> {
    let property = property(name).ok_or_else(|| unknown(name))?;
    property.kind.check(value).map_err(|reason| ConfigError::Invalid {
        name: name.to_owned(),
        value: value.to_owned(),
        reason: match property.kind.range() {
            Some(range) => format!("{reason} (range {range})"),
            None => reason,
        },
    })
}

/// Refuses a name that is in no table, with the nearest that is.
pub(crate) fn unknown(name: &str) -> ConfigError {
    let nearest = nearest::nearest(name, properties().map(|property| property.name));
    ConfigError::Unknown {
        name: name.to_owned(),
        nearest: nearest.expect("the table is not empty"),
    }
}

/// Refuses a value of the form `${provider:key}` as what it is, and not for being no number.
fn refuse_provided(providers: &[String], name: &str, value: &str) -> Result<(), ConfigError> {
    if providers.iter().any(|provider| value.contains(&format!("${{{provider}:"))) {
        let reason = "no config provider is served; write the value itself";
        return Err(invalid(name, value, reason));
    }
    Ok(())
}

fn invalid(name: &str, value: &str, reason: &str) -> ConfigError {
    ConfigError::Invalid {
        name: name.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_property_is_refused_with_the_nearest_name() {
        let mut settings = Settings::default();
        assert_eq!(
            settings.set("num.partition", "3"),
            Err(ConfigError::Unknown {
                name: "num.partition".to_owned(),
                nearest: "num.partitions"
            })
        );
        assert_eq!(
            settings.set("num.partitions", "0").unwrap_err().to_string(),
            "`num.partitions` cannot be `0`: it must be at least 1 (range 1 to 2147483647)"
        );
    }

    #[test]
    fn a_properties_file_sets_what_applies_and_names_what_does_not() {
        let mut settings = Settings::default();
        settings
            .set_all(
                b"# a comment\nnum.partitions : 3\n\nreplica.lag.time.max.ms=10000\n\
                zookeeper.connect=a:2181\nlistener.name.x.ssl.key.password=p\n\
                unstable.api.versions.enable=true\nunstable.feature.versions.enable=true",
            )
            .unwrap();
        assert_eq!(settings.typed().num_partitions, 3);
        assert_eq!(
            settings.inert().collect::<Vec<_>>(),
            [
                "listener.name.x.ssl.key.password",
                "replica.lag.time.max.ms",
                "unstable.api.versions.enable",
                "unstable.feature.versions.enable",
                "zookeeper.connect"
            ]
        );
        assert_eq!(
            settings.set_all(b"\n\nnum.partition=3").unwrap_err().to_string(),
            "line 3: unknown property `num.partition`; the nearest is `num.partitions`"
        );
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for file in [
            "node.id=1\nbroker.id=2",
            "process.roles=controller",
            "authorizer.class.name=a.b.Authorizer\nsuper.users=User:a",
            "config.providers=env\nlog.dirs=${env:DATA}",
            "queued.max.request.bytes=1000\nsocket.request.max.bytes=1001",
        ] {
            let mut settings = Settings::default();
            let said = settings.set_all(file.as_bytes()).and_then(|()| settings.complete());
            assert!(said.is_err(), "{file}");
        }
    }

    #[test]
    fn a_value_from_a_config_provider_is_refused_as_such_whatever_its_type() {
        for file in ["num.partitions=${env:N}\nconfig.providers=file,env", "log.dirs=${env:D}"] {
            let mut settings = Settings::default();
            let said = settings.set_all(file.as_bytes()).and_then(|()| {
                settings.set("config.providers", "env")?;
                settings.complete()
            });
            let said = said.unwrap_err().to_string();
            assert!(said.contains("no config provider is served"), "{said}");
        }
    }

    #[test]
    fn what_is_altered_while_running_wins() {
        let mut settings = Settings::default();
        settings.set("message.max.bytes", "1000").unwrap();
        settings
            .replace_dynamic(true, BTreeMap::from([("message.max.bytes".into(), "2000".into())]));
        assert_eq!(settings.typed().message_max_bytes, 2000);
        settings
            .replace_dynamic(false, BTreeMap::from([("message.max.bytes".into(), "3000".into())]));
        assert_eq!(settings.typed().message_max_bytes, 3000);
    }

    #[test]
    fn either_name_of_the_nodes_id_stands_for_both() {
        for name in ["node.id", "broker.id"] {
            let mut settings = Settings::default();
            settings.set(name, "7").unwrap();
            settings.complete().unwrap();
            assert_eq!((settings.typed().node_id, settings.typed().broker_id), (7, 7));
        }
    }

    #[test]
    fn no_property_is_declared_twice() {
        let mut names: Vec<&str> = properties().map(|property| property.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
