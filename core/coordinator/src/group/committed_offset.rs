//! A committed offset as the log keeps it.
//!
//! Commits are by far the most records, so they are written field by field and not by way of the declared
//! messages, which are what they are read with.

use std::ops::Range;

use kohort_protocol::messages::group_records::{OffsetCommitKey, OffsetCommitValue};
use kohort_protocol::{EncodeError, EncodeErrorKind, Uuid};

use crate::shard::Timestamp;

/// A committed offset and what was stored with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to consume.
    pub offset: i64,
    /// The epoch of the leader that the last record read came from, or -1.
    pub leader_epoch: i32,
    /// The client's own text; `None` when empty.
    pub metadata: Option<Box<str>>,
    /// When it was committed.
    pub commit_timestamp: Timestamp,
    /// When it expires, for clients old enough to say so.
    pub expire_timestamp: Option<Timestamp>,
    /// The id of the topic it was committed for; zero when unknown. The version of the record that
    /// has an expiry time has no topic id, so an offset never has both.
    pub topic_id: Uuid,
}

impl CommittedOffset {
    /// Writes the value. Only version 1 has room for an expiry time, and only version 4 for a topic id.
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.expire_timestamp.is_some() {
            out.extend_from_slice(&OffsetCommitValue::from(self).to_bytes(EXPIRING_VERSION)?);
            return Ok(());
        }
        out.extend_from_slice(&OFFSET_VALUE_VERSION.to_be_bytes());
        out.extend_from_slice(&self.numbers());
        let text = self.metadata.as_deref().unwrap_or_default();
        let mut length = text.len() + 1;
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(text.as_bytes());
        let mut tail = [0; 27];
        tail[..8].copy_from_slice(&self.commit_timestamp.to_be_bytes());
        if self.topic_id.is_zero() {
            // No tagged field.
            out.extend_from_slice(&tail[..9]);
        } else {
            // One: tag 0, of 16 bytes.
            tail[8..11].copy_from_slice(&[1, 0, 16]);
            tail[11..].copy_from_slice(&self.topic_id.0);
            out.extend_from_slice(&tail);
        }
        Ok(())
    }

    /// Tells whether the value of `other` is this one's but for its [`numbers`](Self::numbers).
    pub(super) fn differs_in_numbers(&self, other: &Self) -> bool {
        self.commit_timestamp == other.commit_timestamp
            && self.topic_id == other.topic_id
            && self.metadata == other.metadata
            && self.expire_timestamp.is_none()
            && other.expire_timestamp.is_none()
    }

    /// Returns what stands at [`NUMBERS`] in the value.
    pub(super) fn numbers(&self) -> [u8; NUMBERS.end - NUMBERS.start] {
        let mut numbers = [0; NUMBERS.end - NUMBERS.start];
        numbers[..8].copy_from_slice(&self.offset.to_be_bytes());
        numbers[8..].copy_from_slice(&self.leader_epoch.to_be_bytes());
        numbers
    }
}

impl From<OffsetCommitValue> for CommittedOffset {
    fn from(value: OffsetCommitValue) -> Self {
        Self {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: (!value.metadata.is_empty()).then(|| value.metadata.into_boxed_str()),
            commit_timestamp: value.commit_timestamp,
            expire_timestamp: known(value.expire_timestamp),
            topic_id: value.topic_id,
        }
    }
}

impl From<&CommittedOffset> for OffsetCommitValue {
    fn from(value: &CommittedOffset) -> Self {
        Self {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.as_deref().unwrap_or_default().to_owned(),
            commit_timestamp: value.commit_timestamp,
            expire_timestamp: value.expire_timestamp.unwrap_or(UNKNOWN_TIME),
            topic_id: value.topic_id,
        }
    }
}

