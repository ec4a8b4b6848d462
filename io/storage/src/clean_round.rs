//! One round of compaction of one partition.
//!
//! ```text
//! segments ──► index pass ──► map ──► clean pass ──► new segment ──► synced ──► takes their place
//! ```
//!
//! Nothing is locked while files are read and written. Each group of segments is exchanged on its own,
//! under the partition's lock, and only if the list still has all of them: retention, DeleteRecords and
//! the deletion of the topic need not wait for a round, they make it vain. Until a checkpoint names the
//! new segments, a restart finds the old ones; both tell the same.
//!
//! A round may end anywhere. Groups go from old to new, so that a value is never there without the
//! tombstone behind it, and what was done is not counted before everything is.

use std::sync::Arc;

use kohort_log::Timestamp;
use kohort_log::cleaner::{
    BatchFate, CleanPass, CleanStats, Cleanable, DirtyLog, IndexPass, Indexed, OffsetMap,
    RoundLimits, SegmentSummary, group_segments,
};
use kohort_protocol::records::RecordError;

use crate::cleaned_segment::CleanedSegment;
use crate::failure::FlushError;
use crate::partition_log::PartitionLog;
use crate::segment::SegmentMeta;
use crate::segment_scan::{Damage, SegmentScan};

/// A partition and what is to be cleaned of it.
pub(crate) struct Plan {
    pub(crate) partition: Arc<PartitionLog>,
    pub(crate) cleanable: Cleanable,
    /// The segments as they are, without the active one.
    sealed: Vec<(i64, SegmentMeta)>,
    summaries: Vec<SegmentSummary>,
}

/// Why a round ended early. Nothing is lost by it.
#[derive(Debug)]
pub(crate) enum RoundError {
    /// The cleaner is to stop.
    Stopped,
    /// Somebody else changed the partition's segments, or deleted it.
    Overtaken,
    /// A segment is damaged: the partition is not cleaned any more.
    Damaged(Damage),
    /// There is no space for the new segment, or the disk failed.
    Disk(FlushError),
}

impl From<FlushError> for RoundError {
    fn from(error: FlushError) -> Self {
        RoundError::Disk(error)
    }
}

impl From<Damage> for RoundError {
    fn from(damage: Damage) -> Self {
        RoundError::Damaged(damage)
    }
}

/// What a round needs beside the partition.
pub(crate) struct Means<'a> {
    pub(crate) now: Timestamp,
    pub(crate) map: OffsetMap,
    /// Called with the bytes read or written since; waits where they come too fast, and says whether the
    /// cleaner is to stop.
    pub(crate) pace: &'a mut dyn FnMut(u64) -> bool,
}

/// What a round did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cleaned {
    pub(crate) end: i64,
    pub(crate) stats: CleanStats,
    pub(crate) segments_before: usize,
    pub(crate) segments_after: usize,
}

impl Plan {
    /// Looks at a partition; nothing if it is not compacted.
    pub(crate) fn of(partition: &Arc<PartitionLog>, now: Timestamp) -> Option<Plan> {
        let config = partition.config();
        if !config.compacted {
            return None;
        }
        let state = partition.state.lock();
        if state.deleted || state.uncleanable {
            return None;
        }
        let mut sealed: Vec<(i64, SegmentMeta)> =
            state.segments.iter().map(|(&base, &meta)| (base, meta)).collect();
        let summary = |&(base_offset, meta): &(i64, SegmentMeta)| SegmentSummary {
            base_offset,
            bytes: u64::from(meta.bytes),
            max_timestamp: meta.max_timestamp,
            first_timestamp: meta.first_timestamp,
        };
        let mut summaries: Vec<SegmentSummary> = sealed.iter().map(summary).collect();
        let log = DirtyLog {
            segments: &summaries,
            log_start: partition.log_start_offset(),
            log_end: state.next_offset,
            last_stable_offset: partition.last_stable_offset(),
            cleaned_to: state.cleaned_to,
        };
        let cleanable = Cleanable::of(&log, &config, now);
        drop(state);
        sealed.pop();
        summaries.pop();
        Some(Plan { partition: Arc::clone(partition), cleanable, sealed, summaries })
    }

