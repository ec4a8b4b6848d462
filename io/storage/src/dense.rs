//! Whether offsets are missing in a segment, told by its batches themselves.
//!
//! How many offsets a batch takes is covered by its checksum, its first offset is not. If the batches of a
//! segment take all offsets there are from its first to its end, none is missing, and each batch begins
//! where the one before ends, whatever its header says.
//!
//! To find out, all of the segment is read. So nobody asks unless a header does not follow from the one
//! before. In a segment as it was first written that is damage, or what repair took out, or what was
//! deleted before it was written there; that it is not damage is remembered.

use std::ops::Range;

use crate::open_segment::OpenSegment;
use crate::partition_log::PartitionLog;
use crate::segment::Density;
use crate::segment_scan::Located;

impl PartitionLog {
    /// Finds the batch that is `wanted`, by its position and the offsets it must have, in a segment of
    /// which a header does not follow from the one before. Nothing if offsets may be missing.
    pub(crate) fn locate(
        &self,
        open: &mut OpenSegment,
        wanted: impl Fn(u32, Range<i64>) -> bool,
    ) -> Option<Located> {
        if !open.is_strict() {
            return None;
        }
        let located = open.locate(wanted);
        let density = if located.is_some() { Density::Whole } else { Density::Gaps };
        open.segment.density = density;
        let mut state = self.state.lock();
        let known = state.segments.get_mut(&open.base);
        // Gaps stay when more is added. What is added may leave offsets out where none were missing.
        let same = known.filter(|known| {
            known.name(open.base) == open.name()
                && (density == Density::Gaps || known.bytes == open.segment.bytes)
        });
        if let Some(known) = same {
            known.density = density;
        }
        located
    }
}

#[cfg(test)]
mod tests {
    use super::Density;
    use crate::{PartitionConfig, SimulatedDisk, fixture};

    /// Records are deleted before they are written to the segment, so offsets are missing in it. A reader
    /// opens it, more is added to it, and only then the reader finds out.
    #[test]
    fn gaps_are_remembered_of_a_segment_that_grew_meanwhile() {
        let dir = fixture::open(&SimulatedDisk::new(1));
        let log = fixture::partition(&dir, 0, PartitionConfig::default());
        let append = || {
            fixture::append(&log);
            dir.step_commit();
        };
        append();
        dir.step_flush().unwrap();
        append();
        log.advance_log_start(2, drop).unwrap();
        append();
        // It writes segments before those below the log's start leave the list.
        dir.checkpoint().unwrap();
        let segment = || log.state.lock().segments[&0];
        let mut open = log.open_segment(0, segment()).unwrap().unwrap();
        append();
        dir.step_flush().unwrap();
        assert!(segment().bytes > open.segment.bytes);
        assert!(log.locate(&mut open, |_, offsets| offsets.contains(&1)).is_none());
        assert_eq!(segment().density, Density::Gaps);
    }
}
