//! Mends a damaged folder. Looking at one is in [`inspect`](crate::inspect).
//!
//! Mending keeps everything that is whole. A batch that does not verify is taken out of its segment,
//! and a commit that does not verify out of the log; the offsets they had stay unused, as after
//! compaction. What is taken out is first copied to a folder `damaged-N`, so nothing is lost that an
//! expert might still read. The broker must not be running.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kohort_log::epoch_cache::EpochCache;
use kohort_log::sparse_index::IndexBuilder;
use kohort_log::{PartitionConfig, Timestamp};
use kohort_protocol::Uuid;
use kohort_protocol::records::BatchHeader;

use crate::aligned::BLOCK;
use crate::background::Background;
use crate::config::LogDirConfig;
use crate::disk::{Disk, OpenMode, read_file, replace_file};
use crate::error::{OpenError, io_at};
use crate::failure::FlushError;
use crate::inspect::{Problem, WalkedSegment, load_checkpoint, lock_existing, walk_segment};
use crate::lost_end::{self, lost_end};
use crate::names::{CHECKPOINT_FILE, PARTITION_FILE, PARTITIONS, WAL};
use crate::partition_dir::partition_file;
use crate::partition_log::{
    NAME_MAX, PartitionId, PartitionLog, PartitionState, Restored, dir_name,
};
use crate::partitions::Partitions;
use crate::random::random;
use crate::recovery::{new_pool, open_failed, write_leader_epoch};
use crate::replay::Replay;
use crate::segment::{SegmentMeta, SegmentName, index_path, records_path};
use crate::shared::Shared;
use crate::strays::{list_strays, parse_dir_name, partition_of_stray};
use crate::wal::entry::PartitionKey;
use crate::wal::frame::{FRAME_HEADER, FrameHeader};
use crate::wal::position::WalPosition;
use crate::wal::reader::{FoundFile, ReadFrame, find_files};
use crate::wal::writer::WalWriter;

/// What mending a folder did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What was damaged, and is now taken out.
    pub problems: Vec<Problem>,
    /// Where the damaged files were copied to.
    pub kept_in: Option<PathBuf>,
    /// Partitions whose folders were set aside before, and are in service again.
    pub taken_back: Vec<PartitionId>,
    /// Commits of the write-ahead log that were applied.
    pub commits: u64,
    /// The leader epoch from now on.
    pub leader_epoch: i32,
}

