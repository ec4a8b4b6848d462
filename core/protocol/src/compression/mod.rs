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

mod codec;
mod gzip;
mod lz4;
mod lz4_block;
mod output;
mod snappy;
mod xxh32;
mod zstd;

use output::Output;

pub use codec::{Compression, DecompressError, InvalidLevel};

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
