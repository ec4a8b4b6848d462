//! Configuration: Kafka's names, types, ranges and defaults, declared once.
//!
//! [`Settings`] is what was set and where (command line or file, and what AlterConfigs has set
//! since); [`BrokerConfig`] and [`TopicConfig`] are the typed values that follow from it. A name
//! that is not in the tables is refused with the nearest one that is.

mod broker_properties;
mod inert_properties;
mod live;
mod topic_properties;
mod value;

pub use broker_properties::{APPLIED_PROPERTIES, BrokerConfig, Effect, Property};
pub use inert_properties::INERT_PROPERTIES;
pub(crate) use live::LiveConfig;
pub use topic_properties::{
    TOPIC_PROPERTIES, TopicConfig, TopicProperty, check_topic_property, effective, list_with,
};
pub use value::Kind;

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
    /// The property cannot be altered while the broker runs.
    #[error("`{0}` cannot be altered while the broker runs")]
    NotDynamic(String),
    /// A line of a properties file is not `name=value`.
    #[error("line {line} of the properties is not `name=value`: {text}")]
    NotAProperty {
        /// The line's number, from 1.
        line: usize,
        /// What it says.
        text: String,
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
}

impl Settings {
    /// Sets a property as at start, after checking its name and value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let value = checked(name, value)?;
        self.at_start.insert(name.to_owned(), value);
        Ok(())
    }

    /// Sets every property of a Java properties file.
    pub fn set_all(&mut self, text: &str) -> Result<(), ConfigError> {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line.starts_with('!') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| ConfigError::NotAProperty {
                line: number + 1,
                text: line.to_owned(),
            })?;
            self.set(name.trim(), value.trim())?;
        }
        Ok(())
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

    /// Returns the properties set at start that change nothing here.
    pub fn inert(&self) -> impl Iterator<Item = &str> {
        self.at_start
            .keys()
            .map(String::as_str)
            .filter(|name| property(name).is_some_and(|property| property.effect.is_inert()))
    }

    /// Returns the typed configuration that follows from these settings.
    pub fn typed(&self) -> BrokerConfig {
        let mut config = BrokerConfig::from_values(|name| {
            property(name).and_then(|property| {
                self.sources(property.name).map(|(_, value)| value).next().or(property.default)
            })
        });
        // The older name counts when it alone was given.
        if config.broker_id >= 0 && self.explicit("node.id").is_none() {
            config.node_id = config.broker_id;
        }
        config
    }
}

/// Returns the broker property of that name.
pub fn property(name: &str) -> Option<&'static Property> {
    properties().find(|property| property.name == name)
}

/// Returns every broker property.
pub fn properties() -> impl Iterator<Item = &'static Property> {
    APPLIED_PROPERTIES.iter().chain(INERT_PROPERTIES)
}

/// Checks a broker property and returns its value as it will be kept.
pub(crate) fn checked(name: &str, value: &str) -> Result<String, ConfigError> {
    let property = property(name)
        .ok_or_else(|| ConfigError::Unknown { name: name.to_owned(), nearest: nearest(name) })?;
    property.kind.check(value).map_err(|reason| ConfigError::Invalid {
        name: name.to_owned(),
        value: value.to_owned(),
        reason,
    })
}

/// Returns the known property whose name takes the fewest edits to reach.
fn nearest(name: &str) -> &'static str {
    properties()
        .map(|property| property.name)
        .min_by_key(|known| edit_distance(name, known))
        .expect("the table is not empty")
}

/// Levenshtein's distance, over bytes: property names are ASCII. A name too long to be a
/// property's is cut, so the work is bounded.
fn edit_distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 128;
    let a = &a.as_bytes()[..a.len().min(LONGEST)];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(*x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
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
            "`num.partitions` cannot be `0`: expected at least 1"
        );
    }

    #[test]
    fn a_properties_file_sets_what_applies_and_names_what_does_not() {
        let mut settings = Settings::default();
        settings
            .set_all("# a comment\nnum.partitions = 3\n\nreplica.lag.time.max.ms=10000\n")
            .unwrap();
        assert_eq!(settings.typed().num_partitions, 3);
        assert_eq!(settings.inert().collect::<Vec<_>>(), ["replica.lag.time.max.ms"]);
        assert!(settings.set_all("nonsense").is_err());
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
    fn the_older_name_of_the_node_id_counts_when_it_alone_is_given() {
        let mut settings = Settings::default();
        settings.set("broker.id", "7").unwrap();
        assert_eq!(settings.typed().node_id, 7);
        settings.set("node.id", "9").unwrap();
        assert_eq!(settings.typed().node_id, 9);
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
