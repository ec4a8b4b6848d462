//! One connection to one broker: pipelined requests, answered in order.
//!
//! A task owns the socket. It reads and writes at once, and watches the clock:
//!
//! 1. [`BrokerConnection::start`] encodes a request, takes one of the bounded slots and queues it.
//! 2. The writer notes it as pending and writes what is queued in one go.
//! 3. Brokers answer a connection's requests in order, so each answer must carry the correlation
//!    id of the oldest pending request; anything else closes the connection.
//! 4. When the oldest deadline passes, the connection closes: the broker may still answer, and a
//!    late answer must not be taken for a newer one's (Kafka's clients do the same).
//!
//! Where the broker limits how long an authentication is good for (KIP-368), the writer holds its
//! queue back in time, authenticates again on the same connection, and goes on.
//!
//! However it ends, every pending request is told why. Dropping an [`InFlight`] abandons its
//! answer, not the connection.

use std::collections::VecDeque;
use std::future::Future;
use std::io::IoSlice;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kohort_protocol::{ApiKey, DecodeError, Reader, Request, VersionRange, frame};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::frames::{FramePool, LARGE_BYTES};
use super::handshake::{Established, decode_body, establish, wanted};
use super::security::{Ask, authenticate};
use super::stream::{Dialer, Stream};
use super::{ApiVersions, NetError, Security, TlsFailure};

/// How connections behave.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// What the broker's log and metrics call this client.
    pub client_id: Arc<str>,
    /// How long a request may take unless it says otherwise.
    pub request_timeout: Duration,
    /// How long connecting to one address may take, with all that comes before the first request.
    pub setup_timeout: Duration,
    /// The longest that may take when attempts before took too long (KIP-601).
    pub setup_timeout_max: Duration,
    /// A connection nothing was asked on for this long is closed.
    pub idle_max: Duration,
    /// How many requests may be without an answer; the next one waits. Enough for every caller
    /// that pipelines, and a bound on what a stuck broker can make us hold.
    pub in_flight_max: usize,
    /// The largest answer that is taken.
    pub response_bytes_max: usize,
    /// The memory large answers are read into.
    pub frames: FramePool,
    /// How streams are opened.
    pub dialer: Dialer,
    /// How they are secured.
    pub security: Security,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            client_id: Arc::from("kohort"),
            request_timeout: Duration::from_secs(30),
            setup_timeout: Duration::from_secs(10),
            setup_timeout_max: Duration::from_secs(30),
            idle_max: Duration::from_secs(540),
            in_flight_max: 64,
            response_bytes_max: frame::DEFAULT_MAX_FRAME_BYTES,
            frames: FramePool::default(),
            dialer: Dialer::default(),
            security: Security::default(),
        }
    }
}

/// A connection to a broker. Clones share it; it closes when the last one is dropped and nothing
/// is pending, or when [`BrokerConnection::close`] is called.
#[derive(Debug, Clone)]
pub struct BrokerConnection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: String,
    port: u16,
    address: Arc<str>,
    versions: ApiVersions,
    options: ConnectionOptions,
    queue: mpsc::UnboundedSender<Outgoing>,
    slots: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// What the handles and the task share.
#[derive(Debug)]
struct Shared {
    close: Notify,
    correlation: AtomicI32,
    /// How often we have proved who we are.
    authentications: AtomicU32,
    /// Why the connection ended, once it has.
    ended: OnceLock<NetError>,
}

/// A request on its way to the writer. The queue is unbounded in type only: each holds a slot.
#[derive(Debug)]
struct Outgoing {
    frame: Bytes,
    /// Whether the broker answers it at all (acks=0 does not).
    answered: bool,
    pending: Pending,
}

#[derive(Debug)]
struct Pending {
    correlation: i32,
    api: ApiKey,
    deadline: Instant,
    timeout: Duration,
    reply: oneshot::Sender<Result<Bytes, NetError>>,
    /// None for what the task asks itself.
    _slot: Option<OwnedSemaphorePermit>,
}

