//! What the passing of time brings about, rarely enough that an idle broker stays idle.

use crate::clock::Clock;
use crate::listener::stopped;
use kohort_storage::LogDir;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// How often idempotent producers that were silent for too long are looked for, as Kafka's
/// `producer.id.expiration.check.interval.ms`.
const PRODUCER_CHECK: Duration = Duration::from_secs(600);

/// Keeps house until the broker stops.
pub(crate) async fn run(
    log_dir: Arc<LogDir>,
    clock: Arc<Clock>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        // Both are cancel-safe: nothing is lost with a timer or a look at a flag.
        tokio::select! {
            () = sleep(PRODUCER_CHECK) => log_dir.tick(clock.now()),
            () = stopped(&mut stopping) => return,
        }
    }
}
