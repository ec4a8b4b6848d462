//! One connection: requests in, responses out, in order.
//!
//! ```text
//! socket ─► FrameReader ─► dispatch ─► in flight (a queue) ─► outgoing bytes ─► socket
//! ```
//!
//! A request starts when all earlier ones of its connection have been answered, as in Kafka, with
//! one exception that costs no order: requests of the same [`Overlap`] class may follow each other
//! at once, so that one fdatasync serves many. Responses always leave in the order of their
//! requests.
//!
//! Everything is bounded: the size of a request, how long it may take to arrive, the requests in
//! flight, the bytes of all connections' requests together (see [`request_memory`]), and the bytes
//! waiting to be sent: while a peer does not read its responses, its requests are not read either. What
//! a peer does wrong ends its own connection, and nothing else.
//!
//! [`request_memory`]: crate::request_memory

use crate::caller::{Caller, Ends};
use crate::dispatch::{self, Overlap, Started};
use crate::frame_reader::{FrameReader, SMALL_BUFFER};
use crate::node::Node;
use crate::outgoing::{Outgoing, Piece};
use crate::quiet::Quiet;
use crate::request::{Answer, Response};
use crate::request_memory::{Held, STALLED_AFTER, Share};
use crate::stopping::stopped;
use crate::timing::Timing;
use kohort_coordinator::Closing;
use kohort_protocol::ApiKey;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

/// Requests of one connection that may be under way: enough to keep a disk busy at one small batch
/// a request, few enough that a peer cannot park much work.
const IN_FLIGHT_MAX: usize = 256;
/// While more than this waits to be sent, no further request starts.
const OUTGOING_MAX: usize = 1024 * 1024;
/// While more responses than this wait to be sent, no further request starts: small ones take more
/// memory than their bytes.
const RESPONSES_MAX: usize = 1024;

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The peer closed it; maybe inside a request, which is its fault.
    ClosedByPeer { inside_request: bool },
    /// It was reset, by the network or with a process that died before it had read all.
    Reset,
    /// The broker is stopping.
    Stopping,
    /// Nothing came for too long.
    Idle,
    /// The peer did something wrong.
    Fault(String),
}

impl End {
    /// Tells who ended the connection, as far as groups are concerned.
    fn closing(&self) -> Closing {
        match self {
            End::ClosedByPeer { .. } => Closing::ByPeer,
            End::Reset => Closing::Reset,
            End::Stopping | End::Idle | End::Fault(_) => Closing::ByBroker,
        }
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset => End::Reset,
            // To write to a peer is refused that way once it has closed.
            io::ErrorKind::BrokenPipe => End::ClosedByPeer { inside_request: false },
            _ => End::Fault(error.to_string()),
        }
    }
}

/// Serves a connection until it ends. `stopping` turns true when the broker stops: what is in
/// flight is then answered, and nothing more is read.
pub(crate) async fn serve(
    node: Arc<Node>,
    mut stream: TcpStream,
    ends: Ends,
    stopping: watch::Receiver<bool>,
) {
    let peer = ends.peer;
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "TCP_NODELAY was refused");
    }
    let caller = Arc::new(Caller::new(ends));
    let config = node.config();
    let connection = Connection {
        frames: FrameReader::new(
            config.socket_request_max_bytes as usize,
            Arc::clone(node.log_dir.buffers()),
        ),
        idle_after: u64::try_from(config.connections_max_idle_ms).ok().map(Duration::from_millis),
        memory: Share::new(node.request_memory.as_ref()),
        in_flight: VecDeque::new(),
        received: Instant::now(),
        frame_begun: Instant::now(),
        overlap: None,
        outgoing: Outgoing::default(),
        muted_until: None,
        caller: Arc::clone(&caller),
        node,
    };
    drop(config);
    let node = Arc::clone(&connection.node);
    let counters = &node.metrics.connections;
    counters.created.add(1);
    let end = connection.run(&mut stream, stopping).await;
    counters.closed.add(1);
    node.groups.connection_closed(&caller, end.closing());
    let end = match end {
        End::ClosedByPeer { inside_request: true } => {
            End::Fault("the peer closed inside a request".to_owned())
        }
        end => end,
    };
    match end {
        End::ClosedByPeer { .. } => debug!(%peer, "connection closed by the peer"),
        End::Reset => debug!(%peer, "connection reset by the peer"),
        End::Stopping => debug!(%peer, "connection closed: the broker is stopping"),
        End::Idle => {
            counters.idle.add(1);
            debug!(%peer, "connection closed: idle for connections.max.idle.ms");
        }
        End::Fault(reason) => {
            counters.faulty.add(1);
            if node.fault_lines.allows() {
                warn!(%peer, reason, "connection closed; kohort_connections_faulty_total counts them all");
            } else {
                debug!(%peer, reason, "connection closed");
            }
        }
    }
}

