//! Snappy as Kafka's clients write it: xerial's framing (Java and most others) or one bare block
//! (librdkafka).
//!
//! xerial's framing is a 16-byte header, then blocks of a big-endian length and that many bytes of
//! plain snappy. A stream that does not start with the header's magic is one bare block.

use snap::raw;

use super::DecompressError;
use super::output::Output;

pub(super) struct Encoder {
    encoder: raw::Encoder,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { encoder: raw::Encoder::new() }
    }

    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) {
        output.extend_from_slice(&HEADER);
        for block in input.chunks(BLOCK_BYTES) {
            let length_at = output.len();
            let block_at = length_at + 4;
            output.resize(block_at + raw::max_compress_len(block.len()), 0);
            let len = self
                .encoder
                .compress(block, &mut output[block_at..])
                .expect("the space is snappy's own bound");
            output[length_at..block_at].copy_from_slice(&(len as u32).to_be_bytes());
            output.truncate(block_at + len);
        }
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Decoder {
    decoder: raw::Decoder,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { decoder: raw::Decoder::new() }
    }

    pub(super) fn decompress(
        &mut self,
        input: &[u8],
        output: &mut Output<'_>,
    ) -> Result<(), DecompressError> {
        let Some(framed) = input.strip_prefix(&HEADER[..8]) else {
            return self.block(input, output);
        };
        // The two version numbers: Java refuses an incompatible version above ours.
        let (versions, mut rest) =
            framed.split_first_chunk::<8>().ok_or_else(|| output.corrupt("short frame header"))?;
        if versions[4..] != HEADER[12..] {
            return Err(output.corrupt("unknown frame version"));
        }
        while !rest.is_empty() {
            // Streams that were appended to each other keep their headers.
            if let Some(next) = rest.strip_prefix(&HEADER[..8]) {
                rest = next.get(8..).ok_or_else(|| output.corrupt("short frame header"))?;
                continue;
            }
            let (len, after) = rest
                .split_first_chunk::<4>()
                .ok_or_else(|| output.corrupt("short block length"))?;
            let len = u32::from_be_bytes(*len) as usize;
            let (block, after) =
                after.split_at_checked(len).ok_or_else(|| output.corrupt("block ends early"))?;
            self.block(block, output)?;
            rest = after;
        }
        Ok(())
    }

    fn block(&mut self, block: &[u8], output: &mut Output<'_>) -> Result<(), DecompressError> {
        let len = raw::decompress_len(block).map_err(|_| output.corrupt("bad block length"))?;
        if len > output.remaining() {
            return Err(output.too_large());
        }
        if len > block.len().saturating_mul(MOST_BYTES_PER_BYTE) {
            return Err(output.corrupt("block cannot be as long as it says"));
        }
        let (_, space) = output.split(output.position(), len);
        match self.decoder.decompress(block, space) {
            Ok(written) => output.advance(written),
            Err(_) => Err(output.corrupt("not a snappy block")),
        }
    }
}

/// xerial's magic, its version and the oldest version that can read it.
const HEADER: [u8; 16] = *b"\x82SNAPPY\x00\0\0\0\x01\0\0\0\x01";

/// What Java writes per block; larger blocks pack little better and cost its readers memory.
const BLOCK_BYTES: usize = 32 * 1024;

/// A copy of 64 bytes takes 3, so a claim beyond this is a lie told to make us reserve memory.
const MOST_BYTES_PER_BYTE: usize = 24;
