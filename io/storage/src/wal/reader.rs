//! Reads the log back after a restart, and tells a torn end from corruption.
//!
//! Frames are followed from the checkpoint's position: each must have the next sequence number, carry
//! the checksum of the one before and verify. Where that stops, one question decides:
//!
//! * nothing valid with that sequence number or a later one is anywhere in the log's files: the log ends
//!   here. If there are bytes of a frame, it was being written when the power went; it was never
//!   acknowledged, and is cut off.
//! * something valid and later exists: the frame at this place *was* durable and is damaged now.
//!   That is corruption, and is reported instead of cut.
//!
//! A file that is shorter than its header says is damage as well: it is written full of zeros and synced
//! before it gets a header.
//!
//! In flush mode `page-cache` later blocks may have reached the disk before earlier ones, so there the
//! second case is what a power cut does, and is cut too (and counted in the report).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::aligned::BLOCK;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::wal::file::{FileHeader, slot_of};
use crate::wal::frame::{FRAME_HEADER, FrameHeader, is_frame_position};
use crate::wal::position::WalPosition;

/// How much of a file is read at once.
const WINDOW: usize = 1 << 20;

/// A file of the log as found on disk.
#[derive(Debug, Clone)]
pub(crate) struct FoundFile {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
    /// Absent when the first block holds no sound header of this data folder.
    pub(crate) header: Option<FileHeader>,
}

impl FoundFile {
    /// Says so if the file is shorter than its header tells. A file has its size, durably, before it has
    /// its header, so no crash does this.
    pub(crate) fn shortened(&self) -> Option<String> {
        let size = self.header?.size;
        let length = self.length;
        (length < size).then(|| format!("the file has {length} bytes and must have {size}"))
    }
}

/// Lists the log's files.
pub(crate) fn find_files(
    disk: &dyn Disk,
    dir: &Path,
    salt: Option<u64>,
) -> io::Result<Vec<FoundFile>> {
    let mut found = Vec::new();
    for name in disk.list(dir)? {
        if slot_of(&name).is_none() {
            continue;
        }
        let path = dir.join(&name);
        let file = disk.open(&path, OpenMode::Read)?;
        let mut block = [0; BLOCK];
        let read = file.read_at(&mut block, 0)?;
        let header = FileHeader::parse(&block[..read])
            .filter(|header| salt.is_none_or(|salt| header.salt == salt));
        found.push(FoundFile { path, length: file.len()?, header });
    }
    Ok(found)
}

/// A frame that was read and verified.
#[derive(Debug)]
pub(crate) struct ReadFrame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) file_number: u64,
    pub(crate) path: &'a Path,
    pub(crate) position: u64,
    /// Header and payload.
    pub(crate) bytes: &'a [u8],
}

/// Where and why reading stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WalEnd {
    /// Where the next frame goes.
    pub(crate) next: WalPosition,
    /// The file `next` lies in.
    pub(crate) path: PathBuf,
    /// Frames read.
    pub(crate) frames: u64,
    /// Whether bytes of an unfinished frame lie at `next`.
    pub(crate) torn: bool,
    /// A valid frame that is later than the one missing at `next`, if there is one.
    pub(crate) later: Option<LaterFrame>,
    /// The first file of those read that is shorter than it was, and what to say of it.
    pub(crate) shortened: Option<(PathBuf, u64, String)>,
    /// Whether the file at `next` was written in flush mode `fsync`.
    pub(crate) synced: bool,
}

/// A valid frame found beyond a bad one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaterFrame {
    pub(crate) path: PathBuf,
    pub(crate) position: u64,
    pub(crate) sequence: u64,
}

