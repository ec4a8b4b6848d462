//! What the passing of time brings about, rarely enough that an idle broker stays idle.

use crate::clock::Clock;
use crate::config::BrokerConfig;
use crate::stopping::stopped;
use kohort_storage::{LogDir, StorageError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

/// How often idempotent producers that were silent for too long are looked for, as Kafka's
/// `producer.id.expiration.check.interval.ms`.
const PRODUCER_CHECK: Duration = Duration::from_secs(600);

/// The longest that is waited at once: a timer takes no more.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How often what is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intervals {
    first_retention: Duration,
    retention: Duration,
}

impl Intervals {
    /// Takes them from the broker's configuration.
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        let duration = |ms: i64| Duration::from_millis(ms.unsigned_abs()).min(LONGEST);
        Self {
            first_retention: duration(config.log_initial_task_delay_ms),
            retention: duration(config.log_retention_check_interval_ms),
        }
    }
}

/// Keeps house until the broker stops.
pub(crate) async fn run(
    log_dir: Arc<LogDir>,
    clock: Arc<Clock>,
    intervals: Intervals,
    mut stopping: watch::Receiver<bool>,
) {
    let start = Instant::now();
    let mut producers_at = start + PRODUCER_CHECK;
    let mut retention_at = start + intervals.first_retention;
    loop {
        // All are cancel-safe: nothing is lost with a timer or a look at a flag.
        tokio::select! {
            () = sleep_until(producers_at) => {
                log_dir.tick(clock.wall());
                producers_at = Instant::now() + PRODUCER_CHECK;
            }
            () = sleep_until(retention_at) => {
                enforce_retention(&log_dir, &clock).await;
                retention_at = Instant::now() + intervals.retention;
            }
            () = stopped(&mut stopping) => return,
        }
    }
}

/// Deletes old segments. That may wait for the disk, so it has a thread of its own.
async fn enforce_retention(log_dir: &Arc<LogDir>, clock: &Clock) {
    let (log_dir, now) = (Arc::clone(log_dir), clock.wall());
    match spawn_blocking(move || log_dir.enforce_retention(now)).await {
        // When all ends, others say why.
        Ok(Ok(_) | Err(StorageError::Closed | StorageError::Fatal(_))) => {}
        Ok(Err(error)) => warn!(%error, "old segments could not all be looked at"),
        Err(error) => error!(%error, "looking for old segments failed"),
    }
}
