//! gzip (RFC 1952) around deflate, whose state is kept between batches.

use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::DecompressError;
use super::output::Output;

/// Writes one member per call.
#[derive(Debug)]
pub(super) struct Encoder {
    deflate: Compress,
}

impl Encoder {
    pub(super) fn new(level: Option<i32>) -> Self {
        let level = match level.and_then(|level| u32::try_from(level).ok()) {
            Some(level) => flate2::Compression::new(level),
            None => flate2::Compression::default(),
        };
        Self { deflate: Compress::new(level, false) }
    }

    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) {
        output.extend_from_slice(&HEADER);
        self.deflate.reset();
        // The reserve is a first guess: records usually halve.
        output.reserve(input.len() / 2 + 64);
        let mut consumed = 0;
        loop {
            let before = self.deflate.total_in();
            let status = self
                .deflate
                .compress_vec(&input[consumed..], output, FlushCompress::Finish)
                .expect("deflate with Finish from a fresh state has no way to fail");
            consumed += (self.deflate.total_in() - before) as usize;
            if status == Status::StreamEnd {
                break;
            }
            output.reserve(input.len() / 2 + 64);
        }
        let mut crc = Crc::new();
        crc.update(input);
        output.extend_from_slice(&crc.sum().to_le_bytes());
        output.extend_from_slice(&(input.len() as u32).to_le_bytes());
    }
}

/// Reads any number of members, one after the other.
#[derive(Debug)]
pub(super) struct Decoder {
    inflate: Decompress,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false) }
    }

    pub(super) fn decompress(
        &mut self,
        mut input: &[u8],
        output: &mut Output<'_>,
    ) -> Result<(), DecompressError> {
        loop {
            let start = output.position();
            let body = skip_header(input).ok_or_else(|| output.corrupt("bad member header"))?;
            let trailer = self.inflate(body, output)?;
            let (crc, trailer) =
                trailer.split_first_chunk::<4>().ok_or_else(|| output.corrupt("no checksum"))?;
            let (len, rest) =
                trailer.split_first_chunk::<4>().ok_or_else(|| output.corrupt("no length"))?;
            let plain = output.since(start);
            let mut computed = Crc::new();
            computed.update(plain);
            if computed.sum() != u32::from_le_bytes(*crc) {
                return Err(output.corrupt("checksum does not match"));
            }
            if plain.len() as u32 != u32::from_le_bytes(*len) {
                return Err(output.corrupt("length does not match"));
            }
            if rest.is_empty() {
                return Ok(());
            }
            input = rest;
        }
    }

    /// Inflates one deflate stream and returns what follows it.
    fn inflate<'i>(
        &mut self,
        mut input: &'i [u8],
        output: &mut Output<'_>,
    ) -> Result<&'i [u8], DecompressError> {
        self.inflate.reset(false);
        loop {
            let (total_in, total_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input, output.spare(), FlushDecompress::None)
                .map_err(|_| output.corrupt("not a deflate stream"))?;
            let consumed = (self.inflate.total_in() - total_in) as usize;
            let produced = (self.inflate.total_out() - total_out) as usize;
            input = &input[consumed..];
            output.advance(produced)?;
            if status == Status::StreamEnd {
                return Ok(input);
            }
            if consumed == 0 && produced == 0 {
                return Err(output.corrupt("ends early"));
            }
        }
    }
}

/// Returns what follows a member's header, or `None` when there is no whole header.
fn skip_header(input: &[u8]) -> Option<&[u8]> {
    let (fixed, mut rest) = input.split_first_chunk::<10>()?;
    let flags = fixed[3];
    if fixed[..3] != HEADER[..3] || flags & RESERVED_FLAGS != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (len, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & HEADER_CRC != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

/// Deflate, no flags, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED_FLAGS: u8 = 0b1110_0000;
