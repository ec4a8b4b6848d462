//! Asking only what has something to say.
//!
//! A task that waits for several things polls all of them whenever one is ready, and to ask most of
//! tokio's is not free: a watched value takes a lock, a timer reads the clock, a channel is looked into
//! twice. So each gets a flag of its own, which its waker sets, and is asked when that is set.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Lets one thing be asked at first, after each answer, and when it was woken.
#[derive(Debug, Default)]
pub(crate) struct Gate(Option<(Arc<Bell>, Waker)>);

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The flag first: the task must find it.
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Gate {
    /// Polls with `ask` unless it would be pending. It must be the same thing each time.
    #[inline]
    pub(crate) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.is_silent(context.waker()) { Poll::Pending } else { self.ask(context, ask) }
    }

    /// Tells whether that task would be called and was not.
    #[inline]
    fn is_silent(&self, task: &Waker) -> bool {
        let silent = |bell: &Bell| !bell.rung.load(Ordering::Relaxed) && bell.task.will_wake(task);
        self.0.as_ref().is_some_and(|(bell, _)| silent(bell))
    }

    fn ask<T>(
        &mut self,
        context: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let task = context.waker();
        if self.0.as_ref().is_none_or(|(bell, _)| !bell.task.will_wake(task)) {
            let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: task.clone() });
            self.0 = Some((Arc::clone(&bell), Waker::from(bell)));
        }
        let Some((bell, waker)) = &self.0 else { return ask(context) };
        // Cleared before asking: what happens meanwhile rings again.
        if !bell.rung.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let answer = ask(&mut Context::from_waker(waker));
        if answer.is_ready() {
            // Who has answered has promised no call.
            bell.rung.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Has it asked again: it was changed from outside.
    pub(crate) fn open(&self) {
        if let Some((bell, _)) = &self.0 {
            bell.rung.store(true, Ordering::Relaxed);
        }
    }
}

/// A future behind a gate.
#[derive(Debug)]
pub(crate) struct Quiet<F> {
    inner: Pin<Box<F>>,
    gate: Gate,
}

impl<F> Quiet<F> {
    pub(crate) fn new(inner: F) -> Self {
        Self { inner: Box::pin(inner), gate: Gate::default() }
    }

    /// Begins anew with another future.
    pub(crate) fn set(&mut self, inner: F) {
        self.inner.set(inner);
        self.gate = Gate::default();
    }
}

impl<F: Future> Future for Quiet<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { inner, gate } = &mut *self;
        gate.poll(context, |context| inner.as_mut().poll(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::{mpsc, oneshot};

    /// Counts how often a future is asked.
    fn counted<F: Future + Unpin>(
        mut inner: F,
    ) -> (Arc<AtomicUsize>, Quiet<impl Future<Output = F::Output>>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let inner = poll_fn(move |context| {
            count.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut inner).poll(context)
        });
        (asked, Quiet::new(inner))
    }

    #[tokio::test]
    async fn a_quiet_future_is_asked_at_first_and_when_it_was_woken() {
        let (sender, receiver) = oneshot::channel();
        let (asked, mut quiet) = counted(receiver);
        for _ in 0..3 {
            poll_fn(|context| {
                assert!(Pin::new(&mut quiet).poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        sender.send(7).unwrap();
        assert_eq!(quiet.await, Ok(7));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_has_answered_is_asked_again_until_it_waits() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut gate = Gate::default();
        let mut next =
            async || poll_fn(|context| gate.poll(context, |inner| receiver.poll_recv(inner))).await;
        for number in 0..3 {
            sender.send(number).unwrap();
        }
        for number in 0..3 {
            assert_eq!(next().await, Some(number));
        }
        let late = tokio::spawn(async move {
            tokio::task::yield_now().await;
            sender.send(3).unwrap();
        });
        assert_eq!(next().await, Some(3));
        assert_eq!(next().await, None);
        late.await.unwrap();
    }

    #[tokio::test]
    async fn what_was_changed_from_outside_is_asked_again() {
        let mut gate = Gate::default();
        let mut asked = 0;
        for changed in [false, false, true, false] {
            if changed {
                gate.open();
            }
            poll_fn(|context| {
                let answer: Poll<()> = gate.poll(context, |_| {
                    asked += 1;
                    Poll::Pending
                });
                assert!(answer.is_pending());
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(asked, 2);
    }

    #[tokio::test]
    async fn a_quiet_future_follows_the_task_that_waits_for_it() {
        let (sender, receiver) = oneshot::channel();
        let (_, mut quiet) = counted(receiver);
        let mut elsewhere = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut quiet).poll(&mut elsewhere).is_pending());
        let waiting = tokio::spawn(quiet);
        tokio::task::yield_now().await;
        sender.send(()).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }
}
