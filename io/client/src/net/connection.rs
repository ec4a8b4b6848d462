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
//! A broker that throttles the client reads nothing of the connection for a while: then nothing is written, and
//! that time does not count (`throttle.rs`).
//!
//! Where the broker limits how long an authentication is good for (KIP-368), the writer holds its
//! queue back in time, authenticates again on the same connection, and goes on.
//!
//! However it ends, every pending request is told why. Dropping an [`InFlight`] abandons its
//! answer, not the connection.

mod options;
mod shared;
mod task;
mod throttle;

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use kohort_protocol::{ApiKey, Request, VersionRange, frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use self::shared::{Outgoing, Pending, Shared};
use self::task::Task;
use super::answer::decode_body;
use super::handshake::{Established, establish};
use super::timers::after;
use super::{ApiVersions, NetError};

pub use self::options::ConnectionOptions;
pub use self::throttle::{Throttled, Throttles};

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

impl BrokerConnection {
    /// Connects to a broker and agrees with it on versions.
    ///
    /// Must be called on the client's [`super::Driver`], where the connection's task will live.
    ///
    /// # Errors
    /// Why it cannot be connected to, or does not let this client in.
    pub async fn open(host: &str, port: u16, options: ConnectionOptions) -> Result<Self, NetError> {
        let address: Arc<str> = Arc::from(format!("{host}:{port}"));
        let Established { stream, versions, session } =
            establish(host, port, &address, &options).await?;
        let (queue, outgoing) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(options.security.sasl.is_some()));
        let task = Task::new(address.clone(), options.clone(), versions.clone(), shared.clone());
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
    ///
    /// # Errors
    /// [`NetError::UnsupportedVersion`] if there is no version both sides know, and as
    /// [`send_at`](Self::send_at).
    pub async fn send<R: Request>(&self, request: &R) -> Result<R::Response, NetError> {
        self.send_at(self.version::<R>()?, request, self.inner.options.request_timeout).await
    }

    /// Sends a request in a version the caller chose, for an answer within `timeout`.
    ///
    /// # Errors
    /// [`NetError::RequestTimeout`], and why the connection was lost before there was an answer.
    pub async fn send_at<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, NetError> {
        let deadline = after(Instant::now(), timeout);
        let slot = self.inner.slots.clone().acquire_owned();
        let Ok(slot) = tokio::time::timeout_at(deadline, slot).await else {
            return Err(self.timed_out(R::API_KEY, timeout));
        };
        let slot = slot.map_err(|_closed| self.end_reason())?;
        self.enqueue(version, request, timeout, slot, true)?.await
    }

    /// Queues a request at once, behind those queued before; for callers that pipeline and need
    /// their order kept. With all slots taken it fails as timed out.
    ///
    /// # Errors
    /// [`NetError::RequestTimeout`] with all slots taken, [`NetError::Unwritable`] for a request that the version has no
    /// room for, and why the connection is closed.
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
    ///
    /// # Errors
    /// [`NetError::Unwritable`] for a request that the version has no room for, and why the connection was lost.
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
    ///
    /// # Errors
    /// [`NetError::UnsupportedVersion`] if there is none.
    pub fn version<R: Request>(&self) -> Result<i16, NetError> {
        self.version_within::<R>(R::VERSIONS)
    }

    /// Returns the highest version of `R` inside `wanted` both sides know.
    ///
    /// # Errors
    /// [`NetError::UnsupportedVersion`] if there is none.
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
        let client_id = Some(&*inner.options.client_id);
        let frame = frame::encode_request_in_pieces(request, version, correlation, client_id)
            .map_err(|reason| NetError::Unwritable { address: inner.address.clone(), reason })?;
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            correlation,
            api: R::API_KEY,
            version,
            deadline: after(Instant::now(), timeout),
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
