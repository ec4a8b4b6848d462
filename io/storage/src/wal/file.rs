//! The files the write-ahead log is written into, and the pool they come from and go back to.
//!
//! A file begins with a block of its own:
//!
//! ```text
//!  0  [u8; 8]  "KOHORTWL"
//!  8  u32      crc32c of bytes 12..56
//! 12  u32      format version, 1
//! 16  u64      file number: one more than the file written before
//! 24  u64      sequence number of its first frame
//! 32  u64      salt of the data folder
//! 40  u64      size of the file
//! 48  u32      checksum of the frame before its first
//! 52  u32      flags: bit 0 = commits are synced (flush mode `fsync`)
//! ```
//!
//! The rest of the block is zero; frames begin at [`BLOCK`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::aligned::{AlignedBuf, BLOCK, round_up};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::failure::{is_no_space, named};
use crate::wal::position::WalPosition;
use crate::wal::reserve::Urgency;

const MAGIC: [u8; 8] = *b"KOHORTWL";
const VERSION: u32 = 1;
const HEADER: usize = 56;
const FLAG_SYNCED: u32 = 1;

/// How much is written at once while a file is made ready.
const PREPARE_CHUNK: usize = 1 << 20;
/// On a disk that is nearly full a smaller file is made, down to this size.
const SIZE_MIN: u64 = 1 << 20;
/// Files kept ready beyond the one in use: one that is about to be needed and one more, so that a
/// commit never waits for the next while the last checkpoint is under way.
const SPARES_MAX: usize = 2;

/// What the first block of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) number: u64,
    pub(crate) first_sequence: u64,
    pub(crate) salt: u64,
    pub(crate) size: u64,
    pub(crate) previous_crc: u32,
    pub(crate) synced: bool,
}

impl FileHeader {
    /// Returns the header as the block to write.
    pub(crate) fn encode(&self) -> AlignedBuf {
        let mut block = AlignedBuf::zeroed(BLOCK);
        let bytes = block.as_mut_slice();
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.size.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.previous_crc.to_le_bytes());
        let flags = if self.synced { FLAG_SYNCED } else { 0 };
        bytes[52..56].copy_from_slice(&flags.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[12..HEADER]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads a header, if the block holds a sound one.
    pub(crate) fn parse(block: &[u8]) -> Option<FileHeader> {
        let bytes = block.get(..HEADER)?;
        let u32_at =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let sound = bytes[..8] == MAGIC
            && u32_at(8) == crc32c::crc32c(&bytes[12..HEADER])
            && u32_at(12) == VERSION;
        sound.then(|| FileHeader {
            number: u64_at(16),
            first_sequence: u64_at(24),
            salt: u64_at(32),
            size: u64_at(40),
            previous_crc: u32_at(48),
            synced: u32_at(52) & FLAG_SYNCED != 0,
        })
    }

    /// Returns where the first frame of the file is.
    fn start(&self) -> WalPosition {
        WalPosition {
            file_number: self.number,
            position: BLOCK as u64,
            sequence: self.first_sequence,
            previous_crc: self.previous_crc,
        }
    }
}

/// A file of the log, in use or ready for use.
#[derive(Debug, Clone)]
pub(crate) struct WalFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) size: u64,
}

/// The files of one log: those in use by number, those ready, and the rule how large the next is.
#[derive(Debug)]
pub(crate) struct FilePool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    mode: OpenMode,
    size_max: u64,
    state: Mutex<PoolState>,
    /// Bytes of the files in use before the newest.
    behind_bytes: AtomicU64,
}

/// A file in use.
#[derive(Debug)]
struct Live {
    file: WalFile,
    /// Where its first frame is. Nothing if its header was not sound.
    start: Option<WalPosition>,
}

#[derive(Debug)]
struct PoolState {
    live: BTreeMap<u64, Live>,
    spares: Vec<WalFile>,
    next_slot: u64,
    next_size: u64,
}

