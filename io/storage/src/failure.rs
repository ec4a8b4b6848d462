//! What a failed operation on the disk means for those who work behind appends.

use std::io;
use std::path::Path;

/// Why records could not be written to segments.
#[derive(Debug)]
pub(crate) enum FlushError {
    /// There is no space now, or no handle to open a file with.
    NoSpace(io::Error),
    /// The disk failed.
    Failed(io::Error),
}

impl From<io::Error> for FlushError {
    fn from(error: io::Error) -> Self {
        if is_no_space(&error) { FlushError::NoSpace(error) } else { FlushError::Failed(error) }
    }
}

impl FlushError {
    /// Judges a failed sync: whatever it says, what it did not write may be gone from memory, too.
    /// Only if nothing could be opened to be synced, it can be tried again.
    pub(crate) fn of_sync(error: io::Error) -> FlushError {
        if is_out_of_handles(&error) {
            FlushError::NoSpace(error)
        } else {
            FlushError::Failed(error)
        }
    }

    /// Puts the path into what ends the folder. A shortage passes, and is told by its number.
    pub(crate) fn at(self, path: &Path) -> FlushError {
        match self {
            FlushError::Failed(error) => FlushError::Failed(with_path(path, &error)),
            shortage @ FlushError::NoSpace(_) => shortage,
        }
    }
}

/// Tells whether an error says that the disk, or the user's share of it, is full, or that no file
/// can be opened now. Either passes, and says nothing about what is on the disk.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    is_out_of_handles(error)
        || matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
}

/// Tells whether an error says that the process or the system has too many files open.
pub(crate) fn is_out_of_handles(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
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
    with_path(path, &error)
}

/// Puts the path into what the system said, whatever it is.
pub(crate) fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
