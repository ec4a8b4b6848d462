//! Errors that every client shares.

use std::io;

use thiserror::Error;

use crate::config::ConfigError;

/// Why a client could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client's thread could not be started.
    #[error("the client's thread cannot be started")]
    Thread(#[source] io::Error),
}
