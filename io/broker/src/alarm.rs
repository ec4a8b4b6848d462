//! A connection's alarm: until when its waiting request waits at most.
//!
//! Almost no request waits until its deadline, but to put each deadline into the runtime's timers and to
//! take it out again is not free, and a deadline before all others wakes the thread that sleeps until
//! the next one: with every Fetch of a reader that keeps up. So the timer stays as it is when the request
//! is over. The next one's deadline is mostly later; where the timer goes off too soon, it is set anew.

use parking_lot::Mutex;
use std::pin::Pin;
use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of a connection, while nobody waits for it.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Mutex<Option<Pin<Box<Sleep>>>>);

/// The timer in a request's hands. It goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    home: &'a Alarm,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Lends the timer to a request that is about to wait. Should there be another one, it gets its own.
    pub(crate) fn lend(&self) -> Lent<'_> {
        Lent { home: self, sleep: self.0.lock().take() }
    }
}

impl Lent<'_> {
    /// Waits until `deadline`. Cancel-safe.
    pub(crate) async fn until(&mut self, deadline: Instant) {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            if sleep.is_elapsed() || sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            sleep.as_mut().await;
            if sleep.deadline() >= deadline {
                return;
            }
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.home.0.lock() = self.sleep.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    impl Alarm {
        /// Waits for a deadline and goes away before it is over.
        async fn begin_to_wait(&self, deadline: Instant) {
            let mut lent = self.lend();
            let mut until = pin!(lent.until(deadline));
            poll_fn(|context| {
                assert!(until.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        }

        fn set_for(&self) -> Option<Instant> {
            self.0.lock().as_ref().map(|sleep| sleep.deadline())
        }
    }

    #[tokio::test]
    async fn each_deadline_is_kept_whatever_the_one_before_was() {
        let alarm = Alarm::default();
        for milliseconds in [20, 30, 1, 10, 0, 25] {
            let deadline = Instant::now() + Duration::from_millis(milliseconds);
            alarm.lend().until(deadline).await;
            assert!(Instant::now() >= deadline);
            alarm.begin_to_wait(Instant::now() + Duration::from_millis(milliseconds + 10)).await;
        }
    }

    #[tokio::test]
    async fn the_timer_moves_for_an_earlier_deadline_and_stays_for_a_later_one() {
        let alarm = Alarm::default();
        let now = Instant::now();
        let in_hours = |hours| now + Duration::from_hours(hours);
        for (wanted, set_for) in [(5, 5), (7, 5), (3, 3), (4, 3)] {
            alarm.begin_to_wait(in_hours(wanted)).await;
            assert_eq!(alarm.set_for(), Some(in_hours(set_for)));
        }
    }

    #[tokio::test]
    async fn two_that_wait_at_once_do_not_share_a_timer() {
        let alarm = Alarm::default();
        let deadline = Instant::now() + Duration::from_millis(5);
        let (mut first, mut second) = (alarm.lend(), alarm.lend());
        tokio::join!(first.until(deadline), second.until(deadline));
        assert!(Instant::now() >= deadline);
    }
}
