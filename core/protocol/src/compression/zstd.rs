//! Zstandard (RFC 8878).
//!
//! Java's streams do not state their size, so unpacking streams into the growing buffer. The
//! decoder's window is libzstd's default limit of 128 MiB, which every level up to 22 stays within.

use zstd::bulk;
use zstd::stream::raw::{self, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe;

use super::DecompressError;
use super::output::Output;

pub(super) struct Encoder {
    compressor: bulk::Compressor<'static>,
}

impl Encoder {
    pub(super) fn new(level: Option<i32>) -> Self {
        let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
        Self {
            compressor: bulk::Compressor::new(level)
                .expect("libzstd takes every level we accept, or memory ran out"),
        }
    }

    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) {
        let start = output.len();
        output.resize(start + zstd_safe::compress_bound(input.len()), 0);
        let len = self
            .compressor
            .compress_to_buffer(input, &mut output[start..])
            .expect("the space is libzstd's own bound, or memory ran out");
        output.truncate(start + len);
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

pub(super) struct Decoder {
    decoder: raw::Decoder<'static>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { decoder: raw::Decoder::new().expect("creating a context fails only without memory") }
    }

    pub(super) fn decompress(
        &mut self,
        input: &[u8],
        output: &mut Output<'_>,
    ) -> Result<(), DecompressError> {
        self.decoder.reinit().map_err(|_| output.corrupt("decoder cannot be reset"))?;
        let mut input = InBuffer::around(input);
        loop {
            let before = input.pos();
            let mut space = OutBuffer::around(output.spare());
            let result = self.decoder.run(&mut input, &mut space);
            let written = space.pos();
            let hint = result.map_err(|_| output.corrupt("not a zstd frame"))?;
            output.advance(written)?;
            let consumed_all = input.pos() == input.src.len();
            if hint == 0 && consumed_all {
                return Ok(());
            }
            if written == 0 && input.pos() == before {
                return Err(output.corrupt("ends early"));
            }
        }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}
