//! The shard's next deadline as something to wait for.

use crate::clock::{Clock, Timestamp};
use crate::quiet::Gate;
use kohort_coordinator::Patience;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Waits for a deadline that seldom moves: it is put into the runtime's timers when it does, and not
/// at every turn of the loop that waits for it.
#[derive(Debug, Default)]
pub(super) struct Timer {
    due: Option<Timestamp>,
    sleep: Option<Pin<Box<Sleep>>>,
    gate: Gate,
    /// What becomes of deadlines that are noticed late.
    pub(super) patience: Patience,
}

impl Timer {
    /// Sets the deadline, or none. Returns when it rings.
    pub(super) fn set(&mut self, due: Option<Timestamp>, clock: &Clock) -> Option<Timestamp> {
        let due = due.map(|due| self.patience.look_at(due));
        if self.due != due {
            self.due = due;
            if let Some(due) = due {
                self.put(due, clock);
            }
        }
        due
    }

    fn put(&mut self, due: Timestamp, clock: &Clock) {
        let wait = u64::try_from(due - clock.steady()).unwrap_or(0);
        let at = Instant::now() + Duration::from_millis(wait);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(sleep_until(at))),
        }
        self.gate.open();
    }

    /// Waits until the deadline. Whatever comes of it, it must be set anew. Cancel-safe.
    pub(super) async fn rings(&mut self) {
        match &mut self.sleep {
            Some(sleep) if self.due.is_some() => {
                poll_fn(|context| self.gate.poll(context, |inner| sleep.as_mut().poll(inner)))
                    .await;
            }
            _ => pending().await,
        }
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Poll;

    #[tokio::test]
    async fn a_deadline_that_moves_while_somebody_waits_is_kept() {
        let clock = Clock::default();
        let mut timer = Timer::default();
        for hours in [3, 1, 2] {
            timer.set(Some(clock.steady() + hours * 3_600_000), &clock);
            poll_fn(|context| {
                assert!(pin!(timer.rings()).poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        let soon = clock.steady() + 5;
        timer.set(Some(soon), &clock);
        timer.rings().await;
        assert!(clock.steady() >= soon);
        assert_eq!(timer.due, None);
    }
}