    /// Runs the round.
    pub(crate) fn run(&self, means: Means<'_>) -> Result<Cleaned, RoundError> {
        let Means { now, map, pace } = means;
        let map = self.index(map, pace)?;
        let end = map.latest() + 1;
        if end <= self.cleanable.first_dirty {
            // Not a record in it: all that is dirty is a gap.
            return Err(RoundError::Overtaken);
        }
        self.partition.tidy().map_err(FlushError::from)?;
        let config = self.partition.config();
        let limits = RoundLimits {
            now,
            delete_retention_ms: config.delete_retention_ms,
            end: self.cleanable.first_uncleanable,
        };
        let producers = self.partition.state.lock().producers.last_batches();
        let mut pass = CleanPass::new(&map, limits, producers);
        let count = self.sealed.partition_point(|(base, _)| *base < end);
        let groups =
            group_segments(&self.summaries[..count], config.segment_bytes, self.end(count));
        let mut cleaned =
            Cleaned { end, stats: pass.stats(), segments_before: count, segments_after: 0 };
        let mut from = 0;
        for length in groups {
            let group = &self.sealed[from..from + length];
            cleaned.segments_after += self.clean_group(group, &mut pass, pace)?;
            from += length;
        }
        let mut state = self.partition.state.lock();
        if state.deleted {
            return Err(RoundError::Overtaken);
        }
        state.cleaned_to = end;
        drop(state);
        self.partition.shared.note_change();
        cleaned.stats = pass.stats();
        Ok(cleaned)
    }

    /// Returns the offset after the last that the first `count` segments hold.
    fn end(&self, count: usize) -> i64 {
        let next = self.sealed.get(count).map(|(base, _)| *base);
        next.unwrap_or(self.cleanable.first_uncleanable)
    }

    /// The first pass: reads what is dirty into the map, as far as it has room.
    fn index(
        &self,
        map: OffsetMap,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<OffsetMap, RoundError> {
        let Cleanable { first_dirty, first_uncleanable, .. } = self.cleanable;
        let mut pass = IndexPass::new(map, first_dirty);
        for (number, &(base, meta)) in self.sealed.iter().enumerate() {
            let end = self.end(number + 1);
            if end <= first_dirty {
                continue;
            }
            if base >= first_uncleanable {
                break;
            }
            let mut scan = self.scan(base, meta)?;
            let mut paced = 0;
            loop {
                let position = scan.position();
                if scan.must_read() || position == meta.bytes {
                    self.pace(u64::from(position - paced), pace)?;
                    paced = position;
                }
                let Some(batch) = scan.next()? else { break };
                match pass.batch(&batch) {
                    Ok(Indexed::All) => {}
                    Ok(Indexed::Full) => return Ok(pass.finish()),
                    Err(error) => return Err(self.malformed(base, meta, position, &error)),
                }
            }
            pass.segment_ends(end);
        }
        Ok(pass.finish())
    }

    /// Puts what is left of some neighbours into one segment, which takes their place. Returns how many
    /// segments are left: one or none.
    fn clean_group(
        &self,
        group: &[(i64, SegmentMeta)],
        pass: &mut CleanPass<'_>,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<usize, RoundError> {
        let dir = self.partition.dir();
        let disk = &*self.partition.shared.disk;
        let mut output = None;
        let result = self.write_group(group, pass, pace, &mut output);
        let name = output.as_ref().map(CleanedSegment::name);
        let exchanged = result.and_then(|changed| {
            if !changed {
                return Ok(1);
            }
            let new = output.take().map(|output| Ok((output.name(), output.finish()?)));
            let new = new.transpose().map_err(RoundError::Disk)?;
            let new = new.map(|(name, meta)| (name.base_offset, meta));
            self.exchange(group, new).map(|()| usize::from(new.is_some()))
        });
        if let (Err(_), Some(name)) = (&exchanged, name) {
            CleanedSegment::remove(disk, &dir, name);
        }
        exchanged
    }

    /// Writes what is left of a group. Returns false if that is one segment with all it has: then nothing
    /// was written.
    fn write_group<'s>(
        &'s self,
        group: &[(i64, SegmentMeta)],
        pass: &mut CleanPass<'_>,
        pace: &mut dyn FnMut(u64) -> bool,
        output: &mut Option<CleanedSegment<'s>>,
    ) -> Result<bool, RoundError> {
        let mut changed = group.len() > 1;
        for &(base, meta) in group {
            let mut scan = self.scan(base, meta)?;
            let mut paced = 0;
            let mut kept = pass.stats().bytes_kept;
            loop {
                let position = scan.position();
                if scan.must_read() || position == meta.bytes {
                    let written = pass.stats().bytes_kept - kept;
                    kept = pass.stats().bytes_kept;
                    self.pace(u64::from(position - paced) + written, pace)?;
                    paced = position;
                }
                let Some(batch) = scan.next()? else { break };
                let fate = pass
                    .batch(&batch)
                    .map_err(|error| self.malformed(base, meta, position, &error))?;
                if !changed && fate != BatchFate::Kept {
                    changed = true;
                    self.copy_start(base, meta, position, group, output)?;
                }
                if changed {
                    match fate {
                        BatchFate::Kept => self.output(group, output)?.append(batch.bytes())?,
                        BatchFate::Rewritten(bytes) => {
                            self.output(group, output)?.append(&bytes)?;
                        }
                        BatchFate::Dropped => {}
                    }
                }
            }
        }
        Ok(changed)
    }

