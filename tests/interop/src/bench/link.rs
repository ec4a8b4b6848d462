//! A connection of the load generator: requests are bytes made beforehand, answers are cut out of one
//! buffer that is used again. Many links are served by one thread, which waits for all of them at
//! once, so that the load costs the machine little beside the broker under test.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes};
use kohort_protocol::frame::{LENGTH_BYTES, encode_request};
use kohort_protocol::header::decode_response_header;
use kohort_protocol::{Message, Reader, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A connection that never blocks.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    /// All of it is initialised; what was received and not yet taken is `start..end`.
    incoming: Vec<u8>,
    start: usize,
    end: usize,
    outgoing: VecDeque<Bytes>,
    readable: bool,
}

impl Link {
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            incoming: vec![0; BUFFER],
            start: 0,
            end: 0,
            outgoing: VecDeque::new(),
            readable: false,
        })
    }

    /// Queues a request; [`flush`](Self::flush) sends it.
    pub(crate) fn send(&mut self, frame: Bytes) {
        self.outgoing.push_back(frame);
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.outgoing) {
                *slice = IoSlice::new(frame);
                count += 1;
            }
            let mut written = match self.stream.write_vectored(&slices[..count]) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the broker took no request"),
            };
            while let Some(frame) = self.outgoing.front_mut() {
                if written < frame.len() {
                    frame.advance(written);
                    break;
                }
                written -= frame.len();
                self.outgoing.pop_front();
            }
        }
        Ok(())
    }

    /// Reads once, if the last [`wait`] said that there is something.
    pub(crate) fn receive(&mut self) -> Result<bool> {
        if !std::mem::take(&mut self.readable) {
            return Ok(false);
        }
        self.make_room();
        match self.stream.read(&mut self.incoming[self.end..]) {
            Ok(0) => bail!("the broker closed a connection"),
            Ok(read) => {
                self.end += read;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("reading an answer"),
        }
    }

    /// Hands the next whole answer, without its length, to `take`, which should keep nothing of it:
    /// a large one then costs no copy.
    pub(crate) fn next_answer<T>(&mut self, take: impl FnOnce(&Bytes) -> T) -> Option<T> {
        let body = self.start + LENGTH_BYTES;
        let end = body + self.answer_length()?;
        if end > self.end {
            return None;
        }
        let taken = if end - body <= COPIED {
            take(&Bytes::copy_from_slice(&self.incoming[body..end]))
        } else {
            let whole = Bytes::from(std::mem::take(&mut self.incoming));
            let taken = take(&whole.slice(body..end));
            self.incoming = Vec::from(whole);
            taken
        };
        self.start = end;
        Some(taken)
    }

    /// Asks and waits for the answer, while nothing else is under way.
    pub(crate) fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.send(encode_request(request, version, 0, Some(CLIENT))?);
        loop {
            self.flush()?;
            wait(std::slice::from_mut(self), Some(CALL_TIMEOUT))?;
            ensure!(self.readable || !self.outgoing.is_empty(), "no answer in {CALL_TIMEOUT:?}");
            self.receive()?;
            if let Some(response) = self.next_answer(|frame| decode(frame, version)) {
                return response;
            }
        }
    }

    fn answer_length(&self) -> Option<usize> {
        let prefix = self.incoming[self.start..self.end].first_chunk::<LENGTH_BYTES>()?;
        Some(u32::from_be_bytes(*prefix) as usize)
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let needed = self.answer_length().map_or(BUFFER, |length| length + LENGTH_BYTES);
        if self.start + needed > self.incoming.len() || self.end == self.incoming.len() {
            self.incoming.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let room = needed.max(self.end + 1).max(self.incoming.len());
            self.incoming.resize(room, 0);
        }
    }
}

/// Waits until a link can be read, or written where there is something to write, or time is up.
pub(crate) fn wait(links: &mut [Link], timeout: Option<Duration>) -> Result<()> {
    let mut polled: Vec<PollFd<'_>> = links
        .iter()
        .map(|link| {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, !link.outgoing.is_empty());
            PollFd::new(&link.stream, flags)
        })
        .collect();
    let timeout = timeout.map(Timespec::try_from).transpose()?;
    poll(&mut polled, timeout.as_ref())?;
    let ready = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    let readable: Vec<bool> = polled.iter().map(|fd| fd.revents().intersects(ready)).collect();
    for (link, readable) in links.iter_mut().zip(readable) {
        link.readable = readable;
    }
    Ok(())
}

/// Reads an answer of version `version`.
pub(crate) fn decode<M: Message>(frame: &Bytes, version: i16) -> Result<M> {
    let mut reader = Reader::new(frame);
    decode_response_header(&mut reader, M::API_KEY, version)?;
    Ok(M::decode(&mut reader, version)?)
}

/// What the load generator calls itself.
pub(crate) const CLIENT: &str = "bench";
/// What a link holds for answers; it grows when an answer is larger.
const BUFFER: usize = 256 << 10;
/// Answers up to this size are copied out.
const COPIED: usize = 4 << 10;
/// How many requests one write hands to the kernel.
const SLICES: usize = 16;
/// Kafka makes fifty partitions for its first committed offset.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
