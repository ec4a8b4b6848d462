//! A partition whose files are not what the checkpoint says: it fails, and nothing else does.
//!
//! A lost or shortened segment, or a folder that somebody removed, is no failure of the disk, which
//! would end the process. The partition takes no appends any more, so that what is missing is noticed
//! and nothing is built on it. What was acknowledged before that came to light is kept: it goes to a
//! segment of its own, in a folder that is made again if need be, and the write-ahead log need not be
//! kept for it. Reads go on wherever records are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StorageError;
use crate::failure::is_no_space;
use crate::partition_log::{PartitionId, PartitionLog};

/// What a partition's appends are refused for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

impl Broken {
    /// Returns what is answered to who wants to append.
    pub(crate) fn refusal(&self, id: &PartitionId) -> StorageError {
        StorageError::Damaged {
            partition: id.to_string(),
            path: self.path.clone(),
            reason: self.reason.clone(),
        }
    }
}

impl PartitionLog {
    /// Refuses appends from now on. The first reason stays, and is told once.
    pub(crate) fn fail_alone(&self, path: &Path, reason: String) {
        let mut state = self.state.lock();
        if state.broken.is_none() && !state.deleted {
            let broken = Arc::new(Broken { path: path.to_owned(), reason });
            state.broken = Some(Arc::clone(&broken));
            drop(state);
            let error = broken.refusal(self.id());
            tracing::error!(%error, "a partition is damaged: the others go on");
        }
    }
}

/// Tells whether what could not be opened is gone or not to be used, and not the disk at fault.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
    )
}

/// Puts the path into what the system said, unless that says that there is no room, which passes and is
/// told from other errors by its number.
pub(crate) fn named(path: &Path, error: io::Error) -> io::Error {
    if is_no_space(&error) {
        return error;
    }
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