impl BrokerConnection {
    /// Connects to a broker and agrees with it on versions.
    ///
    /// Must be called on the client's [`super::Driver`], where the connection's task will live.
    pub async fn open(host: &str, port: u16, options: ConnectionOptions) -> Result<Self, NetError> {
        let address: Arc<str> = Arc::from(format!("{host}:{port}"));
        let Established { stream, versions, session } =
            establish(host, port, &address, &options).await?;
        let (queue, outgoing) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            close: Notify::new(),
            correlation: AtomicI32::new(FIRST_CORRELATION),
            authentications: AtomicU32::new(u32::from(options.security.sasl.is_some())),
            ended: OnceLock::new(),
        });
        let task = Task {
            address: address.clone(),
            options: options.clone(),
            versions: versions.clone(),
            shared: shared.clone(),
            used: Mutex::new(Instant::now()),
            pending: Mutex::new(VecDeque::new()),
            armed: Mutex::new(Instant::now()),
            rearm: Notify::new(),
            delivered: Notify::new(),
        };
        tokio::spawn(task.run(stream, outgoing, session));
        let slots = Arc::new(Semaphore::new(options.in_flight_max));
        Ok(Self {
            inner: Arc::new(Inner {
                host: host.to_owned(),
                port,
                address,
                versions,
                options,
                queue,
                slots,
                shared,
            }),
        })
    }

    /// Sends a request in the highest version both sides know and returns its answer.
    ///
    /// Cancel-safe in that a dropped future leaves the connection as it was; whether the broker
    /// acted on the request is then unknown.
    pub async fn send<R: Request>(&self, request: &R) -> Result<R::Response, NetError> {
        self.send_at(self.version::<R>()?, request, self.inner.options.request_timeout).await
    }

    /// Sends a request in a version the caller chose, for an answer within `timeout`.
    pub async fn send_at<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, NetError> {
        let deadline = Instant::now() + timeout;
        let slot = self.inner.slots.clone().acquire_owned();
        let Ok(slot) = tokio::time::timeout_at(deadline, slot).await else {
            return Err(self.timed_out(R::API_KEY, timeout));
        };
        let slot = slot.map_err(|_closed| self.end_reason())?;
        self.enqueue(version, request, timeout, slot, true)?.await
    }

    /// Queues a request at once, behind those queued before; for callers that pipeline and need
    /// their order kept. With all slots taken it fails as timed out.
    pub fn start<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> Result<InFlight<R>, NetError> {
        let slot = self.inner.slots.clone().try_acquire_owned();
        let slot = slot.map_err(|_| self.timed_out(R::API_KEY, timeout))?;
        self.enqueue(version, request, timeout, slot, true)
    }

    /// Sends a request the broker does not answer (Produce with acks=0); returns once it is
    /// written.
    pub async fn send_unanswered<R: Request>(
        &self,
        version: i16,
        request: &R,
    ) -> Result<(), NetError> {
        let slot = self.inner.slots.clone().acquire_owned().await;
        let slot = slot.map_err(|_closed| self.end_reason())?;
        let timeout = self.inner.options.request_timeout;
        let written = self.enqueue(version, request, timeout, slot, false)?;
        written.reply.await.unwrap_or_else(|_| Err(self.end_reason())).map(drop)
    }

    /// Returns the highest version of `R` both sides know.
    pub fn version<R: Request>(&self) -> Result<i16, NetError> {
        self.version_within::<R>(R::VERSIONS)
    }

    /// Returns the highest version of `R` inside `wanted` both sides know.
    pub fn version_within<R: Request>(&self, wanted: VersionRange) -> Result<i16, NetError> {
        self.inner.versions.highest::<R>(wanted).ok_or_else(|| NetError::UnsupportedVersion {
            address: self.inner.address.clone(),
            api: R::API_KEY,
            ours: wanted,
            theirs: self.inner.versions.range(R::API_KEY),
        })
    }

    /// Returns what the broker serves.
    pub fn api_versions(&self) -> &ApiVersions {
        &self.inner.versions
    }

    /// Returns `host:port` of the broker.
    pub fn address(&self) -> &Arc<str> {
        &self.inner.address
    }

    /// Returns whether the connection goes to this server.
    pub fn is_to(&self, host: &str, port: u16) -> bool {
        self.inner.port == port && self.inner.host == host
    }

    /// Returns whether the connection has ended; requests on it will fail.
    pub fn is_closed(&self) -> bool {
        self.inner.shared.ended.get().is_some() || self.inner.queue.is_closed()
    }

    /// Returns how often this connection proved who we are: never without SASL, and more than once
    /// where the broker limits how long that is good for (KIP-368).
    pub fn authentications(&self) -> u32 {
        self.inner.shared.authentications.load(Ordering::Relaxed)
    }

    /// Closes the connection and fails what is pending on it.
    pub fn close(&self) {
        self.inner.shared.close.notify_one();
    }

    fn enqueue<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
        slot: OwnedSemaphorePermit,
        answered: bool,
    ) -> Result<InFlight<R>, NetError> {
        let inner = &*self.inner;
        let correlation = inner.shared.next_correlation();
        let frame =
            frame::encode_request(request, version, correlation, Some(&inner.options.client_id))
                .map_err(|reason| NetError::Unwritable {
                    address: inner.address.clone(),
                    reason,
                })?;
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            correlation,
            api: R::API_KEY,
            deadline: Instant::now() + timeout,
            timeout,
            reply,
            _slot: Some(slot),
        };
        let queued = inner.queue.send(Outgoing { frame, answered, pending });
        queued.map_err(|_| self.end_reason())?;
        Ok(InFlight {
            reply: answer,
            version,
            address: inner.address.clone(),
            shared: inner.shared.clone(),
            request: PhantomData,
        })
    }

    fn end_reason(&self) -> NetError {
        self.inner.shared.reason(&self.inner.address)
    }

    fn timed_out(&self, api: ApiKey, timeout: Duration) -> NetError {
        NetError::RequestTimeout { address: self.inner.address.clone(), api, timeout }
    }
}

