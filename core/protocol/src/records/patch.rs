//! Changing a batch in place, as brokers and retrying producers do.
//!
//! All functions take the bytes of one whole batch (or of anything starting with one, where they
//! leave the CRC alone) that parsed as a [`BatchRef`](super::BatchRef).

use super::batch_header::{Attributes, TimestampType, array};
use super::{BATCH_HEADER_BYTES, field};

/// Sets the base offset. The CRC does not cover it.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) {
    batch[field::BASE_OFFSET].copy_from_slice(&base_offset.to_be_bytes());
}

/// Sets the partition leader epoch. The CRC does not cover it.
pub fn set_leader_epoch(batch: &mut [u8], leader_epoch: i32) {
    batch[field::LEADER_EPOCH].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Sets the greatest timestamp and its type, and the CRC anew.
///
/// With [`TimestampType::LogAppendTime`] every record of the batch then has this timestamp.
pub fn set_max_timestamp(batch: &mut [u8], timestamp_type: TimestampType, max_timestamp: i64) {
    let attributes = Attributes(i16::from_be_bytes(array(&batch[field::ATTRIBUTES])))
        .with_timestamp_type(timestamp_type);
    batch[field::ATTRIBUTES].copy_from_slice(&attributes.0.to_be_bytes());
    batch[field::MAX_TIMESTAMP].copy_from_slice(&max_timestamp.to_be_bytes());
    set_crc(batch);
}

/// Sets the producer's id, epoch and first sequence number, and the CRC anew.
pub fn set_producer(batch: &mut [u8], producer_id: i64, producer_epoch: i16, base_sequence: i32) {
    batch[field::PRODUCER_ID].copy_from_slice(&producer_id.to_be_bytes());
    batch[field::PRODUCER_EPOCH].copy_from_slice(&producer_epoch.to_be_bytes());
    batch[field::BASE_SEQUENCE].copy_from_slice(&base_sequence.to_be_bytes());
    set_crc(batch);
}

pub(super) fn set_crc(batch: &mut [u8]) {
    set_crc_with(batch, crc32c::crc32c);
}

/// Sets the CRC to what `sum` says of the bytes it covers.
pub(super) fn set_crc_with(batch: &mut [u8], sum: impl FnOnce(&[u8]) -> u32) {
    let length = i32::from_be_bytes(array(&batch[field::BATCH_LENGTH]));
    assert_eq!(
        usize::try_from(length).ok().map(|length| length + super::LOG_OVERHEAD_BYTES),
        Some(batch.len()),
        "the slice must be exactly one batch: the CRC covers it to its end"
    );
    assert!(batch.len() >= BATCH_HEADER_BYTES);
    let crc = sum(&batch[field::CRC_START..]);
    batch[field::CRC].copy_from_slice(&crc.to_be_bytes());
}
