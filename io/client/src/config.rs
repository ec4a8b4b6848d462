//! What a client can be told, under Kafka's names.
//!
//! One table per role ([`tables`]) declares each property once: Kafka's name, the field, its type,
//! default, range and a sentence. From it come the typed structs, parsing, and
//! [`Properties::table`], from which help and documentation are printed. A value can be given three
//! ways, and mean the same:
//!
//! ```
//! # use std::time::Duration;
//! use kohort::config::{ProducerConfig, Properties};
//!
//! let typed = ProducerConfig::default().linger(Duration::from_millis(20));
//! let mut named = ProducerConfig::default();
//! named.set("linger.ms", "20")?;
//! let parsed = ProducerConfig::from_properties("linger.ms = 20ms\n")?;
//! assert_eq!(typed, named);
//! assert_eq!(typed, parsed);
//! # Ok::<(), kohort::config::ConfigError>(())
//! ```
//!
//! A typed value is held to its range when a client is built ([`Properties::validate`]);
//! [`Duration::MAX`](std::time::Duration::MAX) is for ever, and accepted everywhere.
//!
//! A name that is not in the table is refused, with the nearest one that is. Left out: the `*.class`
//! properties of Java, which here are values (a custom partitioner, a codec, a provider of tokens)
//! given to the builders, and some that have no equivalent ([`ConfigError::NotHere`] says what to do).
//!
//! What is said to one role must be of that role. A file or an environment may serve several clients of
//! one process: what belongs to another role is passed over there.

#![warn(clippy::missing_errors_doc)]

mod absent;
mod client_id;
mod contradictions;
mod file;
mod librdkafka;
pub(crate) mod security;
mod table;
pub mod tables;
mod value;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use kohort_client_core::sasl::Mechanism;
pub use security::{
    DnsLookup, EndpointIdentification, Secret, SecurityProtocol, StoreType, TlsVersion, TokenSource,
};
pub use table::Property;
pub use tables::{AdminConfig, CommonConfig, ConsumerConfig, ProducerConfig};
pub use value::{
    Acks, AssignmentStrategy, ByteSize, Codec, DeliveryTimeout, GroupProtocol, HostPort,
    Idempotence, IsolationLevel, OffsetReset, RecoveryStrategy, iso_duration,
};

/// A set of properties that can be given by name.
pub trait Properties: Default {
    /// The word for whoever takes these: `consumer`, `producer`, `admin`.
    const ROLE: &'static str;

    /// Returns every property of this role, its own before those all roles share.
    fn table() -> impl Iterator<Item = &'static Property>;

    /// Sets one property from its text.
    ///
    /// # Errors
    /// [`ConfigError::UnknownProperty`], [`ConfigError::NotHere`] and [`ConfigError::OtherRole`] for the name,
    /// [`ConfigError::InvalidValue`] for the value.
    fn set(&mut self, name: &str, value: &str) -> Result<&mut Self, ConfigError>;

    /// Returns the value of one property as text.
    fn get(&self, name: &str) -> Option<String>;

    /// Checks what no property can check alone, and typed values against the range of their property.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] and [`ConfigError::InvalidValue`].
    fn validate(&self) -> Result<(), ConfigError>;

