//! The task that owns a connection's socket: it reads and writes at once, and watches the clock.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kohort_protocol::{ApiKey, DecodeError, Reader, Request, frame};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::options::ConnectionOptions;
use super::shared::{Outgoing, Pending, Shared};
use super::throttle::throttle_time;
use crate::net::answer::{decode_body, wanted};
use crate::net::frames::LARGE_BYTES;
use crate::net::security::{Ask, authenticate};
use crate::net::stream::Stream;
use crate::net::timers::after;
use crate::net::{ApiVersions, NetError, TlsFailure};

/// The owner of the socket.
pub(super) struct Task {
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
    /// Until when the broker reads nothing, because the client is throttled.
    muted_until: Mutex<Option<Instant>>,
    /// Wakes the writer when it only waits for the last answers.
    delivered: Notify,
}

impl Task {
    pub(super) fn new(
        address: Arc<str>,
        options: ConnectionOptions,
        versions: ApiVersions,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            address,
            options,
            versions,
            shared,
            used: Mutex::new(Instant::now()),
            pending: Mutex::new(VecDeque::new()),
            armed: Mutex::new(Instant::now()),
            rearm: Notify::new(),
            muted_until: Mutex::new(None),
            delivered: Notify::new(),
        }
    }

    /// Serves the connection until it ends, and tells everybody who waits.
    pub(super) async fn run(
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
                if let Some(time) = throttle_time(pending.api, pending.version, &frame) {
                    self.mute(pending.api, time);
                }
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

    /// Takes that the broker reads nothing for so long: it answers what was asked before that much later.
    fn mute(&self, api: ApiKey, time: Duration) {
        tracing::debug!(address = %self.address, ?api, ?time, "throttled");
        self.options.throttles.note(&self.address, api, time);
        let until = after(Instant::now(), time);
        let mut muted_until = self.muted_until.lock();
        *muted_until = Some(muted_until.map_or(until, |before| before.max(until)));
        for pending in &mut *self.pending.lock() {
            pending.deadline = after(pending.deadline, time);
        }
    }

    /// Waits while the broker reads nothing; returns whether there was anything to wait for.
    async fn unmuted(&self) -> bool {
        let mut waited = false;
        loop {
            let until = *self.muted_until.lock();
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return waited,
            }
            waited = true;
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
            if received == Some(0) {
                return self.drained().await;
            }
            let waited = self.unmuted().await;
            if session_ends.is_some_and(|end| end <= Instant::now()) {
                match self.authenticate_again(&mut writer).await {
                    Ok(session) => session_ends = session.map(renewal),
                    Err(error) => return error,
                }
            }
            let mut unanswered = Vec::new();
            for Outgoing { frame, answered, mut pending } in queued.drain(..) {
                frames.extend(frame);
                if waited {
                    pending.deadline = after(Instant::now(), pending.timeout);
                }
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
            let idle_until = after(*self.used.lock(), self.options.idle_max);
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
        let deadline = before.unwrap_or_else(Instant::now).max(Instant::now());
        let deadline = after(deadline, timeout);
        let (reply, answer) = oneshot::channel();
        let api = R::API_KEY;
        task.note(Pending { correlation, api, version, deadline, timeout, reply, _slot: None });
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
    after(Instant::now(), session.mul_f64(0.9))
}

/// Waits until then; for ever if there is no then.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Writes all pieces of frames, many in one system call.
async fn write_all(writer: &mut WriteHalf<Stream>, frames: &mut Vec<Bytes>) -> std::io::Result<()> {
    let mut first = 0;
    while first < frames.len() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&frames[first..]) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        let mut written = match &slices[..count] {
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

/// Frames taken from the queue at once.
const WRITE_TOGETHER_MAX: usize = 64;

/// Pieces of frames written with one system call: below the system's limit, and few enough to list in
/// the task's own memory.
const SLICES_MAX: usize = 64;
