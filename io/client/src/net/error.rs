//! Why a request got no answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kohort_client_core::sasl::{Mechanism, SaslError};
use kohort_protocol::{ApiKey, DecodeError, EncodeError, ErrorCode, VersionRange};
use thiserror::Error;

use super::TlsFailure;

/// Why a connection could not be opened, or a request on it got no answer.
///
/// It is cheap to clone: when a connection is lost, all its requests are told the same.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum NetError {
    /// The name has no address.
    #[error("`{address}` cannot be resolved: {reason}")]
    Resolve {
        /// The server as configured or as the cluster named it.
        address: Arc<str>,
        /// What the system says.
        reason: Arc<io::Error>,
    },
    /// The broker does not take the connection.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where.
        address: Arc<str>,
        /// What the system says.
        reason: Arc<io::Error>,
    },
    /// Connecting, or agreeing on versions, took too long.
    #[error("{address} did not take the connection within {timeout:?}")]
    ConnectTimeout {
        /// Where.
        address: Arc<str>,
        /// How long it was given.
        timeout: Duration,
    },
    /// TLS cannot be agreed on.
    #[error("{address}: {failure}")]
    Tls {
        /// Who.
        address: Arc<str>,
        /// Why, and what to do.
        failure: TlsFailure,
    },
    /// A listener with TLS was spoken to without.
    #[error(
        "{address} answers in TLS: set `security.protocol` to SSL or SASL_SSL, or use the port of \
         its plaintext listener"
    )]
    WantsTls {
        /// Who.
        address: Arc<str>,
    },
    /// We could not prove who we are.
    #[error("{address}: {mechanism}: {failure}")]
    Authentication {
        /// Who refused.
        address: Arc<str>,
        /// How we tried.
        mechanism: Mechanism,
        /// Why, and what to do.
        failure: AuthenticationFailure,
    },
    /// The broker closed the connection before it could be used.
    #[error("{address} closed the connection at {during}: {hint}")]
    ClosedInHandshake {
        /// Who.
        address: Arc<str>,
        /// When.
        during: &'static str,
        /// What it often means.
        hint: &'static str,
    },
    /// The broker closed the connection.
    #[error("{address} closed the connection")]
    ClosedByPeer {
        /// Who.
        address: Arc<str>,
    },
    /// Reading or writing failed.
    #[error("the connection to {address} broke: {reason}")]
    Broken {
        /// Whose connection.
        address: Arc<str>,
        /// What the system says.
        reason: Arc<io::Error>,
    },
    /// The connection was closed on our side: idle, replaced, or the client is closing.
    #[error("the connection to {address} was closed")]
    Closed {
        /// Whose connection.
        address: Arc<str>,
    },
    /// A request got no answer in time; its connection was closed.
    #[error("{address} did not answer {api:?} within {timeout:?}")]
    RequestTimeout {
        /// Who.
        address: Arc<str>,
        /// What was asked.
        api: ApiKey,
        /// How long it was given.
        timeout: Duration,
    },
    /// The broker's bytes are not an answer.
    #[error("{address} sent what is no answer to {api:?}: {reason}")]
    Malformed {
        /// Who.
        address: Arc<str>,
        /// What was asked.
        api: ApiKey,
        /// What is wrong.
        reason: DecodeError,
    },
    /// The answer belongs to another request.
    #[error("{address} answered request {got} where {wanted} was due")]
    OutOfTurn {
        /// Who.
        address: Arc<str>,
        /// The correlation id that was due.
        wanted: i32,
        /// The one that came.
        got: i32,
    },
    /// The request cannot be written in the version both sides know.
    #[error("cannot ask {address}: {reason}")]
    Unwritable {
        /// Who was to be asked.
        address: Arc<str>,
        /// What cannot be written.
        reason: EncodeError,
    },
    /// There is no version both sides know.
    #[error("{address} does not speak {api:?} as we do (ours {ours}, theirs {})", show(.theirs.as_ref()))]
    UnsupportedVersion {
        /// Who.
        address: Arc<str>,
        /// The API.
        api: ApiKey,
        /// The versions that would do.
        ours: VersionRange,
        /// The versions it serves, if any.
        theirs: Option<VersionRange>,
    },
    /// The client's thread has ended.
    #[error("the client is closed")]
    DriverGone,
}

impl NetError {
    /// Returns whether a connection was not made within its time, and might have been with more.
    pub(super) fn took_too_long(&self) -> bool {
        match self {
            Self::Resolve { reason, .. } => reason.kind() == io::ErrorKind::TimedOut,
            _ => matches!(self, Self::ConnectTimeout { .. }),
        }
    }

    /// Returns whether asking again, perhaps elsewhere, may help.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::ClosedInHandshake { .. }
            | Self::ClosedByPeer { .. }
            | Self::Broken { .. }
            | Self::Closed { .. }
            | Self::RequestTimeout { .. }
            | Self::OutOfTurn { .. } => true,
            // An authority that cannot be reached now may give a token later.
            Self::Authentication { failure, .. } => {
                matches!(failure, AuthenticationFailure::NoToken(_))
            }
            Self::Tls { .. }
            | Self::WantsTls { .. }
            | Self::Malformed { .. }
            | Self::Unwritable { .. }
            | Self::UnsupportedVersion { .. }
            | Self::DriverGone => false,
        }
    }

    /// Returns whether the broker, or we, refused the connection for what one of the two is or
    /// knows: no other attempt ends otherwise until somebody changes that.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Tls { .. } | Self::WantsTls { .. } => true,
            Self::Authentication { .. } => !self.is_retriable(),
            _ => false,
        }
    }
}

/// Why an authentication failed. Its text names the next step.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum AuthenticationFailure {
    /// The name, the password or the token is wrong.
    #[error(
        "{who} is refused: {code}{}; check the name and the password or token in `sasl.*`",
        message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default()
    )]
    Refused {
        /// Who tried.
        who: String,
        /// Kafka's error.
        code: ErrorCode,
        /// What the broker said beside it.
        message: Option<String>,
    },
    /// The listener does not offer the mechanism.
    #[error("the listener offers {} instead: set `sasl.mechanism` to one of them", list(offered))]
    NotOffered {
        /// What it offers.
        offered: Vec<String>,
    },
    /// The listener has no SASL.
    #[error(
        "the listener does not authenticate by SASL: set `security.protocol` to PLAINTEXT or SSL, \
         or use the port of its SASL listener"
    )]
    NotSasl,
    /// The broker broke the mechanism, or did not prove that it knows the password.
    #[error(transparent)]
    Protocol(SaslError),
    /// The source of tokens has none.
    #[error("there is no token: {0}")]
    NoToken(Arc<dyn std::error::Error + Send + Sync>),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn show(theirs: Option<&VersionRange>) -> String {
    theirs.map_or_else(|| "none".to_owned(), ToString::to_string)
}
