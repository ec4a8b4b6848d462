//! Random values of every message, and their JSON, for tests (feature `testing`).
//!
//! A [`Subject`] is one message or payload with its functions; [`subjects`] lists all of them, so
//! that one loop tests every message in every version.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::field::Field;
use crate::{DecodeError, EncodeError, ErrorCode, Reader, Uuid, VersionRange, Writer};

pub use crate::messages::subjects;

/// A seeded source of random choices: the same seed gives the same values everywhere.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
    null_allowed: bool,
}

impl Dice {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, null_allowed: false }
    }

    /// Returns 64 random bits (splitmix64).
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    /// Says yes once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Returns random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.roll() as u8).collect()
    }

    /// Says whether the next nullable value may be null.
    pub(crate) fn allow_null(&mut self, allowed: bool) {
        self.null_allowed = allowed;
    }

    fn picks_null(&mut self) -> bool {
        std::mem::take(&mut self.null_allowed) && self.one_in(3)
    }

    /// Mostly short; now and then long enough for a length of two varint bytes.
    fn length(&mut self) -> usize {
        if self.one_in(30) { 126 + self.below(80) } else { self.below(6) }
    }
}

/// A type that random values can be made of.
pub(crate) trait Sample: Sized {
    fn sample(dice: &mut Dice, version: i16) -> Self;
    /// The value in the form of Kafka's own JSON converters.
    fn json(&self, version: i16) -> Value;
}

/// One message or payload, its type hidden.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The name of the structure.
    pub name: &'static str,
    /// The versions it is served in.
    pub versions: VersionRange,
    flexible_from: i16,
    sample: fn(&mut Dice, &Subject, i16) -> Sampled,
    recode: fn(&Subject, &Bytes, i16) -> Result<Bytes, RecodeError>,
    default: fn(&Subject, i16) -> Bytes,
}

/// A random value: its bytes in one version, and what they say.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// The encoded value.
    pub bytes: Bytes,
    /// The value as Kafka's JSON converters write it.
    pub json: Value,
    /// The value as Rust prints it.
    pub debug: String,
}

/// Why bytes did not survive decoding and encoding.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecodeError {
    /// They were refused.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The value they gave was refused.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Subject {
    pub(crate) fn of<T: Field + Sample + Default + PartialEq + std::fmt::Debug>(
        name: &'static str,
        versions: VersionRange,
        flexible_from: i16,
    ) -> Self {
        Self {
            name,
            versions,
            flexible_from,
            sample: |dice, subject, version| {
                let value = T::sample(dice, version);
                let bytes = subject.encode(&value, version).expect("a sample can be encoded");
                let decoded = subject.decode::<T>(&bytes, version).expect("what we wrote");
                assert_eq!(decoded, value, "{} v{version} changed on its way", subject.name);
                Sampled { bytes, json: value.json(version), debug: format!("{value:?}") }
            },
            recode: |subject, bytes, version| {
                let value = subject.decode::<T>(bytes, version)?;
                Ok(subject.encode(&value, version)?)
            },
            default: |subject, version| subject.encode(&T::default(), version).unwrap_or_default(),
        }
    }

    /// Makes a random value, and checks that it survives being written and read.
    pub fn sample(&self, dice: &mut Dice, version: i16) -> Sampled {
        (self.sample)(dice, self, version)
    }

    /// Reads bytes to the last one and writes the value again.
    pub fn recode(&self, bytes: &Bytes, version: i16) -> Result<Bytes, RecodeError> {
        (self.recode)(self, bytes, version)
    }

    /// Writes the default value; empty where the default is no valid value of the version.
    pub fn default_bytes(&self, version: i16) -> Bytes {
        (self.default)(self, version)
    }

    fn encode<T: Field>(&self, value: &T, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        crate::message::encode(value, &mut writer, version, self.versions, self.flexible_from)?;
        Ok(writer.into_bytes())
    }

    fn decode<T: Field>(&self, bytes: &Bytes, version: i16) -> Result<T, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value =
            crate::message::decode(&mut reader, version, self.versions, self.flexible_from)?;
        reader.expect_end()?;
        Ok(value)
    }
}

/// Adds a field to a structure's JSON, under Kafka's name for it.
pub(crate) fn put_json(object: &mut Map<String, Value>, field: &str, value: Value) {
    let mut name = String::new();
    for (place, word) in field.trim_start_matches("r#").split('_').enumerate() {
        let (first, rest) = word.split_at(word.len().min(1));
        if place == 0 {
            name.push_str(first);
        } else {
            name.push_str(&first.to_uppercase());
        }
        name.push_str(rest);
    }
    object.insert(name, value);
}

macro_rules! sample_integer {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            fn sample(dice: &mut Dice, _: i16) -> Self {
                match dice.below(6) {
                    0 => 0,
                    1 => <$type>::MIN,
                    2 => <$type>::MAX,
                    3 => (0 as $type).wrapping_sub(1),
                    4 => dice.below(100) as $type,
                    _ => dice.roll() as $type,
                }
            }

            fn json(&self, _: i16) -> Value {
                json!(self)
            }
        }
    )*};
}

sample_integer! { i8, i16, u16, i32, u32, i64 }

impl Sample for bool {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        dice.one_in(2)
    }

    fn json(&self, _: i16) -> Value {
        json!(self)
    }
}

impl Sample for f64 {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        dice.below(1 << 20) as Self / 64.0 - 1000.0
    }

    fn json(&self, _: i16) -> Value {
        json!(self)
    }
}

impl Sample for ErrorCode {
    fn sample(dice: &mut Dice, version: i16) -> Self {
        Self(i16::sample(dice, version))
    }

    fn json(&self, _: i16) -> Value {
        json!(self.0)
    }
}

impl Sample for Uuid {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        if dice.one_in(5) { Self::ZERO } else { Self(std::array::from_fn(|_| dice.roll() as u8)) }
    }

    fn json(&self, _: i16) -> Value {
        json!(self.to_string())
    }
}

impl Sample for String {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        const LETTERS: [char; 8] = ['a', 'Z', '0', '-', '.', 'é', '語', '🦀'];
        (0..dice.length()).map(|_| LETTERS[dice.below(LETTERS.len())]).collect()
    }

    fn json(&self, _: i16) -> Value {
        json!(self)
    }
}

impl Sample for Bytes {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        let length = dice.length();
        dice.bytes(length).into()
    }

    fn json(&self, _: i16) -> Value {
        json!(base64(self))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(dice: &mut Dice, version: i16) -> Self {
        let long = size_of::<T>() <= 16 && dice.one_in(30);
        let length = if long { 130 } else { dice.below(4) };
        (0..length).map(|_| T::sample(dice, version)).collect()
    }

    fn json(&self, version: i16) -> Value {
        self.iter().map(|element| element.json(version)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(dice: &mut Dice, version: i16) -> Self {
        (!dice.picks_null()).then(|| T::sample(dice, version))
    }

    fn json(&self, version: i16) -> Value {
        self.as_ref().map_or(Value::Null, |value| value.json(version))
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) as usize & 63;
            text.push(if place <= chunk.len() { ALPHABET[digit] as char } else { '=' });
        }
    }
    text
}
