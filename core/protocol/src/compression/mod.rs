//! The four codecs a record batch may be packed with, and none.
//!
//! A [`Compressor`] and a [`Decompressor`] own their codec's working memory, so a connection or a
//! sender keeps one and uses it for every batch. Unpacking always has a limit: the peer decides the
//! bytes, we decide how many they may become, and memory grows with what was really produced, never
//! with what a header promises.
//!
//! | codec  | what we write                           | what we read in addition                    |
//! |--------|-----------------------------------------|---------------------------------------------|
//! | gzip   | one member                              | several members, every optional header field|
//! | snappy | xerial's framing in 32 KiB blocks (Java)| a bare snappy block (librdkafka)            |
//! | lz4    | frame, 64 KiB independent blocks (Java) | linked blocks, checksums, other block sizes |
//! | zstd   | one frame with its content size         | several frames, frames without a size       |
//!
//! Left out: zstd dictionaries, which Kafka has no way to name.

mod gzip;
mod lz4;
mod lz4_block;
mod output;
mod snappy;
mod xxh32;
mod zstd;

use std::fmt;

use output::Output;

/// The codec of a batch, as the low three bits of its attributes name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// Records lie in the batch as they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, in xerial's framing or bare.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Every codec, in the order of their wire ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Returns the id used in a batch's attributes.
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Returns the codec with this wire id, if there is one.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns the name Kafka's `compression.type` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Returns whether Kafka accepts `level` for this codec.
    ///
    /// gzip takes -1 and 1 to 9, lz4 1 to 17, zstd -131072 to 22. Snappy and none have no levels.
    pub const fn accepts_level(self, level: i32) -> bool {
        match self {
            Self::None | Self::Snappy => false,
            Self::Gzip => level == -1 || (level >= 1 && level <= 9),
            Self::Lz4 => level >= 1 && level <= 17,
            Self::Zstd => level >= -131_072 && level <= 22,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A compression level outside what Kafka accepts for the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{compression} has no compression level {level}")]
pub struct InvalidLevel {
    /// The codec asked for.
    pub compression: Compression,
    /// The level it does not have.
    pub level: i32,
}

/// Why packed bytes could not be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The bytes are not what the codec writes.
    #[error("{compression} data is corrupt: {reason}")]
    Corrupt {
        /// The codec.
        compression: Compression,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The bytes unpack to more than the caller allows.
    #[error("{compression} data unpacks to more than {limit} bytes")]
    TooLarge {
        /// The codec.
        compression: Compression,
        /// The caller's limit.
        limit: usize,
    },
}

/// Packs bytes with one codec at one level, reusing the codec's memory from call to call.
///
/// ```
/// use kohort_protocol::compression::{Compression, Compressor, Decompressor};
///
/// let mut packed = Vec::new();
/// Compressor::new(Compression::Zstd, None)?.compress(b"to be or not to be", &mut packed);
/// let mut buffer = Vec::new();
/// let plain = Decompressor::new()
///     .decompress(Compression::Zstd, &packed, &mut buffer, 1024)
///     .expect("we packed it ourselves");
/// assert_eq!(plain, b"to be or not to be");
/// # Ok::<(), kohort_protocol::compression::InvalidLevel>(())
/// ```
#[derive(Debug)]
pub struct Compressor {
    codec: Codec,
}

#[derive(Debug)]
enum Codec {
    None,
    Gzip(gzip::Encoder),
    Snappy(Box<snappy::Encoder>),
    Lz4(Box<lz4_block::BlockEncoder>),
    Zstd(zstd::Encoder),
}

impl Compressor {
    /// Creates a compressor; `level` `None` is the codec's default.
    ///
    /// The level changes the output of gzip and zstd. lz4's is checked and otherwise has no effect:
    /// the one compressor we have is the fast one, and every reader reads it alike.
    pub fn new(compression: Compression, level: Option<i32>) -> Result<Self, InvalidLevel> {
        if let Some(level) = level
            && !compression.accepts_level(level)
        {
            return Err(InvalidLevel { compression, level });
        }
        let codec = match compression {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip(gzip::Encoder::new(level)),
            Compression::Snappy => Codec::Snappy(Box::new(snappy::Encoder::new())),
            Compression::Lz4 => Codec::Lz4(Box::new(lz4_block::BlockEncoder::new())),
            Compression::Zstd => Codec::Zstd(zstd::Encoder::new(level)),
        };
        Ok(Self { codec })
    }

    /// Creates the compressor that copies.
    pub const fn none() -> Self {
        Self { codec: Codec::None }
    }

    /// Returns the codec this packs with.
    pub const fn compression(&self) -> Compression {
        match self.codec {
            Codec::None => Compression::None,
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Snappy(_) => Compression::Snappy,
            Codec::Lz4(_) => Compression::Lz4,
            Codec::Zstd(_) => Compression::Zstd,
        }
    }

    /// Appends the packed form of `input` to `output`.
    pub fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) {
        match &mut self.codec {
            Codec::None => output.extend_from_slice(input),
            Codec::Gzip(encoder) => encoder.compress(input, output),
            Codec::Snappy(encoder) => encoder.compress(input, output),
            Codec::Lz4(encoder) => lz4::compress(encoder, input, output),
            Codec::Zstd(encoder) => encoder.compress(input, output),
        }
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::none()
    }
}

/// Unpacks bytes of any codec, creating each codec's memory at its first use and keeping it.
#[derive(Debug, Default)]
pub struct Decompressor {
    gzip: Option<gzip::Decoder>,
    snappy: Option<snappy::Decoder>,
    zstd: Option<zstd::Decoder>,
}

impl Decompressor {
    /// Creates a decompressor that has used no codec yet.
    pub const fn new() -> Self {
        Self { gzip: None, snappy: None, zstd: None }
    }

    /// Unpacks `input` into `buffer` and returns the unpacked bytes.
    ///
    /// `buffer` is scratch: it grows to at most a little over `limit`, is never shrunk, and only the
    /// returned slice, which starts at its front, means anything. Passing the same one each time
    /// saves both the allocation and the clearing of it.
    pub fn decompress<'b>(
        &mut self,
        compression: Compression,
        input: &[u8],
        buffer: &'b mut Vec<u8>,
        limit: usize,
    ) -> Result<&'b [u8], DecompressError> {
        let mut output = Output::new(compression, buffer, limit);
        let unpacked = match compression {
            Compression::None => output.extend(input),
            Compression::Gzip => {
                let decoder = self.gzip.get_or_insert_with(gzip::Decoder::new);
                decoder.decompress(input, &mut output)
            }
            Compression::Snappy => {
                let decoder = self.snappy.get_or_insert_with(snappy::Decoder::new);
                decoder.decompress(input, &mut output)
            }
            Compression::Lz4 => lz4::decompress(input, &mut output),
            Compression::Zstd => {
                let decoder = self.zstd.get_or_insert_with(zstd::Decoder::new);
                decoder.decompress(input, &mut output)
            }
        };
        unpacked?;
        Ok(output.finish())
    }
}
