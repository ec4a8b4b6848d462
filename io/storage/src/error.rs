//! What can go wrong, sorted by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_log::producer_state::SequenceError;
use kohort_log::validator::InvalidBatch;
use kohort_protocol::ErrorCode;

use crate::names::WAL;

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error("the data folder {} is in use by {owner}: end that, or use another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// What the holder says about itself.
        owner: String,
    },
    /// The folder holds something, but not a log of ours.
    #[error("{} holds no log of Kohort: {reason}; give the folder of a Kohort broker, or for a new one an empty folder", path.display())]
    NotALog {
        /// The folder.
        path: PathBuf,
        /// What was found or missed.
        reason: String,
    },
    /// It was written by a Kohort whose format differs. Nothing was changed.
    #[error("{} is of format version {found}; this Kohort reads version {supported}", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that can be read.
        supported: u32,
    },
    /// Something that had been durable is damaged. Nothing was changed.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// The disk refused.
    #[error("cannot use {}: {reason}{}", path.display(), advice(reason))]
    Io {
        /// What was used.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

/// Returns what to do about it, to follow what the system said, where that alone would not tell.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the user who runs this must own the data folder and everything in it"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; mount it for writing, or use a folder on another file system"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room there, or use a folder on another file system"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => "; a folder is needed there",
        _ => "",
    }
}

/// Damage found while opening a folder: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is damaged at byte {position}: {reason}. This is not an interrupted write, so nothing was \
     changed. `kohort log verify --data {folder}` shows what is affected, `kohort log repair --data \
     {folder}` keeps all but the damaged part",
    path.display(),
    folder = folder.display()
)]
pub struct Corruption {
    /// The data folder.
    pub folder: PathBuf,
    /// The damaged file.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// What is wrong there.
    pub reason: String,
}

/// Why an append was not made durable, or an operation of the folder failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The disk failed, or a thread panicked, and nothing more is accepted; the process must end.
    #[error(transparent)]
    Fatal(#[from] Arc<FatalError>),
    /// The folder is being closed.
    #[error("the data folder is closed")]
    Closed,
    /// The partition was deleted meanwhile.
    #[error("the partition was deleted")]
    Deleted,
    /// The name cannot be a topic's.
    #[error("`{name}` is not a valid topic name")]
    InvalidTopicName {
        /// The name.
        name: String,
    },
    /// Files of the partition are gone or not as they were written. The others go on.
    #[error(
        "{partition} takes no records, because {} is not as it was written: {reason}; stop the broker, \
         `kohort log verify` on its data folder shows what is affected, `kohort log repair` keeps the \
         rest",
        path.display()
    )]
    Damaged {
        /// The partition.
        partition: String,
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk refused something that can be tried again.
    #[error("{}: {reason}", path.display())]
    Io {
        /// What was used.
        path: PathBuf,
        /// What the system said.
        reason: Arc<io::Error>,
    },
}

impl StorageError {
    /// Returns the code to answer a client.
    pub fn code(&self) -> ErrorCode {
        match self {
            StorageError::Deleted => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            StorageError::InvalidTopicName { .. } => ErrorCode::INVALID_TOPIC_EXCEPTION,
            _ => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }
}

/// A failure after which nothing on the disk can be trusted to be durable, or a thread without which the
/// folder does not go on panicked.
#[derive(Debug)]
pub struct FatalError {
    /// What was being done.
    pub doing: String,
    /// What the system said.
    pub reason: io::Error,
}

impl std::error::Error for FatalError {}

/// Why an append was refused. Nothing was appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The batch breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidBatch),
    /// The batch does not continue its producer's sequence.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// Too much is waiting for the disk. [`LogDir::when_room`](crate::LogDir::when_room) tells when
    /// to try again.
    #[error("too many appends are waiting for the disk")]
    QueueFull,
    /// The disk is full. Reading goes on; appends are accepted again when there is space.
    #[error("the disk is full")]
    DiskFull,
    /// Too many files are open. Reading what is open goes on; appends are accepted again when files
    /// can be opened.
    #[error("too many files are open: raise the limit for the process (`ulimit -n`)")]
    OutOfHandles,
    /// The folder or the partition does not accept appends.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AppendError {
    /// Returns the code to answer a client.
    pub fn code(&self) -> ErrorCode {
        match self {
            AppendError::Invalid(invalid) => invalid.code,
            AppendError::Sequence(error) => error.code(),
            AppendError::QueueFull => ErrorCode::REQUEST_TIMED_OUT,
            AppendError::DiskFull | AppendError::OutOfHandles => ErrorCode::KAFKA_STORAGE_ERROR,
            AppendError::Storage(error) => error.code(),
        }
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The offset is outside the log.
    #[error("offset {offset} is outside the log, which is from {log_start} to {log_end}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: i64,
        /// The first offset there is.
        log_start: i64,
        /// The offset after the last.
        log_end: i64,
    },
    /// What is stored there is damaged or cannot be read.
    #[error("{} at byte {position}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// The folder or the partition does not accept reads.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReadError {
    /// Returns the code to answer a client.
    pub fn code(&self) -> ErrorCode {
        match self {
            ReadError::OffsetOutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
            ReadError::Damaged { .. } => ErrorCode::KAFKA_STORAGE_ERROR,
            ReadError::Storage(error) => error.code(),
        }
    }

    /// Tells whether the same read may succeed later although nobody mends anything.
    pub fn passes(&self) -> bool {
        matches!(self, ReadError::Storage(StorageError::Io { .. }))
    }
}

impl From<io::Error> for OpenError {
    fn from(reason: io::Error) -> Self {
        OpenError::Io { path: PathBuf::from(WAL), reason }
    }
}

/// Refuses a folder for damage at a place in one of its files.
pub(crate) fn corrupt(folder: &Path, path: &Path, position: u64, reason: String) -> OpenError {
    OpenError::Corrupt(Box::new(Corruption {
        folder: folder.to_owned(),
        path: path.to_owned(),
        position,
        reason,
    }))
}

/// Makes errors of the disk tell at which file or folder they came.
pub(crate) fn io_at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |reason| OpenError::Io { path: path.clone(), reason }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::iter::successors;

    use super::*;

    /// What somebody reads for whom an error is printed with all that caused it.
    fn told(error: &(dyn Error + 'static)) -> String {
        let chain = successors(Some(error), |error| (**error).source());
        chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    #[test]
    fn what_the_system_said_is_told_once() {
        let reason = || io::Error::other("the device is gone");
        let path = || PathBuf::from("wal/1");
        let open = OpenError::Io { path: path(), reason: reason() };
        assert_eq!(told(&open), "cannot use wal/1: the device is gone");
        let storage = StorageError::Io { path: path(), reason: Arc::new(reason()) };
        assert_eq!(told(&storage), "wal/1: the device is gone");
        let fatal = FatalError { doing: "compacting".to_owned(), reason: reason() };
        let failed = "the disk failed while compacting: the device is gone; the broker must stop, because \
                      what the disk holds is no longer known";
        assert_eq!(told(&fatal), failed);
        assert_eq!(told(&AppendError::from(StorageError::from(Arc::new(fatal)))), failed);
    }
}
