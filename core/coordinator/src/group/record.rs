//! The records a group shard keeps in `__consumer_offsets`, in Kafka's own formats.
//!
//! | key kind | record | value written | values read |
//! |---|---|---|---|
//! | 0, 1 | a committed offset | 4; 1 with an expiry time | 0–4 |
//! | 2 | a classic group | 3 | 0–4 |
//! | 3–8, 16 | a consumer group, see [`ConsumerRecord`] | 0 | 0 |
//!
//! A record without a value is a tombstone. Kinds that are not ours (share and streams groups, or a
//! newer Kafka's) become [`GroupRecord::Unknown`] and are passed over, as KIP-915 asks.

use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::messages::group_records::{
    GroupMetadataKey, GroupMetadataValue, GroupRecordKey, MemberMetadata, OffsetCommitValue,
};
use kohort_protocol::records::{BATCH_HEADER_BYTES, BatchHeader, OwnBatch, RecordIter};
use kohort_protocol::{DecodeError, EncodeError};

use super::committed_offset::{CommittedOffset, NUMBERS, UNKNOWN_TIME, known, put_offset_key};
use super::consumer::ConsumerRecord;
use super::own::own;
use super::who::Who;
use crate::shard::Timestamp;

/// One record of `__consumer_offsets`, or several of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord {
    /// A group committed offsets of one topic: a record for each.
    ///
    /// Together, because commits are by far the most records, and name all the partitions of a topic:
    /// so the group is looked up, and the names are counted on and written, once for all of them.
    OffsetCommit {
        /// The group.
        group: Arc<str>,
        /// The topic by its name.
        topic: Arc<str>,
        /// The partitions, and what was committed for each.
        offsets: Vec<(i32, CommittedOffset)>,
    },
    /// A committed offset is forgotten.
    OffsetCommitTombstone {
        /// The group.
        group: Arc<str>,
        /// The topic by its name.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
    },
    /// A classic group reached a new generation.
    GroupMetadata {
        /// The group.
        group: Arc<str>,
        /// What it looks like now.
        value: Arc<ClassicMetadata>,
    },
    /// A classic group is forgotten. Its offsets have tombstones of their own.
    GroupMetadataTombstone {
        /// The group.
        group: Arc<str>,
    },
    /// What the log keeps of a consumer group changes in one place.
    Consumer {
        /// The group.
        group: Arc<str>,
        /// The place, and what is in it now.
        record: ConsumerRecord,
    },
    /// A record of a kind we do not keep; replaying it does nothing.
    Unknown {
        /// The kind, as its key gives it.
        kind: i16,
    },
}

/// A classic group as the log keeps it: its last complete generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassicMetadata {
    /// The generation.
    pub generation: i32,
    /// What kind of members it has (`consumer`, `connect`), if it had any yet.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol its members agreed on.
    pub protocol: Option<Arc<str>>,
    /// The member that made the assignment.
    pub leader: Option<Arc<str>>,
    /// When the group reached this state, if known.
    pub state_timestamp: Option<Timestamp>,
    /// The members in the order of their ids.
    pub members: Vec<ClassicMemberMetadata>,
}

/// One member of [`ClassicMetadata`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMemberMetadata {
    /// The member's id.
    pub member_id: Arc<str>,
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The client id it joined with.
    pub client_id: Arc<str>,
    /// The address it joined from.
    pub client_host: Arc<str>,
    /// How long it may take to rejoin.
    pub rebalance_timeout_ms: i32,
    /// How long it may stay silent.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol.
    pub subscription: Bytes,
    /// What the leader assigned to it.
    pub assignment: Bytes,
}

impl ClassicMemberMetadata {
    /// Returns by what people know it.
    pub(super) fn who(&self) -> Who {
        Who {
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            instance_id: self.instance_id.clone(),
        }
    }
}

impl GroupRecord {
    /// Reads a record. `value` is `None` for a tombstone.
    pub fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Self, DecodeError> {
        Ok(match GroupRecordKey::from_bytes(key)? {
            GroupRecordKey::OffsetCommit(key) => {
                let (group, topic) = (key.group.into(), key.topic.into());
                let partition = key.partition;
                match value {
                    Some(value) => {
                        let value = OffsetCommitValue::from_bytes(value)?.into();
                        Self::OffsetCommit { group, topic, offsets: vec![(partition, value)] }
                    }
                    None => Self::OffsetCommitTombstone { group, topic, partition },
                }
            }
            GroupRecordKey::GroupMetadata(key) => {
                let group = key.group.into();
                match value {
                    Some(value) => Self::GroupMetadata {
                        group,
                        value: Arc::new(GroupMetadataValue::from_bytes(value)?.into()),
                    },
                    None => Self::GroupMetadataTombstone { group },
                }
            }
            GroupRecordKey::Unknown(kind) => Self::Unknown { kind },
            key => {
                let kind = key.kind();
                match ConsumerRecord::decode(key, value)? {
                    Some((group, record)) => Self::Consumer { group, record },
                    None => Self::Unknown { kind },
                }
            }
        })
    }

