//! The walk over a damaged folder that looking and mending have in common: what is damaged, and, if it is
//! to be mended, what takes its place.
//!
//! A dry walk writes nothing and finds the same, so `verify` tells exactly what `repair` takes out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_log::batch_order::Limits;
use kohort_log::epoch_cache::EpochCache;
use kohort_log::sparse_index::IndexBuilder;
use kohort_log::{PartitionConfig, Timestamp};
use kohort_protocol::records::BatchHeader;

use crate::append::batch_head;
use crate::checkpoint::CheckpointHead;
use crate::disk::{Disk, OpenMode, read_file, replace_file};
use crate::error::{OpenError, io_at};
use crate::found_frames::FoundLog;
use crate::lost_end::{self, lost_end};
use crate::names::{CHECKPOINT_FILE, PARTITION_FILE, PARTITIONS, WAL};
use crate::offline::load_checkpoint;
use crate::partition_dir::{parse_partition_file, partition_file};
use crate::partition_id::{NAME_MAX, PartitionId, dir_name};
use crate::partition_log::PartitionLog;
use crate::partition_state::{PartitionState, Restored};
use crate::queue::BATCH_HEAD;
use crate::random::random;
use crate::segment::{SegmentMeta, SegmentName, index_path, records_path};
use crate::strays::{list_strays, parse_dir_name, partition_of_stray_at};
use crate::wal::entry::PartitionKey;
use crate::wal::reader::{FoundFile, find_files};
use crate::walk::{Problem, WalkedSegment, walk_segment};

/// What a folder holds that is sound.
pub(crate) struct Surveyed {
    /// What its checkpoint says, if that can be read.
    pub(crate) head: Option<CheckpointHead>,
    pub(crate) salt: u64,
    /// Partitions as their segments are, after mending if that was asked for.
    pub(crate) partitions: Vec<(PartitionId, Restored)>,
    pub(crate) files: Vec<FoundFile>,
    pub(crate) log: FoundLog,
}

/// A walk over a folder.
pub(crate) struct Mend<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    now: Timestamp,
    /// Whether nothing is written.
    dry: bool,
    /// The greatest leader epoch there was, if that is known.
    epoch_max: Option<i32>,
    /// What is damaged.
    pub(crate) problems: Vec<Problem>,
    /// Where damaged files were copied to.
    pub(crate) kept_in: Option<PathBuf>,
    /// Batches in segments that verified.
    pub(crate) batches: u64,
}

