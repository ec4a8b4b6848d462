//! A partition whose files are not what the checkpoint says: it fails, and nothing else does.
//!
//! A lost or shortened segment, or a folder that somebody removed, is no failure of the disk, which
//! would end the process. The partition takes no appends any more, so that what is missing is noticed
//! and nothing is built on it. What was acknowledged before that came to light is kept: it goes to a
//! segment of its own, in a folder that is made again if need be, and the write-ahead log need not be
//! kept for it. Reads go on wherever records are.

use std::path::PathBuf;

use crate::error::StorageError;
use crate::partition_id::PartitionId;

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
