//! The log's entries, read again after a start and applied to the partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use kohort_log::{PartitionConfig, Timestamp};

use crate::error::{OpenError, corrupt};
use crate::failure::FlushError;
use crate::flush::flush_partition;
use crate::names::WAL;
use crate::partition_id::PartitionId;
use crate::partition_log::{PartitionLog, Shared};
use crate::partition_state::{Chunk, Restored};
use crate::shared::Hot;
use crate::wal::entry::{BadEntry, Entry, PartitionKey, for_each_entry};
use crate::wal::frame::FRAME_HEADER;
use crate::wal::reader::ReadFrame;

/// Applies the log's entries to the partitions.
pub(crate) struct Replay {
    shared: Arc<Shared>,
    pub(crate) partitions: BTreeMap<PartitionKey, Arc<PartitionLog>>,
    pub(crate) bytes: u64,
    /// Partitions that entries spoke of although they were not there: deleted further on, or lost.
    unknown: BTreeSet<PartitionKey>,
    /// Partitions that were being deleted: the log may end before it says so.
    pub(crate) deleted: BTreeSet<PartitionKey>,
    /// Partitions that are on record as deleted: what is left of their folders may go.
    pub(crate) gone: BTreeSet<PartitionKey>,
    now: Timestamp,
    allow_gaps: bool,
    /// Whether there was a frame.
    any: bool,
    /// With as many bytes in memory they are tried to be written to segments again.
    flush_at: usize,
}

impl Replay {
    pub(crate) fn new(
        shared: Arc<Shared>,
        restored: Vec<(PartitionId, Restored)>,
        allow_gaps: bool,
    ) -> Replay {
        let partitions = restored
            .into_iter()
            .map(|(id, restored)| {
                let key = (id.topic_id, id.index);
                let config = PartitionConfig::default();
                (key, PartitionLog::new(id, Arc::clone(&shared), config, restored))
            })
            .collect();
        let now = shared.config.clock.now();
        Replay {
            shared,
            partitions,
            bytes: 0,
            unknown: BTreeSet::new(),
            deleted: BTreeSet::new(),
            gone: BTreeSet::new(),
            now,
            allow_gaps,
            any: false,
            flush_at: 0,
        }
    }

    /// Applies one frame.
    pub(crate) fn frame(&mut self, frame: &ReadFrame<'_>) -> Result<(), OpenError> {
        self.any = true;
        let end = FRAME_HEADER + frame.header.payload;
        for_each_entry::<ReplayError>(frame.bytes, FRAME_HEADER, end, |entry| {
            self.entry(entry, frame.file_number).map_err(ReplayError::Other)
        })
        .map_err(|error| {
            let (position, reason) = match error {
                ReplayError::BadEntry(at) => (at, "an entry makes no sense".to_owned()),
                ReplayError::Other(reason) => (0, reason),
            };
            corrupt(self.shared.path(), frame.path, frame.position + position as u64, reason)
        })?;
        self.bound_memory()
    }

