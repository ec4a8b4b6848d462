//! What a partition's log is at one moment: what changes under its lock, and what a restart finds of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kohort_log::Timestamp;
use kohort_log::epoch_cache::EpochCache;
use kohort_log::producer_state::ProducerStates;
use kohort_protocol::records::BatchHeader;

use crate::broken::Broken;
use crate::segment::{SegmentMeta, SegmentName};

/// What changes under the partition's lock.
#[derive(Debug, Default)]
pub(crate) struct PartitionState {
    pub(crate) next_offset: i64,
    /// Everything below is in segments.
    pub(crate) flushed: i64,
    pub(crate) producers: ProducerStates,
    pub(crate) epochs: EpochCache,
    pub(crate) tail: VecDeque<Chunk>,
    pub(crate) segments: BTreeMap<i64, SegmentMeta>,
    /// Segments that are not on the list any more, and whose files are still there.
    pub(crate) retired: Vec<SegmentName>,
    /// Up to where compaction came.
    pub(crate) cleaned_to: i64,
    /// Whether compaction met damage in it, or panicked, and lets it be until the next start.
    pub(crate) uncleanable: bool,
    /// Why it takes no appends, if its files are not what they should be.
    pub(crate) broken: Option<Arc<Broken>>,
    /// Whether the partition's folder exists on disk.
    pub(crate) has_dir: bool,
    /// Whether it was made since the last checkpoint, which has to make it durable.
    pub(crate) new_dir: bool,
    /// Places where sequential readers go on: (segment, offset, position).
    pub(crate) read_hints: VecDeque<(SegmentName, i64, u32)>,
    pub(crate) deleted: bool,
}

/// Committed batches in memory: what one commit brought for the partition.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) first_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) bytes: Bytes,
    /// The number of the log's file that holds them.
    pub(crate) wal_file: u64,
}

/// What recovery knows of a partition.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) log_start: i64,
    pub(crate) state: PartitionState,
    /// Whether there may be files that no checkpoint names.
    pub(crate) untidy: bool,
}

impl PartitionState {
    /// Takes note of a batch with its final offsets.
    pub(crate) fn note_batch(&mut self, header: &BatchHeader, now: Timestamp) {
        if header.has_producer_id() {
            self.producers.update(header, now);
        }
        self.epochs.assign(header.partition_leader_epoch, header.base_offset);
    }
}
