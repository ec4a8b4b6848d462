//! Puts an administrator's client together from its configuration.

use super::{Admin, AdminError};
use crate::builder_settings::builder_settings;
use crate::config::{AdminConfig, ConfigError};

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
    builder_settings!(AdminConfig);

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