/// Writes an offset's key as [`OffsetCommitKey`] does, but for the partition that ends it.
pub(super) fn put_offset_key(
    out: &mut Vec<u8>,
    group: &str,
    topic: &str,
) -> Result<(), EncodeError> {
    out.extend_from_slice(&OffsetCommitKey::VERSIONS.max.to_be_bytes());
    for name in [group, topic] {
        let length = name.len();
        let length = i16::try_from(length).map_err(|_| EncodeErrorKind::TooLong(length))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    Ok(())
}

/// Reads a number that is -1 where there is none.
pub(super) fn known<T: PartialEq + From<i8>>(value: T) -> Option<T> {
    (value != T::from(-1)).then_some(value)
}

/// Where in a value the offset and the leader's epoch stand, in the version without an expiry time.
pub(super) const NUMBERS: Range<usize> = 2..14;
pub(super) const UNKNOWN_TIME: Timestamp = -1;
const OFFSET_VALUE_VERSION: i16 = 4;
const EXPIRING_VERSION: i16 = 1;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::group::record::GroupRecord;

    fn offset(expire_timestamp: Option<Timestamp>, topic_id: Uuid) -> GroupRecord {
        GroupRecord::OffsetCommit {
            group: "g".into(),
            topic: "t".into(),
            offsets: vec![(3, committed(expire_timestamp, topic_id))],
        }
    }

    fn committed(expire_timestamp: Option<Timestamp>, topic_id: Uuid) -> CommittedOffset {
        CommittedOffset {
            offset: 42,
            leader_epoch: -1,
            metadata: Some("m".into()),
            commit_timestamp: 7,
            expire_timestamp,
            topic_id,
        }
    }

    fn bytes(hex: &str) -> Bytes {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|digits| pair(digits).unwrap()).collect()
    }

    #[test]
    fn an_offset_is_written_as_kafka_4_3_writes_it() {
        let [(key, value)] = offset(None, Uuid([0xab; 16])).encoded().unwrap().try_into().unwrap();
        assert_eq!(key, bytes("0001 0001 67 0001 74 00000003"));
        let expected = "0004 000000000000002a ffffffff 02 6d 0000000000000007
                        01 00 10 abababababababababababababababab";
        assert_eq!(value.unwrap(), bytes(&expected.replace(['\n', ' '], "")));
    }

    #[test]
    fn an_offset_written_by_hand_has_the_bytes_of_the_declared_message() {
        for (length, expiry, topic_id) in [
            (0, None, Uuid::ZERO),
            (1, None, Uuid([9; 16])),
            (126, None, Uuid([1; 16])),
            (127, None, Uuid([1; 16])),
            (4096, None, Uuid::ZERO),
            (30_000, None, Uuid([2; 16])),
            (5, Some(77), Uuid::ZERO),
        ] {
            let metadata: Option<Box<str>> = (length > 0).then(|| "x".repeat(length).into());
            // They differ in their numbers, and the last one in more than that.
            let committed = |partition: i32| CommittedOffset {
                offset: 42 + i64::from(partition),
                // There is no room for it beside an expiry time.
                leader_epoch: if expiry.is_some() { -1 } else { partition % 5 },
                metadata: metadata.clone().filter(|_| partition != i32::MAX),
                ..committed(expiry, topic_id)
            };
            let declared = |partition| {
                let (group, topic) = ("group".to_owned(), "topic".to_owned());
                let key = OffsetCommitKey { group, topic, partition };
                let version =
                    if expiry.is_some() { EXPIRING_VERSION } else { OFFSET_VALUE_VERSION };
                let value = OffsetCommitValue::from(&committed(partition)).to_bytes(version);
                (key.to_bytes().unwrap(), Some(value.unwrap()))
            };
            let partitions = [0, 7, 8, i32::MAX];
            let expected: Vec<_> = partitions.map(declared).into();
            let record = GroupRecord::OffsetCommit {
                group: "group".into(),
                topic: "topic".into(),
                offsets: partitions.map(|partition| (partition, committed(partition))).into(),
            };
            assert_eq!(record.encoded(), Ok(expected.clone()));
            for ((key, value), partition) in expected.iter().zip(partitions) {
                let decoded = GroupRecord::decode(key, value.as_ref()).unwrap();
                let GroupRecord::OffsetCommit { offsets, .. } = decoded else { panic!() };
                assert_eq!(offsets, [(partition, committed(partition))]);
            }
        }
    }

    #[test]
    fn an_offset_that_names_its_expiry_is_written_in_the_version_that_has_it() {
        let [(_, value)] = offset(Some(9), Uuid::ZERO).encoded().unwrap().try_into().unwrap();
        let expected = "0001 000000000000002a 0001 6d 0000000000000007 0000000000000009";
        assert_eq!(value.unwrap(), bytes(expected));
    }
}
