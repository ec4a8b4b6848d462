//! The records that drivers write, made again here, and the digest of what a reader must then find.

use sha2::{Digest, Sha256};

/// A run of sample records in one topic: the i-th goes to partition `i % partitions`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Samples {
    pub(crate) seed: u64,
    pub(crate) count: u64,
    pub(crate) partitions: u64,
    pub(crate) base_timestamp: u64,
}

impl Samples {
    /// Returns for each partition how many records it must hold and the digest over them in order:
    /// offset, timestamp, key, value and headers, every byte.
    pub(crate) fn digests(&self) -> Vec<(u64, String)> {
        (0..self.partitions)
            .map(|partition| {
                let mut digest = Sha256::new();
                let mut offset = 0;
                for i in (0..self.count).filter(|i| i % self.partitions == partition) {
                    digest.update(offset_and_record(self.seed, i, offset, self.base_timestamp + i));
                    offset += 1;
                }
                (offset, hex(&digest.finalize()))
            })
            .collect()
    }
}

/// The i-th sample record of a seed.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(&'static str, Option<Vec<u8>>)>,
}

impl Sample {
    /// Makes it.
    pub(crate) fn new(seed: u64, i: u64) -> Self {
        let x = mix(seed.wrapping_mul(1_000_003).wrapping_add(i));
        let headers = match i % 4 {
            1 => vec![("trace", Some(i.to_string().into_bytes()))],
            2 => vec![("twice", Some(b"1".to_vec())), ("twice", None)],
            3 => vec![("empty", Some(Vec::new()))],
            _ => Vec::new(),
        };
        let key = (!i.is_multiple_of(10)).then(|| format!("key-{}", (x >> 32) % 17).into_bytes());
        Self { key, value: value(i, x), headers }
    }
}

/// Lays out one record as the drivers do before they digest it.
fn offset_and_record(seed: u64, i: u64, offset: u64, timestamp: u64) -> Vec<u8> {
    let Sample { key, value, headers } = Sample::new(seed, i);
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
    lay_out(offset, timestamp, key.as_deref(), value.as_deref(), &headers)
}

/// Lays out a record that was read: everything a digest covers.
pub(crate) fn lay_out(
    offset: u64,
    timestamp: u64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(offset.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    field(&mut bytes, key);
    field(&mut bytes, value);
    bytes.extend((headers.len() as u32).to_be_bytes());
    for (name, value) in headers {
        field(&mut bytes, Some(*name));
        field(&mut bytes, *value);
    }
    bytes
}

fn value(i: u64, x: u64) -> Option<Vec<u8>> {
    if i % 13 == 5 {
        return None;
    }
    let length = if i % 50 == 7 { 20_000 } else { x & 0xff };
    let dull = (x >> 8) & 1 == 1;
    let byte = |j: u64| if dull { b'a' + (j % 7) as u8 } else { mix(x.wrapping_add(j)) as u8 };
    Some((0..length).map(byte).collect())
}

fn field(bytes: &mut Vec<u8>, data: Option<&[u8]>) {
    bytes.extend(data.map_or(-1, |data| data.len() as i32).to_be_bytes());
    bytes.extend(data.unwrap_or_default());
}

/// The mixing step of SplitMix64: short enough to be written down in four languages.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
