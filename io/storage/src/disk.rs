//! What the log needs of a disk, and nothing more.
//!
//! Everything that touches a file goes through [`Disk`] and [`DiskFile`], so that the same log runs
//! on real files ([`FileDisk`](crate::FileDisk)) and on a disk that loses and tears what was not
//! synced ([`SimulatedDisk`](crate::SimulatedDisk)).
//!
//! The durability rules the log relies on, and the simulated disk is cruel about:
//!
//! * written bytes survive a power cut only once [`DiskFile::sync`] returned;
//! * a created, renamed or removed name survives only once [`Disk::sync_dir`] of its folder returned;
//! * [`WholeVolume::sync`] does both for everything, and the log goes on without it where there is none;
//! * what was written but not synced may be there in part, in any order of sectors.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Only to read; the file must exist.
    Read,
    /// To read and write; the file must exist.
    Existing,
    /// To read and write; created if it is not there.
    Write,
    /// To read and write past the page cache where the file system allows it; created if it is not
    /// there. Writes must be aligned to [`BLOCK`](crate::aligned::BLOCK) in memory, position and size.
    Direct,
}

/// The size of a medium, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// How much it holds.
    pub total: u64,
    /// How much of that can still be written by this user.
    pub usable: u64,
}

/// A folder tree on some medium.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Creates a folder and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Lists the names in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Renames a file or folder, replacing a file of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and all in it.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Returns by what the whole medium that a folder lies on can be made durable. Nothing where that
    /// cannot be relied on.
    fn whole_volume(&self, dir: &Path) -> io::Result<Option<Box<dyn WholeVolume>>> {
        let _ = dir;
        Ok(None)
    }
    /// Returns how large the medium is that a folder lies on, and what is left.
    fn volume(&self, dir: &Path) -> io::Result<Volume>;
    /// Takes the lock file at `path` for this process, or says who holds it. The lock lasts until
    /// the returned value is dropped.
    fn lock(&self, path: &Path) -> Result<Box<dyn DirLock>, LockError>;
    /// Takes a lock file that is there, and cannot be written to, beside others who do the same. Whoever
    /// holds it with [`lock`](Disk::lock) keeps them out, and they him.
    fn lock_shared(&self, path: &Path) -> Result<Box<dyn DirLock>, LockError>;
}

/// An open file. All positions are given, so one handle serves many threads.
pub trait DiskFile: Debug + Send + Sync {
    /// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `data` at `position`.
    fn write_at(&self, data: &[u8], position: u64) -> io::Result<()>;
    /// Writes all pieces, one after another, from `position` on.
    fn write_pieces_at(&self, pieces: &[&[u8]], mut position: u64) -> io::Result<()> {
        for piece in pieces {
            self.write_at(piece, position)?;
            position += piece.len() as u64;
        }
        Ok(())
    }
    /// Makes all written data, and the length, durable.
    fn sync(&self) -> io::Result<()>;
    /// Returns the length of the file.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Tells whether a stretch can be read without waiting for the medium, as far as a few probes show.
    /// Nothing if that cannot be told.
    fn is_cached(&self, position: u64, length: usize) -> Option<bool> {
        let _ = (position, length);
        None
    }
    /// Returns the handle by which the operating system knows the file, if it does.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Tells whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A medium with all that is on it.
pub trait WholeVolume: Debug + Send + Sync {
    /// Makes everything durable that was written and named before. Fails if anything that was written
    /// since this was made, or last synced, did not reach the medium.
    fn sync(&self) -> io::Result<()>;
}

/// A held lock: dropping it releases it.
pub trait DirLock: Debug + Send + Sync {}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else holds it; `owner` is what they wrote into the lock file.
    Held {
        /// What the holder wrote about itself, for example `process 4711`.
        owner: String,
    },
    /// The lock file cannot be used.
    Io(io::Error),
}

/// Reads until `buffer` is full, or fails with `UnexpectedEof`.
pub(crate) fn read_exact_at(
    file: &dyn DiskFile,
    buffer: &mut [u8],
    position: u64,
) -> io::Result<()> {
    let read = file.read_at(buffer, position)?;
    if read < buffer.len() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!(
                "the file ends at {}, before {}",
                position + read as u64,
                position + buffer.len() as u64
            ),
        ));
    }
    Ok(())
}

/// Reads a whole file.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let length = file.len()?;
    let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    read_exact_at(&*file, &mut content, 0)?;
    Ok(content)
}

/// Replaces a file so that after a power cut either the old or the new content is there.
pub(crate) fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("new");
    let file = disk.open(&staged, OpenMode::Write)?;
    file.set_len(0)?;
    file.write_at(content, 0)?;
    file.sync()?;
    drop(file);
    disk.rename(&staged, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
