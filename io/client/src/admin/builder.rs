//! Puts an administrator's client together from its configuration.

use super::{Admin, AdminError};
use crate::config::{AdminConfig, ConfigError, Properties};
use crate::net::TokenProvider;

/// Configures an [`Admin`]: by Kafka's property names, or by a typed [`AdminConfig`].
///
/// ```no_run
/// # fn f() -> Result<(), kohort::admin::AdminError> {
/// use kohort::admin::Admin;
///
/// let admin = Admin::builder()
///     .bootstrap_servers("localhost:9092")
///     .set("default.api.timeout.ms", "10s")
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct AdminBuilder {
    config: AdminConfig,
    error: Option<ConfigError>,
}

impl From<AdminConfig> for AdminBuilder {
    fn from(config: AdminConfig) -> Self {
        Self { config, error: None }
    }
}

impl AdminBuilder {
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
    pub fn with(mut self, change: impl FnOnce(AdminConfig) -> AdminConfig) -> Self {
        self.config = change(self.config);
        self
    }

    /// Has OAUTHBEARER ask `provider` for a token before each authentication.
    #[must_use]
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.config.common = self.config.common.token_provider(provider);
        self
    }

    /// Starts the client. Connecting goes on in the background.
    ///
    /// # Errors
    /// [`AdminError::Config`] for the first name or value that was wrong, and as [`Admin::new`].
    pub fn build(self) -> Result<Admin, AdminError> {
        match self.error {
            Some(error) => Err(error.into()),
            None => Admin::new(self.config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_property_is_told_when_the_client_is_built() {
        let wrong = Admin::builder().set("bootstrap.serves", "a:1").set("client.id", "c").build();
        assert_eq!(
            wrong.unwrap_err().to_string(),
            "unknown admin client property `bootstrap.serves`; the nearest is `bootstrap.servers`"
        );
        let right = Admin::builder().bootstrap_servers("127.0.0.1:1").build();
        assert!(right.is_ok(), "nothing is asked of anybody yet: {right:?}");
    }
}
