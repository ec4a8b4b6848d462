//! How a shard comes to serve: it reads its log, and tries again when it could not.
//!
//! | the last attempt | the shard is | its groups are told | the next attempt |
//! |---|---|---|---|
//! | there was none, or what kept it from reading passes | loading | COORDINATOR_LOAD_IN_PROGRESS | after 1 s, 2 s, 4 s, ... |
//! | found damage, or panicked | failed | NOT_COORDINATOR | after a minute |
//!
//! A log that is damaged stays so until somebody mends it, and a file can be put in order while the broker
//! runs: so attempts go on, and seldom. The other shards do not wait for it: a list of groups leaves a
//! failed one out, as Kafka's does ([`refusal`](super::refusal)).

use super::refusal::{Unready, refusing};
use super::{Queued, ShardTask, Snapshots, Survey, load};
use crate::config::group_config;
use crate::random;
use kohort_coordinator::GroupShard;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::sleep;
use tracing::{error, info};

/// How long a shard rests before it is loaded again after something that may pass kept it from reading its
/// log: at first, and at most, since each time is twice as long as the one before.
const RELOAD_REST: Duration = Duration::from_secs(1);
const RELOAD_REST_MAX: Duration = Duration::from_secs(64);

impl ShardTask {
    /// Loads a shard from the log, and returns it with the end of what it knows; meanwhile callers are told
    /// so. `None` when the broker stops.
    pub(super) async fn load(
        &mut self,
        calls: &mut mpsc::Receiver<Queued>,
        surveys: &mut mpsc::Receiver<Survey>,
        stopping: &mut watch::Receiver<bool>,
    ) -> Option<(GroupShard, i64)> {
        let metrics = Arc::clone(&self.metrics);
        let index = self.partition.index;
        let mut loading = Some(metrics.groups.loading.begin());
        let mut unready = Unready::Loading;
        let mut rest = RELOAD_REST;
        loop {
            let partition = Arc::clone(&self.partition);
            let config = group_config(&self.config);
            let end = partition.log.log_end_offset();
            let loaded = if end == partition.log.log_start_offset() {
                // Deleting its records is one way to get rid of damage.
                let _ = spawn_blocking(move || load::begin_empty(&partition)).await;
                self.snapshots = self.snapshots_after(0, 0);
                Ok((GroupShard::new(config, random::word()), end))
            } else {
                let load = spawn_blocking(move || load::load(&partition, &config));
                match refusing(calls, surveys, stopping, unready, load).await? {
                    Ok(Ok(loaded)) => {
                        self.snapshots =
                            self.snapshots_after(loaded.snapshot_bytes, loaded.log_bytes);
                        self.shared.note_load(loaded.load);
                        Ok((loaded.shard, loaded.end))
                    }
                    Ok(Err(error)) => Err((error.to_string(), error.passes)),
                    // The same records would end the next attempt in the same way.
                    Err(error) => Err((panicked(index, &error), false)),
                }
            };
            let (reason, passes) = match loaded {
                Ok(loaded) => {
                    if metrics.groups.damaged.lock().remove(&index).is_some() {
                        info!(partition = index, "a group coordinator's log can be read again");
                    }
                    return Some(loaded);
                }
                Err(failed) => failed,
            };
            if passes && unready == Unready::Loading {
                error!(partition = index, error = reason, again_in = ?rest, "a group coordinator's log could not be loaded; its groups wait until it can");
            } else {
                rest = RELOAD_REST_MAX;
                unready = Unready::Failed;
                error!(partition = index, error = reason, again_in = ?rest, "a group coordinator's log is damaged; its groups are refused until it is mended");
                metrics.groups.damaged.lock().insert(index, reason);
                drop(loading.take());
            }
            refusing(calls, surveys, stopping, unready, sleep(rest)).await?;
            rest = (rest * 2).min(RELOAD_REST_MAX);
        }
    }

    fn snapshots_after(&self, snapshot_bytes: u64, log_bytes: u64) -> Snapshots {
        let turns = self.shared.turns.clone();
        Snapshots::new(Arc::clone(&self.partition), turns, snapshot_bytes, log_bytes)
    }
}

/// Says what became of an attempt that panicked. It ends nothing but this shard: a new start would come to
/// the same records, and panic for all of them.
fn panicked(index: i32, error: &JoinError) -> String {
    format!(
        "loading __consumer_offsets-{index} failed for a defect of this version, which its log tells and \
         which should be reported: {error}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_panics_is_told_as_a_defect_with_what_it_panicked_over() {
        let load = spawn_blocking(|| panic!("a record makes no sense, as this test wants"));
        let told = panicked(7, &load.await.unwrap_err());
        assert!(told.starts_with("loading __consumer_offsets-7 failed for a defect"), "{told}");
        assert!(told.contains("a record makes no sense"), "{told}");
    }
}