impl<'a> Mend<'a> {
    /// Looks at a folder and changes nothing.
    pub(crate) fn look(disk: &'a dyn Disk, folder: &'a Path) -> Mend<'a> {
        Mend { dry: true, ..Mend::new(disk, folder, 0) }
    }

    /// Takes what is damaged out of a folder.
    pub(crate) fn new(disk: &'a dyn Disk, folder: &'a Path, now: Timestamp) -> Mend<'a> {
        Mend {
            disk,
            folder,
            now,
            dry: false,
            epoch_max: None,
            problems: Vec::new(),
            kept_in: None,
            batches: 0,
        }
    }

    /// Walks over checkpoint, segments and log.
    pub(crate) fn survey(&mut self) -> Result<Surveyed, OpenError> {
        let loaded = match load_checkpoint(self.disk, self.folder)? {
            Ok(checkpoint) => Some(checkpoint),
            Err(problem) => {
                self.keep(&self.folder.join(CHECKPOINT_FILE))?;
                self.problems.push(problem);
                None
            }
        };
        let wal = self.folder.join(WAL);
        let known_salt = loaded.as_ref().map(|checkpoint| checkpoint.head.salt);
        let files = match find_files(self.disk, &wal, known_salt) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found.map_err(io_at(&wal))?,
        };
        let salt = known_salt
            .or_else(|| files.iter().find_map(|file| file.header.map(|header| header.salt)))
            .unwrap_or_else(random);
        let head = loaded.as_ref().map(|checkpoint| checkpoint.head);
        self.epoch_max = head.map(|head| head.leader_epoch);
        let (restored, deleted) = match loaded {
            Some(checkpoint) => (checkpoint.partitions, checkpoint.deleted),
            None => (self.partitions_on_disk()?, BTreeSet::new()),
        };
        let mut log = FoundLog::find(self.disk, &files, salt, head.as_ref())?;
        let mut partitions = Vec::with_capacity(restored.len());
        for (id, mut restored) in restored {
            // What the log deletes goes before the next checkpoint tells of it.
            if head.is_none() || !log.deletes.contains(&id.key()) {
                restored = self.partition(&id, restored)?;
            }
            partitions.push((id, restored));
        }
        if let Some(head) = &head {
            log.follow(self.disk, (&wal, &files), head, &partitions, &deleted)?;
        }
        for &file in &log.damaged {
            self.keep(&files[file].path)?;
        }
        self.problems.append(&mut log.problems);
        Ok(Surveyed { head, salt, partitions, files, log })
    }

    /// Tells whether a folder was set aside whose partition is not there, by the folders alone.
    pub(crate) fn may_take_back(&self) -> bool {
        let dir = self.folder.join(PARTITIONS);
        let strays = list_strays(self.disk, self.folder).unwrap_or_default();
        strays.iter().any(|stray| {
            let back = partition_of_stray_at(stray);
            back.is_some_and(|back| self.disk.list(&dir.join(back)).is_err())
        })
    }

    /// Copies a file to the folder of damaged ones.
    fn keep(&mut self, path: &Path) -> Result<(), OpenError> {
        if self.dry {
            return Ok(());
        }
        let Ok(content) = read_file(self.disk, path) else { return Ok(()) };
        let into = if let Some(into) = &self.kept_in {
            into.clone()
        } else {
            let names = self.disk.list(self.folder).map_err(io_at(self.folder))?;
            let earlier = names.iter().filter_map(|name| name.strip_prefix("damaged-"));
            let last = earlier.filter_map(|number| number.parse::<u32>().ok()).max().unwrap_or(0);
            let into = self.folder.join(format!("damaged-{}", last + 1));
            self.disk.create_dir_all(&into).map_err(io_at(&into))?;
            self.kept_in = Some(into.clone());
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
        let names = match self.disk.list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(io_at(&dir))?,
        };
        for name in names {
            if let Some(id) = self.id_of(&dir.join(&name), &name) {
                found.push((id, self.restored(&dir.join(&name))?));
            }
        }
        Ok(found)
    }

    /// Takes back what was set aside, unless the partition is there.
    pub(crate) fn strays(
        &mut self,
        there: &BTreeMap<PartitionKey, Arc<PartitionLog>>,
    ) -> Result<Vec<(PartitionId, Restored)>, OpenError> {
        let dir = self.folder.join(PARTITIONS);
        let mut taken_back = BTreeMap::new();
        for stray in list_strays(self.disk, self.folder).map_err(io_at(&dir))? {
            let Some(name) = partition_of_stray_at(&stray) else { continue };
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
        let problems_before = self.problems.len();
        let found = restored.state.segments.clone();
        for (&base, &meta) in &found {
            // A segment written anew may hold records of those that followed it, which have them too.
            let end = found.range(base + 1..).next().map_or(i64::MAX, |(&next, _)| next);
            let path = records_path(&dir, meta.name(base));
            let content = match read_file(self.disk, &path) {
                Ok(content) => content,
                Err(error) => {
                    let reason = format!("the segment is gone: {error}");
                    self.problems.push(Problem { path, position: 0, reason });
                    continue;
                }
            };
            let known = (meta.bytes != u32::MAX).then_some(meta.bytes);
            let limits = match (known, self.epoch_max) {
                (Some(_), Some(epoch_max)) => restored.limits(base, epoch_max),
                // Where it ends is not known either.
                _ => Limits { base, ..Limits::default() },
            };
            let mut walked = walk_segment(&path, &content, known, &limits);
            let mut content = content;
            self.batches += (walked.batches.len() - walked.restored) as u64;
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
            self.problems.extend(walked.problems);
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
            if self.problems.len() == problems_before {
                let reason = lost_end::describe(lost);
                self.problems.push(Problem { path: dir.clone(), position: 0, reason });
            }
            self.make_dir(id, &dir)?;
            let (base, meta) = self.end_segment(&dir, &restored, &found)?;
            restored.state.segments.insert(base, meta);
        }
        let is_whole = self.problems.len() == problems_before;
        self.mend_dir(id, &dir, &mut restored, is_whole)?;
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
        &mut self,
        id: &PartitionId,
        dir: &Path,
        restored: &mut Restored,
        is_whole: bool,
    ) -> Result<(), OpenError> {
        let state = &mut restored.state;
        // Without it, or a segment, it is made when there is something to put into it.
        state.has_dir = state.has_dir && self.disk.list(dir).is_ok() || !state.segments.is_empty();
        let path = dir.join(PARTITION_FILE);
        let content = read_file(self.disk, &path).unwrap_or_default();
        if state.has_dir && content != partition_file(id).as_bytes() {
            if is_whole {
                self.keep(&path)?;
                let reason = "it does not tell whose folder this is".to_owned();
                self.problems.push(Problem { path, position: 0, reason });
            }
            self.make_dir(id, dir)?;
        }
        Ok(())
    }

    fn make_dir(&self, id: &PartitionId, dir: &Path) -> Result<(), OpenError> {
        if self.dry {
            return Ok(());
        }
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
        let limits = Limits { base, ..Limits::default() };
        for (position, header) in walk_segment(&path, &more, None, &limits).batches {
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
            // The head may have been damaged, and is known.
            records.extend_from_slice(&batch_head(header));
            let body = *position + BATCH_HEAD..*position + header.size_in_bytes();
            records.extend_from_slice(&content[body]);
        }
        meta.max_timestamp = builder.max_timestamp();
        meta.bytes = records.len() as u32;
        if self.dry {
            return Ok(meta);
        }
        let path = records_path(dir, segment);
        replace_file(self.disk, &path, &records).map_err(io_at(&path))?;
        let path = index_path(dir, segment);
        replace_file(self.disk, &path, &index).map_err(io_at(&path))?;
        Ok(meta)
    }
}
