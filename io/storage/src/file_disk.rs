//! The real disk: files of the operating system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags};

use crate::disk::{DirLock, Disk, DiskFile, LockError, OpenMode, Volume, WholeVolume};

/// Files of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileDisk;

impl Disk for FileDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Existing => {
                options.write(true);
            }
            OpenMode::Write => {
                options.write(true).create(true);
            }
            OpenMode::Direct => {
                options.write(true).create(true);
                let mut direct = options.clone();
                direct.custom_flags(libc::O_DIRECT);
                match direct.open(path) {
                    Ok(file) => return Ok(Arc::new(RealFile(file))),
                    // tmpfs before Linux 6.6, some network and FUSE file systems: fall back to the page
                    // cache, which is as durable and only dearer.
                    Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn whole_volume(&self, dir: &Path) -> io::Result<Option<Box<dyn WholeVolume>>> {
        let kind = rustix::fs::statfs(dir)?.f_type as i64;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        if !SYNCED_AS_A_WHOLE.contains(&kind) || !tells_of_failures(&release) {
            return Ok(None);
        }
        Ok(Some(Box::new(RealVolume(File::open(dir)?))))
    }

    fn volume(&self, dir: &Path) -> io::Result<Volume> {
        let found = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Volume { total: bytes(found.f_blocks), usable: bytes(found.f_bavail) })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DirLock>, LockError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(LockError::Io)?;
        let (mut file, folder) = take(path, file, File::try_lock)?;
        // Only words for whoever is refused: the lock itself is the kernel's, and goes with the process.
        // A full disk has no room for them.
        let _ = file.set_len(0);
        let _ = file.rewind();
        let _ = writeln!(file, "process {}", std::process::id());
        Ok(Box::new(RealLock { _file: file, _folder: folder }))
    }

    fn lock_shared(&self, path: &Path) -> Result<Box<dyn DirLock>, LockError> {
        let file = File::open(path).map_err(LockError::Io)?;
        let (file, folder) = take(path, file, File::try_lock_shared)?;
        Ok(Box::new(RealLock { _file: file, _folder: folder }))
    }
}