    /// Returns a configuration from names and values; the others keep their defaults. What spans
    /// properties is checked when a client is built, see [`Properties::validate`].
    ///
    /// # Errors
    /// As [`set`](Self::set), for the first that is refused.
    fn from_pairs<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, value) in pairs {
            config.set(name.as_ref(), value.as_ref())?;
        }
        Ok(config)
    }

    /// Returns a configuration from the text of a `.properties` file as Java reads it: `name = value`
    /// a line, a backslash at the end goes on with the next line, `#` or `!` opens a comment. What
    /// belongs to another role is passed over, and a name that no role has is refused.
    ///
    /// # Errors
    /// [`ConfigError::NotAProperty`] for a line that is none, and as [`set`](Self::set) but for what is of
    /// another role.
    fn from_properties(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.set_those_of_this_role(file::pairs(text)?)?;
        Ok(config)
    }

    /// Returns a configuration from a `.properties` file; see
    /// [`from_properties`](Self::from_properties).
    ///
    /// # Errors
    /// [`ConfigError::File`], and as [`from_properties`](Self::from_properties).
    fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.set_from_file(path)?;
        Ok(config)
    }

    /// Sets what a `.properties` file has for this role; see [`from_properties`](Self::from_properties).
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file). What comes before a property that is refused is set then.
    fn set_from_file(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        self.set_those_of_this_role(file::pairs(&text)?)
    }

    /// Sets what is of this role and passes over what is of another.
    ///
    /// # Errors
    /// A name that no role has, and a value that cannot be one of its property.
    fn set_those_of_this_role<K: AsRef<str>, V: AsRef<str>>(
        &mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<&mut Self, ConfigError> {
        for (name, value) in pairs {
            match self.set(name.as_ref(), value.as_ref()) {
                Ok(_) | Err(ConfigError::OtherRole { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self)
    }

    /// Returns a configuration from the environment: with the prefix `KOHORT_`, the variable
    /// `KOHORT_LINGER_MS` is `linger.ms`. What belongs to another role is passed over, and a name that no
    /// role has is refused.
    ///
    /// # Errors
    /// As [`from_variables`](Self::from_variables).
    fn from_environment(prefix: &str) -> Result<Self, ConfigError> {
        Self::from_variables(prefix, std::env::vars_os())
    }

    /// Returns a configuration from variables: what [`from_environment`](Self::from_environment) does with
    /// those of the process. Variables without the prefix are passed over.
    ///
    /// # Errors
    /// As [`set`](Self::set), but for what is of another role.
    fn from_variables(
        prefix: &str,
        variables: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, ConfigError> {
        let named = |(variable, value): (std::ffi::OsString, std::ffi::OsString)| {
            let (variable, value) = (variable.into_string().ok()?, value.into_string().ok()?);
            let name = variable.strip_prefix(prefix)?.to_ascii_lowercase().replace('_', ".");
            Some((name, value))
        };
        let mut config = Self::default();
        config.set_those_of_this_role(variables.into_iter().filter_map(named))?;
        Ok(config)
    }
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No role has a property of this name.
    #[error("unknown {role} property `{name}`; the nearest is `{nearest}`")]
    UnknownProperty {
        /// Who was told.
        role: &'static str,
        /// The name as given.
        name: String,
        /// The closest name this role has.
        nearest: &'static str,
    },
    /// Java or librdkafka has this property, and we something else, or nothing.
    #[error("there is no property `{name}` here: {instead}")]
    NotHere {
        /// The name as given.
        name: String,
        /// What to do in its place.
        instead: &'static str,
    },
    /// The property belongs to another role.
    #[error("`{name}` is a property of a {owner}, not of {} {role}", article(role))]
    OtherRole {
        /// Who was told.
        role: &'static str,
        /// Who has it.
        owner: &'static str,
        /// The name as given.
        name: String,
    },
    /// The value cannot be one of this property.
    #[error("`{value}` cannot be `{name}`: {reason}")]
    InvalidValue {
        /// The property.
        name: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two properties contradict each other, or a needed one is missing.
    #[error("{reason}")]
    Conflict {
        /// Which, and why.
        reason: String,
    },
    /// A line of a properties file has no `=`.
    #[error("`{line}` is not a property: write `name = value`")]
    NotAProperty {
        /// The line.
        line: String,
    },
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn article(role: &str) -> &'static str {
    if role.starts_with('a') { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Result<ConsumerConfig, ConfigError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        ConsumerConfig::from_variables("KOHORT_", pairs)
    }

    #[test]
    fn variables_with_the_prefix_are_properties_and_others_nobodys_business() {
        let read = variables(&[
            ("PATH", "/bin"),
            ("KOHORT_BOOTSTRAP_SERVERS", "a:1,b:2"),
            ("KOHORT_FETCH_MAX_WAIT_MS", "2s"),
            ("kohort_group_id", "not ours"),
            ("KOHORT_GROUP_ID", "g"),
        ]);
        let typed = ConsumerConfig::from_pairs([
            ("bootstrap.servers", "a:1,b:2"),
            ("fetch.max.wait.ms", "2000"),
            ("group.id", "g"),
        ]);
        assert_eq!(read.unwrap(), typed.unwrap());
    }

    #[test]
    fn files_and_environments_may_serve_several_roles() {
        let read = variables(&[("KOHORT_LINGER_MS", "5"), ("KOHORT_GROUP_ID", "g")]).unwrap();
        let text = "linger.ms = 5\ngroup.id = g\n";
        assert_eq!(read, ConsumerConfig::from_properties(text).unwrap());
        assert_eq!(read, ConsumerConfig::default().group_id(Some("g".to_owned())));
        let pairs = ConsumerConfig::from_pairs([("linger.ms", "5")]);
        assert!(matches!(pairs, Err(ConfigError::OtherRole { .. })), "said to a consumer itself");
    }

    #[test]
    fn a_variable_that_is_no_property_is_refused_with_the_nearest() {
        let error = variables(&[("KOHORT_GROUP_IDD", "g")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown consumer property `group.idd`; the nearest is `group.id`"
        );
        let error = variables(&[("KOHORT_FETCH_MAX_WAIT_MS", "soon")]).unwrap_err();
        assert!(error.to_string().contains("fetch.max.wait.ms"), "{error}");
    }
}
