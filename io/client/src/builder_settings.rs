//! What the builders of all clients have: ways to change the configuration they keep.

/// Makes the methods of a builder by which its `config`, of the given type, is changed, and which keep the first
/// mistake as its `error`.
macro_rules! builder_settings {
    ($config:ty) => {
        /// Sets the servers to start from: `host:port`, separated by commas.
        #[must_use]
        pub fn bootstrap_servers(self, servers: &str) -> Self {
            self.set("bootstrap.servers", servers)
        }

        /// Sets a property by Kafka's name. A wrong name or value is reported by [`build`](Self::build).
        #[must_use]
        pub fn set(mut self, name: &str, value: &str) -> Self {
            if let Err(error) = $crate::config::Properties::set(&mut self.config, name, value) {
                self.error.get_or_insert(error);
            }
            self
        }

        /// Changes the typed configuration.
        #[must_use]
        pub fn with(mut self, change: impl FnOnce($config) -> $config) -> Self {
            self.config = change(self.config);
            self
        }

        /// Has OAUTHBEARER ask `provider` for a token before each authentication.
        #[must_use]
        pub fn token_provider(mut self, provider: impl $crate::net::TokenProvider) -> Self {
            self.config.common = self.config.common.token_provider(provider);
            self
        }
    };
}

pub(crate) use builder_settings;