impl FilePool {
    /// Makes an empty pool for the log in `dir`, whose first file has `size_first` bytes.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        mode: OpenMode,
        size_first: u64,
        size_max: u64,
    ) -> FilePool {
        let round = |size: u64| round_up(size as usize).max(2 * BLOCK) as u64;
        let (size_first, size_max) = (round(size_first), round(size_max));
        let state = PoolState {
            live: BTreeMap::new(),
            spares: Vec::new(),
            next_slot: 1,
            next_size: size_first,
        };
        let size_max = size_max.max(size_first);
        let behind_bytes = AtomicU64::new(0);
        FilePool { disk, dir, mode, size_max, state: Mutex::new(state), behind_bytes }
    }

    /// Takes over files found on disk: those with a number are in use, the others are spare.
    pub(crate) fn adopt(&self, files: Vec<(Option<u64>, PathBuf, u64)>) -> io::Result<()> {
        let mut state = self.state.lock();
        for (number, path, size) in files {
            let slot = path.file_name().and_then(|n| n.to_str()).and_then(slot_of);
            state.next_slot = state.next_slot.max(slot.unwrap_or(0) + 1);
            let doubled = round_up(size as usize * 2) as u64;
            state.next_size = state.next_size.max(doubled).min(self.size_max);
            match number {
                Some(number) => {
                    let file = self.disk.open(&path, self.mode)?;
                    let mut block = AlignedBuf::zeroed(BLOCK);
                    let read = file.read_at(block.as_mut_slice(), 0)?;
                    let header = FileHeader::parse(&block.as_slice()[..read]);
                    let start = header.map(|header| header.start());
                    state.live.insert(number, Live { file: WalFile { path, file, size }, start });
                }
                // A file that was being prepared may be cut short; a spare must be written all over.
                None if size.is_multiple_of(BLOCK as u64)
                    && size >= 2 * BLOCK as u64
                    && state.spares.len() < SPARES_MAX =>
                {
                    let file = self.disk.open(&path, self.mode)?;
                    // Its size must be durable before a header tells it.
                    file.sync()?;
                    state.spares.push(WalFile { path, file, size });
                }
                None => self.disk.remove_file(&path)?,
            }
        }
        self.note_behind(&state);
        Ok(())
    }

    /// Makes all files in use durable.
    pub(crate) fn sync_live(&self) -> io::Result<()> {
        let live: Vec<WalFile> = {
            let state = self.state.lock();
            state.live.values().map(|live| live.file.clone()).collect()
        };
        let sync = |file: &WalFile| file.file.sync().map_err(|error| named(&file.path, error));
        live.iter().try_for_each(sync)
    }

    /// Returns the file in use under `number`.
    pub(crate) fn live_file(&self, number: u64) -> Option<WalFile> {
        self.state.lock().live.get(&number).map(|live| live.file.clone())
    }

    /// Returns where the first frame of the file in use under `number` is.
    pub(crate) fn start_of(&self, number: u64) -> Option<WalPosition> {
        self.state.lock().live.get(&number)?.start
    }

    /// Tells whether a file should be made ready in the background.
    pub(crate) fn wants_spare(&self) -> bool {
        self.state.lock().spares.is_empty()
    }

    /// Writes a new file full of zeros and keeps it ready.
    pub(crate) fn prepare_spare(&self) -> io::Result<()> {
        let made = self.make(0)?;
        self.state.lock().spares.push(made);
        Ok(())
    }

    /// Takes a ready file with room for frames of `bytes`, or makes one on the spot.
    pub(crate) fn take(&self, bytes: u64, urgency: Urgency) -> io::Result<WalFile> {
        let bytes = BLOCK as u64 + bytes;
        {
            let mut state = self.state.lock();
            let others = state.spares.len() > 1;
            let room = |spare: &WalFile| spare.size - kept(urgency, spare.size, others);
            let fits = state.spares.iter().position(|spare| room(spare) >= bytes);
            if let Some(at) = fits {
                return Ok(state.spares.remove(at));
            }
        }
        self.make(urgency.file_for(bytes))
    }

    /// Returns how many bytes frames may have so that they fit what is ready: the `left` bytes of the file
    /// in use, which has `size`, or the next.
    pub(crate) fn room(&self, left: u64, size: u64, urgency: Urgency) -> u64 {
        let state = self.state.lock();
        let here = left.saturating_sub(kept(urgency, size, !state.spares.is_empty()));
        let others = state.spares.len() > 1;
        let spares = state.spares.iter().map(|spare| {
            spare.size.saturating_sub(BLOCK as u64 + kept(urgency, spare.size, others))
        });
        spares.fold(here, u64::max)
    }

    /// Notes that a file is now part of the log, with its first frame at `start`.
    pub(crate) fn put_to_use(&self, start: WalPosition, file: WalFile) {
        let mut state = self.state.lock();
        state.live.insert(start.file_number, Live { file, start: Some(start) });
        self.note_behind(&state);
    }

    /// Takes the files before `number` out of the log, to be used again or removed.
    pub(crate) fn release_before(&self, number: u64) -> io::Result<()> {
        let mut surplus = Vec::new();
        {
            let mut state = self.state.lock();
            let keep = state.live.split_off(&number);
            for (_, Live { file, .. }) in std::mem::replace(&mut state.live, keep) {
                // Small files of the first minutes are not worth using again.
                if state.spares.len() < SPARES_MAX && file.size * 2 >= state.next_size {
                    state.spares.push(file);
                } else {
                    surplus.push(file);
                }
            }
            self.note_behind(&state);
        }
        for file in surplus {
            self.disk.remove_file(&file.path).map_err(|error| named(&file.path, error))?;
        }
        Ok(())
    }

    /// Returns how many bytes the files in use take.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.state.lock().live.values().map(|live| live.file.size).sum()
    }

    /// Returns how many bytes the files in use before the newest take: what checkpoints can free.
    pub(crate) fn behind_bytes(&self) -> u64 {
        self.behind_bytes.load(Ordering::Relaxed)
    }

    fn note_behind(&self, state: &PoolState) {
        let behind = state.live.values().rev().skip(1).map(|live| live.file.size).sum();
        self.behind_bytes.store(behind, Ordering::Relaxed);
    }

    fn make(&self, bytes: u64) -> io::Result<WalFile> {
        let needed = round_up(bytes as usize) as u64;
        let (slot, wanted) = {
            let mut state = self.state.lock();
            let slot = state.next_slot;
            state.next_slot += 1;
            (slot, state.next_size.max(needed))
        };
        let path = self.dir.join(slot_name(slot));
        let mut size = wanted;
        loop {
            match self.write_zeros(&path, size) {
                Ok(file) => {
                    let mut state = self.state.lock();
                    if size == wanted {
                        let doubled = state.next_size * 2;
                        state.next_size = doubled.min(self.size_max.max(state.next_size));
                    }
                    return Ok(WalFile { path, file, size });
                }
                Err(e) => {
                    // A full disk needs the space back more than we need half a file.
                    let _ = self.disk.remove_file(&path);
                    let half = round_up((size / 2) as usize) as u64;
                    if half < needed.max(SIZE_MIN) || !is_no_space(&e) {
                        return Err(named(&path, e));
                    }
                    size = half;
                }
            }
        }
    }

    fn write_zeros(&self, path: &Path, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, self.mode)?;
        let zeros = AlignedBuf::zeroed(PREPARE_CHUNK.min(size as usize));
        let mut position = 0;
        while position < size {
            let length = zeros.len().min((size - position) as usize);
            file.write_at(&zeros.as_slice()[..length], position)?;
            position += length as u64;
        }
        file.sync()?;
        self.disk.sync_dir(&self.dir)?;
        Ok(file)
    }
}

