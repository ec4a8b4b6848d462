//! The records of the metadata log, in the formats Kafka's own metadata log has.
//!
//! Each is framed as Kafka frames them: frame version 1, the record's type and version as unsigned
//! varints, then the record in the flexible style. One type is ours: the cluster's id, which Kafka
//! keeps in a file of its own. Records of other types and fields this broker has no use for are
//! passed over, so that the log can grow.

use bytes::Bytes;
use kohort_protocol::{DecodeError, DecodeErrorKind, EncodeError, Reader, Uuid, Writer};

/// One change of the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetadataRecord {
    /// A topic exists.
    Topic { name: String, id: Uuid },
    /// A partition of a topic exists, led by this broker.
    Partition { topic_id: Uuid, index: i32, leader: i32, leader_epoch: i32 },
    /// A property of a resource has a value, or with `None` no longer has one.
    Config { resource: Resource, name: String, value: Option<String> },
    /// A topic and all it had is gone.
    RemoveTopic { id: Uuid },
    /// Producer ids below this one have been handed out.
    ProducerIds { broker: i32, next: i64 },
    /// The cluster has this id.
    ClusterId(Uuid),
}

/// What a property belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    /// What kind of thing it is.
    pub(crate) kind: ResourceKind,
    /// Its name; empty for all brokers.
    pub(crate) name: String,
}

/// The kinds of things that have properties here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub(crate) enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// A broker.
    Broker = 4,
}

impl ResourceKind {
    /// Returns the kind of that number.
    pub(crate) fn from_i8(number: i8) -> Option<Self> {
        [Self::Topic, Self::Broker].into_iter().find(|kind| *kind as i8 == number)
    }
}

const FRAME_VERSION: u32 = 1;
const TOPIC: u32 = 2;
const PARTITION: u32 = 3;
const CONFIG: u32 = 4;
const REMOVE_TOPIC: u32 = 9;
const PRODUCER_IDS: u32 = 15;
/// Ours; far above Kafka's numbers.
const CLUSTER_ID: u32 = 20_000;

impl MetadataRecord {
    /// Writes the record as the value of a log record.
    pub(crate) fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut w = Writer::new();
        w.set_flexible(true);
        w.put_uvarint(FRAME_VERSION);
        w.put_uvarint(self.type_number());
        w.put_uvarint(0);
        match self {
            Self::Topic { name, id } => {
                w.put_string(Some(name))?;
                w.put_slice(&id.0);
            }
            Self::Partition { topic_id, index, leader, leader_epoch } => {
                w.put_i32(*index);
                w.put_slice(&topic_id.0);
                for replicas in [&[*leader][..], &[*leader], &[], &[]] {
                    w.put_array_length(Some(replicas.len()))?;
                    for replica in replicas {
                        w.put_i32(*replica);
                    }
                }
                w.put_i32(*leader);
                w.put_i32(*leader_epoch);
                w.put_i32(0);
            }
            Self::Config { resource, name, value } => {
                w.put_i8(resource.kind as i8);
                w.put_string(Some(&resource.name))?;
                w.put_string(Some(name))?;
                w.put_string(value.as_deref())?;
            }
            Self::RemoveTopic { id } | Self::ClusterId(id) => w.put_slice(&id.0),
            Self::ProducerIds { broker, next } => {
                w.put_i32(*broker);
                w.put_i64(-1);
                w.put_i64(*next);
            }
        }
        w.put_uvarint(0);
        Ok(w.into_bytes())
    }

    /// Reads a record; `None` is one of a type this broker does not use.
    pub(crate) fn decode(value: &Bytes) -> Result<Option<Self>, DecodeError> {
        let mut r = Reader::new(value);
        r.set_flexible(true);
        let frame_version = r.read_uvarint()?;
        if frame_version != FRAME_VERSION {
            return Err(DecodeErrorKind::UnsupportedVersion(frame_version as i16).into());
        }
        let number = r.read_uvarint()?;
        let _version = r.read_uvarint()?;
        Ok(Some(match number {
            TOPIC => Self::Topic { name: text(&mut r)?, id: uuid(&mut r)? },
            PARTITION => {
                let index = r.read_i32()?;
                let topic_id = uuid(&mut r)?;
                for _ in 0..4 {
                    for _ in 0..r.read_array_length()?.unwrap_or(0) {
                        r.read_i32()?;
                    }
                }
                let leader = r.read_i32()?;
                Self::Partition { topic_id, index, leader, leader_epoch: r.read_i32()? }
            }
            CONFIG => {
                let Some(kind) = ResourceKind::from_i8(r.read_i8()?) else { return Ok(None) };
                let resource = Resource { kind, name: text(&mut r)? };
                Self::Config { resource, name: text(&mut r)?, value: r.read_string()? }
            }
            REMOVE_TOPIC => Self::RemoveTopic { id: uuid(&mut r)? },
            PRODUCER_IDS => {
                let broker = r.read_i32()?;
                r.read_i64()?;
                Self::ProducerIds { broker, next: r.read_i64()? }
            }
            CLUSTER_ID => Self::ClusterId(uuid(&mut r)?),
            _ => return Ok(None),
        }))
    }

    fn type_number(&self) -> u32 {
        match self {
            Self::Topic { .. } => TOPIC,
            Self::Partition { .. } => PARTITION,
            Self::Config { .. } => CONFIG,
            Self::RemoveTopic { .. } => REMOVE_TOPIC,
            Self::ProducerIds { .. } => PRODUCER_IDS,
            Self::ClusterId(_) => CLUSTER_ID,
        }
    }
}

fn text(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    r.read_string()?.ok_or_else(|| DecodeErrorKind::UnexpectedNull.into())
}

fn uuid(r: &mut Reader<'_>) -> Result<Uuid, DecodeError> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&r.take(16)?);
    Ok(Uuid(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_comes_back_as_it_was_written() {
        let id = Uuid([7; 16]);
        let resource = Resource { kind: ResourceKind::Topic, name: "t".to_owned() };
        for record in [
            MetadataRecord::Topic { name: "flights".to_owned(), id },
            MetadataRecord::Partition { topic_id: id, index: 3, leader: 1, leader_epoch: 2 },
            MetadataRecord::Config {
                resource: resource.clone(),
                name: "retention.ms".to_owned(),
                value: Some("1".to_owned()),
            },
            MetadataRecord::Config { resource, name: "retention.ms".to_owned(), value: None },
            MetadataRecord::RemoveTopic { id },
            MetadataRecord::ProducerIds { broker: 1, next: 2000 },
            MetadataRecord::ClusterId(id),
        ] {
            let bytes = record.encode().unwrap();
            assert_eq!(MetadataRecord::decode(&bytes), Ok(Some(record)));
        }
    }

    #[test]
    fn an_unknown_type_is_passed_over_and_a_torn_record_is_an_error() {
        assert_eq!(MetadataRecord::decode(&Bytes::from_static(&[1, 99, 0, 0])), Ok(None));
        assert!(MetadataRecord::decode(&Bytes::from_static(&[1, 9, 0, 0])).is_err());
        assert!(MetadataRecord::decode(&Bytes::new()).is_err());
    }
}