    /// Copies what came before the first change of a segment.
    fn copy_start<'s>(
        &'s self,
        base: i64,
        meta: SegmentMeta,
        until: u32,
        group: &[(i64, SegmentMeta)],
        output: &mut Option<CleanedSegment<'s>>,
    ) -> Result<(), RoundError> {
        let mut scan = self.scan(base, SegmentMeta { bytes: until, ..meta })?;
        while let Some(batch) = scan.next()? {
            self.output(group, output)?.append(batch.bytes())?;
        }
        Ok(())
    }

    /// Returns the new segment, which is begun with the first batch that is left.
    fn output<'o, 's>(
        &'s self,
        group: &[(i64, SegmentMeta)],
        output: &'o mut Option<CleanedSegment<'s>>,
    ) -> Result<&'o mut CleanedSegment<'s>, RoundError> {
        if output.is_none() {
            let (first, last) = (group[0], group[group.len() - 1]);
            let meta = SegmentMeta {
                generation: first.1.generation + 1,
                created: first.1.created,
                written: last.1.written,
                maybe_longer: false,
                ..SegmentMeta::empty(first.1.created)
            };
            let disk = &*self.partition.shared.disk;
            let interval = self.partition.config().index_interval_bytes;
            *output =
                Some(CleanedSegment::create(disk, self.partition.dir(), first.0, meta, interval)?);
        }
        Ok(output.as_mut().expect("it was made just now"))
    }

    /// Puts a segment in the place of others.
    fn exchange(
        &self,
        group: &[(i64, SegmentMeta)],
        new: Option<(i64, SegmentMeta)>,
    ) -> Result<(), RoundError> {
        let mut state = self.partition.state.lock();
        let listed = |(base, meta): &(i64, SegmentMeta)| state.has_segment(meta.name(*base));
        if state.deleted || !group.iter().all(listed) {
            return Err(RoundError::Overtaken);
        }
        let end = group.last().map_or(0, |&(last, _)| state.segment_end(last));
        for &(base, _) in group {
            state.retire(base);
        }
        state.segments.extend(new);
        drop(state);
        // Readers of what is still in memory would see what was compacted away, also if the round ends early.
        self.partition.evict(end);
        self.partition.shared.want_checkpoint();
        Ok(())
    }

    fn scan(&self, base: i64, meta: SegmentMeta) -> Result<SegmentScan, RoundError> {
        let partition = &self.partition;
        let name = meta.name(base);
        let end = partition.state.lock().segment_end(base);
        let disk = &*partition.shared.disk;
        let scan = SegmentScan::open(disk, &partition.dir(), name, meta.bytes, end);
        scan.map_err(|damage| {
            let listed = partition.state.lock().has_segment(name);
            if listed { RoundError::Damaged(damage) } else { RoundError::Overtaken }
        })
    }

    /// Ends the round where that is wanted.
    fn pace(&self, bytes: u64, pace: &mut dyn FnMut(u64) -> bool) -> Result<(), RoundError> {
        if pace(bytes) {
            return Err(RoundError::Stopped);
        }
        if self.partition.state.lock().deleted { Err(RoundError::Overtaken) } else { Ok(()) }
    }

    fn malformed(
        &self,
        base: i64,
        meta: SegmentMeta,
        position: u32,
        error: &RecordError,
    ) -> RoundError {
        let path = crate::segment::records_path(&self.partition.dir(), meta.name(base));
        let position = u64::from(position);
        RoundError::Damaged(Damage { path, position, reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use kohort_protocol::records::NewRecord;

    use super::*;
    use crate::{LogDir, PartitionConfig, SimulatedDisk, fixture};

    /// Returns a compacted log of nine segments, each of a record of a key of its own and one of a key they
    /// share.
    fn log() -> (Arc<LogDir>, Arc<PartitionLog>) {
        let dir = fixture::open(&SimulatedDisk::new(1));
        let config =
            PartitionConfig { compacted: true, segment_bytes: 400, ..PartitionConfig::default() };
        let log = fixture::partition(&dir, 0, config);
        for value in 0..9 {
            let (keys, value) = ([[value], [99]], [value; 150]);
            let records = keys.each_ref().map(|key| {
                let (key, value) = (Some(&key[..]), Some(&value[..]));
                NewRecord { key, value, ..NewRecord::default() }
            });
            fixture::append_all(&log, &records);
            dir.step_commit();
            dir.step_flush().unwrap();
        }
        assert_eq!(log.counters().segments, 9);
        (dir, log)
    }

    /// Does `work` when the round paces itself for the `at`th time. Returns what became of the round, and
    /// whether it came so far.
    fn run(
        log: &Arc<PartitionLog>,
        at: usize,
        work: impl Fn(),
    ) -> (Result<Cleaned, RoundError>, bool) {
        let mut paced = 0;
        let mut pace = |_| {
            paced += 1;
            if paced == at {
                work();
            }
            false
        };
        let plan = Plan::of(log, 1).expect("it is compacted");
        let outcome =
            plan.run(Means { now: 1, map: OffsetMap::new(1 << 16, [1, 2]), pace: &mut pace });
        (outcome, paced >= at)
    }

    #[test]
    fn what_is_deleted_during_a_round_does_not_come_back_with_it() {
        for at in 1.. {
            let (dir, log) = log();
            let (outcome, came) = run(&log, at, || {
                log.advance_log_start(10, drop).unwrap();
                dir.background().trim();
            });
            if !came {
                assert!(at > 9, "the round paces itself for each segment");
                break;
            }
            let first = *log.state.lock().segments.first_key_value().expect("it goes on").0;
            assert!(first >= 10, "deleted at {at}: {first}, {outcome:?}");
        }
    }

    #[test]
    fn partition_that_is_deleted_during_a_round_gets_no_segments_back() {
        for at in 1.. {
            let (dir, log) = log();
            let delete = || {
                assert!(dir.delete_partition(fixture::TOPIC_ID, 0, drop).unwrap());
            };
            let (outcome, came) = run(&log, at, delete);
            if !came {
                break;
            }
            assert!(matches!(outcome, Err(RoundError::Overtaken)), "deleted at {at}: {outcome:?}");
            assert!(log.state.lock().segments.is_empty() && log.retired().is_empty());
        }
    }
}