    /// Returns how many records of the log it is.
    pub fn count(&self) -> usize {
        match self {
            Self::OffsetCommit { offsets, .. } => offsets.len(),
            _ => 1,
        }
    }

    /// Appends the record, or one after another those that it is, to a batch.
    ///
    /// A committed offset is written field by field, and nothing is allocated for it; mostly it differs from
    /// the one before in numbers only, and then nothing else is written. Everything else goes through
    /// the declared messages.
    ///
    /// # Panics
    /// For [`GroupRecord::Unknown`], which no handler makes.
    pub fn encode(
        &self,
        buffers: &mut RecordBuffers,
        batch: &mut OwnBatch,
    ) -> Result<(), EncodeError> {
        let (key, value) = match self {
            Self::OffsetCommit { group, topic, offsets } => {
                let RecordBuffers { key, value } = buffers;
                key.clear();
                put_offset_key(key, group, topic)?;
                let names = key.len();
                let mut last: Option<&CommittedOffset> = None;
                for (partition, offset) in offsets {
                    let partition = partition.to_be_bytes();
                    if last.is_some_and(|last| last.differs_in_numbers(offset)) {
                        let (key, value) = batch.repeat()?;
                        key[names..].copy_from_slice(&partition);
                        value[NUMBERS].copy_from_slice(&offset.numbers());
                    } else {
                        key.truncate(names);
                        key.extend_from_slice(&partition);
                        value.clear();
                        offset.put(value)?;
                        batch.append(key, Some(value))?;
                    }
                    last = Some(offset);
                }
                return Ok(());
            }
            Self::OffsetCommitTombstone { group, topic, partition } => {
                buffers.key.clear();
                put_offset_key(&mut buffers.key, group, topic)?;
                buffers.key.extend_from_slice(&partition.to_be_bytes());
                return batch.append(&buffers.key, None);
            }
            Self::GroupMetadata { group, value } => (
                group_key(group)?,
                Some(GroupMetadataValue::from(&**value).to_bytes(GROUP_METADATA_VERSION)?),
            ),
            Self::GroupMetadataTombstone { group } => (group_key(group)?, None),
            Self::Consumer { group, record } => record.encode(group)?,
            Self::Unknown { kind } => unreachable!("records of kind {kind} are only ever read"),
        };
        batch.append(&key, value.as_deref())
    }

    /// Returns what [`encode`](Self::encode) writes: each record's key and value.
    pub fn encoded(&self) -> Result<Vec<(Bytes, Option<Bytes>)>, EncodeError> {
        let mut batch = OwnBatch::new();
        self.encode(&mut RecordBuffers::default(), &mut batch)?;
        let batch = batch.build(0);
        let header = BatchHeader::parse(&batch).expect("the batch was just built");
        let records = RecordIter::new(&header, &batch[BATCH_HEADER_BYTES..]).map(|record| {
            let record = record.expect("the batch was just built");
            let key = record.key.unwrap_or_default();
            (Bytes::copy_from_slice(key), record.value.map(Bytes::copy_from_slice))
        });
        Ok(records.collect())
    }
}

