//! `queued.max.request.bytes`: how many bytes of requests may be in memory at once, over all
//! connections.
//!
//! A request of more than 16 KiB takes its whole length when it begins to arrive, and smaller ones
//! that carry records when they are whole; what there is no room for is not read, so that TCP holds
//! its sender back. Room is given in the order it was asked for. It is free again when the request
//! has been handled, or for records when they are on disk. Whole lengths, since connections that each
//! hold a part of their request and wait for room for the rest would wait for ever.
//!
//! Who began a request and then sends nothing keeps its room from others. While any wait, such a
//! connection is ended after [`STALLED_AFTER`]; while none do, after `connections.max.idle.ms`, as any.
//!
//! Not counted: what lies in each connection's buffer of small requests.

use crate::counters::{Counter, Gauge, UnderWay};
use crate::log_pace::LogPace;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

/// So long nothing may come of a request that has begun while others wait for its room: longer than lost
/// packets or a garbage collection take, and shorter than a producer waits for its answer.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(5);

/// The room there is for requests.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    room: Arc<Semaphore>,
    limit: usize,
    /// Requests that had to wait.
    pub(crate) waited: Counter,
    /// How many wait now.
    waiting: Gauge,
    lines: LogPace,
}

/// A request's part of the room. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _permit: OwnedSemaphorePermit,
}

impl RequestMemory {
    /// Returns room for that many bytes, or nothing where there is no limit.
    pub(crate) fn new(limit: i64) -> Option<Self> {
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0)?;
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Some(Self {
            room: Arc::new(Semaphore::new(limit)),
            limit,
            waited: Counter::default(),
            waiting: Gauge::default(),
            lines: LogPace::default(),
        })
    }

    /// Returns how many bytes there may be and how many there are.
    pub(crate) fn limit_and_used(&self) -> (usize, usize) {
        (self.limit, self.limit - self.room.available_permits())
    }

    fn note_wait(&self) -> UnderWay {
        self.waited.add(1);
        let waits = self.waiting.begin();
        if self.lines.allows() {
            warn!(
                limit = self.limit,
                "a request waits to be read: as many bytes are in memory as queued.max.request.bytes \
                 allows; kohort_requests_waited_for_memory_total counts them all"
            );
        }
        waits
    }
}

/// What one connection has of the room for its next request.
pub(crate) struct Share {
    memory: Option<Arc<RequestMemory>>,
    held: Option<Held>,
    waiting: Option<Pin<Box<dyn Future<Output = Held> + Send>>>,
}

impl Share {
    pub(crate) fn new(memory: Option<&Arc<RequestMemory>>) -> Self {
        Self { memory: memory.cloned(), held: None, waiting: None }
    }

    /// Tells whether there is a limit at all.
    pub(crate) fn is_limited(&self) -> bool {
        self.memory.is_some()
    }

    /// Tells whether the next request, of that length, has its room; it waits for it otherwise.
    pub(crate) fn covers(&mut self, length: usize) -> bool {
        let Some(memory) = &self.memory else { return true };
        if self.held.is_some() || self.waiting.is_some() {
            return self.held.is_some();
        }
        // The start refuses a limit below that of one request: this only guards against waiting for
        // ever.
        let bytes = u32::try_from(length.min(memory.limit)).unwrap_or(u32::MAX);
        let room = Arc::clone(&memory.room);
        if let Ok(permit) = Arc::clone(&room).try_acquire_many_owned(bytes) {
            self.held = Some(Held { _permit: permit });
            return true;
        }
        let waits = memory.note_wait();
        self.waiting = Some(Box::pin(async move {
            let _waits = waits;
            match room.acquire_many_owned(bytes).await {
                Ok(permit) => Held { _permit: permit },
                // The semaphore is never closed.
                Err(_) => std::future::pending().await,
            }
        }));
        false
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Tells whether the next request has its room.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Tells whether this has room that others wait for.
    pub(crate) fn is_wanted(&self) -> bool {
        let waiting = |memory: &Arc<RequestMemory>| memory.waiting.count() > 0;
        self.is_held() && self.memory.as_ref().is_some_and(waiting)
    }

    /// Waits for the room that was asked for. Cancel-safe: the place in the queue stays.
    pub(crate) async fn wait(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            self.held = Some(waiting.await);
            self.waiting = None;
        }
    }

    /// Takes the room of the request that is about to be handled.
    pub(crate) fn take(&mut self) -> Option<Held> {
        self.held.take()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("held", &self.held)
            .field("waiting", &self.is_waiting())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    /// Lets `share` ask once whether its room has come.
    async fn came(share: &mut Share) -> bool {
        let mut wait = Box::pin(share.wait());
        poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn room_is_given_in_the_order_it_was_asked_for() {
        let memory = Arc::new(RequestMemory::new(100).unwrap());
        let share = || Share::new(Some(&memory));
        let (mut first, mut large, mut small) = (share(), share(), share());
        assert!(first.covers(60));
        assert!(!large.covers(90));
        assert!(!came(&mut large).await);
        // There would be room for this one, were it not for the one before.
        assert!(!small.covers(10) && !came(&mut small).await);
        assert_eq!([&first, &large].map(Share::is_wanted), [true, false]);
        drop(first.take());
        assert!(came(&mut large).await && came(&mut small).await);
        assert!(!large.is_wanted(), "nobody waits any more");
        assert_eq!((memory.limit_and_used(), memory.waited.get()), ((100, 100), 2));
        drop((large, small));
        assert_eq!(memory.limit_and_used(), (100, 0));
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_leaves_nothing_behind() {
        let memory = Arc::new(RequestMemory::new(10).unwrap());
        let (mut first, mut second) = (Share::new(Some(&memory)), Share::new(Some(&memory)));
        assert!(first.covers(10) && !second.covers(1));
        assert!(!came(&mut second).await && first.is_wanted());
        drop(second);
        assert!(!first.is_wanted());
        drop(first);
        assert_eq!(memory.limit_and_used(), (10, 0));
    }

    #[test]
    fn without_a_limit_everything_has_room() {
        assert!(RequestMemory::new(-1).is_none() && RequestMemory::new(0).is_none());
        let mut share = Share::new(None);
        assert!(share.covers(usize::MAX) && !share.is_waiting());
    }
}
