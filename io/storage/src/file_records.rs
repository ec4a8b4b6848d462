//! Records that stay in their segment's file until the socket takes them.
//!
//! A reader behind the records in memory is not given a copy but a place in a file. Whoever sends them
//! hands the file's pages to the socket, and a reader that is slow holds no memory.
//!
//! The price is that nobody looks at the bytes on their way. So they are looked at before: what this
//! process wrote to a segment, or has read back and found sound, is known to be sound, and is not read
//! again as long as the operating system has it in memory. What comes from the medium is checked each
//! time. See `docs/decisions/0009`.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kohort_protocol::records::BatchHeader;

use crate::disk::{DiskFile, read_exact_at};
use crate::error::ReadError;
use crate::lending::Lent;
use crate::open_segment::OpenSegment;
use crate::partition_log::PartitionLog;
use crate::partition_state::PartitionState;
use crate::segment_scan::Located;
use crate::whole_batches::whole_batches;

/// Less than this is read into memory: to hand over a file costs more than that.
const FILE_RECORDS_MIN: usize = 16 << 10;
/// How much is read at once to be checked: a piece that stays in the processor's cache.
const CHECK_WINDOW: usize = 256 << 10;
/// How many headers after the place an index points at are looked at.
const HEADERS_MAX: usize = 64;

/// Records as a reader gets them: whole batches.
#[derive(Debug)]
pub enum Records {
    /// In memory, in one or several parts.
    Memory(Vec<Bytes>),
    /// In a segment's file.
    File(FileRecords),
}

impl Default for Records {
    fn default() -> Records {
        Records::Memory(Vec::new())
    }
}

impl Records {
    /// Returns how many bytes they are.
    pub fn len(&self) -> usize {
        match self {
            Records::Memory(parts) => parts.iter().map(Bytes::len).sum(),
            Records::File(file) => file.len(),
        }
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A stretch of a segment's file. The file stays open as long as this lives, and what lies in the
/// stretch does not change.
#[derive(Debug)]
pub struct FileRecords {
    file: Arc<dyn DiskFile>,
    position: u64,
    length: usize,
    /// When all of it was last seen in the operating system's memory.
    seen: Instant,
    _lent: Lent,
}

impl FileRecords {
    /// Returns how many bytes are left.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Tells whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the file, to send from.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.fd()
    }

    /// Returns where in the file what is left begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes note that the first `length` bytes were sent.
    pub fn advance(&mut self, length: usize) {
        let length = length.min(self.length);
        self.position += length as u64;
        self.length -= length;
    }

    /// Tells whether the next `length` bytes are in the operating system's memory, so that sending
    /// them will not wait for the disk.
    pub fn is_cached(&self, length: usize) -> bool {
        self.seen.elapsed() < SEEN_LASTS
            || self.file.is_cached(self.position, length.min(self.length)).unwrap_or(true)
    }

    /// Returns what brings the next `length` bytes into the operating system's memory. It waits for
    /// the disk.
    pub fn load(&self, length: usize) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        let file = Arc::clone(&self.file);
        let end = self.position + length.min(self.length) as u64;
        let mut position = self.position;
        move || {
            let mut buffer = vec![0; LOAD_BUFFER];
            while position < end {
                let part = buffer.len().min((end - position) as usize);
                read_exact_at(&*file, &mut buffer[..part], position)?;
                position += part as u64;
            }
            Ok(())
        }
    }
}

/// How long what was seen in the operating system's memory is taken to be there still: long enough for
/// a reader that takes what it asked for, who is thus not asked about twice. Should it be gone sooner,
/// sending waits for the disk.
const SEEN_LASTS: Duration = Duration::from_millis(100);

/// The buffer for bytes that are only read to be in memory.
const LOAD_BUFFER: usize = 128 << 10;

/// Where a segment's batches for a reader lie.
struct Stretch {
    from: u32,
    first: i64,
    to: u32,
    /// The first offset of the batch after them, if there is one in the segment.
    next_offset: Option<i64>,
}

impl PartitionLog {
    /// Finds a reader's batches in a segment without copying them. Nothing if they are few, or must be
    /// searched for among small batches: then it is as cheap to read them.
    pub(crate) fn lend_segment(
        &self,
        open: &OpenSegment,
        hint: Option<u32>,
        offset: i64,
        max_bytes: usize,
        min_one_message: bool,
    ) -> Result<Option<FileRecords>, ReadError> {
        let Some(stretch) = open.stretch(hint, offset, max_bytes, min_one_message)? else {
            return Ok(None);
        };
        let Stretch { from, first, mut to, mut next_offset } = stretch;
        let length = (to - from) as usize;
        let Some(cached) = open.file.is_cached(u64::from(from), length) else { return Ok(None) };
        // What is lent keeps its file open, and there are only so many descriptors.
        if self.shared.files.is_overfull() {
            return Ok(None);
        }
        let Some(lent) = self.shared.lending.lend() else { return Ok(None) };
        // Before the check, which takes its time.
        let seen = Instant::now();
        if !(cached && self.state.lock().is_checked(open, from..to)) {
            let sound = open.check(from..to, first)?;
            self.state.lock().note_checked(open, from..sound.to);
            if sound.to < to {
                (to, next_offset) = (sound.to, Some(sound.next_offset));
            }
        }
        if let Some(next_offset) = next_offset {
            self.state.lock().remember(open.name(), next_offset, to);
        }
        let file = Arc::clone(&open.file);
        let length = (to - from) as usize;
        Ok(Some(FileRecords { file, position: u64::from(from), length, seen, _lent: lent }))
    }
}