/// Returns how much of a file `urgency` leaves to others: nothing if there are other files after it.
fn kept(urgency: Urgency, size: u64, others: bool) -> u64 {
    if others { 0 } else { urgency.leaves(size) }
}

/// Returns the file name of a slot.
pub(crate) fn slot_name(slot: u64) -> String {
    format!("{slot:08}.wal")
}

/// Returns the slot a file name stands for.
pub(crate) fn slot_of(name: &str) -> Option<u64> {
    name.strip_suffix(".wal").filter(|digits| digits.len() == 8)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_header_reads_back_and_any_flipped_bit_is_noticed() {
        let header = FileHeader {
            number: 3,
            first_sequence: 77,
            salt: 0x1234_5678_9abc_def0,
            size: 1 << 20,
            previous_crc: 0xdead_beef,
            synced: true,
        };
        let block = header.encode();
        assert_eq!(FileHeader::parse(block.as_slice()), Some(header));
        for bit in 0..HEADER * 8 {
            let mut flipped = block.as_slice().to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::parse(&flipped), None, "bit {bit}");
        }
        let mut newer = block.as_slice().to_vec();
        newer[12] += 1;
        let crc = crc32c::crc32c(&newer[12..HEADER]);
        newer[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(FileHeader::parse(&newer), None, "another version may mean anything by it");
        assert_eq!(slot_of(&slot_name(12)), Some(12));
    }
}