impl Shared {
    fn next_correlation(&self) -> i32 {
        self.correlation.fetch_add(1, Ordering::Relaxed)
    }

    fn reason(&self, address: &Arc<str>) -> NetError {
        self.ended.get().cloned().unwrap_or_else(|| NetError::Closed { address: address.clone() })
    }
}

/// A request that was queued, as the future of its answer.
#[derive(Debug)]
pub struct InFlight<R> {
    reply: oneshot::Receiver<Result<Bytes, NetError>>,
    version: i16,
    address: Arc<str>,
    shared: Arc<Shared>,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Future for InFlight<R> {
    type Output = Result<R::Response, NetError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(answer) = Pin::new(&mut self.reply).poll(cx) else {
            return Poll::Pending;
        };
        let frame = answer.unwrap_or_else(|_gone| Err(self.shared.reason(&self.address)));
        Poll::Ready(frame.and_then(|frame| {
            decode_body::<R::Response>(&frame, self.version).map_err(|reason| {
                let (address, api) = (self.address.clone(), R::API_KEY);
                NetError::Malformed { address, api, reason }
            })
        }))
    }
}

/// The owner of the socket.
struct Task {
    address: Arc<str>,
    options: ConnectionOptions,
    versions: ApiVersions,
    shared: Arc<Shared>,
    /// When something was last asked or answered.
    used: Mutex<Instant>,
    /// Written, and without an answer. Only this task locks it: never contended.
    pending: Mutex<VecDeque<Pending>>,
    /// When the clock's watcher wakes up next.
    armed: Mutex<Instant>,
    rearm: Notify,
    /// Wakes the writer when it only waits for the last answers.
    delivered: Notify,
}

impl Task {
    async fn run(
        self,
        stream: Stream,
        outgoing: mpsc::UnboundedReceiver<Outgoing>,
        session: Option<Duration>,
    ) {
        let (reader, writer) = tokio::io::split(stream);
        let mut outgoing = outgoing;
        let ended = tokio::select! {
            ended = self.read(reader) => ended,
            ended = self.write(writer, &mut outgoing, session) => ended,
            ended = self.watch() => ended,
            () = self.shared.close.notified() => self.closed(),
        };
        tracing::debug!(address = %self.address, reason = %ended, "connection ended");
        // First the reason, then the failures: whoever is woken must find it.
        let _ = self.shared.ended.set(ended.clone());
        outgoing.close();
        for pending in self.pending.into_inner() {
            let _ = pending.reply.send(Err(ended.clone()));
        }
        while let Ok(unsent) = outgoing.try_recv() {
            let _ = unsent.pending.reply.send(Err(ended.clone()));
        }
    }

