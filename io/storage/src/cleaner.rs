//! The cleaner: one thread that compacts the dirtiest partition, then the next, and then rests.
//!
//! It sleeps without a timer while nothing can have become cleanable: a compacted partition that gets a
//! new segment wakes it, and so does a setting. Only where a lag must end first does it look again by the
//! clock. After a look that found nothing it rests for `log.cleaner.backoff.ms`, whatever happens, so
//! that a busy broker is not looked through again and again.
//!
//! Kafka runs `log.cleaner.threads` of them; one is enough where one disk and a few cores serve all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kohort_log::Timestamp;
use kohort_log::cleaner::OffsetMap;
use parking_lot::Mutex;

use crate::clean_round::{Cleaned, Means, Plan, RoundError};
use crate::cleaning::{CleanerStats, Cleaning};
use crate::failure::FlushError;
use crate::partition_log::{PartitionLog, Shared};
use crate::partitions::Partitions;
use crate::random::random;

/// The cleaner's part of a folder.
#[derive(Debug)]
pub(crate) struct Cleaner {
    shared: Arc<Shared>,
    partitions: Arc<Partitions>,
    /// Only one at a time cleans.
    working: Mutex<()>,
}

/// What came of an attempt.
enum Did {
    /// A round: there may be more to do.
    Cleaned,
    /// Nothing was worth a round, or could be cleaned now.
    Nothing {
        /// When time alone changes that.
        again_at: Option<Timestamp>,
    },
}

/// What a look found.
struct Look {
    /// The dirtiest partition that is worth a round.
    dirtiest: Option<Plan>,
    /// When time alone makes it worth to look again.
    again_at: Option<Timestamp>,
}

impl Cleaner {
    pub(crate) fn new(shared: Arc<Shared>, partitions: Arc<Partitions>) -> Cleaner {
        Cleaner { shared, partitions, working: Mutex::new(()) }
    }

    /// Works until told to stop: the body of the cleaner's thread.
    pub(crate) fn run(&self) {
        let mut again_at = None;
        while self.wait(again_at.take()) {
            loop {
                match self.clean_dirtiest() {
                    Ok(Did::Cleaned) => {}
                    Ok(Did::Nothing { again_at: at }) => {
                        again_at = at;
                        break;
                    }
                    Err(FlushError::NoSpace(error)) => {
                        tracing::warn!(%error, "no room to compact: it is tried again later");
                        self.shared.cleaning.state.lock().wanted = true;
                        break;
                    }
                    Err(FlushError::Failed(error)) => {
                        self.shared.fail("compacting", error);
                        self.shared.close_queue();
                        return;
                    }
                }
            }
        }
    }

    /// Cleans the dirtiest partition, in a simulation. Returns whether there was one.
    pub(crate) fn step(&self) -> Result<bool, FlushError> {
        self.clean_dirtiest().map(|did| matches!(did, Did::Cleaned))
    }

    /// Waits until there may be something to clean. Returns false when the cleaner is to stop.
    fn wait(&self, again_at: Option<Timestamp>) -> bool {
        let cleaning = &self.shared.cleaning;
        let again_in = again_at.map(|at| {
            let left = at.saturating_sub(self.shared.config.clock.now());
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        });
        // A time too far away to be told never comes.
        let again_at = again_in.and_then(|left| Instant::now().checked_add(left));
        let mut state = cleaning.state.lock();
        loop {
            if state.stop {
                return false;
            }
            let now = Instant::now();
            let backoff = state.config.backoff;
            let rested_at = state.last_look.and_then(|look| look.checked_add(backoff));
            let due_at = if state.wanted { Some(now) } else { again_at };
            let Some(due_at) = due_at.map(|at| at.max(rested_at.unwrap_or(now))) else {
                state.waiting = true;
                cleaning.wake.wait(&mut state);
                continue;
            };
            if due_at <= now {
                state.waiting = false;
                return true;
            }
            state.waiting = !state.wanted;
            cleaning.wake.wait_until(&mut state, due_at);
        }
    }

    /// Looks for the dirtiest partition and cleans it.
    fn clean_dirtiest(&self) -> Result<Did, FlushError> {
        let _working = self.working.lock();
        if self.shared.alive().is_err() {
            return Ok(Did::Nothing { again_at: None });
        }
        let config = {
            let mut state = self.shared.cleaning.state.lock();
            state.wanted = false;
            state.last_look = Some(Instant::now());
            state.config
        };
        let now = self.shared.config.clock.now();
        let look = self.look(now);
        let Some(plan) = look.dirtiest else {
            return Ok(Did::Nothing { again_at: look.again_at });
        };
        let partition = Arc::clone(&plan.partition);
        self.enter(&partition);
        let started = Instant::now();
        let outcome = or_leave_alone(&partition, || {
            let mut throttle = Throttle::new(&self.shared.cleaning, config.io_bytes_per_second);
            plan.run(Means {
                now,
                map: OffsetMap::new(config.dedupe_buffer_bytes, [random(), random()]),
                pace: &mut |bytes| throttle.pace(bytes),
            })
        });
        self.leave();
        match outcome {
            Some(Ok(cleaned)) => self.note(&partition, &plan, &cleaned, started.elapsed()),
            Some(Err(RoundError::Stopped)) => return Ok(Did::Nothing { again_at: None }),
            Some(Err(RoundError::Overtaken)) => {
                // What changed may be worth a look, later: it must not go round for ever.
                self.shared.cleaning.state.lock().wanted = true;
                return Ok(Did::Nothing { again_at: look.again_at });
            }
            Some(Err(RoundError::Damaged(damage))) => {
                tracing::error!(
                    partition = %partition.id(),
                    path = %damage.path.display(),
                    position = damage.position,
                    reason = damage.reason,
                    "a segment is damaged: the partition is not compacted any more"
                );
                partition.state.lock().uncleanable = true;
            }
            Some(Err(RoundError::Disk(error))) => return Err(error),
            None => {}
        }
        Ok(Did::Cleaned)
    }

