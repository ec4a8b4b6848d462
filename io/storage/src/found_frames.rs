//! The write-ahead log as mending finds it: every sound commit wherever it lies, and whether a start
//! would take what is there for whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::aligned::BLOCK;
use crate::checkpoint::CheckpointHead;
use crate::disk::{Disk, read_file};
use crate::error::{OpenError, io_at};
use crate::partition_id::PartitionId;
use crate::partition_state::Restored;
use crate::wal::entry::{BadEntry, Entry, PartitionKey, for_each_entry};
use crate::wal::frame::{FRAME_HEADER, FrameHeader};
use crate::wal::reader::{FoundFile, ReadFrame, WalEnd, read_log};
use crate::walk::Problem;

/// Where a sound commit lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundFrame {
    /// Which of the files.
    pub(crate) file: usize,
    pub(crate) position: u64,
    /// Where the next one begins, if the file has room for it.
    end: u64,
    pub(crate) crc: u32,
}

/// The commits of a log that is perhaps damaged.
#[derive(Debug, Default)]
pub(crate) struct FoundLog {
    /// By sequence number.
    pub(crate) frames: BTreeMap<u64, FoundFrame>,
    pub(crate) problems: Vec<Problem>,
    /// Which of the files are damaged, or next to damage.
    pub(crate) damaged: BTreeSet<usize>,
    /// Whether an interrupted write is at the end, which is no damage.
    pub(crate) torn: bool,
    /// Partitions it deletes: of their files any may be gone.
    pub(crate) deletes: BTreeSet<PartitionKey>,
}

impl FoundLog {
    /// Finds every sound commit from the checkpoint's on, or all if there is none.
    pub(crate) fn find(
        disk: &dyn Disk,
        files: &[FoundFile],
        salt: u64,
        head: Option<&CheckpointHead>,
    ) -> Result<FoundLog, OpenError> {
        let mut found = FoundLog::default();
        let first = head.map_or(0, |head| head.wal.sequence);
        for (number, file) in files.iter().enumerate() {
            let content = read_file(disk, &file.path).map_err(io_at(&file.path))?;
            let mut at = BLOCK;
            while at < content.len() {
                let header = FrameHeader::parse(&content[at..])
                    .filter(|header| header.salt == salt && header.verifies(&content[at..]));
                let Some(header) = header else {
                    at += BLOCK;
                    continue;
                };
                let (position, crc) = (at as u64, header.crc);
                let end = position + header.span();
                if header.sequence >= first {
                    let frame = FoundFrame { file: number, position, end, crc };
                    found.frames.insert(header.sequence, frame);
                    found.note_deletions(&content[at..], &header);
                }
                at += header.span() as usize;
            }
        }
        found.find_missing(files, head);
        let first_file = head.map_or(0, |head| head.wal.file_number);
        for (number, file) in files.iter().enumerate() {
            let of_log = file.header.is_some_and(|header| header.number >= first_file);
            if of_log && let Some(reason) = file.shortened() {
                found.tell(files, number, file.length, reason);
            }
        }
        Ok(found)
    }

    fn note_deletions(&mut self, frame: &[u8], header: &FrameHeader) {
        let end = FRAME_HEADER + header.payload;
        // An entry that makes no sense is told when the log is followed.
        let _ = for_each_entry::<BadEntry>(frame, FRAME_HEADER, end, |entry| {
            if let Entry::Delete { key } = entry {
                self.deletes.insert(key);
            }
            Ok(())
        });
    }

