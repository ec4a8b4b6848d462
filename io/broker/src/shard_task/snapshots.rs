//! When a shard's state is written down beside its log, and how: bit by bit while the shard works on.
//!
//! ```text
//! due ─► slices of records ─► another thread: batches ─► file ─┐
//!        between two rounds                                    ├─► published
//!        all gathered ─► what they know is durable ────────────┘
//! ```
//!
//! A snapshot is due when the log to be replayed after a restart is some times as large as the state
//! itself. So the bytes written for snapshots stay a fraction of those appended, whatever the size of
//! the state, a restart reads a few times the live state at most, and an idle shard writes nothing.

use super::batch::BatchWriter;
use crate::clock::{Clock, Timestamp};
use crate::partition::Partition;
use kohort_coordinator::{GroupRecord, GroupShard, SnapshotPosition};
use kohort_storage::StorageError;
use std::future::pending;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

/// Snapshots that may be under way together in a broker: each takes a thread and two slices' memory.
const TOGETHER: usize = 4;
/// A log shorter than this is replayed in a few milliseconds: no snapshot is due.
const LOG_BYTES_MIN: u64 = 1 << 20;
/// How often the bytes of the last snapshot must be appended until another one is due.
const LOG_PER_SNAPSHOT: u64 = 2;
/// At an orderly shutdown less is worth a snapshot, but not so little that its syncs take longer than
/// the replay they spare.
const LOG_BYTES_MIN_AT_END: u64 = LOG_BYTES_MIN / 4;
/// Records gathered in one go: some 50 µs of the shard's time.
const SLICE_RECORDS: usize = 512;

/// Whose turn it is to write a snapshot, among the shards of a broker.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TOGETHER)))
    }
}

/// The snapshots of one shard.
#[derive(Debug)]
pub(super) struct Snapshots {
    partition: Arc<Partition>,
    turns: Turns,
    /// Bytes of the log that a restart would replay.
    to_replay: u64,
    /// How many bytes that may become before the next snapshot.
    due_at: u64,
    /// The size of the last snapshot.
    size: u64,
    /// Set when the log holds records that the shard does not know; only a load brings them in.
    incomplete: bool,
    taking: Option<Taking>,
}

/// A snapshot under way.
#[derive(Debug)]
struct Taking {
    covers: i64,
    /// What would have been replayed when it began.
    replayed_before: u64,
    stage: Stage,
    parts: mpsc::Sender<Part>,
    writing: JoinHandle<Result<Option<u64>, StorageError>>,
}

#[derive(Debug)]
enum Stage {
    /// There are more slices to gather, from here on.
    Gathering(SnapshotPosition),
    /// All is gathered. What it knows is below this offset and must become durable.
    Waiting(i64),
    /// The writing thread has all and ends by itself.
    Publishing,
}

/// What the writing thread is given.
#[derive(Debug)]
enum Part {
    Records(Vec<GroupRecord>),
    End { covers: i64, seen: i64 },
}

/// What is to be done next for the snapshot under way.
#[derive(Debug)]
pub(super) enum Step {
    /// Call [`Snapshots::gather`]: there is room for a slice.
    Gather,
    /// Call [`Snapshots::end`] with this.
    Ended(Result<u64, String>),
}

impl Snapshots {
    /// Begins with a shard that was loaded from a snapshot of `size` bytes and `to_replay` of the log.
    pub(super) fn new(partition: Arc<Partition>, turns: Turns, size: u64, to_replay: u64) -> Self {
        let due_at = due_at(size);
        Self { partition, turns, to_replay, due_at, size, incomplete: false, taking: None }
    }

    /// Notes a batch appended, which continues the log as the shard knows it or does not.
    pub(super) fn note_appended(&mut self, bytes: usize, continuous: bool) {
        self.to_replay += bytes as u64;
        self.incomplete |= !continuous;
    }

    /// Begins a snapshot if one is due and none is under way. `end` is the end of the log as the
    /// shard knows it.
    pub(super) fn begin_if_due(&mut self, clock: &Clock, end: i64) {
        if self.to_replay < self.due_at || self.taking.is_some() || self.incomplete {
            return;
        }
        // If others are at it, this one stays due.
        if let Ok(permit) = Arc::clone(&self.turns.0).try_acquire_owned() {
            self.begin(clock.wall(), end, permit);
        }
    }

