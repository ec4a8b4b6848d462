//! The records of the metadata log, in the formats Kafka's own metadata log has.
//!
//! Each is framed as Kafka frames them: frame version 1, the record's type and version as unsigned
//! varints, then the record in the flexible style. One type is ours: the cluster's id, which Kafka
//! keeps in a file of its own. Records of other types and fields this broker has no use for are
//! passed over, so that the log can grow.

use super::scram_credential::{ScramCredential, ScramMechanism};
use crate::quota::rules::QuotaEntity;
use bytes::Bytes;
use kohort_protocol::{DecodeError, DecodeErrorKind, EncodeError, Reader, Uuid, Writer};

/// One change of the cluster's metadata.
#[derive(Debug, Clone, PartialEq)]
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
    /// A quota of an entity has a value, or with `None` no longer has one.
    ClientQuota { entity: QuotaEntity, key: String, value: Option<f64> },
    /// A user can be verified by this mechanism, or with `None` no longer can.
    Scram { user: String, mechanism: ScramMechanism, credential: Option<ScramCredential> },
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
    /// A group; it need not exist.
    Group = 32,
}

impl ResourceKind {
    /// Returns the kind of that number.
    pub(crate) fn from_i8(number: i8) -> Option<Self> {
        [Self::Topic, Self::Broker, Self::Group].into_iter().find(|kind| *kind as i8 == number)
    }
}

const FRAME_VERSION: u32 = 1;
const TOPIC: u32 = 2;
const PARTITION: u32 = 3;
const CONFIG: u32 = 4;
const REMOVE_TOPIC: u32 = 9;
const SCRAM: u32 = 11;
const CLIENT_QUOTA: u32 = 14;
const PRODUCER_IDS: u32 = 15;
const REMOVE_SCRAM: u32 = 22;
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
            Self::ClientQuota { entity, key, value } => {
                w.put_array_length(Some(entity.parts().count()))?;
                for (kind, name) in entity.parts() {
                    w.put_string(Some(kind))?;
                    w.put_string(name)?;
                    w.put_uvarint(0);
                }
                w.put_string(Some(key))?;
                w.put_f64(value.unwrap_or_default());
                w.put_bool(value.is_none());
            }
            Self::Scram { user, mechanism, credential } => {
                w.put_string(Some(user))?;
                w.put_i8(*mechanism as i8);
                if let Some(credential) = credential {
                    for bytes in [&credential.salt, &credential.stored_key, &credential.server_key]
                    {
                        w.put_bytes(Some(bytes))?;
                    }
                    w.put_i32(credential.iterations);
                }
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
            CLIENT_QUOTA => {
                let mut entity = QuotaEntity::default();
                for _ in 0..r.read_array_length()?.unwrap_or(0) {
                    let (kind, name) = (text(&mut r)?, r.read_string()?);
                    r.skip_tagged_fields()?;
                    // Kinds we do not know name entities we never meet.
                    let Some(part) = entity.part_mut(&kind) else { return Ok(None) };
                    *part = name.into();
                }
                let (key, value) = (text(&mut r)?, r.read_f64()?);
                let value = (!r.read_bool()?).then_some(value);
                Self::ClientQuota { entity, key, value }
            }
            SCRAM | REMOVE_SCRAM => {
                let user = text(&mut r)?;
                let Some(mechanism) = ScramMechanism::from_i8(r.read_i8()?) else {
                    return Ok(None);
                };
                let credential = if number == REMOVE_SCRAM {
                    None
                } else {
                    let [salt, stored_key, server_key] =
                        [secret(&mut r)?, secret(&mut r)?, secret(&mut r)?];
                    let iterations = r.read_i32()?;
                    Some(ScramCredential { salt, stored_key, server_key, iterations })
                };
                Self::Scram { user, mechanism, credential }
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
            Self::ClientQuota { .. } => CLIENT_QUOTA,
            Self::Scram { credential: Some(_), .. } => SCRAM,
            Self::Scram { credential: None, .. } => REMOVE_SCRAM,
            Self::ClusterId(_) => CLUSTER_ID,
        }
    }
}

fn text(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    r.read_string()?.ok_or_else(|| DecodeErrorKind::UnexpectedNull.into())
}

fn secret(r: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
    let bytes = r.read_bytes()?.ok_or(DecodeErrorKind::UnexpectedNull)?;
    Ok(Bytes::copy_from_slice(&bytes))
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
            MetadataRecord::ClientQuota {
                entity: QuotaEntity {
                    user: Some("u".to_owned()).into(),
                    client_id: None.into(),
                    ..QuotaEntity::default()
                },
                key: "producer_byte_rate".to_owned(),
                value: Some(1024.0),
            },
            MetadataRecord::ClientQuota {
                entity: QuotaEntity { ip: None.into(), ..QuotaEntity::default() },
                key: "connection_creation_rate".to_owned(),
                value: None,
            },
            MetadataRecord::Scram {
                user: "u".to_owned(),
                mechanism: ScramMechanism::Sha512,
                credential: Some(ScramCredential {
                    salt: Bytes::from_static(b"salt"),
                    stored_key: Bytes::from_static(b"stored"),
                    server_key: Bytes::from_static(b"server"),
                    iterations: 4096,
                }),
            },
            MetadataRecord::Scram {
                user: "u".to_owned(),
                mechanism: ScramMechanism::Sha256,
                credential: None,
            },
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