/// What records are written into, to be used again.
#[derive(Debug, Default)]
pub struct RecordBuffers {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl ClassicMetadata {
    /// Returns the member with that id.
    pub fn member(&self, member_id: &str) -> Option<&ClassicMemberMetadata> {
        let found = self.members.binary_search_by(|member| (*member.member_id).cmp(member_id));
        found.ok().map(|index| &self.members[index])
    }
}

impl From<GroupMetadataValue> for ClassicMetadata {
    fn from(value: GroupMetadataValue) -> Self {
        let mut members: Vec<_> =
            value.members.into_iter().map(ClassicMemberMetadata::from).collect();
        members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
        members.dedup_by(|one, other| one.member_id == other.member_id);
        Self {
            generation: value.generation,
            protocol_type: Some(value.protocol_type).filter(|name| !name.is_empty()).map(Arc::from),
            protocol: value.protocol.map(Arc::from),
            leader: value.leader.map(Arc::from),
            state_timestamp: known(value.current_state_timestamp),
            members,
        }
    }
}

impl From<&ClassicMetadata> for GroupMetadataValue {
    fn from(value: &ClassicMetadata) -> Self {
        Self {
            protocol_type: value.protocol_type.as_deref().unwrap_or_default().to_owned(),
            generation: value.generation,
            protocol: value.protocol.as_deref().map(str::to_owned),
            leader: value.leader.as_deref().map(str::to_owned),
            current_state_timestamp: value.state_timestamp.unwrap_or(UNKNOWN_TIME),
            members: value.members.iter().map(MemberMetadata::from).collect(),
        }
    }
}

impl From<MemberMetadata> for ClassicMemberMetadata {
    fn from(member: MemberMetadata) -> Self {
        Self {
            member_id: member.member_id.into(),
            instance_id: member.group_instance_id.map(Arc::from),
            client_id: member.client_id.into(),
            client_host: member.client_host.into(),
            // Version 0 had no rebalance timeout.
            rebalance_timeout_ms: known(member.rebalance_timeout).unwrap_or(member.session_timeout),
            session_timeout_ms: member.session_timeout,
            subscription: own(&member.subscription),
            assignment: own(&member.assignment),
        }
    }
}

impl From<&ClassicMemberMetadata> for MemberMetadata {
    fn from(member: &ClassicMemberMetadata) -> Self {
        Self {
            member_id: member.member_id.to_string(),
            group_instance_id: member.instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.subscription.clone(),
            assignment: member.assignment.clone(),
        }
    }
}

fn group_key(group: &str) -> Result<Bytes, EncodeError> {
    GroupMetadataKey { group: group.to_owned() }.to_bytes()
}

/// The longest name that fits into these records, which count the bytes of a string with a signed
/// 16-bit number. It leaves room for a dash and a UUID, so that a client id can become a member id.
pub(crate) const LONGEST_NAME: usize = i16::MAX as usize - 37;

const GROUP_METADATA_VERSION: i16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Bytes {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|digits| pair(digits).unwrap()).collect()
    }

    #[test]
    fn a_name_too_long_for_a_record_is_refused() {
        let record = GroupRecord::OffsetCommitTombstone {
            group: "g".repeat(usize::from(u16::MAX)).into(),
            topic: "t".into(),
            partition: 0,
        };
        assert!(record.encoded().is_err());
    }

    #[test]
    fn a_group_is_written_as_kafka_4_3_writes_it() {
        let record = GroupRecord::GroupMetadata {
            group: "g".into(),
            value: Arc::new(ClassicMetadata {
                generation: 2,
                protocol_type: Some("consumer".into()),
                protocol: Some("range".into()),
                leader: Some("a".into()),
                state_timestamp: Some(7),
                members: vec![ClassicMemberMetadata {
                    member_id: "a".into(),
                    instance_id: None,
                    client_id: "c".into(),
                    client_host: "h".into(),
                    rebalance_timeout_ms: 1,
                    session_timeout_ms: 2,
                    subscription: Bytes::from_static(b"S"),
                    assignment: Bytes::from_static(b"A"),
                }],
            }),
        };
        let [(key, value)] = record.encoded().unwrap().try_into().unwrap();
        assert_eq!(key, bytes("0002 0001 67"));
        let expected = [
            "0003 0008 636f6e73756d6572 00000002 0005 72616e6765 0001 61 0000000000000007",
            "00000001 0001 61 ffff 0001 63 0001 68 00000001 00000002 00000001 53 00000001 41",
        ];
        assert_eq!(value.clone().unwrap(), bytes(&expected.concat()));
        assert_eq!(GroupRecord::decode(&key, value.as_ref()), Ok(record));
    }

    #[test]
    fn records_of_unknown_kinds_are_told_apart_and_carry_nothing() {
        let key = bytes("0063 ff");
        assert_eq!(
            GroupRecord::decode(&key, Some(&bytes("00"))),
            Ok(GroupRecord::Unknown { kind: 99 })
        );
    }

    #[test]
    fn a_record_without_a_value_is_a_tombstone() {
        for record in [
            GroupRecord::GroupMetadataTombstone { group: "g".into() },
            GroupRecord::OffsetCommitTombstone {
                group: "g".into(),
                topic: "t".into(),
                partition: 0,
            },
        ] {
            let [(key, value)] = record.encoded().unwrap().try_into().unwrap();
            assert_eq!(value, None);
            assert_eq!(GroupRecord::decode(&key, None), Ok(record));
        }
    }

    #[test]
    fn a_member_without_rebalance_timeout_has_its_session_timeout() {
        let member = ClassicMemberMetadata::from(MemberMetadata {
            session_timeout: 10,
            ..MemberMetadata::default()
        });
        assert_eq!(member.rebalance_timeout_ms, 10);
    }
}
