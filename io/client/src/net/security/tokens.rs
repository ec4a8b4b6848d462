//! Where tokens for OAUTHBEARER come from.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use kohort_client_core::sasl::{OAuthToken, UnsecuredClaims, unsecured_token};

/// Gets tokens for OAUTHBEARER. It is asked before each authentication, so one that asks a server
/// should keep a token while it is good.
pub trait TokenProvider: Send + Sync + 'static {
    /// Returns a token that is good now. The future runs on the client's thread and must not block.
    ///
    /// # Errors
    /// Why there is none; the authentication fails with it and is tried again.
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<OAuthToken, TokenError>> + Send + '_>>;
}

/// Why there is no token, in whatever words the provider has.
pub type TokenError = Box<dyn Error + Send + Sync>;

/// Makes tokens that nobody signed, for brokers of a test set-up.
#[derive(Debug, Clone)]
pub struct UnsecuredTokens {
    subject: String,
    lifetime: Duration,
    pub(super) extensions: BTreeMap<String, String>,
}

impl UnsecuredTokens {
    /// Returns a provider for this principal, with tokens that live for an hour.
    pub fn new(subject: impl Into<String>) -> Self {
        let lifetime = Duration::from_secs(3600);
        Self { subject: subject.into(), lifetime, extensions: BTreeMap::new() }
    }

    /// Sets how long tokens live.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }
}

impl TokenProvider for UnsecuredTokens {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<OAuthToken, TokenError>> + Send + '_>> {
        let issued_at = crate::clock::now_ms() / 1000;
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        let expires_at = issued_at.saturating_add(lifetime);
        let mut token =
            unsecured_token(&UnsecuredClaims { subject: &self.subject, issued_at, expires_at });
        token.extensions.clone_from(&self.extensions);
        Box::pin(std::future::ready(Ok(token)))
    }
}

/// Reads the token from a file, which somebody else keeps fresh.
pub(super) struct TokenFile {
    pub(super) path: PathBuf,
}

impl TokenProvider for TokenFile {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<OAuthToken, TokenError>> + Send + '_>> {
        Box::pin(async {
            let path = self.path.clone();
            let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await?;
            let text = text.map_err(|error| format!("{}: {error}", self.path.display()))?;
            Ok(OAuthToken::new(text.trim()))
        })
    }
}
