//! What goes between the handles of a connection and its task.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use kohort_protocol::ApiKey;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::net::NetError;

/// What the handles and the task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) close: Notify,
    pub(super) correlation: AtomicI32,
    /// How often we have proved who we are.
    pub(super) authentications: AtomicU32,
    /// Why the connection ended, once it has.
    pub(super) ended: OnceLock<NetError>,
}

/// A request on its way to the writer. The queue is unbounded in type only: each holds a slot.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The frame, in pieces.
    pub(super) frame: Vec<Bytes>,
    /// Whether the broker answers it at all (acks=0 does not).
    pub(super) answered: bool,
    pub(super) pending: Pending,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) correlation: i32,
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
    pub(super) reply: oneshot::Sender<Result<Bytes, NetError>>,
    /// None for what the task asks itself.
    pub(super) _slot: Option<OwnedSemaphorePermit>,
}

impl Shared {
    pub(super) fn new(authenticated: bool) -> Self {
        Self {
            close: Notify::new(),
            correlation: AtomicI32::new(FIRST_CORRELATION),
            authentications: AtomicU32::new(u32::from(authenticated)),
            ended: OnceLock::new(),
        }
    }

    pub(super) fn next_correlation(&self) -> i32 {
        self.correlation.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn reason(&self, address: &Arc<str>) -> NetError {
        self.ended.get().cloned().unwrap_or_else(|| NetError::Closed { address: address.clone() })
    }
}

/// The handshake has used 0.
const FIRST_CORRELATION: i32 = 1;