    /// Reads answers until the connection ends; returns why.
    async fn read(&self, mut reader: ReadHalf<Stream>) -> NetError {
        let mut received = BytesMut::new();
        let mut answered = false;
        loop {
            match frame::split_frame(&mut received, self.options.response_bytes_max) {
                Ok(Some(frame)) => {
                    if let Err(error) = self.deliver(frame) {
                        return error;
                    }
                    answered = true;
                    continue;
                }
                Ok(None) => {}
                Err(reason) => return self.malformed(reason),
            }
            if let Some(length) = large_frame(&received) {
                received.advance(frame::LENGTH_BYTES);
                match self.options.frames.read(&mut reader, &mut received, length).await {
                    Ok(Some(frame)) => match self.deliver(frame) {
                        Ok(()) => {
                            answered = true;
                            continue;
                        }
                        Err(error) => return error,
                    },
                    Ok(None) => return self.closed_by_peer(answered),
                    Err(error) => return self.broken(error),
                }
            }
            received.reserve(wanted(&received));
            match reader.read_buf(&mut received).await {
                Ok(0) => return self.closed_by_peer(answered),
                Ok(_) => {}
                Err(error) => return self.broken(error),
            }
        }
    }

    fn deliver(&self, frame: Bytes) -> Result<(), NetError> {
        let Some(id) = frame.first_chunk().map(|id| i32::from_be_bytes(*id)) else {
            return Err(self.malformed(Reader::new(&frame).read_i32().err().unwrap_or_else(
                || unreachable!("a frame of less than four bytes has no correlation id"),
            )));
        };
        let oldest = self.pending.lock().pop_front();
        match oldest {
            Some(pending) if pending.correlation == id => {
                *self.used.lock() = Instant::now();
                // An abandoned request has nobody to tell; its answer is passed over.
                let _ = pending.reply.send(Ok(frame));
                self.delivered.notify_one();
                Ok(())
            }
            other => {
                let wanted = other.as_ref().map_or(-1, |pending| pending.correlation);
                // Put it back: it is failed with the rest.
                self.pending.lock().extend(other);
                Err(NetError::OutOfTurn { address: self.address.clone(), wanted, got: id })
            }
        }
    }

    /// Writes what is queued until the connection ends; returns why.
    async fn write(
        &self,
        mut writer: WriteHalf<Stream>,
        outgoing: &mut mpsc::UnboundedReceiver<Outgoing>,
        session: Option<Duration>,
    ) -> NetError {
        let mut queued = Vec::new();
        let mut frames = Vec::new();
        let mut session_ends = session.map(renewal);
        loop {
            // Both branches are cancel-safe: a receive that loses has taken nothing.
            let received = tokio::select! {
                biased;
                () = at(session_ends) => None,
                received = outgoing.recv_many(&mut queued, WRITE_TOGETHER_MAX) => Some(received),
            };
            match received {
                Some(0) => return self.drained().await,
                Some(_) => {}
                None => {
                    match self.authenticate_again(&mut writer).await {
                        Ok(session) => session_ends = session.map(renewal),
                        Err(error) => return error,
                    }
                    continue;
                }
            }
            let mut unanswered = Vec::new();
            for Outgoing { frame, answered, pending } in queued.drain(..) {
                frames.push(frame);
                if answered {
                    self.note(pending);
                } else {
                    unanswered.push(pending);
                }
            }
            if let Err(error) = write_all(&mut writer, &mut frames).await {
                return self.broken(error);
            }
            for written in unanswered {
                let _ = written.reply.send(Ok(Bytes::new()));
            }
        }
    }

    /// Proves again who we are, while the queue waits; what was asked before is answered first.
    async fn authenticate_again(
        &self,
        writer: &mut WriteHalf<Stream>,
    ) -> Result<Option<Duration>, NetError> {
        let Some(sasl) = &self.options.security.sasl else { return Ok(None) };
        let mut carrier = Living { task: self, writer };
        let session = authenticate(&mut carrier, sasl, &self.versions, &self.address).await?;
        self.shared.authentications.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(address = %self.address, ?session, "authenticated again");
        Ok(session)
    }

    /// Notes a request as pending, before it is written: its answer may be that fast.
    fn note(&self, pending: Pending) {
        *self.used.lock() = Instant::now();
        if pending.deadline < *self.armed.lock() {
            self.rearm.notify_one();
        }
        self.pending.lock().push_back(pending);
    }

    /// Waits, after the last handle is gone, for the answers that are due.
    async fn drained(&self) -> NetError {
        while !self.pending.lock().is_empty() {
            self.delivered.notified().await;
        }
        self.closed()
    }

