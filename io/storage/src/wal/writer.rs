//! Writes frames, one commit after another.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::aligned::{AlignedBuf, BLOCK};
use crate::failure::{is_no_space, with_path};
use crate::wal::file::{FileHeader, FilePool, WalFile};
use crate::wal::frame::{FRAME_HEADER, frame_span, seal};
use crate::wal::position::WalPosition;
use crate::wal::reserve::Urgency;

/// The writing end of the log.
#[derive(Debug)]
pub(crate) struct WalWriter {
    pool: Arc<FilePool>,
    salt: u64,
    synced: bool,
    current: WalFile,
    next: WalPosition,
    /// How long the last frame's sync took.
    last_sync: Duration,
}

/// Why a frame was not written.
#[derive(Debug)]
pub(crate) enum WalError {
    /// No room for the next file, or no handle to open it with. Nothing was written: the frame can be
    /// tried again.
    NoSpace(io::Error),
    /// The disk failed in a way after which nothing on it can be trusted to be durable.
    Failed(io::Error),
}

impl WalWriter {
    /// Begins a log in a fresh file.
    pub(crate) fn create(
        pool: Arc<FilePool>,
        salt: u64,
        synced: bool,
        after: WalPosition,
    ) -> Result<WalWriter, WalError> {
        let current = pool.take(BLOCK as u64, Urgency::Control).map_err(no_space_or_failed)?;
        let mut writer = WalWriter {
            pool,
            salt,
            synced,
            current: current.clone(),
            next: after,
            last_sync: Duration::ZERO,
        };
        writer.start_file(current, after.file_number + 1)?;
        Ok(writer)
    }

    /// Continues a log where the reader found its end.
    pub(crate) fn resume(
        pool: Arc<FilePool>,
        salt: u64,
        synced: bool,
        current: WalFile,
        next: WalPosition,
    ) -> WalWriter {
        WalWriter { pool, salt, synced, current, next, last_sync: Duration::ZERO }
    }

    /// Returns where the next frame goes.
    pub(crate) fn position(&self) -> WalPosition {
        self.next
    }

    /// Tells whether each frame is synced.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Returns how long the sync of the frame written last took.
    pub(crate) fn last_sync(&self) -> Duration {
        self.last_sync
    }

    /// Returns the most a payload may have so that it fits the files there are.
    pub(crate) fn room(&self, urgency: Urgency) -> usize {
        let span = self.pool.room(self.left(), self.current.size, urgency);
        (span as usize).saturating_sub(FRAME_HEADER)
    }

    /// Makes room for a payload of `bytes`, going on to the next file if need be. What is more urgent
    /// keeps its share.
    pub(crate) fn make_room(&mut self, bytes: usize, urgency: Urgency) -> Result<(), WalError> {
        let span = frame_span(bytes) as u64;
        if span + urgency.leaves(self.current.size) <= self.left() {
            Ok(())
        } else if span > self.left() {
            self.next_file(span, urgency)
        } else if self.pool.wants_spare() {
            self.pool.prepare_spare().map_err(no_space_or_failed)
        } else {
            Ok(())
        }
    }

    /// Returns how many bytes of the file in use are left.
    fn left(&self) -> u64 {
        self.current.size - self.next.position
    }

    fn next_file(&mut self, span: u64, urgency: Urgency) -> Result<(), WalError> {
        let file = self.pool.take(span, urgency).map_err(no_space_or_failed)?;
        self.start_file(file, self.next.file_number + 1)
    }

    /// Writes one frame and makes it durable. `frame` holds [`FRAME_HEADER`] bytes to fill in and the
    /// payload behind them.
    pub(crate) fn write(&mut self, frame: &mut AlignedBuf, entries: u32) -> Result<(), WalError> {
        let span = frame_span(frame.len() - FRAME_HEADER) as u64;
        if span > self.left() {
            self.next_file(span, Urgency::Control)?;
        }
        let next = &mut self.next;
        let crc = seal(frame.as_mut_slice(), next.sequence, next.previous_crc, self.salt, entries);
        frame.pad_to_block();
        let WalFile { file, path, .. } = &self.current;
        file.write_at(frame.as_slice(), next.position).map_err(failed_at(path))?;
        if self.synced {
            // A failed sync is never tried again: the kernel may have marked the pages clean.
            let begun = Instant::now();
            file.sync().map_err(failed_at(path))?;
            self.last_sync = begun.elapsed();
        }
        next.position += span;
        next.sequence += 1;
        next.previous_crc = crc;
        Ok(())
    }

    /// Puts a file to use. Its header is durable before its first frame is written, so that a frame in
    /// a file without a sound header can only mean that the header rotted.
    fn start_file(&mut self, file: WalFile, number: u64) -> Result<(), WalError> {
        let header = FileHeader {
            number,
            first_sequence: self.next.sequence,
            salt: self.salt,
            size: file.size,
            previous_crc: self.next.previous_crc,
            synced: self.synced,
        };
        let header = header.encode();
        file.file.write_at(header.as_slice(), 0).map_err(failed_at(&file.path))?;
        // Also where commits are not synced: a checkpoint may say that the log goes on in this file.
        file.file.sync().map_err(failed_at(&file.path))?;
        self.next.file_number = number;
        self.next.position = BLOCK as u64;
        self.pool.put_to_use(self.next, file.clone());
        self.current = file;
        Ok(())
    }
}

fn failed_at(path: &Path) -> impl Fn(io::Error) -> WalError {
    |error| WalError::Failed(with_path(path, &error))
}

fn no_space_or_failed(error: io::Error) -> WalError {
    if is_no_space(&error) { WalError::NoSpace(error) } else { WalError::Failed(error) }
}
