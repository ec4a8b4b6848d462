//! Deadlines by the clock of a client's thread, for those who wait in any runtime or in none.
//!
//! Most waits are over before their deadline: a poll's, whenever there are records. So nobody wakes the thread
//! to put a deadline in or to take it out. It wakes up when the earliest of those it knew would have been due,
//! finds that gone and looks for the next; only a deadline before that is told to it at once.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Who waits, and until when. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Timers {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
    /// When the thread wakes up by itself.
    armed: Option<Instant>,
    stopped: bool,
}

/// The clock has stopped: its thread is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped;

impl Timers {
    /// Returns what is ready at `at`. Dropping it forgets the deadline.
    pub(super) fn until(&self, at: Instant) -> Deadline {
        let mut state = self.shared.state.lock();
        state.next_id += 1;
        Deadline { shared: self.shared.clone(), key: (at, state.next_id), listed: false }
    }

    /// Returns what keeps the time. To be run on the thread; when it is dropped, begun or not, all deadlines
    /// end.
    pub(super) fn keep(&self) -> impl Future<Output = ()> + Send + use<> {
        let keeper = Keeper { shared: self.shared.clone() };
        async move {
            loop {
                let now = Instant::now();
                let next = keeper.wake_who_is_due(now);
                tokio::select! {
                    () = tokio::time::sleep_until(next.unwrap_or(now + IDLE)) => {}
                    () = keeper.shared.earlier.notified() => {}
                }
            }
        }
    }
}

/// Returns the moment `time` after another. One beyond all clocks is as good as never.
pub(crate) fn after(moment: Instant, time: Duration) -> Instant {
    moment.checked_add(time).unwrap_or_else(|| moment + FOR_EVER)
}

/// Longer than any client lives.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How long the thread sleeps without a deadline.
const IDLE: Duration = Duration::from_secs(3600);

struct Keeper {
    shared: Arc<Shared>,
}

impl Keeper {
    /// Returns when to come back.
    fn wake_who_is_due(&self, now: Instant) -> Option<Instant> {
        let mut state = self.shared.state.lock();
        let later = state.waiting.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut state.waiting, later);
        state.armed = state.waiting.first_key_value().map(|((at, _), _)| *at);
        let next = state.armed;
        drop(state);
        due.into_values().for_each(Waker::wake);
        next
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stopped = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().for_each(Waker::wake);
    }
}

/// See [`Timers::until`].
#[derive(Debug)]
pub(super) struct Deadline {
    shared: Arc<Shared>,
    key: (Instant, u64),
    listed: bool,
}

impl Future for Deadline {
    type Output = Result<(), Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.shared.state.lock();
        if state.stopped {
            return Poll::Ready(Err(Stopped));
        }
        let (at, _) = this.key;
        if Instant::now() >= at {
            return Poll::Ready(Ok(()));
        }
        state.waiting.insert(this.key, cx.waker().clone());
        this.listed = true;
        let earlier = state.armed.is_none_or(|armed| at < armed);
        if earlier {
            state.armed = Some(at);
        }
        drop(state);
        if earlier {
            this.shared.earlier.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if self.listed {
            self.shared.state.lock().waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Debug, Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Polls a future once, by hand.
    fn poll<F: Future + Unpin>(future: &mut F, woken: &Arc<Count>) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&woken.clone().into()))
    }

    #[test]
    fn no_time_is_too_long_to_be_after() {
        let now = Instant::now();
        assert_eq!(after(now, IDLE), now + IDLE);
        assert_eq!(after(now, Duration::MAX), now + FOR_EVER);
    }

    #[tokio::test]
    async fn each_is_woken_when_it_is_due_and_the_dropped_ones_are_not() {
        let (timers, woken) = (Timers::default(), Arc::new(Count::default()));
        tokio::spawn(timers.keep());
        let now = Instant::now();
        let mut dropped = timers.until(now + Duration::from_millis(10));
        let mut far = timers.until(now + Duration::from_secs(3600));
        // On a busy machine its time may have come by now.
        let _ = poll(&mut dropped, &woken);
        assert!(poll(&mut far, &woken).is_pending());
        drop(dropped);
        for ms in [30, 15, 20, 0] {
            let at = now + Duration::from_millis(ms);
            assert_eq!(timers.until(at).await, Ok(()));
            assert!(Instant::now() >= at);
        }
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        assert_eq!(timers.shared.state.lock().waiting.len(), 1, "the one far away");
    }

    #[tokio::test]
    async fn only_a_deadline_before_all_others_is_told_to_the_thread() {
        let (timers, woken) = (Timers::default(), Arc::new(Count::default()));
        let now = Instant::now();
        let armed = || timers.shared.state.lock().armed.map(|at| (at - now).as_secs());
        for (seconds, expected) in [(300, 300), (200, 200), (250, 200)] {
            let mut deadline = timers.until(now + Duration::from_secs(seconds));
            assert!(poll(&mut deadline, &woken).is_pending());
            drop(deadline);
            assert_eq!(armed(), Some(expected));
        }
        tokio::spawn(timers.keep());
        tokio::task::yield_now().await;
        assert_eq!(armed(), None, "they are all gone");
    }

    #[tokio::test]
    async fn whoever_waits_when_the_clock_stops_is_told() {
        let (timers, woken) = (Timers::default(), Arc::new(Count::default()));
        let task = tokio::spawn(timers.keep());
        let mut deadline = timers.until(Instant::now() + Duration::from_secs(60));
        assert!(poll(&mut deadline, &woken).is_pending());
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.is_err());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&mut deadline, &woken), Poll::Ready(Err(Stopped)));
    }
}