/// What of a stretch was found sound.
struct Sound {
    to: u32,
    next_offset: i64,
}

impl OpenSegment {
    fn stretch(
        &self,
        hint: Option<u32>,
        offset: i64,
        max_bytes: usize,
        min_one_message: bool,
    ) -> Result<Option<Stretch>, ReadError> {
        let end = self.segment.bytes;
        if max_bytes < FILE_RECORDS_MIN || self.file.fd().is_none() {
            return Ok(None);
        }
        let Located { position: mut from, offset: follows } = match hint {
            Some(position) => Located { position, offset },
            None => self.position_for_offset(offset)?,
        };
        if ((end - from) as usize) < FILE_RECORDS_MIN {
            return Ok(None);
        }
        let Some(first) = self.batch_of(&mut from, offset, follows) else { return Ok(None) };
        let Some((to, next_offset)) = self.end_within(from, &first, max_bytes, min_one_message)
        else {
            return Ok(None);
        };
        let is_large = (to - from) as usize >= FILE_RECORDS_MIN;
        let first = first.base_offset;
        Ok(is_large.then_some(Stretch { from, first, to, next_offset }))
    }

    /// Moves `position` to the batch that holds `offset`, or the first one after it.
    fn batch_of(&self, position: &mut u32, offset: i64, mut follows: i64) -> Option<BatchHeader> {
        for _ in 0..HEADERS_MAX {
            // What is not sound is found again, and told, when it is read.
            let header = self.header(*position).ok()??;
            if header.last_offset() >= offset {
                // That goes for its first offset, too.
                return Some(header).filter(|header| !self.is_odd(header, follows));
            }
            follows = header.next_offset();
            *position += header.size_in_bytes() as u32;
        }
        None
    }

    /// Returns where the last batch ends that fits, and the offset of the next one.
    fn end_within(
        &self,
        from: u32,
        first: &BatchHeader,
        max_bytes: usize,
        min_one_message: bool,
    ) -> Option<(u32, Option<i64>)> {
        let end = self.segment.bytes;
        let size = first.size_in_bytes();
        if size > max_bytes {
            return min_one_message.then_some((from + size as u32, None));
        }
        if (end - from) as usize <= max_bytes {
            return Some((end, None));
        }
        // The difference fits: it is less than what a segment holds.
        let limit = from + max_bytes as u32;
        let entry = self.entry_at(limit).filter(|entry| entry.position > from)?;
        let next = self.header(entry.position).ok()??;
        let expected = self.base + i64::from(entry.relative_offset);
        (next.base_offset == expected).then_some((entry.position, Some(expected)))
    }

    /// Reads batches and verifies them: the first has the offset `first`. Fails if it is damaged.
    fn check(&self, stretch: Range<u32>, first: i64) -> Result<Sound, ReadError> {
        let mut sound = Sound { to: stretch.start, next_offset: first };
        let mut wanted = CHECK_WINDOW;
        while sound.to < stretch.end {
            let from = sound.to;
            let left = (stretch.end - from) as usize;
            let window = self.read(from, wanted.min(left))?;
            let walked = whole_batches(window.as_slice(), usize::MAX, |at, batch| {
                let header = self.verify(from + at as u32, batch, sound.next_offset)?;
                sound.next_offset = header.next_offset();
                sound.to += header.size_in_bytes() as u32;
                Ok(())
            });
            match walked {
                Ok(0) => {
                    let size = self.header(from)?.map_or(0, |header| header.size_in_bytes());
                    if size <= window.len() || size > left {
                        return Err(self.damaged(from, "a batch does not end here".to_owned()));
                    }
                    wanted = size;
                }
                Ok(_) => wanted = CHECK_WINDOW,
                // What is sound before the damage can be had; who asks for more gets the error.
                Err(_) if sound.to > stretch.start => return Ok(sound),
                Err(error) => return Err(error),
            }
        }
        Ok(sound)
    }
}

impl PartitionState {
    fn is_checked(&self, open: &OpenSegment, stretch: Range<u32>) -> bool {
        let known = self.segments.get(&open.base);
        known
            .is_some_and(|meta| meta.name(open.base) == open.name() && meta.is_known_sound(stretch))
    }

    fn note_checked(&mut self, open: &OpenSegment, stretch: Range<u32>) {
        // Another segment may have taken its place meanwhile.
        if let Some(meta) = self.segments.get_mut(&open.base)
            && meta.name(open.base) == open.name()
        {
            meta.note_checked(stretch);
        }
    }
}