/// Takes what is damaged out of a folder, so that it can be opened. A sound folder is not changed
/// beyond a checkpoint and a new leader epoch.
pub fn repair(disk: &Arc<dyn Disk>, config: &LogDirConfig) -> Result<RepairReport, OpenError> {
    let folder = &config.path;
    let _lock = lock_existing(&**disk, folder)?;
    let now = config.clock.now();
    let mut mend = Mend { disk: &**disk, folder, now, report: RepairReport::default() };
    let loaded = match load_checkpoint(&**disk, folder)? {
        Ok(checkpoint) => Some(checkpoint),
        Err(problem) => {
            mend.keep(&folder.join(CHECKPOINT_FILE))?;
            mend.report.problems.push(problem);
            None
        }
    };
    let wal_dir = folder.join(WAL);
    disk.create_dir_all(&wal_dir).map_err(io_at(&wal_dir))?;
    disk.create_dir_all(&folder.join(PARTITIONS)).map_err(io_at(folder))?;
    let known_salt = loaded.as_ref().map(|checkpoint| checkpoint.head.salt);
    let files = find_files(&**disk, &wal_dir, known_salt).map_err(io_at(&wal_dir))?;
    let salt = known_salt
        .or_else(|| files.iter().find_map(|file| file.header.map(|header| header.salt)))
        .unwrap_or_else(random);
    let head = loaded.as_ref().map(|checkpoint| checkpoint.head);
    let restored = match loaded {
        Some(checkpoint) => checkpoint.partitions,
        None => mend.partitions_on_disk()?,
    };
    let restored = restored
        .into_iter()
        .map(|(id, restored)| mend.partition(&id, restored).map(|restored| (id, restored)))
        .collect::<Result<Vec<_>, _>>()?;
    let first = head.map_or(0, |head| head.wal.sequence);
    let first_file = head.map_or(0, |head| head.wal.file_number);
    let frames = mend.collect_frames(&files, salt, first, first_file)?;
    let last = frames.last_key_value();
    let position = WalPosition {
        file_number: files.iter().filter_map(|f| f.header.map(|h| h.number)).max().unwrap_or(0),
        position: 0,
        sequence: last.map_or(first, |(last, _)| last + 1).max(1),
        // If mending ends here, what begins then is a part of the log as it was.
        previous_crc: match (last, &head) {
            (Some((_, frame)), _) => frame.crc,
            (None, Some(head)) => head.wal.previous_crc,
            (None, None) => 0,
        },
    };
    let pool = new_pool(disk, config);
    let adopted = files.iter().map(|f| (f.header.map(|h| h.number), f.path.clone(), f.length));
    pool.adopt(adopted.collect()).map_err(io_at(&wal_dir))?;
    let epoch = head.map_or(0, |head| head.leader_epoch);
    let shared = Arc::new(Shared::new(
        config.clone(),
        Arc::clone(disk),
        Arc::clone(&pool),
        salt,
        epoch,
        position,
    ));
    let mut replay = Replay::new(Arc::clone(&shared), restored, true);
    for frame in frames.values() {
        mend.apply_frame(&mut replay, &files[frame.file], frame.position)?;
    }
    replay.finish()?;
    for (id, restored) in mend.strays(&replay.partitions)? {
        let key = (id.topic_id, id.index);
        let config = PartitionConfig::default();
        let partition = PartitionLog::new(id, Arc::clone(&shared), config, restored);
        replay.partitions.insert(key, partition);
    }
    let latest = replay.partitions.values().filter_map(|p| p.state.lock().epochs.latest()).max();
    let epoch = shared.leader_epoch.load(Ordering::Relaxed).max(latest.unwrap_or(0)) + 1;
    shared.leader_epoch.store(epoch, Ordering::Relaxed);
    let partitions = Arc::new(Partitions::new(replay.partitions));
    let background = Background::new(Arc::clone(&shared), partitions);
    let failed = |error| {
        let (FlushError::NoSpace(source) | FlushError::Failed(source)) = error;
        OpenError::Io { path: folder.clone(), source }
    };
    // All that may fail comes before the log is added to.
    background.flush().map_err(failed)?;
    let mut wal = WalWriter::create(pool, salt, true, position).map_err(open_failed(folder))?;
    write_leader_epoch(&mut wal, epoch).map_err(open_failed(folder))?;
    *shared.committed.lock() = wal.position();
    mend.report.leader_epoch = epoch;
    background.checkpoint(true).map_err(failed)?;
    background.partitions.write().clear();
    Ok(mend.report)
}

struct Mend<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    now: Timestamp,
    report: RepairReport,
}