    fn look(&self, now: Timestamp) -> Look {
        let mut look = Look { dirtiest: None, again_at: None };
        let mut max_ratio = 0f64;
        let plan = |log: &Arc<PartitionLog>| or_leave_alone(log, || Plan::of(log, now)).flatten();
        for plan in self.partitions.all().iter().filter_map(plan) {
            let ratio = plan.cleanable.dirty_ratio();
            max_ratio = max_ratio.max(ratio);
            look.again_at = look.again_at.into_iter().chain(plan.cleanable.look_again_at).min();
            let dirtiest = look.dirtiest.as_ref().map_or(-1.0, |p| p.cleanable.dirty_ratio());
            if plan.cleanable.is_due(&plan.partition.config()) && ratio > dirtiest {
                look.dirtiest = Some(plan);
            }
        }
        self.shared.cleaning.state.lock().totals.max_dirty_ratio = max_ratio;
        look
    }

    fn enter(&self, partition: &PartitionLog) {
        self.shared.cleaning.state.lock().busy = Some(partition.dir());
    }

    fn leave(&self) {
        let mut remove = {
            let mut state = self.shared.cleaning.state.lock();
            state.busy = None;
            std::mem::take(&mut state.remove_after)
        };
        if !remove.is_empty() {
            self.shared.work.lock().remove_dirs.append(&mut remove);
            self.shared.wake_background();
        }
    }

    fn note(&self, partition: &PartitionLog, plan: &Plan, cleaned: &Cleaned, took: Duration) {
        let stats = cleaned.stats;
        tracing::info!(
            partition = %partition.id(),
            from = plan.cleanable.first_dirty,
            to = cleaned.end,
            bytes_before = stats.bytes_read,
            bytes_after = stats.bytes_kept,
            segments_before = cleaned.segments_before,
            segments_after = cleaned.segments_after,
            millis = took.as_millis() as u64,
            "compacted"
        );
        if stats.without_key > 0 {
            tracing::warn!(
                partition = %partition.id(),
                records = stats.without_key,
                "records without a key were dropped from a compacted partition"
            );
        }
        let mut state = self.shared.cleaning.state.lock();
        let totals = &mut state.totals;
        totals.rounds += 1;
        totals.bytes_read += stats.bytes_read;
        totals.bytes_kept += stats.bytes_kept;
        totals.records_read += stats.records_read;
        totals.records_kept += stats.records_kept;
    }

    pub(crate) fn stats(&self) -> CleanerStats {
        let (mut stats, pending) = {
            let state = self.shared.cleaning.state.lock();
            let pending = state.wanted || state.busy.is_some();
            (state.totals, state.last_look.filter(|_| pending))
        };
        stats.since_last_run = pending.map_or(Duration::ZERO, |look| look.elapsed());
        for partition in self.partitions.all() {
            let uncleanable = partition.state.lock().uncleanable;
            if uncleanable {
                stats.uncleanable_partitions += 1;
                stats.uncleanable_bytes += partition.size_in_bytes();
            }
        }
        stats
    }
}

/// Works on a partition. If that panics the partition is not compacted until the next start, and the others
/// are, as in Kafka.
fn or_leave_alone<T>(partition: &PartitionLog, work: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    if outcome.is_err() {
        tracing::error!(partition = %partition.id(), "compacting panicked: the partition is left alone");
        partition.state.lock().uncleanable = true;
    }
    outcome.ok()
}

/// Keeps a round below a number of bytes per second.
struct Throttle<'a> {
    cleaning: &'a Cleaning<PartitionLog>,
    bytes_per_second: f64,
    /// When what was read and written so far may be gone on from.
    free_at: Instant,
}

impl Throttle<'_> {
    fn new(cleaning: &Cleaning<PartitionLog>, bytes_per_second: f64) -> Throttle<'_> {
        Throttle { cleaning, bytes_per_second, free_at: Instant::now() }
    }

    /// Takes note of bytes and waits until they are allowed. Returns whether the cleaner is to stop.
    fn pace(&mut self, bytes: u64) -> bool {
        let mut state = self.cleaning.state.lock();
        let takes = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second);
        let takes = takes.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        if takes > Duration::ZERO {
            self.free_at = self.free_at.max(Instant::now()) + takes;
            while !state.stop && Instant::now() < self.free_at {
                self.cleaning.wake.wait_until(&mut state, self.free_at);
            }
        }
        state.stop
    }
}

/// However few bytes are allowed, a round gets on after this.
const WAIT_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PartitionConfig, SimulatedDisk, fixture};

    #[test]
    fn partition_over_which_the_cleaner_panics_is_left_alone_and_told() {
        let dir = fixture::open(&SimulatedDisk::new(1));
        let compacted = PartitionConfig { compacted: true, ..PartitionConfig::default() };
        let log = fixture::partition(&dir, 0, compacted);
        assert!(Plan::of(&log, 0).is_some());
        assert_eq!(or_leave_alone(&log, || 1), Some(1));
        assert_eq!(dir.cleaner_stats().uncleanable_partitions, 0);
        assert_eq!(
            or_leave_alone(&log, || panic!("a look panics, as this test wants")),
            None::<()>
        );
        assert_eq!(dir.cleaner_stats().uncleanable_partitions, 1);
        assert!(Plan::of(&log, 0).is_none());
    }
}