/// Reads all frames from `start` on and finds the end of the log.
pub(crate) fn read_log<E: From<io::Error>>(
    disk: &dyn Disk,
    files: &[FoundFile],
    salt: u64,
    start: WalPosition,
    mut each: impl FnMut(ReadFrame<'_>) -> Result<(), E>,
) -> Result<Option<WalEnd>, E> {
    let by_number: BTreeMap<u64, (&FoundFile, FileHeader)> =
        files.iter().filter_map(|f| f.header.map(|h| (h.number, (f, h)))).collect();
    let Some((mut found, mut file_header)) = by_number.get(&start.file_number).copied() else {
        return Ok(None);
    };
    let mut next = start;
    let mut frames = 0;
    let mut window = Window::open(disk, &found.path)?;
    let shortened_at = |file: &FoundFile| Some((file.path.clone(), file.length, file.shortened()?));
    let mut shortened = shortened_at(found);
    loop {
        if let Some(header) = window.valid_frame(next.position, salt)?
            && header.sequence == next.sequence
            && header.previous_crc == next.previous_crc
        {
            let bytes = window.bytes(next.position, FRAME_HEADER + header.payload)?;
            let (file_number, path, position) = (next.file_number, &*found.path, next.position);
            each(ReadFrame { header, file_number, path, position, bytes })?;
            next.position += header.span();
            next.sequence += 1;
            next.previous_crc = header.crc;
            frames += 1;
            continue;
        }
        match by_number.get(&(next.file_number + 1)) {
            // The file was full, and the next one goes on exactly here.
            Some((file, header))
                if header.first_sequence == next.sequence
                    && header.previous_crc == next.previous_crc =>
            {
                (found, file_header) = (file, *header);
                next.file_number += 1;
                next.position = BLOCK as u64;
                window = Window::open(disk, &found.path)?;
                shortened = shortened.or_else(|| shortened_at(found));
            }
            _ => break,
        }
    }
    let later = find_later(disk, files, salt, next, &found.path)?;
    let torn = looks_torn(&mut window, next, salt)?;
    let synced = file_header.synced;
    let path = found.path.clone();
    Ok(Some(WalEnd { next, path, frames, torn, later, shortened, synced }))
}

/// Searches all files for a valid frame that is not before `next`.
fn find_later(
    disk: &dyn Disk,
    files: &[FoundFile],
    salt: u64,
    next: WalPosition,
    end_path: &Path,
) -> io::Result<Option<LaterFrame>> {
    for file in files {
        let mut window = Window::open(disk, &file.path)?;
        let mut position = BLOCK as u64;
        while position < file.length {
            let mut step = BLOCK as u64;
            if let Some(header) = window.header(position)?
                && header.salt == salt
            {
                let not_before = header.sequence >= next.sequence;
                // The frame at `next` itself is the one in question.
                let here = position == next.position && file.path == *end_path;
                if not_before && !here && window.valid_frame(position, salt)?.is_some() {
                    let sequence = header.sequence;
                    return Ok(Some(LaterFrame { path: file.path.clone(), position, sequence }));
                }
                // What an old frame covers needs no look: later frames only begin inside it if it was
                // overwritten, and then it does not verify.
                if !not_before
                    && header.span() > step
                    && window.valid_frame(position, salt)?.is_some()
                {
                    step = header.span();
                }
            }
            position += step;
        }
    }
    Ok(None)
}

/// Tells whether an attempt to write the frame at `next` left traces.
fn looks_torn(window: &mut Window, next: WalPosition, salt: u64) -> io::Result<bool> {
    Ok(window
        .header(next.position)?
        .is_some_and(|header| header.salt == salt && header.sequence >= next.sequence))
}

/// A file read through a buffer that moves along.
struct Window {
    file: std::sync::Arc<dyn DiskFile>,
    length: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl Window {
    fn open(disk: &dyn Disk, path: &Path) -> io::Result<Window> {
        let file = disk.open(path, OpenMode::Read)?;
        let length = file.len()?;
        Ok(Window { file, length, start: 0, buffer: Vec::new() })
    }

    /// Returns `wanted` bytes at `position`, or fewer at the end of the file.
    fn bytes(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let wanted = wanted.min(self.length.saturating_sub(position) as usize);
        let end = self.start + self.buffer.len() as u64;
        if position < self.start || position + wanted as u64 > end {
            let size = wanted.max(WINDOW.min((self.length.saturating_sub(position)) as usize));
            self.buffer.resize(size, 0);
            let read = self.file.read_at(&mut self.buffer, position)?;
            self.buffer.truncate(read);
            self.start = position;
        }
        let from = (position - self.start) as usize;
        let to = (from + wanted).min(self.buffer.len());
        Ok(self.buffer.get(from..to).unwrap_or(&[]))
    }

    fn header(&mut self, position: u64) -> io::Result<Option<FrameHeader>> {
        debug_assert!(is_frame_position(position), "frames begin on block boundaries");
        Ok(FrameHeader::parse(self.bytes(position, FRAME_HEADER)?))
    }

    fn valid_frame(&mut self, position: u64, salt: u64) -> io::Result<Option<FrameHeader>> {
        let Some(header) = self.header(position)?.filter(|header| header.salt == salt) else {
            return Ok(None);
        };
        let whole = FRAME_HEADER + header.payload;
        if position + whole as u64 > self.length {
            return Ok(None);
        }
        Ok(header.verifies(self.bytes(position, whole)?).then_some(header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimulatedDisk;
    use crate::wal::frame::seal;

    const SALT: u64 = 7;

    /// A frame of one block: sequence number, checksum of the one before, salt.
    fn frame(sequence: u64, previous_crc: u32, salt: u64) -> (Vec<u8>, u32) {
        let mut bytes = vec![0; FRAME_HEADER + 8];
        let crc = seal(&mut bytes, sequence, previous_crc, salt, 1);
        bytes.resize(BLOCK, 0);
        (bytes, crc)
    }

    /// Puts files on a disk, each a header and frames, and follows the log from the first frame on.
    fn read(files: &[(FileHeader, Vec<Vec<u8>>)]) -> WalEnd {
        let disk = SimulatedDisk::new(1);
        let dir = Path::new("/wal");
        disk.create_dir_all(dir).unwrap();
        for (slot, (header, frames)) in (1..).zip(files) {
            let path = dir.join(crate::wal::file::slot_name(slot));
            let file = disk.open(&path, OpenMode::Write).unwrap();
            let content = [header.encode().as_slice(), &frames.concat()].concat();
            file.write_at(&content, 0).unwrap();
        }
        let start =
            WalPosition { file_number: 1, position: BLOCK as u64, sequence: 1, previous_crc: 0 };
        let files = find_files(&disk, dir, Some(SALT)).unwrap();
        let end = read_log::<io::Error>(&disk, &files, SALT, start, |_| Ok(())).unwrap();
        end.expect("the first file is there")
    }

    fn header(number: u64, first_sequence: u64, previous_crc: u32) -> FileHeader {
        let size = BLOCK as u64;
        FileHeader { number, first_sequence, salt: SALT, size, previous_crc, synced: true }
    }

    #[test]
    fn frame_belongs_to_the_log_if_it_follows_the_one_before_and_is_of_this_folder() {
        let (first, crc) = frame(1, 0, SALT);
        let count = |second: (Vec<u8>, u32)| {
            let end = read(&[(header(1, 1, 0), vec![first.clone(), second.0])]);
            (end.frames, end.torn, end.later.is_some())
        };
        assert_eq!(count(frame(2, crc, SALT)), (2, false, false));
        assert_eq!(count(frame(2, crc ^ 1, SALT)), (1, true, false), "it is another's second");
        assert_eq!(count(frame(3, crc, SALT)), (1, true, false), "a number is missing");
        assert_eq!(count(frame(2, crc, SALT + 1)), (1, false, false), "another folder's");
        let earlier = count(frame(1, crc, SALT));
        assert_eq!(
            earlier,
            (1, false, false),
            "left from an earlier use of the file: nothing is cut"
        );
    }

    #[test]
    fn file_belongs_to_the_log_if_it_goes_on_where_the_one_before_ends() {
        let (first, crc) = frame(1, 0, SALT);
        let (second, _) = frame(2, crc, SALT);
        let end = |next: FileHeader| {
            read(&[(header(1, 1, 0), vec![first.clone()]), (next, vec![second.clone()])])
        };
        assert_eq!((end(header(2, 2, crc)).frames, end(header(2, 2, crc)).later), (2, None));
        let foreign = FileHeader { salt: SALT + 1, ..header(2, 2, crc) };
        for other in [header(2, 3, crc), header(2, 2, crc ^ 1), header(3, 2, crc), foreign] {
            let end = end(other);
            assert_eq!(end.frames, 1, "{other:?}");
            let later = end.later.expect("the second frame is intact, wherever it lies");
            assert_eq!((later.sequence, later.path), (2, PathBuf::from("/wal/00000002.wal")));
        }
        let shortened = FileHeader { size: 3 * BLOCK as u64, ..header(2, 2, crc) };
        let (path, length, _) = end(shortened).shortened.expect("it lacks a block");
        assert_eq!((path, length), (PathBuf::from("/wal/00000002.wal"), 2 * BLOCK as u64));
    }
}