impl Mend<'_> {
    /// Copies a file to the folder of damaged ones.
    fn keep(&mut self, path: &Path) -> Result<(), OpenError> {
        let Ok(content) = read_file(self.disk, path) else { return Ok(()) };
        let into = if let Some(into) = &self.report.kept_in {
            into.clone()
        } else {
            let names = self.disk.list(self.folder).map_err(io_at(self.folder))?;
            let earlier = names.iter().filter_map(|name| name.strip_prefix("damaged-"));
            let last = earlier.filter_map(|number| number.parse::<u32>().ok()).max().unwrap_or(0);
            let into = self.folder.join(format!("damaged-{}", last + 1));
            self.disk.create_dir_all(&into).map_err(io_at(&into))?;
            self.report.kept_in = Some(into.clone());
            into
        };
        let below = path.strip_prefix(self.folder).unwrap_or(path);
        let name: Vec<&str> = below.iter().filter_map(|part| part.to_str()).collect();
        let copy = into.join(name.join("_"));
        let file = self.disk.open(&copy, OpenMode::Write).map_err(io_at(&copy))?;
        file.write_at(&content, 0).map_err(io_at(&copy))?;
        file.sync().map_err(io_at(&copy))?;
        self.disk.sync_dir(&into).map_err(io_at(&into))
    }

    /// Without a checkpoint: what the partitions' own folders tell.
    fn partitions_on_disk(&self) -> Result<Vec<(PartitionId, Restored)>, OpenError> {
        let dir = self.folder.join(PARTITIONS);
        let mut found = Vec::new();
        for name in self.disk.list(&dir).map_err(io_at(&dir))? {
            if let Some(id) = self.id_of(&dir.join(&name), &name) {
                found.push((id, self.restored(&dir.join(&name))?));
            }
        }
        Ok(found)
    }

    /// Takes back what was set aside, unless the partition is there.
    fn strays(
        &mut self,
        there: &BTreeMap<PartitionKey, Arc<PartitionLog>>,
    ) -> Result<Vec<(PartitionId, Restored)>, OpenError> {
        let dir = self.folder.join(PARTITIONS);
        let mut taken_back = BTreeMap::new();
        for stray in list_strays(self.disk, self.folder).map_err(io_at(&dir))? {
            let Some(name) = stray.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(name) = partition_of_stray(name) else { continue };
            let Some(id) = self.id_of(&stray, name) else { continue };
            let key = (id.topic_id, id.index);
            if there.contains_key(&key) || taken_back.contains_key(&key) {
                continue;
            }
            let back = dir.join(name);
            if self.disk.list(&back).is_ok() {
                continue;
            }
            self.disk.rename(&stray, &back).map_err(io_at(&stray))?;
            self.disk.sync_dir(&dir).map_err(io_at(&dir))?;
            let restored = self.restored(&back)?;
            let restored = self.partition(&id, restored)?;
            self.report.taken_back.push(id.clone());
            taken_back.insert(key, (id, restored));
        }
        Ok(taken_back.into_values().collect())
    }

    /// Returns whose folder `folder` is, by the file in it, or by the name it has or had.
    fn id_of(&self, folder: &Path, name: &str) -> Option<PartitionId> {
        let content = read_file(self.disk, &folder.join(PARTITION_FILE)).unwrap_or_default();
        let told = parse_partition_file(&String::from_utf8_lossy(&content));
        let named = || {
            let (topic, (topic_id, index)) = parse_dir_name(name)?;
            Some(PartitionId { topic_id, topic: Arc::from(topic), index })
        };
        let is_its = |id: &PartitionId| dir_name(id) == name;
        told.filter(is_its).or_else(|| named().filter(|id| id.topic.len() < NAME_MAX))
    }

    /// Returns what a partition's folder tells of it.
    fn restored(&self, partition: &Path) -> Result<Restored, OpenError> {
        let mut state = PartitionState { has_dir: true, ..PartitionState::default() };
        let names = self.disk.list(partition).map_err(io_at(partition))?;
        let mut names: Vec<SegmentName> = names
            .iter()
            .filter_map(|name| SegmentName::of_file(name))
            .filter_map(|(segment, suffix)| (suffix == "log").then_some(segment))
            .collect();
        names.sort_unstable();
        for SegmentName { base_offset, generation } in names {
            match state.segments.entry(base_offset) {
                Entry::Vacant(entry) => {
                    // The length is not known: all that is sound counts.
                    let empty = SegmentMeta::empty(self.now);
                    entry.insert(SegmentMeta { generation, bytes: u32::MAX, ..empty });
                }
                // Which of them was complete is not known: they are put together below.
                Entry::Occupied(_) => {
                    state.retired.push(SegmentName { base_offset, generation });
                }
            }
        }
        let log_start = state.segments.first_key_value().map_or(0, |(&base, _)| base);
        Ok(Restored { log_start, state, untidy: true })
    }

    /// Takes damaged batches out of a partition's segments.
    fn partition(
        &mut self,
        id: &PartitionId,
        mut restored: Restored,
    ) -> Result<Restored, OpenError> {
        let dir = self.folder.join(PARTITIONS).join(dir_name(id));
        let unknown = restored.state.segments.values().any(|meta| meta.bytes == u32::MAX);
        let mut segments = BTreeMap::new();
        let mut headers: Vec<BatchHeader> = Vec::new();
        let mut sound_end = None;
        let problems_before = self.report.problems.len();
        let found = std::mem::take(&mut restored.state.segments);
        for (&base, &meta) in &found {
            // A segment written anew may hold records of those that followed it, which have them too.
            let end = found.range(base + 1..).next().map_or(i64::MAX, |(&next, _)| next);
            let path = records_path(&dir, meta.name(base));
            let content = match read_file(self.disk, &path) {
                Ok(content) => content,
                Err(error) => {
                    let reason = format!("the segment is gone: {error}");
                    self.report.problems.push(Problem { path, position: 0, reason });
                    continue;
                }
            };
            let known = (meta.bytes != u32::MAX).then_some(meta.bytes);
            let mut walked = walk_segment(&path, &content, base, known);
            let mut content = content;
            if unknown {
                walked.batches.retain(|(_, header)| header.base_offset < end);
                let others = restored.state.retired.iter().filter(|name| name.base_offset == base);
                for &other in others {
                    self.add_batches(&dir, other, end, &mut content, &mut walked)?;
                }
            }
            sound_end = walked.batches.last().map(|(_, last)| last.next_offset()).or(sound_end);
            if walked.problems.is_empty() && !unknown {
                segments.insert(base, meta);
                continue;
            }
            if !walked.problems.is_empty() {
                self.keep(&path)?;
            }
            self.report.problems.extend(walked.problems);
            if walked.batches.is_empty() {
                restored.state.retired.push(meta.name(base));
                continue;
            }
            let meta = self.rewrite(&dir, meta.name(base), &content, &walked.batches)?;
            segments.insert(base, meta);
            headers.extend(walked.batches.into_iter().map(|(_, header)| header));
        }
        restored.state.segments = segments;
        if unknown {
            let state = &mut restored.state;
            let mut epochs = EpochCache::default();
            for header in &headers {
                if header.has_producer_id() && !header.is_control() {
                    state.producers.update(header, header.max_timestamp);
                }
                epochs.assign(header.partition_leader_epoch, header.base_offset);
                state.flushed = header.next_offset();
            }
            state.epochs = epochs;
            state.next_offset = state.flushed;
        } else if let Some(lost) = lost_end(&restored, sound_end) {
            if self.report.problems.len() == problems_before {
                let reason = lost_end::describe(lost);
                self.report.problems.push(Problem { path: dir.clone(), position: 0, reason });
            }
            self.make_dir(id, &dir)?;
            let (base, meta) = self.end_segment(&dir, &restored, &found)?;
            restored.state.segments.insert(base, meta);
        }
        self.mend_dir(id, &dir, &mut restored)?;
        Ok(restored)
    }

    /// Puts a segment of a batch without records where the log's end is lost.
    fn end_segment(
        &self,
        dir: &Path,
        restored: &Restored,
        found: &BTreeMap<i64, SegmentMeta>,
    ) -> Result<(i64, SegmentMeta), OpenError> {
        let base_offset = restored.state.flushed - 1;
        let generation = found.get(&base_offset).map_or(0, |meta| meta.generation + 1);
        let epoch = restored.state.epochs.latest().unwrap_or(0);
        let batch = lost_end::batch_in_place_of(base_offset, epoch);
        let header = BatchHeader::parse(&batch).expect("it was built just now");
        let name = SegmentName { base_offset, generation };
        Ok((base_offset, self.rewrite(dir, name, &batch, &[(0, header)])?))
    }

    /// Sees to it that a partition that needs its folder has one that tells whose it is.
    fn mend_dir(
        &self,
        id: &PartitionId,
        dir: &Path,
        restored: &mut Restored,
    ) -> Result<(), OpenError> {
        let state = &mut restored.state;
        // Without it, or a segment, it is made when there is something to put into it.
        state.has_dir = state.has_dir && self.disk.list(dir).is_ok() || !state.segments.is_empty();
        let content = read_file(self.disk, &dir.join(PARTITION_FILE)).unwrap_or_default();
        if state.has_dir && content != partition_file(id).as_bytes() {
            self.make_dir(id, dir)?;
        }
        Ok(())
    }

    fn make_dir(&self, id: &PartitionId, dir: &Path) -> Result<(), OpenError> {
        self.disk.create_dir_all(dir).map_err(io_at(dir))?;
        let path = dir.join(PARTITION_FILE);
        replace_file(self.disk, &path, partition_file(id).as_bytes()).map_err(io_at(&path))?;
        let parent = self.folder.join(PARTITIONS);
        self.disk.sync_dir(&parent).map_err(io_at(&parent))
    }

    /// Adds the sound batches of another generation of a segment that follow those found so far.
    fn add_batches(
        &mut self,
        dir: &Path,
        segment: SegmentName,
        end: i64,
        content: &mut Vec<u8>,
        walked: &mut WalkedSegment,
    ) -> Result<(), OpenError> {
        let path = records_path(dir, segment);
        let Ok(more) = read_file(self.disk, &path) else { return Ok(()) };
        self.keep(&path)?;
        let base = segment.base_offset;
        let after = walked.batches.last().map_or(base, |(_, header)| header.next_offset());
        for (position, header) in walk_segment(&path, &more, base, None).batches {
            if (after..end).contains(&header.base_offset) {
                walked.batches.push((content.len() + position, header));
            }
        }
        content.extend_from_slice(&more);
        Ok(())
    }

    /// Writes a segment and its index anew from its sound batches.
    fn rewrite(
        &self,
        dir: &Path,
        segment: SegmentName,
        content: &[u8],
        batches: &[(usize, BatchHeader)],
    ) -> Result<SegmentMeta, OpenError> {
        let mut records = Vec::with_capacity(content.len());
        let mut index = Vec::new();
        let base = segment.base_offset;
        let mut meta =
            SegmentMeta { generation: segment.generation, ..SegmentMeta::empty(self.now) };
        let mut builder = IndexBuilder::new(PartitionConfig::default().index_interval_bytes, 0, -1);
        for (position, header) in batches {
            let at = records.len() as u32;
            let relative = (header.base_offset - base) as u32;
            // A batch that compaction emptied has no record that a search by time could find.
            let newest = if header.record_count == 0 { -1 } else { header.max_timestamp };
            if let Some(entry) = builder.add(relative, at, newest) {
                index.extend_from_slice(&entry.encode());
                meta.index_entries += 1;
                meta.last_indexed = at;
            }
            if meta.first_timestamp < 0 {
                meta.first_timestamp = newest;
            }
            records.extend_from_slice(&content[*position..*position + header.size_in_bytes()]);
        }
        meta.max_timestamp = builder.max_timestamp();
        meta.bytes = records.len() as u32;
        let path = records_path(dir, segment);
        replace_file(self.disk, &path, &records).map_err(io_at(&path))?;
        let path = index_path(dir, segment);
        replace_file(self.disk, &path, &index).map_err(io_at(&path))?;
        Ok(meta)
    }

    /// Finds every sound commit from `first` on, wherever it lies: file and position by sequence.
    fn collect_frames(
        &mut self,
        files: &[FoundFile],
        salt: u64,
        first: u64,
        first_file: u64,
    ) -> Result<BTreeMap<u64, FoundFrame>, OpenError> {
        let mut frames = BTreeMap::new();
        for (number, file) in files.iter().enumerate() {
            let content = read_file(self.disk, &file.path).map_err(io_at(&file.path))?;
            let mut at = BLOCK;
            while at < content.len() {
                let header = FrameHeader::parse(&content[at..])
                    .filter(|header| header.salt == salt && header.verifies(&content[at..]));
                let Some(header) = header else {
                    at += BLOCK;
                    continue;
                };
                if header.sequence >= first {
                    let (position, crc) = (at as u64, header.crc);
                    frames.insert(header.sequence, FoundFrame { file: number, position, crc });
                }
                at += header.span() as usize;
            }
        }
        let sequences: Vec<u64> = frames.keys().copied().collect();
        let mut kept = BTreeSet::new();
        for pair in sequences.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
            let FoundFrame { file, position, .. } = frames[&pair[0]];
            let path = files[file].path.clone();
            let reason = format!("commits {} to {} are missing", pair[0] + 1, pair[1] - 1);
            self.report.problems.push(Problem { path, position, reason });
            kept.extend([file, frames[&pair[1]].file]);
        }
        if let Some(&oldest) = sequences.first()
            && first > 0
            && oldest > first
        {
            let FoundFrame { file, position, .. } = frames[&oldest];
            let path = files[file].path.clone();
            let reason = format!("commits {first} to {} are missing", oldest - 1);
            self.report.problems.push(Problem { path, position, reason });
            kept.insert(file);
        }
        for (number, file) in files.iter().enumerate() {
            let of_log = file.header.is_some_and(|header| header.number >= first_file);
            if of_log && let Some(reason) = file.shortened() {
                let (path, position) = (file.path.clone(), file.length);
                self.report.problems.push(Problem { path, position, reason });
                kept.insert(number);
            }
        }
        for file in kept {
            self.keep(&files[file].path)?;
        }
        Ok(frames)
    }

    fn apply_frame(
        &mut self,
        replay: &mut Replay,
        file: &FoundFile,
        position: u64,
    ) -> Result<(), OpenError> {
        let open = self.disk.open(&file.path, OpenMode::Read).map_err(io_at(&file.path))?;
        let mut start = [0; FRAME_HEADER];
        crate::disk::read_exact_at(&*open, &mut start, position).map_err(io_at(&file.path))?;
        let header = FrameHeader::parse(&start).expect("it was verified before");
        let mut bytes = vec![0; FRAME_HEADER + header.payload];
        crate::disk::read_exact_at(&*open, &mut bytes, position).map_err(io_at(&file.path))?;
        self.report.commits += 1;
        let file_number = file.header.map_or(0, |header| header.number);
        let (path, bytes) = (&*file.path, &*bytes);
        replay.frame(&ReadFrame { header, file_number, path, position, bytes })
    }
}

/// Where a sound commit lies, and its checksum.
#[derive(Debug, Clone, Copy)]
struct FoundFrame {
    file: usize,
    position: u64,
    crc: u32,
}

fn parse_partition_file(content: &str) -> Option<PartitionId> {
    let mut lines = content.lines();
    if lines.next()? != "kohort-partition 1" {
        return None;
    }
    let topic: &str = lines.next()?.strip_prefix("topic ")?;
    let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
    let topic_id: Uuid = lines.next()?.strip_prefix("topic-id ")?.parse().ok()?;
    Some(PartitionId { topic_id, topic: Arc::from(topic), index })
}
