//! The bytes of a connection that wait to be sent: from memory, and straight from segments' files.
//!
//! What lies in a file goes from the operating system's memory to the socket by `sendfile`, without
//! passing through ours. If it is not in that memory, it is first brought there on a thread that may
//! wait for the disk, so that a connection that reads old records holds up no other.

use crate::timing::Timing;
use bytes::{Buf, Bytes};
use kohort_storage::FileRecords;
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_blocking};

/// How many buffers one write hands to the kernel.
const SLICES_MAX: usize = 32;
/// How much of a file is handed to the socket at once.
const FILE_CHUNK: usize = 512 * 1024;

/// A piece of what is to be sent.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    File(FileRecords),
}

impl Piece {
    /// Returns how many bytes it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::File(file) => file.len(),
        }
    }
}

/// What waits to be sent, in order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Bytes queued and bytes written since the connection began.
    queued: u64,
    written: u64,
    /// Where among those the last byte of each response is.
    ends: VecDeque<(u64, Timing)>,
    file: FileProgress,
}

/// What is known of the file at the front.
#[derive(Debug, Default)]
struct FileProgress {
    /// How many bytes from its place on are in memory, as far as known.
    ready: usize,
    /// Brings more of it into memory: so many bytes.
    loading: Option<(usize, JoinHandle<io::Result<()>>)>,
}

impl Outgoing {
    pub(crate) fn push(&mut self, piece: Piece) {
        let length = piece.len();
        // A write of nothing would look like a closed socket.
        if length > 0 {
            self.bytes += length;
            self.queued += length as u64;
            self.pieces.push_back(piece);
        }
    }

    /// Notes that a response ends with what was pushed last.
    pub(crate) fn note_end(&mut self, timing: Timing) {
        self.ends.push_back((self.queued, timing));
    }

    /// Returns the next response that has been written whole.
    pub(crate) fn next_sent(&mut self) -> Option<Timing> {
        let written = self.written;
        self.ends.front().filter(|(end, _)| *end <= written)?;
        self.ends.pop_front().map(|(_, timing)| timing)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Returns how many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns how many responses wait.
    pub(crate) fn responses(&self) -> usize {
        self.ends.len()
    }

    /// Writes as much as the socket takes now, if that is bytes from memory alone. Returns whether it
    /// took any.
    pub(crate) fn try_write(&mut self, socket: &TcpStream) -> io::Result<bool> {
        if self.pieces.iter().any(|piece| matches!(piece, Piece::File(_))) {
            return Ok(false);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            if let Piece::Bytes(bytes) = piece {
                *slice = IoSlice::new(bytes);
            }
            count += 1;
        }
        let written = match &slices[..count] {
            [] => return Ok(false),
            [only] => socket.try_write(only),
            all => socket.try_write_vectored(all),
        };
        match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                self.advance(written);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes as much as the socket takes at once. Cancel-safe.
    pub(crate) async fn write(&mut self, socket: &TcpStream) -> io::Result<()> {
        let written = match self.pieces.front() {
            None => return Ok(()),
            Some(Piece::Bytes(_)) => self.write_bytes(socket).await?,
            Some(Piece::File(_)) => {
                self.make_ready().await?;
                self.send_file(socket).await?
            }
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        Ok(())
    }

    async fn write_bytes(&self, socket: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        let mut more = false;
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) if count < SLICES_MAX => slices[count] = IoSlice::new(bytes),
                Piece::Bytes(_) => break,
                Piece::File(_) => {
                    more = true;
                    break;
                }
            }
            count += 1;
        }
        if let ([Piece::Bytes(only), ..], true) = (self.pieces.as_slices().0, count == 1 && more) {
            // The file's bytes follow at once and go into the same packet.
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let send = || rustix::net::send(socket, only, flags).map_err(io::Error::from);
            return socket.async_io(Interest::WRITABLE, send).await;
        }
        loop {
            socket.writable().await?;
            let written = match &slices[..count] {
                [only] => socket.try_write(only),
                all => socket.try_write_vectored(all),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }

    /// Sees to it that the front of the file at the front can be sent without waiting for the disk.
    async fn make_ready(&mut self) -> io::Result<()> {
        let Some(Piece::File(file)) = self.pieces.front() else { return Ok(()) };
        let wanted = FILE_CHUNK.min(file.len());
        if self.file.loading.is_none() && self.file.ready == 0 {
            if file.is_cached(wanted) {
                self.file.ready = wanted;
            } else {
                self.file.loading = Some((wanted, spawn_blocking(file.load(wanted))));
            }
        }
        if let Some((length, loading)) = &mut self.file.loading {
            let loaded = loading.await.map_err(io::Error::other)?;
            self.file.ready = *length;
            self.file.loading = None;
            loaded?;
        }
        Ok(())
    }

    async fn send_file(&self, socket: &TcpStream) -> io::Result<usize> {
        let Some(Piece::File(file)) = self.pieces.front() else { return Ok(0) };
        let from = file.fd().ok_or_else(|| io::Error::other("the records are in no file"))?;
        let send = || {
            let mut position = file.position();
            loop {
                match rustix::fs::sendfile(socket, from, Some(&mut position), self.file.ready) {
                    Ok(0) => return Err(io::Error::other("a segment is shorter than it was")),
                    Err(Errno::INTR) => {}
                    sent => return Ok(sent?),
                }
            }
        };
        socket.async_io(Interest::WRITABLE, send).await
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        self.written += written as u64;
        while let Some(piece) = self.pieces.front_mut() {
            let length = match piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::File(file) => file.len(),
            };
            if written < length {
                match piece {
                    Piece::Bytes(bytes) => bytes.advance(written),
                    Piece::File(file) => {
                        file.advance(written);
                        self.file.ready -= written.min(self.file.ready);
                    }
                }
                return;
            }
            written -= length;
            self.file = FileProgress::default();
            self.pieces.pop_front();
        }
    }
}
