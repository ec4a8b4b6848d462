//! Who we say we are: a mechanism and its secrets.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use kohort_client_core::panics::caught;
use kohort_client_core::sasl::{Exchange, Mechanism, SaslError, ScramHash};

use super::tokens::{TokenError, TokenFile, TokenProvider, UnsecuredTokens};
use crate::config::security::JaasEntry;
use crate::config::{CommonConfig, ConfigError, Secret};
use crate::net::unbound;

/// A mechanism and what it needs.
#[derive(Debug)]
pub(crate) struct Sasl {
    pub(crate) mechanism: Mechanism,
    credentials: Credentials,
}

enum Credentials {
    Password { username: String, password: Secret },
    Tokens(Arc<dyn TokenProvider>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "password of {username}"),
            Self::Tokens(_) => f.write_str("tokens"),
        }
    }
}

/// Why an exchange could not begin.
pub(super) enum StartError {
    Sasl(SaslError),
    Source(TokenError),
}

impl Sasl {
    /// Finds the secrets of the configured mechanism.
    pub(super) fn new(config: &CommonConfig) -> Result<Self, ConfigError> {
        let mechanism = config.sasl_mechanism.ok_or_else(|| missing("`sasl.mechanism`"))?;
        let jaas = Some(config.sasl_jaas_config.reveal())
            .filter(|line| !line.is_empty())
            .map(|line| read_jaas(line, mechanism))
            .transpose()?;
        let credentials = match mechanism {
            Mechanism::OAuthBearer => Credentials::Tokens(tokens(config, jaas)?),
            _ => password(config, jaas)?,
        };
        Ok(Self { mechanism, credentials })
    }

    /// Starts an exchange: asks for a token, or takes fresh random bytes.
    pub(super) async fn start(&self) -> Result<Exchange, StartError> {
        match &self.credentials {
            Credentials::Tokens(provider) => {
                // A provider that panics has no token: the connection fails, and the client goes on.
                let panicked = |said| StartError::Source(format!("a panic: {said}").into());
                let mut token = caught(|| provider.token()).map_err(panicked)?;
                let token = poll_fn(|cx| match caught(|| unbound(|| token.as_mut().poll(cx))) {
                    Ok(polled) => polled.map_err(StartError::Source),
                    Err(said) => Poll::Ready(Err(panicked(said))),
                });
                let token = token.await?;
                Exchange::oauth_bearer(&token).map_err(StartError::Sasl)
            }
            Credentials::Password { username, password } => {
                let password = password.reveal();
                let nonce = crate::random::bytes::<24>();
                let scram = |hash| Exchange::scram(hash, username, password, &nonce);
                match self.mechanism {
                    Mechanism::ScramSha256 => Ok(scram(ScramHash::Sha256)),
                    Mechanism::ScramSha512 => Ok(scram(ScramHash::Sha512)),
                    _ => Exchange::plain(username, password).map_err(StartError::Sasl),
                }
            }
        }
    }

    /// Returns who tries to authenticate, for errors.
    pub(super) fn who(&self) -> String {
        match &self.credentials {
            Credentials::Password { username, .. } => format!("user `{username}`"),
            Credentials::Tokens(_) => "the token's bearer".to_owned(),
        }
    }
}

fn read_jaas(line: &str, mechanism: Mechanism) -> Result<JaasEntry, ConfigError> {
    let invalid = |reason: String| ConfigError::InvalidValue {
        name: JAAS,
        value: crate::config::security::HIDDEN.to_owned(),
        reason,
    };
    let entry = JaasEntry::parse(line).map_err(invalid)?;
    let wanted = match mechanism {
        Mechanism::Plain => "PlainLoginModule",
        Mechanism::OAuthBearer => "OAuthBearerLoginModule",
        _ => "ScramLoginModule",
    };
    if entry.module == wanted {
        Ok(entry)
    } else {
        Err(invalid(format!("{mechanism} needs `{wanted}`, not `{}`", entry.module)))
    }
}

fn password(config: &CommonConfig, jaas: Option<JaasEntry>) -> Result<Credentials, ConfigError> {
    let mut options = jaas.map(|jaas| jaas.options).unwrap_or_default();
    let username = config.sasl_username.clone().or_else(|| options.remove("username"));
    let password = Some(config.sasl_password.clone())
        .filter(|password| !password.is_empty())
        .or_else(|| options.remove("password").map(Secret::new));
    match (username, password) {
        (Some(username), Some(password)) => Ok(Credentials::Password { username, password }),
        (None, _) => Err(missing("`sasl.username`")),
        (_, None) => Err(missing("`sasl.password`")),
    }
}

fn tokens(
    config: &CommonConfig,
    jaas: Option<JaasEntry>,
) -> Result<Arc<dyn TokenProvider>, ConfigError> {
    const URL: &str = "sasl.oauthbearer.token.endpoint.url";
    if let Some(provider) = &config.token_source.0 {
        return Ok(provider.clone());
    }
    if let Some(url) = &config.sasl_oauthbearer_token_endpoint_url {
        let path = url.strip_prefix("file:").map(|path| path.strip_prefix("//").unwrap_or(path));
        return match path {
            Some(path) => Ok(Arc::new(TokenFile { path: path.into() })),
            None => Err(ConfigError::InvalidValue {
                name: URL,
                value: url.clone(),
                reason: "only `file:` is read here: give the builder a provider of tokens"
                    .to_owned(),
            }),
        };
    }
    let options = jaas.map(|jaas| jaas.options).unwrap_or_default();
    let Some(subject) = options.get("unsecuredLoginStringClaim_sub") else {
        return Err(missing(
            "a source of tokens: a provider given to the builder, a `file:` in \
             `sasl.oauthbearer.token.endpoint.url`, or in a test set-up \
             `unsecuredLoginStringClaim_sub` in `sasl.jaas.config`",
        ));
    };
    let mut unsecured = UnsecuredTokens::new(subject);
    if let Some(seconds) = options.get("unsecuredLoginLifetimeSeconds") {
        let seconds = seconds.parse().map_err(|_| ConfigError::InvalidValue {
            name: JAAS,
            value: seconds.clone(),
            reason: "`unsecuredLoginLifetimeSeconds` is a whole number".to_owned(),
        })?;
        unsecured = unsecured.lifetime(Duration::from_secs(seconds));
    }
    let extension = |(name, value): (&String, &String)| {
        Some((name.strip_prefix("unsecuredLoginExtension_")?.to_owned(), value.clone()))
    };
    unsecured.extensions = options.iter().filter_map(extension).collect();
    Ok(Arc::new(unsecured))
}

fn missing(what: &str) -> ConfigError {
    ConfigError::Conflict { reason: format!("SASL needs {what}") }
}

const JAAS: &str = "sasl.jaas.config";

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use kohort_client_core::sasl::OAuthToken;

    use super::*;

    struct Panics;

    impl TokenProvider for Panics {
        fn token(
            &self,
        ) -> Pin<Box<dyn Future<Output = Result<OAuthToken, TokenError>> + Send + '_>> {
            Box::pin(async { panic!("a mistake of the application's") })
        }
    }

    #[tokio::test]
    async fn a_provider_that_panics_has_no_token() {
        let credentials = Credentials::Tokens(Arc::new(Panics));
        let sasl = Sasl { mechanism: Mechanism::OAuthBearer, credentials };
        let Err(StartError::Source(why)) = sasl.start().await else { panic!("there is none") };
        assert_eq!(why.to_string(), "a panic: a mistake of the application's");
    }
}
