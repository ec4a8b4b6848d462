//! Records that were not written and whose deliveries nobody holds: the log is told, since nobody else is.
//!
//! At most one line a second, with the first error and how many records there were: a broker that refuses
//! everything refuses thousands of batches in that time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::SendError;
use super::delivery::Completion;

/// What is not told yet.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Whether there is something: the sender asks after each of its rounds.
    any: AtomicBool,
    untold: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    first: Option<Loss>,
    told_at: Option<i64>,
}

/// What one line tells.
#[derive(Debug)]
struct Loss {
    topic: Arc<str>,
    partition: i32,
    error: SendError,
    batches: u64,
    records: u64,
}

impl Losses {
    /// Notes a batch that nobody holds a delivery of.
    pub(super) fn note(&self, batch: &Completion, records: u32, error: &SendError) {
        let first = &mut self.untold.lock().first;
        let loss = first.get_or_insert_with(|| Loss {
            topic: batch.topic.clone(),
            partition: batch.partition,
            error: error.clone(),
            batches: 0,
            records: 0,
        });
        loss.batches += 1;
        loss.records += u64::from(records);
        self.any.store(true, Ordering::Release);
    }

    /// Tells the log what it is time to tell; returns when to ask again for the rest.
    pub(super) fn tell(&self, now: i64) -> Option<i64> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        match self.due(now) {
            Ok(Loss { topic, partition, error, batches, records }) => {
                tracing::warn!(
                    %topic, partition, batches, records, %error,
                    "records were not written, and nobody holds their deliveries; the first is named"
                );
                None
            }
            Err(at) => Some(at),
        }
    }

    /// Takes what is to be told now; else returns when that is.
    fn due(&self, now: i64) -> Result<Loss, i64> {
        let untold = &mut *self.untold.lock();
        let waits = |told: &i64| (0..INTERVAL_MS).contains(&now.saturating_sub(*told));
        if let Some(told) = untold.told_at.filter(waits) {
            return Err(told + INTERVAL_MS);
        }
        self.any.store(false, Ordering::Release);
        untold.told_at = Some(now);
        untold.first.take().ok_or(now)
    }
}

/// One line a second is seen, and fills no disk.
const INTERVAL_MS: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_once_a_second_with_the_first_error_and_all_counts() {
        let losses = Losses::default();
        let batch = |partition| Completion::new(Arc::from("t"), partition);
        assert_eq!(losses.tell(0), None);
        losses.note(&batch(3), 10, &SendError::Closed);
        let told = losses.due(5_000).unwrap();
        assert_eq!((&*told.topic, told.partition, told.batches, told.records), ("t", 3, 1, 10));
        for partition in 4..9 {
            losses.note(&batch(partition), 2, &SendError::Closed);
        }
        assert_eq!(losses.tell(5_999), Some(6_000));
        let told = losses.due(6_000).unwrap();
        assert_eq!((told.partition, told.batches, told.records), (4, 5, 10));
        assert_eq!(losses.tell(6_001), None, "nothing is left");
        losses.note(&batch(1), 1, &SendError::Closed);
        assert!(losses.due(0).is_ok(), "a clock that was put back holds nothing up");
    }
}
