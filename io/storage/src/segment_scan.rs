//! Segments batch by batch, with a bounded buffer: as compaction reads them, and to tell whether offsets are
//! missing.
//!
//! Files are opened past the cache: a round touches each once, and would push out what readers use.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::records::{BATCH_HEADER_BYTES, BatchHeader, BatchRef};

use crate::disk::{Disk, DiskFile, OpenMode, read_exact_at};
use crate::segment::{SegmentName, records_path};

/// Read at once, unless a batch is larger.
const READ_BYTES: usize = 256 << 10;

/// A segment is not as it was written.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) path: PathBuf,
    pub(crate) position: u64,
    pub(crate) reason: String,
}

/// Walks over the batches of a segment.
pub(crate) struct SegmentScan {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    end: u32,
    /// Where in the file the buffer begins.
    start: u32,
    buffer: Vec<u8>,
    /// Where in the buffer the next batch begins.
    at: usize,
    base: i64,
    next_offset: i64,
    order: Order,
}

/// What a walk over a segment asks of first offsets.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// Nothing.
    Any,
    /// They ascend, and stay below this one.
    Ascending(i64),
    /// None is missing up to this one, unless some are missing for good.
    Dense(i64),
}

impl SegmentScan {
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        name: SegmentName,
        bytes: u32,
        end: i64,
    ) -> Result<SegmentScan, Damage> {
        let path = records_path(dir, name);
        match disk.open(&path, OpenMode::Read) {
            Ok(file) => Ok(SegmentScan {
                path,
                file,
                end: bytes,
                start: 0,
                buffer: Vec::new(),
                at: 0,
                next_offset: name.base_offset,
                base: name.base_offset,
                order: match name.generation {
                    0 => Order::Dense(end),
                    _ => Order::Ascending(end),
                },
            }),
            Err(error) => Err(Damage { path, position: 0, reason: error.to_string() }),
        }
    }

    /// Walks over a file whose batches' first offsets nobody trusts.
    pub(crate) fn of_file(path: &Path, file: Arc<dyn DiskFile>, bytes: u32) -> SegmentScan {
        SegmentScan {
            path: path.to_owned(),
            file,
            end: bytes,
            start: 0,
            buffer: Vec::new(),
            at: 0,
            base: 0,
            next_offset: 0,
            order: Order::Any,
        }
    }

    /// Returns where the next batch begins.
    pub(crate) fn position(&self) -> u32 {
        self.start + self.at as u32
    }

    /// Tells whether the next batch, if there is one, must be read from the disk.
    pub(crate) fn must_read(&self) -> bool {
        let buffered = &self.buffer[self.at..];
        self.position() < self.end
            && BatchHeader::parse(buffered).map_or(true, |h| h.size_in_bytes() > buffered.len())
    }

    /// Returns the next batch, which is sound; nothing at the end.
    pub(crate) fn next(&mut self) -> Result<Option<BatchRef<'_>>, Damage> {
        if self.position() >= self.end {
            return Ok(None);
        }
        if self.must_read() {
            self.fill(READ_BYTES)?;
            let needed = self.header()?.size_in_bytes();
            if needed > self.buffer.len() {
                self.fill(needed)?;
            }
        }
        let header = self.header()?;
        let from = self.at;
        self.check_order(&header)?;
        let checked = BatchRef::parse(&self.buffer[from..]).and_then(|batch| batch.verify_crc());
        if let Err(error) = checked {
            return Err(self.damage(error.to_string()));
        }
        self.at += header.size_in_bytes();
        self.next_offset = header.next_offset();
        Ok(Some(BatchRef::parse(&self.buffer[from..]).expect("it was parsed just now")))
    }

    fn check_order(&mut self, header: &BatchHeader) -> Result<(), Damage> {
        let (found, follows) = (header.base_offset, self.next_offset);
        let fits = match self.order {
            Order::Any => true,
            Order::Ascending(end) => found >= follows && header.next_offset() <= end,
            Order::Dense(_) if found == follows => true,
            // What is written anew has a place of its own, and its damage could not be told any more.
            Order::Dense(end) => {
                let offsets = self.base..end;
                let last = |_, offsets: Range<i64>| offsets.end == end;
                if locate((&self.path, &self.file), self.end, offsets, last).is_none() {
                    self.order = Order::Ascending(end);
                    return self.check_order(header);
                }
                false
            }
        };
        if fits {
            return Ok(());
        }
        Err(self.damage(format!("offset {found} where {follows} follows")))
    }

    fn header(&self) -> Result<BatchHeader, Damage> {
        BatchHeader::parse(&self.buffer[self.at..]).map_err(|error| self.damage(error.to_string()))
    }

    /// Reads anew from the next batch on.
    fn fill(&mut self, bytes: usize) -> Result<(), Damage> {
        self.start = self.position();
        self.at = 0;
        let left = (self.end - self.start) as usize;
        self.buffer.resize(bytes.max(BATCH_HEADER_BYTES).min(left), 0);
        read_exact_at(&*self.file, &mut self.buffer, u64::from(self.start))
            .map_err(|error| self.damage(error.to_string()))
    }

    fn damage(&self, reason: String) -> Damage {
        Damage { path: self.path.clone(), position: u64::from(self.position()), reason }
    }
}

/// Where a batch is, and where its offsets begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    pub(crate) position: u32,
    pub(crate) offset: i64,
}

/// Finds a batch of a segment in which no offset is missing. Nothing if one may be.
pub(crate) fn locate(
    file: (&Path, &Arc<dyn DiskFile>),
    bytes: u32,
    offsets: Range<i64>,
    wanted: impl Fn(u32, Range<i64>) -> bool,
) -> Option<Located> {
    let mut scan = SegmentScan::of_file(file.0, Arc::clone(file.1), bytes);
    let mut found = None;
    let mut offset = offsets.start;
    loop {
        let position = scan.position();
        // Of a batch that is damaged nobody knows how many offsets it takes.
        let Some(batch) = scan.next().ok()? else { break };
        let next = offset + i64::from(batch.header().last_offset_delta) + 1;
        if wanted(position, offset..next) {
            found = Some(Located { position, offset });
        }
        offset = next;
    }
    found.filter(|_| offset == offsets.end)
}
