//! What one commit writes: queued entries as the payload of one frame, and what follows once that is
//! durable.
//!
//! A frame holds a partition's batches next to each other, so what a reader asks for is one stretch of
//! the frame's memory and is handed out without a copy.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::buffers::PooledBuf;
use crate::partition_log::PartitionLog;
use crate::partition_state::Chunk;
use crate::queue::{Done, Pending, PendingEntry};
use crate::shared::Hot;
use crate::wal::entry::{APPEND_PREFIX, ENTRY_HEADER, append_prefix};
use crate::wal::frame::FRAME_HEADER;

/// Frames up to this size are built in one buffer that is used again, and their batches are copied
/// out for the readers: a small batch must not keep a whole block of memory alive.
pub(crate) const SMALL_FRAME: usize = 64 << 10;

/// A frame ready to be written, and what is to be done once it is durable.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) buffer: PooledBuf,
    pub(crate) small: bool,
    pub(crate) entries: u32,
    pub(crate) bytes: usize,
    pub(crate) groups: Vec<Group>,
    pub(crate) done: Dones,
}

pub(crate) struct Dones(pub(crate) Vec<Done>);

impl std::fmt::Debug for Dones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} callbacks", self.0.len())
    }
}

/// A partition's batches in a frame.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) partition: Arc<PartitionLog>,
    pub(crate) at: Range<usize>,
    pub(crate) first_offset: i64,
    pub(crate) next_offset: i64,
}

impl Frame {
    /// Begins a frame in `buffer`.
    pub(crate) fn new(mut buffer: PooledBuf, small: bool) -> Frame {
        buffer.clear();
        buffer.extend(&[0; FRAME_HEADER]);
        let (groups, done) = (Vec::new(), Dones(Vec::new()));
        Frame { buffer, small, entries: 0, bytes: 0, groups, done }
    }

    /// Adds all of `pending`, leaving it empty.
    pub(crate) fn fill(&mut self, pending: &mut Vec<Pending<PartitionLog>>) {
        self.bytes = pending.iter().map(|p| p.what.bytes()).sum();
        sort_within_runs(pending);
        let mut at = 0;
        while at < pending.len() {
            at += match &pending[at].what {
                PendingEntry::Append { .. } => self.add_group(&pending[at..]),
                PendingEntry::Control(entry) => {
                    self.buffer.extend(entry);
                    self.entries += 1;
                    1
                }
                PendingEntry::Barrier => 1,
            };
        }
        self.done.0.reserve_exact(pending.len());
        self.done.0.extend(pending.drain(..).filter_map(|p| p.done));
    }

    /// Adds the appends of one partition that stand first in `pending`; returns how many they are.
    fn add_group(&mut self, pending: &[Pending<PartitionLog>]) -> usize {
        let mut count = 0;
        let mut length = 0;
        let mut group: Option<Group> = None;
        for entry in pending {
            let PendingEntry::Append { partition, body, first_offset, next_offset, .. } =
                &entry.what
            else {
                break;
            };
            match &mut group {
                None => {
                    group = Some(Group {
                        partition: Arc::clone(partition),
                        at: 0..0,
                        first_offset: *first_offset,
                        next_offset: *next_offset,
                    });
                }
                Some(group) if group.partition.uid == partition.uid => {
                    assert_eq!(group.next_offset, *first_offset, "offsets are queued in order");
                    group.next_offset = *next_offset;
                }
                Some(_) => break,
            }
            count += 1;
            length += entry.what.bytes() - body.len() + body.len();
        }
        let mut group = group.expect("the first entry is an append");
        let key = group.partition.key();
        self.buffer.extend(&append_prefix(key, group.first_offset, group.next_offset, length));
        let from = self.buffer.len();
        for entry in &pending[..count] {
            if let PendingEntry::Append { head, body, .. } = &entry.what {
                self.buffer.extend(head);
                self.buffer.extend(body);
            }
        }
        group.at = from..self.buffer.len();
        assert_eq!(group.at.len(), length);
        self.groups.push(group);
        self.entries += 1;
        count
    }
}

impl Group {
    /// Shows the readers the group's batches, which are durable in this file of the log.
    pub(crate) fn commit(&self, bytes: Bytes, wal_file: u64) -> Option<Hot<PartitionLog>> {
        let Group { first_offset, next_offset, .. } = *self;
        self.partition.commit(Chunk { first_offset, next_offset, bytes, wal_file })
    }
}

/// Returns the most that `pending` takes as a frame's payload: less where batches of a partition share an
/// entry.
pub(crate) fn payload_max(pending: &Pending<PartitionLog>) -> usize {
    match &pending.what {
        PendingEntry::Append { .. } => pending.what.bytes() + ENTRY_HEADER + APPEND_PREFIX,
        PendingEntry::Control(entry) => entry.len(),
        PendingEntry::Barrier => 0,
    }
}

/// Returns how many of the first entries fit a payload of `bytes`.
pub(crate) fn prefix_within(pending: &[Pending<PartitionLog>], bytes: usize) -> usize {
    let mut total = 0;
    let fitting = pending.iter().take_while(|entry| {
        total += payload_max(entry);
        total <= bytes
    });
    fitting.count()
}

/// Brings appends of the same partition next to each other, keeping their order, and never moving one
/// across a control entry: a partition is created before its first append and deleted after its last.
fn sort_within_runs(pending: &mut [Pending<PartitionLog>]) {
    let uid = |entry: &Pending<PartitionLog>| match &entry.what {
        PendingEntry::Append { partition, .. } => Some(partition.uid),
        PendingEntry::Control(_) | PendingEntry::Barrier => None,
    };
    for run in pending.chunk_by_mut(|a, b| uid(a).is_some() == uid(b).is_some()) {
        if run.len() > 1 && uid(&run[0]).is_some() {
            run.sort_by_key(|entry| uid(entry));
        }
    }
}
