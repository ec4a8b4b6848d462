//! The shard's next deadline as something to wait for.

use crate::clock::{Clock, Timestamp};
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Waits for a deadline that seldom moves: it is put into the runtime's timers when it does, and not
/// at every turn of the loop that waits for it.
#[derive(Debug, Default)]
pub(super) struct Timer {
    due: Option<Timestamp>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Sets the deadline, or none.
    pub(super) fn set(&mut self, due: Option<Timestamp>, clock: &Clock) {
        if self.due == due {
            return;
        }
        self.due = due;
        let Some(due) = due else { return };
        let wait = u64::try_from(due - clock.now()).unwrap_or(0);
        let at = Instant::now() + Duration::from_millis(wait);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(sleep_until(at))),
        }
    }

    /// Waits until the deadline. Whatever comes of it, it must be set anew. Cancel-safe.
    pub(super) async fn rings(&mut self) {
        match &mut self.sleep {
            Some(sleep) if self.due.is_some() => sleep.as_mut().await,
            _ => pending().await,
        }
        self.due = None;
    }
}