    /// Watches the deadlines and the idle time; returns when one has passed.
    async fn watch(&self) -> NetError {
        loop {
            let now = Instant::now();
            let nearest = {
                let pending = self.pending.lock();
                let nearest = pending.iter().min_by_key(|it| it.deadline);
                if let Some(overdue) = nearest.filter(|it| it.deadline <= now) {
                    let address = self.address.clone();
                    let (api, timeout) = (overdue.api, overdue.timeout);
                    return NetError::RequestTimeout { address, api, timeout };
                }
                nearest.map(|it| it.deadline)
            };
            let idle_until = *self.used.lock() + self.options.idle_max;
            if nearest.is_none() && now >= idle_until {
                return self.closed();
            }
            let next = nearest.unwrap_or(idle_until);
            *self.armed.lock() = next;
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.rearm.notified() => {}
            }
        }
    }

    /// What it means that the broker hung up.
    fn closed_by_peer(&self, answered: bool) -> NetError {
        let address = self.address.clone();
        let asked = !self.pending.lock().is_empty();
        if asked && !answered && self.options.security.sasl.is_none() {
            let during = "the first request";
            let hint = "a listener with SASL does that to clients without; see `security.protocol`";
            return NetError::ClosedInHandshake { address, during, hint };
        }
        NetError::ClosedByPeer { address }
    }

    fn closed(&self) -> NetError {
        NetError::Closed { address: self.address.clone() }
    }

    fn broken(&self, reason: std::io::Error) -> NetError {
        if let Some(failure) = TlsFailure::of(&reason, self.options.security.tls.as_deref()) {
            return NetError::Tls { address: self.address.clone(), failure };
        }
        NetError::Broken { address: self.address.clone(), reason: Arc::new(reason) }
    }

    fn malformed(&self, reason: DecodeError) -> NetError {
        let api = self.pending.lock().front().map_or(ApiKey::ApiVersions, |it| it.api);
        NetError::Malformed { address: self.address.clone(), api, reason }
    }
}

/// Returns the length of the frame at hand if it deserves pooled memory; it was checked before.
fn large_frame(received: &BytesMut) -> Option<usize> {
    let prefix = received.first_chunk::<{ frame::LENGTH_BYTES }>()?;
    usize::try_from(i32::from_be_bytes(*prefix)).ok().filter(|length| *length >= LARGE_BYTES)
}

/// Carries the requests of an authentication over a connection in use.
struct Living<'a> {
    task: &'a Task,
    writer: &'a mut WriteHalf<Stream>,
}

impl Ask for Living<'_> {
    async fn ask<R: Request + Sync>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, NetError> {
        let task = self.task;
        let address = &task.address;
        let correlation = task.shared.next_correlation();
        let client_id = Some(&*task.options.client_id);
        let frame = frame::encode_request(request, version, correlation, client_id)
            .map_err(|reason| NetError::Unwritable { address: address.clone(), reason })?;
        // What is pending is answered first, and may rightly take longer than this does.
        let before = task.pending.lock().iter().map(|it| it.deadline).max();
        let timeout = task.options.request_timeout;
        let deadline = before.unwrap_or_else(Instant::now).max(Instant::now()) + timeout;
        let (reply, answer) = oneshot::channel();
        let api = R::API_KEY;
        task.note(Pending { correlation, api, deadline, timeout, reply, _slot: None });
        let written = write_all(self.writer, &mut vec![frame]).await;
        written.map_err(|error| task.broken(error))?;
        let frame = answer.await.unwrap_or_else(|_| Err(task.closed()))?;
        decode_body(&frame, version).map_err(|reason| NetError::Malformed {
            address: address.clone(),
            api,
            reason,
        })
    }
}

/// When to authenticate again: with a tenth of the session left, for the way and for answers that
/// are awaited before.
fn renewal(session: Duration) -> Instant {
    Instant::now() + session.mul_f64(0.9)
}

/// Waits until then; for ever if there is no then.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Writes all frames, many in one system call.
async fn write_all(writer: &mut WriteHalf<Stream>, frames: &mut Vec<Bytes>) -> std::io::Result<()> {
    let mut first = 0;
    while first < frames.len() {
        let slices: Vec<IoSlice<'_>> =
            frames[first..].iter().map(|frame| IoSlice::new(frame)).collect();
        let mut written = match slices.as_slice() {
            [only] => writer.write(only).await?,
            many => writer.write_vectored(many).await?,
        };
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while first < frames.len() && written >= frames[first].len() {
            written -= frames[first].len();
            first += 1;
        }
        if written > 0 {
            frames[first].advance(written);
        }
    }
    frames.clear();
    writer.flush().await
}

/// The handshake has used 0.
const FIRST_CORRELATION: i32 = 1;
/// Frames written with one system call: far below the system's limit of vectors.
const WRITE_TOGETHER_MAX: usize = 64;