/// Locks a folder's lock file, and the folder itself: the file may be removed and made anew while
/// somebody holds it, and the next one would find it free.
fn take(
    path: &Path,
    file: File,
    lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<(File, Option<File>), LockError> {
    // Where a folder cannot be locked, as on NFS, the file has to do.
    let folder = path.parent().and_then(|folder| File::open(folder).ok());
    let folder = match folder.map(|folder| (lock(&folder), folder)) {
        Some((Ok(()), folder)) => Some(folder),
        Some((Err(TryLockError::WouldBlock), _)) => return Err(held(file)),
        Some((Err(TryLockError::Error(_)), _)) | None => None,
    };
    match lock(&file) {
        Ok(()) => Ok((file, folder)),
        Err(TryLockError::WouldBlock) => Err(held(file)),
        Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
    }
}

/// Says who holds a lock, by what they wrote into its file.
fn held(mut file: File) -> LockError {
    let mut owner = String::new();
    let _ = file.read_to_string(&mut owner);
    let owner = owner.trim();
    let owner = if owner.is_empty() { "another process" } else { owner };
    LockError::Held { owner: owner.to_owned() }
}

/// File systems whose `syncfs` waits until everything is on the medium, and tells what failed: ext2 to
/// ext4, XFS, Btrfs, F2FS. FUSE does not hand it on, and overlays do not hand failures back.
const SYNCED_AS_A_WHOLE: [i64; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];

/// Tells whether `syncfs` reports what could not be written, as it does since Linux 5.8.
fn tells_of_failures(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}

/// The handle is kept open: failures are told of that happened since it was opened.
#[derive(Debug)]
struct RealVolume(File);

impl WholeVolume for RealVolume {
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

/// How far apart the probes of [`DiskFile::is_cached`] lie: the system reads ahead and forgets in
/// stretches, so that what is missing is rarely smaller.
const PROBE_INTERVAL: usize = 64 << 10;

/// How many pieces are written by one call: as many as Linux takes.
const PIECES_MAX: usize = 1024;

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, data: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(data, position)
    }

    fn write_pieces_at(&self, pieces: &[&[u8]], mut position: u64) -> io::Result<()> {
        for pieces in pieces.chunks(PIECES_MAX) {
            let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
            let mut left = &mut slices[..];
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                match rustix::io::pwritev(&self.0, left, position) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        IoSlice::advance_slices(&mut left, written);
                        position += written as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn is_cached(&self, position: u64, length: usize) -> Option<bool> {
        let probes = (0..length).step_by(PROBE_INTERVAL).chain(length.checked_sub(1));
        for ahead in probes {
            let mut byte = [0];
            let at = position + ahead as u64;
            let mut buffers = [IoSliceMut::new(&mut byte)];
            match rustix::io::preadv2(&self.0, &mut buffers, at, ReadWriteFlags::NOWAIT) {
                Ok(1) => {}
                Ok(_) | Err(Errno::AGAIN) => return Some(false),
                Err(_) => return None,
            }
        }
        Some(true)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

#[derive(Debug)]
struct RealLock {
    _file: File,
    _folder: Option<File>,
}

impl DirLock for RealLock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_hide_failures_of_a_whole_sync_are_known() {
        let telling = ["5.8.0", "5.10-rc1", "6.1.0-18-amd64", "10.0.1"];
        assert!(telling.into_iter().all(tells_of_failures));
        let silent = ["5.7.19", "4.18.0-513.el8.x86_64", "4.19", "5", ""];
        assert!(!silent.into_iter().any(tells_of_failures));
    }

    #[test]
    fn second_lock_of_a_folder_names_the_process_that_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let held = FileDisk.lock(&path).unwrap();
        match FileDisk.lock(&path) {
            Err(LockError::Held { owner }) => {
                assert_eq!(owner, format!("process {}", std::process::id()));
            }
            other => panic!("expected the lock to be held, got {other:?}"),
        }
        drop(held);
        FileDisk.lock(&path).expect("a released lock can be taken");
    }

    #[test]
    fn those_who_only_read_share_a_lock_and_keep_out_who_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        assert!(matches!(FileDisk.lock_shared(&path), Err(LockError::Io(_))), "none is made");
        let held = FileDisk.lock(&path).unwrap();
        assert!(matches!(FileDisk.lock_shared(&path), Err(LockError::Held { .. })));
        drop(held);
        let readers = [(), ()].map(|()| FileDisk.lock_shared(&path).unwrap());
        assert!(matches!(FileDisk.lock(&path), Err(LockError::Held { .. })));
        drop(readers);
        FileDisk.lock(&path).unwrap();
    }

    #[test]
    fn a_folder_stays_locked_when_its_lock_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let held = FileDisk.lock(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(FileDisk.lock(&path), Err(LockError::Held { .. })));
        assert!(matches!(FileDisk.lock_shared(&path), Err(LockError::Held { .. })));
        drop(held);
        let reader = FileDisk.lock_shared(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(FileDisk.lock(&path), Err(LockError::Held { .. })));
        drop(reader);
        FileDisk.lock(&path).expect("a released folder can be locked");
    }

    #[test]
    fn a_folder_is_locked_for_those_who_only_know_the_lock_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let _held = FileDisk.lock(&path).unwrap();
        let file = File::open(&path).unwrap();
        assert!(matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
    }

    #[test]
    fn pieces_lie_one_after_another_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = FileDisk.open(&dir.path().join("f"), OpenMode::Write).unwrap();
        let pieces: Vec<Vec<u8>> = (0..3000_usize).map(|i| vec![i as u8; i % 7]).collect();
        let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        file.write_pieces_at(&slices, 5).unwrap();
        let whole = pieces.concat();
        let mut back = vec![1; 5 + whole.len()];
        assert_eq!(file.read_at(&mut back, 0).unwrap(), back.len());
        assert_eq!(back, [&[0; 5], &whole[..]].concat());
    }

    #[test]
    fn direct_write_of_an_aligned_buffer_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = FileDisk.open(&dir.path().join("f"), OpenMode::Direct).unwrap();
        let mut buffer = crate::aligned::AlignedBuf::with_capacity(10_000);
        buffer.extend(&[7; 5000]);
        buffer.pad_to_block();
        file.write_at(buffer.as_slice(), 4096).unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 4096 + 8192);
        let mut back = crate::aligned::AlignedBuf::zeroed(8192);
        assert_eq!(file.read_at(back.as_mut_slice(), 4096).unwrap(), 8192);
        assert_eq!(back.as_slice(), buffer.as_slice());
    }
}
