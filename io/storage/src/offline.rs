//! A folder that no broker has open: its lock, and its checkpoint as far as that can be read.

use std::io;
use std::path::Path;

use crate::checkpoint::{Checkpoint, decode};
use crate::disk::{DirLock, Disk, LockError, read_file};
use crate::error::{OpenError, io_at};
use crate::names::{CHECKPOINT_FILE, LOCK, PARTITIONS, WAL};
use crate::recovery::lock_folder;
use crate::walk::Problem;

/// What is said where a folder can only be read.
pub(crate) const UNLOCKED: &str =
    "the folder cannot be written to, so it is not locked: no broker must be running on it";

/// Takes the lock of a folder that holds a log. One that does not exist is not made.
pub(crate) fn lock_existing(disk: &dyn Disk, folder: &Path) -> Result<Box<dyn DirLock>, OpenError> {
    check_is_log(disk, folder)?;
    lock_folder(disk, folder)
}

/// Does the same for who changes nothing, also where nothing can be changed. Returns nothing if there
/// is no lock to be had.
pub(crate) fn lock_to_read(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<Option<Box<dyn DirLock>>, OpenError> {
    check_is_log(disk, folder)?;
    match lock_folder(disk, folder) {
        Err(OpenError::Io { reason, .. })
            if matches!(
                reason.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) => {}
        locked => return locked.map(Some),
    }
    match disk.lock_shared(&folder.join(LOCK)) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held { owner }) => Err(OpenError::Locked { path: folder.to_owned(), owner }),
        Err(LockError::Io(_)) => Ok(None),
    }
}

fn check_is_log(disk: &dyn Disk, folder: &Path) -> Result<(), OpenError> {
    let names = disk.list(folder).map_err(io_at(folder))?;
    if !names.iter().any(|name| [CHECKPOINT_FILE, WAL, PARTITIONS].contains(&name.as_str())) {
        let reason = format!("there is no file `{CHECKPOINT_FILE}`");
        return Err(OpenError::NotALog { path: folder.to_owned(), reason });
    }
    Ok(())
}

/// Returns a folder's checkpoint, or what is wrong with it. Fails if it is of another version.
pub(crate) fn load_checkpoint(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<Result<Checkpoint, Problem>, OpenError> {
    let path = folder.join(CHECKPOINT_FILE);
    let reason = match read_file(disk, &path) {
        Err(error) => error.to_string(),
        Ok(content) => match decode(&content) {
            Ok(checkpoint) => return Ok(Ok(checkpoint)),
            Err(bad) => bad.reason(&path)?,
        },
    };
    Ok(Err(Problem { path, position: 0, reason }))
}