    /// In flush mode `page-cache` a power cut loses commits before others, and the start cuts the log
    /// there: that is no damage.
    fn find_missing(&mut self, files: &[FoundFile], head: Option<&CheckpointHead>) {
        let sequences: Vec<u64> = self.frames.keys().copied().collect();
        let synced = |file: usize| files[file].header.is_none_or(|header| header.synced);
        if let (Some(head), Some(&oldest)) = (head, sequences.first())
            && oldest > head.wal.sequence
        {
            let number = head.wal.file_number;
            let of_head = |file: &FoundFile| file.header.is_some_and(|h| h.number == number);
            let reason = format!("commits {} to {} are missing", head.wal.sequence, oldest - 1);
            let FoundFrame { file, position, .. } = self.frames[&oldest];
            match files.iter().position(of_head) {
                Some(of_head) if synced(of_head) => {
                    self.tell(files, of_head, head.wal.position, reason);
                    self.damaged.insert(file);
                }
                Some(_) => {}
                None => self.tell(files, file, position, reason),
            }
        }
        for pair in sequences.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
            let FoundFrame { file, end, .. } = self.frames[&pair[0]];
            if synced(file) {
                let reason = format!("commits {} to {} are missing", pair[0] + 1, pair[1] - 1);
                self.tell(files, file, end, reason);
                self.damaged.insert(self.frames[&pair[1]].file);
            }
        }
    }

    fn tell(&mut self, files: &[FoundFile], file: usize, position: u64, reason: String) {
        let path = files[file].path.clone();
        self.problems.push(Problem { path, position, reason });
        self.damaged.insert(file);
    }

    /// Follows the log as a start does, and takes note of what would stop it.
    pub(crate) fn follow(
        &mut self,
        disk: &dyn Disk,
        (wal, files): (&Path, &[FoundFile]),
        head: &CheckpointHead,
        partitions: &[(PartitionId, Restored)],
        deleted: &BTreeSet<PartitionKey>,
    ) -> Result<(), OpenError> {
        let mut follower = Follower::new(partitions);
        let mut problems = Vec::new();
        let end = read_log::<OpenError>(disk, files, head.salt, head.wal, |frame| {
            problems.extend(follower.frame(&frame));
            Ok(())
        })?;
        problems.extend(follower.unknown(deleted));
        let Some(end) = end else {
            if self.problems.is_empty() {
                let number = head.wal.file_number;
                let path = wal.to_owned();
                let reason = format!("the log's file number {number} is missing");
                self.problems.push(Problem { path, position: 0, reason });
            }
            return Ok(());
        };
        self.torn = end.torn && end.later.is_none() && end.shortened.is_none();
        problems.extend(stops_a_start(end));
        // What else is wrong then follows from what is missing.
        if self.problems.is_empty() {
            self.problems = problems;
        }
        Ok(())
    }
}

fn stops_a_start(end: WalEnd) -> Option<Problem> {
    if let Some((path, position, reason)) = end.shortened {
        return Some(Problem { path, position, reason });
    }
    let later = end.later.filter(|_| end.synced)?;
    let (missing, intact) = (end.next.sequence, later.sequence);
    let reason = format!("commit {missing} is missing or damaged, commit {intact} is intact");
    Some(Problem { path: end.path, position: end.next.position, reason })
}

/// Goes along with the log's entries as [`Replay`](crate::replay::Replay) does, without the records.
struct Follower {
    /// The offset each partition goes on at.
    next: BTreeMap<PartitionKey, i64>,
    /// Partitions that entries spoke of although they were not there, and where.
    unknown: BTreeMap<PartitionKey, Problem>,
}

impl Follower {
    fn new(partitions: &[(PartitionId, Restored)]) -> Follower {
        let next = partitions
            .iter()
            .map(|(id, restored)| ((id.topic_id, id.index), restored.state.next_offset));
        Follower { next: next.collect(), unknown: BTreeMap::new() }
    }

    fn frame(&mut self, frame: &ReadFrame<'_>) -> Option<Problem> {
        let end = FRAME_HEADER + frame.header.payload;
        let problem = |position: usize, reason: String| Problem {
            path: frame.path.to_owned(),
            position: frame.position + position as u64,
            reason,
        };
        let mut found = None;
        let walked = for_each_entry::<BadEntry>(frame.bytes, FRAME_HEADER, end, |entry| {
            if let Err(reason) = self.entry(&entry, problem) {
                found.get_or_insert(problem(0, reason));
            }
            Ok(())
        });
        let bad =
            walked.err().map(|bad| problem(bad.position, "an entry makes no sense".to_owned()));
        bad.or(found)
    }

    fn entry(
        &mut self,
        entry: &Entry<'_>,
        problem: impl Fn(usize, String) -> Problem,
    ) -> Result<(), String> {
        match *entry {
            Entry::Append { key, first_offset, next_offset, .. } => match self.next.get_mut(&key) {
                Some(next) if next_offset <= *next => {}
                Some(next) => {
                    let expected = std::mem::replace(next, next_offset);
                    if first_offset != expected {
                        return Err(format!(
                            "records of {}/{} from offset {expected} are missing before offset \
                             {first_offset}",
                            key.0, key.1
                        ));
                    }
                }
                None => self.note_unknown(key, problem),
            },
            Entry::LogStart { key, .. } if !self.next.contains_key(&key) => {
                self.note_unknown(key, problem);
            }
            Entry::Create { key, .. } => {
                self.next.entry(key).or_insert(0);
            }
            Entry::Delete { key } => {
                self.unknown.remove(&key);
                self.next.remove(&key);
            }
            Entry::LogStart { .. } | Entry::LeaderEpoch { .. } => {}
        }
        Ok(())
    }

    fn note_unknown(&mut self, key: PartitionKey, problem: impl Fn(usize, String) -> Problem) {
        let reason = format!("records of the unknown partition {} of topic {}", key.1, key.0);
        self.unknown.entry(key).or_insert_with(|| problem(0, reason));
    }

    fn unknown(self, deleted: &BTreeSet<PartitionKey>) -> Option<Problem> {
        self.unknown.into_iter().find(|(key, _)| !deleted.contains(key)).map(|(_, problem)| problem)
    }
}
