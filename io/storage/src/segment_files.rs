//! The life of a partition's segment files: which exist, which are about to go.
//!
//! ```text
//! written ──► on the partition's list ──► retired ──► a durable checkpoint ──► removed
//!                 named by checkpoints                does not name it
//! ```
//!
//! The checkpoint is the one truth about which segments there are, and is replaced as a whole. So a file
//! is written under a name nobody has used, and counts from the first checkpoint that names it; and a
//! file leaves the list in memory, and is removed after the first that does not. In between, readers that
//! opened it read on. A crash at any moment leaves files that no checkpoint names: they are removed
//! when the partition is next written to.
//!
//! Two rules keep writers out of each other's way: only who holds the background's writing lock changes
//! the last segment or adds one behind it; and who makes files of other names calls
//! [`tidy`](PartitionLog::tidy) first.

use std::io;
use std::sync::atomic::Ordering;

use crate::file_cache::{FileKey, FileKind};
use crate::partition_log::PartitionLog;
use crate::partition_state::PartitionState;
use crate::segment::{SegmentName, index_path, records_path};

impl PartitionState {
    /// Takes a segment off the list. Its files are removed once a checkpoint without it is durable;
    /// [`SharedBy::want_checkpoint`](crate::shared::SharedBy::want_checkpoint) sees to that.
    pub(crate) fn retire(&mut self, base_offset: i64) {
        if let Some(meta) = self.segments.remove(&base_offset) {
            let name = meta.name(base_offset);
            self.read_hints.retain(|(segment, _, _)| *segment != name);
            self.retired.push(name);
        }
    }

    /// Tells whether a segment is on the list.
    pub(crate) fn has_segment(&self, name: SegmentName) -> bool {
        let listed = self.segments.get(&name.base_offset);
        listed.is_some_and(|meta| meta.generation == name.generation)
    }

    /// Returns the offset after the last that the segment at `base_offset` may hold.
    pub(crate) fn segment_end(&self, base_offset: i64) -> i64 {
        let next = self.segments.range(base_offset + 1..).next();
        next.map_or(self.flushed, |(&next, _)| next)
    }
}

impl PartitionLog {
    /// Removes files of segments that are neither on the list nor retired: what a crash left of work
    /// that no checkpoint speaks of. Only the first call after a restart looks at the folder; it must
    /// come before any file of a new name is made.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        if !self.untidy.load(Ordering::Acquire) {
            return Ok(());
        }
        // Whoever comes while another looks must not begin to write before it is done.
        let _only = self.shared.tidying.lock();
        if !self.untidy.load(Ordering::Acquire) {
            return Ok(());
        }
        let dir = self.dir();
        let disk = &self.shared.disk;
        let files = match disk.list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        for file in files {
            let Some((segment, _)) = SegmentName::of_file(&file) else { continue };
            let known = {
                let state = self.state.lock();
                state.has_segment(segment) || state.retired.contains(&segment)
            };
            if !known {
                remove(disk.remove_file(&dir.join(&file)))?;
                tracing::debug!(partition = %self.id(), file, "removed what no checkpoint names");
            }
        }
        self.untidy.store(false, Ordering::Release);
        Ok(())
    }

    /// Takes the segments that lie below the log's start off the list; returns whether there were any.
    /// The caller holds the background's writing lock.
    pub(crate) fn trim(&self) -> bool {
        let mut state = self.state.lock();
        if state.deleted {
            return false;
        }
        let log_start = self.log_start_offset();
        let before = state.retired.len();
        while let Some((&base, _)) = state.segments.first_key_value()
            && state.segment_end(base) <= log_start
        {
            state.retire(base);
        }
        state.retired.len() > before
    }

    /// Returns the segments that are no longer on the list, and whose files are still there.
    pub(crate) fn retired(&self) -> Vec<SegmentName> {
        self.state.lock().retired.clone()
    }

    /// Removes the files of retired segments that no durable checkpoint names any more.
    pub(crate) fn remove_retired(&self, segments: &[SegmentName]) -> io::Result<()> {
        let dir = self.dir();
        let shared = &self.shared;
        for &segment in segments {
            for (kind, path) in [
                (FileKind::Records, records_path(&dir, segment)),
                (FileKind::Index, index_path(&dir, segment)),
            ] {
                shared.files.forget(FileKey { partition: self.uid, segment, kind });
                remove(shared.disk.remove_file(&path))?;
            }
            self.state.lock().retired.retain(|retired| *retired != segment);
        }
        Ok(())
    }
}

/// A file that is not there need not be removed.
fn remove(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
