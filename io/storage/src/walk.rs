//! Walking over a segment that may be damaged: which of its batches are sound and where they belong,
//! and what is wrong with the rest.
//!
//! A batch is damaged if its checksum says so, or if offsets and epochs do, which lie outside it
//! ([`batch_order`](kohort_log::batch_order)). One that is only misplaced has all its records: where
//! its neighbours leave it one place, it is known what its header said.

use std::fmt;
use std::path::{Path, PathBuf};

use kohort_log::batch_order::{Limits, Misplaced, Placed, misplaced};
use kohort_protocol::records::{BATCH_HEADER_BYTES, BatchHeader, BatchRef};

use crate::partition_state::Restored;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.path.display(), self.position, self.reason)
    }
}

/// The batches of a segment, and what lies between them.
pub(crate) struct WalkedSegment {
    /// Those that are sound, and those of which it is known what was, with the headers they had.
    pub(crate) batches: Vec<(usize, BatchHeader)>,
    /// How many of them have another header in the file.
    pub(crate) restored: usize,
    pub(crate) problems: Vec<Problem>,
}

impl Restored {
    /// Returns between what the batches of the segment at `base` lie, by the list of segments.
    pub(crate) fn limits(&self, base: i64, leader_epoch: i32) -> Limits<'_> {
        Limits {
            base,
            end: Some(self.state.segment_end(base)),
            epoch_max: Some(leader_epoch),
            epochs: Some(&self.state.epochs),
        }
    }
}

/// Walks over a segment. `known` is how long it must be; without that it ends where nothing sound
/// follows.
pub(crate) fn walk_segment(
    path: &Path,
    content: &[u8],
    known: Option<u32>,
    limits: &Limits<'_>,
) -> WalkedSegment {
    let mut problems = Vec::new();
    let mut problem = |position: usize, reason: String| {
        problems.push(Problem { path: path.to_owned(), position: position as u64, reason });
    };
    let end = known.map_or(content.len(), |bytes| bytes as usize);
    if content.len() < end {
        problem(content.len(), format!("the segment must have {end} bytes"));
    }
    let content = &content[..end.min(content.len())];
    let mut batches: Vec<(usize, BatchHeader)> = Vec::new();
    // No batch from here on can begin before this offset.
    let mut not_before = limits.base;
    let mut at = 0;
    while at < content.len() {
        match sound_batch(&content[at..]) {
            Ok(header) => {
                batches.push((at, header));
                not_before += offsets(&header);
                at += header.size_in_bytes();
            }
            Err(reason) => {
                let found = next_sound(content, at, not_before, limits);
                if found.is_some() || known.is_some() {
                    problem(at, reason);
                }
                at = found.unwrap_or(content.len());
            }
        }
    }
    let placed: Vec<Placed> = batches.iter().map(|(_, header)| place_of(header)).collect();
    let wrong = misplaced(&placed, limits);
    let mut restored = Vec::new();
    let mut lost = Vec::new();
    for (number, misplaced) in wrong {
        let (position, header) = &mut batches[number];
        problem(*position, misplaced.to_string());
        match misplaced {
            Misplaced::Offset { right: Some(right), .. } => header.base_offset = right,
            Misplaced::Offset { right: None, .. } => lost.push(number),
            Misplaced::Epoch { right, .. } => header.partition_leader_epoch = right,
        }
        if lost.last() != Some(&number) && restored.last() != Some(&number) {
            restored.push(number);
        }
    }
    let mut number = 0;
    batches.retain(|_| {
        number += 1;
        lost.binary_search(&(number - 1)).is_err()
    });
    problems.sort_by_key(|problem| problem.position);
    WalkedSegment { batches, restored: restored.len(), problems }
}

fn place_of(header: &BatchHeader) -> Placed {
    Placed {
        base_offset: header.base_offset,
        offsets: offsets(header),
        leader_epoch: header.partition_leader_epoch,
    }
}

/// Returns how many offsets a batch takes, with or without records.
fn offsets(header: &BatchHeader) -> i64 {
    i64::from(header.last_offset_delta) + 1
}

/// Finds the next sound batch behind a damaged one.
///
/// Where the damaged one says that it ends comes first: its records may hold batches themselves, copied
/// from elsewhere. Unless it is its length that is wrong, and batches that follow one another fill all
/// of the place up to there.
fn next_sound(
    content: &[u8],
    damaged: usize,
    not_before: i64,
    limits: &Limits<'_>,
) -> Option<usize> {
    let fits = |header: &BatchHeader| {
        header.base_offset >= not_before
            && limits.end.is_none_or(|end| header.next_offset() <= end)
            && header.base_offset - not_before <= i64::from(i32::MAX)
    };
    let is_sound = |at: usize| {
        // The format's number, before anything dearer.
        content[at + 16] == 2 && sound_batch(&content[at..]).is_ok_and(|header| fits(&header))
    };
    let searched = content.len().saturating_sub(BATCH_HEADER_BYTES);
    let told = BatchHeader::parse(&content[damaged..]).ok();
    let told = told.map(|header| damaged + header.size_in_bytes());
    if let Some(told) = told.filter(|&told| told < content.len())
        && sound_batch(&content[told..]).is_ok()
    {
        let reaches = |at: usize| {
            let mut at = at;
            while at < told
                && let Ok(header) = sound_batch(&content[at..])
            {
                at += header.size_in_bytes();
            }
            at == told
        };
        let between = (damaged + 1..told.min(searched)).find(|&at| is_sound(at) && reaches(at));
        return between.or(Some(told));
    }
    (damaged + 1..searched).find(|&at| is_sound(at))
}

fn sound_batch(bytes: &[u8]) -> Result<BatchHeader, String> {
    let batch = BatchRef::parse(bytes).map_err(|error| error.to_string())?;
    batch.verify_crc().map_err(|error| error.to_string())?;
    Ok(*batch.header())
}
