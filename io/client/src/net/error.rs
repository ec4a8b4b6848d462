//! Why a request got no answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kohort_protocol::{ApiKey, DecodeError, EncodeError, VersionRange};
use thiserror::Error;

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
    /// Returns whether asking again, perhaps elsewhere, may help.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::ClosedByPeer { .. }
            | Self::Broken { .. }
            | Self::Closed { .. }
            | Self::RequestTimeout { .. }
            | Self::OutOfTurn { .. } => true,
            Self::Malformed { .. }
            | Self::Unwritable { .. }
            | Self::UnsupportedVersion { .. }
            | Self::DriverGone => false,
        }
    }
}

fn show(theirs: Option<&VersionRange>) -> String {
    theirs.map_or_else(|| "none".to_owned(), ToString::to_string)
}