struct Connection {
    node: Arc<Node>,
    caller: Arc<Caller>,
    frames: FrameReader,
    /// The next request's part of `queued.max.request.bytes`.
    memory: Share,
    in_flight: VecDeque<(Answer, Timing, Option<Held>)>,
    /// When the last bytes arrived: the requests in them wait since then.
    received: Instant,
    /// Since when the request that has only begun to arrive could do so.
    frame_begun: Instant,
    /// The class of what is in flight.
    overlap: Option<Overlap>,
    outgoing: Outgoing,
    idle_after: Option<Duration>,
    /// Until when nothing is read, because of a quota.
    muted_until: Option<Instant>,
}

impl Connection {
    async fn run(mut self, stream: &mut TcpStream, mut stopping: watch::Receiver<bool>) -> End {
        let (mut reader, writer) = stream.split();
        let mut last_active = Instant::now();
        let mut idle = Quiet::new(sleep_until(self.idle_deadline(last_active)));
        let mut stopped = Quiet::new(stopped(&mut stopping));
        let mut leaving = Quiet::new(left(writer.as_ref()));
        let mut left = None;
        let mut open = true;
        let mut stall_checked = last_active;
        loop {
            if open
                && self.muted_until.is_none()
                && let Err(end) = self.start_requests()
            {
                return end;
            }
            // Unless more may be answered at once, and leave with it.
            if self.in_flight.is_empty() && !self.outgoing.is_empty() {
                match self.outgoing.try_write(writer.as_ref()) {
                    Ok(true) => {
                        last_active = self.count_sent();
                        // What was held back because so much waited to be sent may start now.
                        continue;
                    }
                    Ok(false) => {}
                    Err(error) => return error.into(),
                }
            }
            if !open && self.in_flight.is_empty() && self.outgoing.is_empty() {
                return End::Stopping;
            }
            let muted_until = self.muted_until;
            let wants_bytes =
                open && muted_until.is_none() && !self.frames.has_frame() && self.has_memory();
            let inside_frame = self.frames.is_inside_frame();
            // The peer has room for a request that it does not send on. What it sent while it waited for
            // room is read at once when that comes.
            let stall_check = (wants_bytes && self.memory.is_held()).then(|| {
                let looked = self.frame_begun.max(stall_checked);
                (self.received + STALLED_AFTER).max(looked + STALL_CHECK)
            });
            let abandoned = left
                .filter(|_| self.waits_for_others())
                .map(|left: Instant| left.max(last_active) + ANSWERED_WITHIN);
            // Every branch is cancel-safe: reads and writes take effect only when they complete,
            // and a polled future in flight keeps its state in the queue.
            tokio::select! {
                biased;
                response = first(&mut self.in_flight), if !self.in_flight.is_empty() => {
                    last_active = Instant::now();
                    let (_, timing, _held) =
                        self.in_flight.pop_front().expect("the first was answered");
                    if self.in_flight.is_empty() {
                        self.overlap = None;
                    }
                    let timing = Timing { answered: last_active, ..timing };
                    if let Err(end) = self.send(response, timing) {
                        return end;
                    }
                }
                written = self.outgoing.write(writer.as_ref()), if !self.outgoing.is_empty() => {
                    if let Err(error) = written {
                        return error.into();
                    }
                    last_active = self.count_sent();
                }
                received = fill(&mut reader, &mut self.frames), if wants_bytes => {
                    match received {
                        Ok(0) => {
                            let inside_request = self.frames.is_inside_frame();
                            return End::ClosedByPeer { inside_request };
                        }
                        Ok(_) => {
                            last_active = Instant::now();
                            self.received = last_active;
                            if !inside_frame {
                                self.frame_begun = last_active;
                            }
                        }
                        Err(error) => return error.into(),
                    }
                }
                () = self.memory.wait(), if open && self.memory.is_waiting() => {
                    last_active = Instant::now();
                    self.frame_begun = last_active;
                }
                () = reached(stall_check), if stall_check.is_some() => {
                    if self.memory.is_wanted() {
                        return End::Fault(format!(
                            "nothing came of a request for {} s, while others waited for its part of \
                             queued.max.request.bytes",
                            STALLED_AFTER.as_secs()
                        ));
                    }
                    stall_checked = Instant::now();
                }
                () = reached(muted_until), if muted_until.is_some() => {
                    self.muted_until = None;
                    last_active = Instant::now();
                    self.frame_begun = last_active;
                }
                () = &mut leaving, if left.is_none() => left = Some(Instant::now()),
                () = reached(abandoned), if abandoned.is_some() => {
                    return match writer.as_ref().take_error() {
                        Ok(Some(error)) => error.into(),
                        _ => End::ClosedByPeer { inside_request: false },
                    };
                }
                () = &mut stopped, if open => open = false,
                () = &mut idle, if self.idle_after.is_some() => {
                    let now = Instant::now();
                    let deadline = self.idle_deadline(last_active);
                    if self.in_flight.is_empty() && !self.memory.is_waiting() {
                        if deadline <= now {
                            return End::Idle;
                        }
                        // A byte now and then keeps a connection, but not a request.
                        if wants_bytes
                            && self.frames.is_inside_frame()
                            && self.idle_deadline(self.frame_begun) <= now
                        {
                            return End::Fault(
                                "a request did not arrive whole within connections.max.idle.ms"
                                    .to_owned(),
                            );
                        }
                    }
                    idle.set(sleep_until(deadline.max(now + IDLE_CHECK_MIN)));
                }
            }
        }
    }

