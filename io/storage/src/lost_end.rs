//! Records that are missing at the end of a partition's segments: noticed, and made up for.
//!
//! Below the flushed offset every record is in a segment, and the batch at the end of the last one is
//! the one before that offset: neither compaction nor retention takes it away alone. So a log whose
//! segments end earlier has lost something, and nobody could read on to where its offsets are now.
//! Mending puts a batch without records there, as compaction does where it leaves a gap: readers get past
//! it, and no offset is given twice.

use kohort_protocol::compression::Compressor;
use kohort_protocol::records::{
    BatchBuilder, BatchHeader, BatchOptions, NewRecord, empty_batch_in_place_of,
};

use bytes::Bytes;

use crate::partition_state::Restored;

/// Returns from where to where offsets are missing at the end of segments that end at `found`.
pub(crate) fn lost_end(restored: &Restored, found: Option<i64>) -> Option<(i64, i64)> {
    let end = found.unwrap_or(i64::MIN).max(restored.log_start);
    (end < restored.state.flushed).then_some((end, restored.state.flushed))
}

/// Says so.
pub(crate) fn describe((from, to): (i64, i64)) -> String {
    format!("the records at offsets {from} to {} are missing", to - 1)
}

/// Makes a batch without records at `offset`.
pub(crate) fn batch_in_place_of(offset: i64, leader_epoch: i32) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.append(&NewRecord::default()).expect("a small record fits");
    let options = BatchOptions {
        base_offset: offset,
        partition_leader_epoch: leader_epoch,
        ..BatchOptions::default()
    };
    let batch = builder.build(&options, &mut Compressor::none());
    let header = BatchHeader::parse(&batch).expect("it was built just now");
    empty_batch_in_place_of(&BatchHeader { max_timestamp: -1, ..header })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::records::BatchRef;

    #[test]
    fn batch_in_place_of_lost_ones_is_sound_and_ends_where_they_did() {
        let bytes = batch_in_place_of(41, 3);
        let batch = BatchRef::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        let header = batch.header();
        assert_eq!((header.base_offset, header.next_offset()), (41, 42));
        assert_eq!((header.record_count, header.partition_leader_epoch), (0, 3));
    }

    #[test]
    fn end_is_missing_where_segments_end_before_the_flushed_offset() {
        let mut restored = Restored { log_start: 5, ..Restored::default() };
        restored.state.flushed = 9;
        assert_eq!(lost_end(&restored, Some(9)), None);
        assert_eq!(lost_end(&restored, Some(7)), Some((7, 9)));
        assert_eq!(lost_end(&restored, None), Some((5, 9)));
        restored.log_start = 9;
        assert_eq!(lost_end(&restored, None), None, "retention took all of it");
    }
}
