//! Keys and values as types: how they become bytes, and come back.
//!
//! A codec knows one format, and can [`Encode`] and [`Decode`]: [`Text`], [`Raw`], [`BigEndian`] numbers, [`Json`].
//! A [`Typed`] topic has one for its keys and one for its values, and does for a producer's and a
//! consumer's records what Java's serializers do, with the record named where that fails:
//!
//! ```no_run
//! # async fn f(producer: kohort::producer::Producer, records: kohort::consumer::Records)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use kohort::codec::{BigEndian, Text, Typed};
//!
//! let delays = Typed::new("delays", Text, BigEndian);
//! producer.send(delays.encode(Some("LH123"), Some(&42_i64))?.record()).await?.await?;
//! for record in &records {
//!     let (flight, minutes): (Option<String>, Option<i64>) = delays.decode(&record)?;
//! }
//! # Ok(()) }
//! ```
//!
//! No value is a tombstone, and no codec is asked about it. Integers are big-endian and as wide as
//! their type, and text is UTF-8: as Java's serializers write them.

#![warn(clippy::missing_errors_doc)]

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error as ThisError;

use crate::consumer::{ConsumedRecord, TopicPartition};
use crate::producer::ProducerRecord;

/// Why a codec refuses.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// A format that `T` can be written in.
pub trait Encode<T: ?Sized> {
    /// Adds the bytes of `value` to `out`.
    ///
    /// # Errors
    /// What keeps the value from being written; [`Typed::encode`] says of which topic's key or value it is.
    fn encode(&self, topic: &str, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// A format that `T` can be read from.
pub trait Decode<T> {
    /// Reads a value, from all of the bytes.
    ///
    /// # Errors
    /// What is wrong with the bytes; [`Typed::decode`] says of which record they are.
    fn decode(&self, topic: &str, bytes: &[u8]) -> Result<T, CodecError>;
}

/// UTF-8 text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

/// Bytes as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

/// Numbers, the most significant byte first.
#[derive(Debug, Clone, Copy, Default)]
pub struct BigEndian;

/// JSON, by serde.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl<T: AsRef<str> + ?Sized> Encode<T> for Text {
    fn encode(&self, _topic: &str, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_ref().as_bytes());
        Ok(())
    }
}

impl Decode<String> for Text {
    fn decode(&self, _topic: &str, bytes: &[u8]) -> Result<String, CodecError> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }
}

impl<T: AsRef<[u8]> + ?Sized> Encode<T> for Raw {
    fn encode(&self, _topic: &str, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_ref());
        Ok(())
    }
}

impl Decode<Vec<u8>> for Raw {
    fn decode(&self, _topic: &str, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Encode<$type> for BigEndian {
            fn encode(&self, _topic: &str, value: &$type, out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }
        }

        impl Decode<$type> for BigEndian {
            fn decode(&self, _topic: &str, bytes: &[u8]) -> Result<$type, CodecError> {
                let exact = bytes.try_into().map_err(|_| {
                    format!("{} bytes are not the {} of {}", bytes.len(), size_of::<$type>(), stringify!($type))
                })?;
                Ok(<$type>::from_be_bytes(exact))
            }
        }
    )*};
}
numbers!(i16, i32, i64, u16, u32, u64, f32, f64);

impl<T: Serialize + ?Sized> Encode<T> for Json {
    fn encode(&self, _topic: &str, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(serde_json::to_writer(out, value)?)
    }
}

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(&self, _topic: &str, bytes: &[u8]) -> Result<T, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// A topic with the formats of its keys and values.
#[derive(Debug, Clone)]
pub struct Typed<K, V> {
    topic: String,
    key: K,
    value: V,
}

impl<K, V> Typed<K, V> {
    /// Returns a topic whose records have such keys and values.
    pub fn new(topic: impl Into<String>, key: K, value: V) -> Self {
        Self { topic: topic.into(), key, value }
    }

    /// Returns the topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Writes a key and a value as bytes.
    ///
    /// # Errors
    /// [`EncodeError`] for the key or the value that its codec refuses.
    pub fn encode<A: ?Sized, B: ?Sized>(
        &self,
        key: Option<&A>,
        value: Option<&B>,
    ) -> Result<Encoded<'_>, EncodeError>
    where
        K: Encode<A>,
        V: Encode<B>,
    {
        let failed = |part| {
            let topic = self.topic.clone();
            move |source| EncodeError { topic, part, source }
        };
        let mut bytes = Vec::new();
        if let Some(key) = key {
            self.key.encode(&self.topic, key, &mut bytes).map_err(failed("key"))?;
        }
        let key_end = key.map(|_| bytes.len());
        if let Some(value) = value {
            self.value.encode(&self.topic, value, &mut bytes).map_err(failed("value"))?;
        }
        Ok(Encoded { topic: &self.topic, bytes, key_end, tombstone: value.is_none() })
    }

    /// Reads a record's key and value, of a [`Record`](crate::consumer::Record) or an
    /// [`OwnedRecord`](crate::consumer::OwnedRecord).
    ///
    /// # Errors
    /// [`DecodeError`] for the key or the value that its codec refuses, with the record's place.
    pub fn decode<A, B>(
        &self,
        record: &impl ConsumedRecord,
    ) -> Result<(Option<A>, Option<B>), DecodeError>
    where
        K: Decode<A>,
        V: Decode<B>,
    {
        let failed = |part| {
            move |source| DecodeError {
                partition: TopicPartition::new(record.topic(), record.partition()),
                offset: record.offset(),
                part,
                source,
            }
        };
        let key = record.key().map(|bytes| self.key.decode(record.topic(), bytes));
        let value = record.value().map(|bytes| self.value.decode(record.topic(), bytes));
        Ok((key.transpose().map_err(failed("key"))?, value.transpose().map_err(failed("value"))?))
    }
}