    fn entry(&mut self, entry: Entry<'_>, wal_file: u64) -> Result<(), String> {
        match entry {
            Entry::Append { key, first_offset, next_offset, batches, .. } => {
                let Some(partition) = self.partitions.get(&key) else {
                    self.unknown.insert(key);
                    return Ok(());
                };
                let bytes = Bytes::copy_from_slice(batches);
                let chunk = Chunk { first_offset, next_offset, bytes, wal_file };
                let hot =
                    partition.replay_append(chunk, self.now, self.allow_gaps).map_err(|gap| {
                        format!(
                            "records of {} from offset {} are missing before offset {}",
                            partition.id(),
                            gap.expected,
                            gap.found
                        )
                    })?;
                if let Some(hot) = hot {
                    self.bytes += hot.bytes as u64;
                    note_hot(&self.shared, partition, hot);
                }
            }
            Entry::Create { key, topic } => {
                if !self.partitions.contains_key(&key) {
                    let id = PartitionId { topic_id: key.0, topic: Arc::from(topic), index: key.1 };
                    let shared = Arc::clone(&self.shared);
                    let config = PartitionConfig::default();
                    // Its folder may be there from before it was in any checkpoint.
                    let restored = Restored { untidy: true, ..Restored::default() };
                    let partition = PartitionLog::new(id, shared, config, restored);
                    self.partitions.insert(key, partition);
                }
            }
            Entry::Delete { key } => {
                self.unknown.remove(&key);
                self.gone.insert(key);
                if let Some(partition) = self.partitions.remove(&key) {
                    partition.set_deleted();
                }
            }
            Entry::LogStart { key, offset } => match self.partitions.get(&key) {
                Some(partition) => partition.replay_log_start(offset),
                None => {
                    self.unknown.insert(key);
                }
            },
            Entry::LeaderEpoch { epoch } => {
                self.shared.leader_epoch.fetch_max(epoch, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// A long log is written to segments while it is read. Where the disk has no room for that, it is held
    /// in memory as before the restart: what was not in segments then is no more than may be held.
    fn bound_memory(&mut self) -> Result<(), OpenError> {
        let config = &self.shared.config;
        let step = config.unflushed_bytes_max / 4;
        let limit = config.unflushed_bytes_max * 2 + config.queue_bytes_max;
        let unflushed = self.shared.unflushed();
        if unflushed < self.flush_at.max(step) {
            return Ok(());
        }
        let mut written = self.flush_dirty();
        if let Err((FlushError::NoSpace(_), _)) = written {
            // What no checkpoint names takes the room that it had before.
            for partition in self.partitions.values() {
                let _ = partition.tidy();
            }
            written = self.flush_dirty();
        }
        match written {
            Ok(()) => self.flush_at = 0,
            Err((FlushError::NoSpace(error), _)) if unflushed < limit => {
                self.shared.note_full(&error);
                self.flush_at = self.shared.unflushed() + step;
            }
            Err((FlushError::NoSpace(reason) | FlushError::Failed(reason), path)) => {
                return Err(OpenError::Io { path, reason });
            }
        }
        Ok(())
    }

    /// Writes what was read to segments, and lets go of it.
    fn flush_dirty(&self) -> Result<(), (FlushError, PathBuf)> {
        let mut dirty = std::mem::take(&mut self.shared.work.lock().dirty);
        while let Some(partition) = dirty.pop() {
            let flushed = flush_partition(&partition);
            partition.evict(i64::MAX);
            if let Err(error) = flushed {
                partition.dirty.store(true, Ordering::Release);
                let path = partition.dir();
                dirty.push(partition);
                self.shared.work.lock().dirty.append(&mut dirty);
                return Err((error, path));
            }
        }
        let mut work = self.shared.work.lock();
        work.hot.clear();
        work.hot_bytes = 0;
        Ok(())
    }

    /// Called after the last frame.
    pub(crate) fn finish(&mut self) -> Result<(), OpenError> {
        let mut retired = false;
        for partition in self.partitions.values() {
            partition.begin_at_log_start();
            retired |= partition.trim();
        }
        if retired {
            self.shared.want_checkpoint();
        }
        if let Some((topic, index)) = self.unknown.difference(&self.deleted).next()
            && !self.allow_gaps
        {
            let reason = format!("records of the unknown partition {index} of topic {topic}");
            let path = self.shared.path();
            return Err(corrupt(path, &path.join(WAL), 0, reason));
        }
        let mut work = self.shared.work.lock();
        let now = std::time::Instant::now();
        if !work.dirty.is_empty() {
            work.dirty_since.get_or_insert(now);
        }
        if self.any {
            // Also if all is in segments: the log may be so long that clients wait for a checkpoint.
            work.unsynced_since.get_or_insert(now);
        }
        Ok(())
    }
}

enum ReplayError {
    BadEntry(usize),
    Other(String),
}

impl From<BadEntry> for ReplayError {
    fn from(bad: BadEntry) -> Self {
        ReplayError::BadEntry(bad.position)
    }
}

/// Notes replayed records as the commit thread notes new ones.
fn note_hot(shared: &Shared, partition: &PartitionLog, hot: Hot<PartitionLog>) {
    shared.add_unflushed(hot.bytes);
    let mut work = shared.work.lock();
    work.dirty.extend(partition.mark_dirty());
    work.hot_bytes += hot.bytes;
    work.hot.push_back(hot);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kohort_protocol::Uuid;

    use super::*;
    use crate::wal::entry::{append_prefix, encode_control};
    use crate::wal::frame::FrameHeader;
    use crate::{SimulatedDisk, fixture};

    /// Replays a frame of these entries over a folder without partitions.
    fn replay(entries: &[&[u8]]) -> Result<(), OpenError> {
        let dir = fixture::open(&SimulatedDisk::new(1));
        let shared = Arc::clone(&dir.background().shared);
        let bytes = [&[0; FRAME_HEADER], &*entries.concat()].concat();
        let header = FrameHeader {
            crc: 0,
            payload: bytes.len() - FRAME_HEADER,
            previous_crc: 0,
            sequence: 1,
            salt: 0,
            entries: entries.len() as u32,
        };
        let path = Path::new("/data/wal/00000001.wal");
        let mut replay = Replay::new(shared, Vec::new(), false);
        replay.frame(&ReadFrame { header, file_number: 1, path, position: 0, bytes: &bytes })?;
        replay.finish()
    }

    #[test]
    fn what_the_log_says_of_a_partition_that_nobody_created_is_damage_unless_it_is_deleted_later() {
        let key = (Uuid([1; 16]), 0);
        let append = append_prefix(key, 0, 1, 0);
        let log_start = encode_control(&Entry::LogStart { key, offset: 1 });
        let delete = encode_control(&Entry::Delete { key });
        for entry in [&append[..], &log_start] {
            let error = replay(&[entry]).unwrap_err().to_string();
            assert!(error.contains("records of the unknown partition 0"), "{error}");
            replay(&[entry, &delete]).unwrap();
            replay(&[&delete, entry]).unwrap_err();
        }
    }

    #[test]
    fn records_that_leave_out_offsets_are_damage_and_those_that_are_there_already_are_passed_over()
    {
        let key = (Uuid([1; 16]), 0);
        let create = encode_control(&Entry::Create { key, topic: "t" });
        let append = |first, next| append_prefix(key, first, next, 0).to_vec();
        replay(&[&create, &append(0, 2), &append(0, 2), &append(2, 3)]).unwrap();
        let error = replay(&[&create, &append(0, 2), &append(3, 4)]).unwrap_err().to_string();
        assert!(error.contains("from offset 2 are missing before offset 3"), "{error}");
    }
}
