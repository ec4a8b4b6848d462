//! What stands between a socket and the first request: TLS and SASL.
//!
//! ```text
//!  TCP ─► TLS (rustls) ─► ApiVersions ─► SaslHandshake ─► SaslAuthenticate … ─► requests
//! ```
//!
//! [`Security`] is made once, from the properties: certificates are read then, so a missing file
//! ends the start of a client and not its first connection. A refusal is a [`TlsFailure`] or a
//! [`super::NetError::Authentication`] that says what was refused and what to do about it; such
//! connections are not tried for ever, as trying again does not help.
//!
//! Left out: keys that a password protects, Java's keystores (JKS, PKCS 12), and GSSAPI.

mod authenticate;
mod credentials;
mod failure;
mod pem;
mod tls;
mod tokens;

use std::sync::Arc;

use crate::config::{CommonConfig, ConfigError, SecurityProtocol};

pub(super) use authenticate::{Ask, authenticate};
pub(crate) use credentials::Sasl;
pub use failure::TlsFailure;
pub use tokens::{TokenError, TokenProvider, UnsecuredTokens};

/// How connections are secured. Clones share certificates and secrets.
#[derive(Debug, Clone, Default)]
pub struct Security {
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) sasl: Option<Arc<Sasl>>,
}

impl Security {
    /// Reads what the properties name.
    ///
    /// # Errors
    /// A file that cannot be read or holds no certificate, a mechanism without its secrets.
    pub fn new(config: &CommonConfig) -> Result<Self, ConfigError> {
        let protocol = config.security_protocol;
        let tls = protocol.has_tls().then(|| tls::client_config(config)).transpose()?;
        let sasl = protocol.has_sasl().then(|| Sasl::new(config)).transpose()?;
        Ok(Self { tls: tls.map(Arc::new), sasl: sasl.map(Arc::new) })
    }

    /// Returns the protocol this amounts to.
    pub fn protocol(&self) -> SecurityProtocol {
        match (&self.tls, &self.sasl) {
            (None, None) => SecurityProtocol::Plaintext,
            (Some(_), None) => SecurityProtocol::Ssl,
            (None, Some(_)) => SecurityProtocol::SaslPlaintext,
            (Some(_), Some(_)) => SecurityProtocol::SaslSsl,
        }
    }
}