/// A key and a value as bytes, ready to be sent.
#[derive(Debug, Clone)]
pub struct Encoded<'a> {
    topic: &'a str,
    bytes: Vec<u8>,
    key_end: Option<usize>,
    tombstone: bool,
}

impl Encoded<'_> {
    /// Returns the record, to which headers, a partition or a timestamp may be added.
    pub fn record(&self) -> ProducerRecord<'_> {
        let (key, value) = self.bytes.split_at(self.key_end.unwrap_or(0));
        let mut record = ProducerRecord::to(self.topic);
        if self.key_end.is_some() {
            record = record.key(key);
        }
        if self.tombstone { record } else { record.value(value) }
    }
}

/// A key or value that cannot be written.
#[derive(Debug, ThisError)]
#[error("the {part} for `{topic}` cannot be written")]
pub struct EncodeError {
    /// Where it was to go.
    pub topic: String,
    /// `key` or `value`.
    pub part: &'static str,
    /// What the codec says.
    pub source: CodecError,
}

/// A record whose key or value cannot be read. It is passed over by reading on.
#[derive(Debug, ThisError)]
#[error("the {part} of `{partition}` @{offset} cannot be read")]
pub struct DecodeError {
    /// The partition.
    pub partition: TopicPartition,
    /// The record's offset.
    pub offset: i64,
    /// `key` or `value`.
    pub part: &'static str,
    /// What the codec says.
    pub source: CodecError,
}

#[cfg(test)]
mod tests {
    use kohort_protocol::records::TimestampType;

    use super::*;

    fn check<T: PartialEq + std::fmt::Debug>(
        codec: impl Encode<T> + Decode<T>,
        value: T,
        bytes: &[u8],
    ) {
        let mut out = Vec::new();
        codec.encode("t", &value, &mut out).unwrap();
        assert_eq!(out, bytes);
        assert_eq!(codec.decode("t", bytes).unwrap(), value);
    }

    #[test]
    fn formats_are_those_of_javas_serializers() {
        check(Text, "aé".to_owned(), b"a\xc3\xa9");
        check(Raw, vec![0_u8, 255], &[0, 255]);
        check(BigEndian, -2_i32, &[0xff, 0xff, 0xff, 0xfe]);
        check(BigEndian, 258_i64, &[0, 0, 0, 0, 0, 0, 1, 2]);
        check(BigEndian, 1.5_f64, &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
        check(Json, vec![1, 2], b"[1,2]");
    }

    #[test]
    fn what_is_not_in_the_format_is_refused_with_the_reason() {
        let number: Result<i64, _> = BigEndian.decode("t", b"42");
        assert_eq!(number.unwrap_err().to_string(), "2 bytes are not the 8 of i64");
        let text: Result<String, _> = Text.decode("t", &[0xff]);
        assert!(text.is_err());
        let json: Result<i64, _> = Json.decode("t", b"{");
        assert!(json.is_err());
    }

    struct Refuses;

    impl Encode<str> for Refuses {
        fn encode(&self, _: &str, _: &str, _: &mut Vec<u8>) -> Result<(), CodecError> {
            Err("never".into())
        }
    }

    #[test]
    fn an_error_leaves_what_the_codec_says_to_its_source() {
        let refused: CodecError = "2 bytes are not the 8 of i64".into();
        let partition = TopicPartition::new("t", 3);
        let error = DecodeError { partition, offset: 42, part: "key", source: refused };
        assert_eq!(error.to_string(), "the key of `t-3` @42 cannot be read");
        assert_eq!(error.source().unwrap().to_string(), "2 bytes are not the 8 of i64");

        let error = Typed::new("t", Text, Refuses).encode(Some("k"), Some("v")).unwrap_err();
        assert_eq!(error.to_string(), "the value for `t` cannot be written");
        assert_eq!(error.source().unwrap().to_string(), "never");
    }

    #[test]
    fn a_record_that_owns_its_data_is_read_as_well() {
        let record = crate::consumer::OwnedRecord {
            topic: "t".into(),
            partition: 3,
            offset: 7,
            timestamp: 0,
            timestamp_type: TimestampType::CreateTime,
            key: Some(bytes::Bytes::from_static(b"k")),
            value: Some(bytes::Bytes::from_static(b"x")),
            headers: Vec::new(),
            leader_epoch: -1,
        };
        let read = Typed::new("t", Text, Text).decode::<String, String>(&record).unwrap();
        assert_eq!(read, (Some("k".to_owned()), Some("x".to_owned())));
        let wrong = Typed::new("t", Text, BigEndian).decode::<String, i64>(&record).unwrap_err();
        assert_eq!((wrong.partition, wrong.offset), (record.topic_partition(), 7));
    }

    #[test]
    fn a_missing_key_and_a_missing_value_stay_missing() {
        let typed = Typed::new("t", Text, BigEndian);
        let both = typed.encode(Some("k"), Some(&1_i16)).unwrap();
        assert_eq!(
            (both.bytes.as_slice(), both.key_end, both.tombstone),
            (&b"k\0\x01"[..], Some(1), false)
        );
        let neither = typed.encode::<str, i16>(None, None).unwrap();
        assert_eq!(
            (neither.bytes.as_slice(), neither.key_end, neither.tombstone),
            (&b""[..], None, true)
        );
        let empty_key = typed.encode(Some(""), Some(&1_i16)).unwrap();
        assert_eq!(empty_key.key_end, Some(0), "an empty key is a key");
    }
}