    /// Starts as many of the received requests as may run now.
    fn start_requests(&mut self) -> Result<(), End> {
        // Read when the first request is there, and after each.
        let mut now = None;
        while self.frames.is_inside_frame()
            && self.in_flight.len() < IN_FLIGHT_MAX
            && self.outgoing.bytes() < OUTGOING_MAX
            && self.outgoing.responses() < RESPONSES_MAX
            && self.muted_until.is_none()
            && self.may_start_next()
            && self.has_memory()
        {
            let frame = match self.frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return Err(End::Fault(error.to_string())),
            };
            self.frame_begun = self.received;
            let held = self.memory.take();
            let started = now.unwrap_or_else(Instant::now);
            let Started { kind, overlap, answer } =
                dispatch::start(&self.node, frame, &self.caller)
                    .map_err(|error| End::Fault(error.to_string()))?;
            let handled = Instant::now();
            now = Some(handled);
            let received = self.received;
            let timing = Timing { kind, received, started, handled, answered: handled };
            match answer {
                Answer::Ready(response @ (Response::Frame(_) | Response::WithErrors(..)))
                    if self.in_flight.is_empty() =>
                {
                    self.send(response, timing)?;
                }
                answer => {
                    // What others hold on to of their requests is small, and may be for minutes.
                    let held = held.filter(|_| kind.api == ApiKey::Produce);
                    self.in_flight.push_back((answer, timing, held));
                    self.overlap = Some(overlap);
                }
            }
        }
        Ok(())
    }

    /// Tells whether the first request in flight may wait for what others do. Records that are being written
    /// are not given up: behind them may be more, of a producer that hears of none (`acks=0`).
    fn waits_for_others(&self) -> bool {
        let first = self.in_flight.front();
        first.is_some_and(|(_, timing, _)| timing.kind.api != ApiKey::Produce)
    }

    /// Queues a response to be sent.
    fn send(&mut self, response: Response, timing: Timing) -> Result<(), End> {
        match response {
            Response::Frame(frame) => self.outgoing.push(Piece::Bytes(frame)),
            Response::Pieces(pieces) => {
                for piece in pieces {
                    self.outgoing.push(piece);
                }
            }
            Response::Silence => {
                timing.count(&self.node.metrics.requests, timing.answered);
                return Ok(());
            }
            Response::WithErrors(errors, response) => {
                self.node.metrics.requests.errors(timing.kind.api, &errors);
                return self.send(*response, timing);
            }
            Response::Throttled(wait, response) => {
                let until = timing.answered + wait.min(NEVER);
                self.muted_until = Some(self.muted_until.map_or(until, |other| other.max(until)));
                return self.send(*response, timing);
            }
            Response::Broken(reason) => return Err(End::Fault(reason)),
        }
        self.outgoing.note_end(timing);
        Ok(())
    }

    /// Counts the responses that have been written whole. Returns when that was.
    fn count_sent(&mut self) -> Instant {
        let now = Instant::now();
        while let Some(timing) = self.outgoing.next_sent() {
            timing.count(&self.node.metrics.requests, now);
        }
        now
    }

    fn may_start_next(&self) -> bool {
        match self.overlap {
            None => true,
            Some(Overlap::Alone) => false,
            Some(class) => {
                self.frames.peek_api_key().is_some_and(|key| dispatch::overlap(key) == class)
            }
        }
    }

    /// Tells whether the next request may be read on, or started if it is small. What lies in the
    /// buffer of small requests is not counted until then, and only if it carries records.
    fn has_memory(&mut self) -> bool {
        if !self.memory.is_limited() {
            return true;
        }
        let frames = &self.frames;
        let produce = || frames.peek_api_key().map(dispatch::overlap) == Some(Overlap::Produce);
        let length = frames.large_length().or_else(|| frames.small_length().filter(|_| produce()));
        length.is_none_or(|length| self.memory.covers(length))
    }

    fn idle_deadline(&self, last_active: Instant) -> Instant {
        last_active + self.idle_after.unwrap_or(NEVER).min(NEVER)
    }
}