    fn begin(&mut self, now: Timestamp, end: i64, permit: OwnedSemaphorePermit) {
        let (parts, given) = mpsc::channel(1);
        let partition = Arc::clone(&self.partition);
        let writing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            write(&partition, now, given)
        });
        self.taking = Some(Taking {
            covers: end,
            replayed_before: self.to_replay,
            stage: Stage::Gathering(SnapshotPosition::default()),
            parts,
            writing,
        });
    }

    /// Does what can be done without the shard, and waits until something is to be done with it.
    ///
    /// Cancel-safe: what it does is done at once or not at all. It is to be called anew when more of
    /// the log became durable.
    pub(super) async fn step(&mut self) -> Step {
        let Some(taking) = &mut self.taking else { return pending().await };
        if let Stage::Waiting(seen) = taking.stage {
            if self.partition.log.high_watermark() < seen {
                return pending().await;
            }
            if let Ok(permit) = taking.parts.reserve().await {
                permit.send(Part::End { covers: taking.covers, seen });
            }
            taking.stage = Stage::Publishing;
        }
        if matches!(taking.stage, Stage::Gathering(_)) && taking.parts.reserve().await.is_ok() {
            return Step::Gather;
        }
        // The thread has all it needs, or it gave up.
        Step::Ended(match (&mut taking.writing).await {
            Ok(Ok(Some(bytes))) => Ok(bytes),
            Ok(Ok(None)) => Err("it was given up".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Gathers the next slice. `end` is the end of the log as the shard knows it now.
    pub(super) fn gather(&mut self, shard: &GroupShard, end: i64) {
        let Some(taking) = &mut self.taking else { return };
        let Stage::Gathering(position) = &taking.stage else { return };
        let (records, rest) = shard.snapshot_slice(position, SLICE_RECORDS);
        taking.stage = rest.map_or(Stage::Waiting(end), Stage::Gathering);
        // There is room: this is the only one to send. If the thread gave up, `step` finds out.
        let _ = taking.parts.try_send(Part::Records(records));
    }

    /// Notes how the snapshot ended.
    pub(super) fn end(&mut self, result: Result<u64, String>) {
        let Some(taking) = self.taking.take() else { return };
        let partition = self.partition.index;
        match result {
            Ok(bytes) => {
                debug!(
                    partition,
                    bytes,
                    covers = taking.covers,
                    "group coordinator snapshot taken"
                );
                self.size = bytes;
                self.to_replay -= taking.replayed_before;
                self.due_at = due_at(bytes);
            }
            Err(reason) => {
                warn!(partition, reason, "a group coordinator's snapshot could not be written");
                self.due_at = self.to_replay + due_at(self.size);
            }
        }
    }

    /// Gives up the snapshot under way, if any, and waits until its thread is done with the file.
    pub(super) async fn abandon(&mut self) {
        if let Some(Taking { parts, writing, .. }) = self.taking.take() {
            drop(parts);
            let _ = writing.await;
        }
    }

    /// Ends the snapshot under way and takes another one if it is worth it. To be called when all that
    /// was appended is durable and nothing more will be.
    pub(super) async fn finish(&mut self, now: Timestamp, shard: &GroupShard, end: i64) {
        loop {
            while self.taking.is_some() {
                match self.step().await {
                    Step::Gather => self.gather(shard, end),
                    Step::Ended(result) => {
                        let failed = result.is_err();
                        self.end(result);
                        if failed {
                            return;
                        }
                    }
                }
            }
            if self.incomplete || self.to_replay < LOG_BYTES_MIN_AT_END.max(self.size / 4) {
                return;
            }
            match Arc::clone(&self.turns.0).acquire_owned().await {
                Ok(permit) => self.begin(now, end, permit),
                Err(_) => return,
            }
        }
    }
}

fn due_at(size: u64) -> u64 {
    LOG_BYTES_MIN.max(size.saturating_mul(LOG_PER_SNAPSHOT))
}

/// Writes what it is given, and returns how many bytes that were; nothing if it was given up half-way.
fn write(
    partition: &Partition,
    now: Timestamp,
    mut parts: mpsc::Receiver<Part>,
) -> Result<Option<u64>, StorageError> {
    let mut writer = partition.log.write_snapshot()?;
    let mut batches = BatchWriter::default();
    let mut bytes = 0;
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Records(records) if records.is_empty() => {}
            Part::Records(records) => {
                let Ok(batch) = batches.batch(now, &records) else { return Ok(None) };
                bytes += batch.len() as u64;
                writer.write(&batch)?;
            }
            Part::End { covers, seen } => {
                writer.publish(covers, seen)?;
                return Ok(Some(bytes));
            }
        }
    }
    Ok(None)
}
