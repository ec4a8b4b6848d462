//! Why a cluster could not be asked.

use kohort_protocol::ErrorCode;
use thiserror::Error;

use crate::net::NetError;

/// Why the cluster could not be asked.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The request got no answer.
    #[error(transparent)]
    Net(#[from] NetError),
    /// No node has this id now.
    #[error("the cluster has no node {node}")]
    UnknownNode {
        /// The id.
        node: i32,
    },
    /// No server could be reached; the last failure says why.
    #[error("no server could be reached, the last of {tried}: {last}")]
    Unreachable {
        /// How many were tried.
        tried: usize,
        /// What happened with the last.
        last: NetError,
    },
    /// No server has answered so far, and none has failed.
    #[error("no answer so far from {servers}")]
    NoAnswer {
        /// The servers to start from.
        servers: String,
    },
    /// The broker refused.
    #[error("{what}: {code}{}", message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        what: String,
        /// Kafka's error.
        code: ErrorCode,
        /// What the broker said beside it.
        message: Option<String>,
    },
    /// The task that keeps the metadata panicked, which is a mistake of this library's: build another
    /// client.
    #[error("the client failed")]
    Failed,
}

impl ClusterError {
    /// Returns whether asking again may help.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Net(error) => error.is_retriable(),
            Self::UnknownNode { .. } | Self::NoAnswer { .. } => true,
            Self::Unreachable { last, .. } => !last.is_refusal(),
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Failed => false,
        }
    }

    /// Returns whether nothing can be asked of the cluster until somebody changes what this client
    /// is told or the cluster is: see [`NetError::is_refusal`]. So it is once the client has failed.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Net(error) | Self::Unreachable { last: error, .. } => error.is_refusal(),
            Self::Failed => true,
            Self::UnknownNode { .. } | Self::NoAnswer { .. } | Self::Refused { .. } => false,
        }
    }
}