/// A deadline that is never reached.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// While a request has stalled, it is looked this often whether others wait for its room.
const STALL_CHECK: Duration = Duration::from_secs(1);
/// How soon an idle check may follow another while a request is in flight.
const IDLE_CHECK_MIN: Duration = Duration::from_secs(1);

/// So long a request may wait once the peer has closed: what is behind it is still done, as by Kafka, but
/// a held heartbeat or a Fetch with nothing to read would keep both, and a dead member, for as long as it likes.
const ANSWERED_WITHIN: Duration = Duration::from_millis(200);

/// Waits until the peer has closed, also while what it sent before is not read.
async fn left(socket: &TcpStream) {
    // Asking for urgent data is asking for the end alone: sockets are not registered for the first.
    let _ = socket.ready(Interest::PRIORITY).await;
}

/// Waits until then.
async fn reached(until: Option<Instant>) {
    if let Some(until) = until {
        sleep_until(until).await;
    }
}

/// Waits for the answer at the head of the queue.
async fn first(in_flight: &mut VecDeque<(Answer, Timing, Option<Held>)>) -> Response {
    let Some((answer, ..)) = in_flight.front_mut() else { return Response::Silence };
    match answer {
        Answer::OfShard(answer) => answer.await,
        Answer::Later(future) | Answer::Blocked(future) => future.as_mut().await,
        Answer::Ready(response) => std::mem::replace(response, Response::Silence),
    }
}

thread_local! {
    /// Where small requests are read, whosever they are: what came is taken out before the next read.
    static SMALL: RefCell<Box<[u8]>> = RefCell::new(vec![0; SMALL_BUFFER].into());
}

/// Reads what the socket has.
async fn fill(reader: &mut ReadHalf<'_>, frames: &mut FrameReader) -> io::Result<usize> {
    if let Some(space) = frames.large_space() {
        let count = reader.read(space).await?;
        frames.put_large(count);
        return Ok(count);
    }
    poll_fn(|context| {
        SMALL.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *reader).poll_read(context, &mut read))?;
            frames.put(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    })
    .await
}
