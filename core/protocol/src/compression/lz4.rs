//! The LZ4 frame format, over blocks packed by ourselves and unpacked by `lz4_flex`.
//!
//! We write what Java writes: version 1, independent blocks of 64 KiB, no checksums beside the
//! header's. Java refuses linked blocks; librdkafka, franz-go and the `lz4` tool may be told to
//! write them, and content and block checksums too, so all of those are read and verified.

use lz4_flex::block::{decompress_into, decompress_into_with_dict};

use super::DecompressError;
use super::lz4_block::{BLOCK_BYTES_MAX, BlockEncoder};
use super::output::Output;
use super::xxh32::xxh32;

/// Appends one frame.
pub(super) fn compress(encoder: &mut BlockEncoder, input: &[u8], output: &mut Vec<u8>) {
    let descriptor = [VERSION_1 | INDEPENDENT_BLOCKS, BLOCKS_OF_64_KIB];
    output.extend_from_slice(&MAGIC.to_le_bytes());
    output.extend_from_slice(&descriptor);
    output.push(header_checksum(&descriptor));
    for block in input.chunks(BLOCK_BYTES_MAX) {
        let packed = encoder.pack(block);
        let shrunk = packed.len() < block.len();
        let (bytes, flag) = if shrunk { (packed, 0) } else { (block, STORED) };
        output.reserve(4 + bytes.len());
        output.extend_from_slice(&(bytes.len() as u32 | flag).to_le_bytes());
        output.extend_from_slice(bytes);
    }
    output.extend_from_slice(&END_MARK.to_le_bytes());
}

/// Unpacks any number of frames.
pub(super) fn decompress(mut input: &[u8], output: &mut Output<'_>) -> Result<(), DecompressError> {
    loop {
        input = frame(input, output)?;
        if input.is_empty() {
            return Ok(());
        }
    }
}

/// Unpacks one frame and returns what follows it.
fn frame<'i>(input: &'i [u8], output: &mut Output<'_>) -> Result<&'i [u8], DecompressError> {
    let (header, mut rest) = Header::parse(input).map_err(|reason| output.corrupt(reason))?;
    let frame_start = output.position();
    loop {
        let word = take_u32(&mut rest).ok_or_else(|| output.corrupt("ends early"))?;
        if word == END_MARK {
            break;
        }
        let len = (word & !STORED) as usize;
        if len > header.block_bytes {
            return Err(output.corrupt("block longer than the frame allows"));
        }
        let (block, after) =
            rest.split_at_checked(len).ok_or_else(|| output.corrupt("block ends early"))?;
        rest = after;
        if header.block_checksums {
            let stored = take_u32(&mut rest).ok_or_else(|| output.corrupt("ends early"))?;
            if stored != xxh32(block) {
                return Err(output.corrupt("block checksum does not match"));
            }
        }
        if word & STORED == 0 {
            unpack(&header, frame_start, block, output)?;
        } else {
            output.extend(block)?;
        }
    }
    if header.content_checksum {
        let stored = take_u32(&mut rest).ok_or_else(|| output.corrupt("ends early"))?;
        if stored != xxh32(output.since(frame_start)) {
            return Err(output.corrupt("content checksum does not match"));
        }
    }
    Ok(rest)
}

fn unpack(
    header: &Header,
    frame_start: usize,
    block: &[u8],
    output: &mut Output<'_>,
) -> Result<(), DecompressError> {
    let possible = block.len().saturating_mul(MOST_BYTES_PER_BYTE);
    let space_len = header.block_bytes.min(possible);
    // Near the limit the block gets what is left; running out of that is then "too large".
    let allowed = output.remaining().min(space_len);
    let window_start = frame_start.max(output.position().saturating_sub(WINDOW_BYTES));
    let (window, space) = output.split(window_start, allowed);
    let result = if header.independent_blocks {
        decompress_into(block, space)
    } else {
        decompress_into_with_dict(block, space, window)
    };
    match result {
        Ok(written) => output.advance(written),
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if allowed < space_len => {
            Err(output.too_large())
        }
        Err(_) => Err(output.corrupt("not an lz4 block")),
    }
}

/// The frame descriptor.
struct Header {
    independent_blocks: bool,
    block_checksums: bool,
    content_checksum: bool,
    block_bytes: usize,
}

impl Header {
    fn parse(mut input: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        if take_u32(&mut input) != Some(MAGIC) {
            return Err("no frame magic");
        }
        let &[flags, block_descriptor, ..] = input else {
            return Err("short frame header");
        };
        if flags & VERSION_MASK != VERSION_1 {
            return Err("unknown frame version");
        }
        if flags & (RESERVED | DICTIONARY_ID) != 0 {
            return Err("frame needs a dictionary or an unknown feature");
        }
        let block_bytes = match block_descriptor {
            0x40 => 64 * 1024,
            0x50 => 256 * 1024,
            0x60 => 1024 * 1024,
            0x70 => 4 * 1024 * 1024,
            _ => return Err("unknown block size"),
        };
        let descriptor_len = if flags & CONTENT_SIZE == 0 { 2 } else { 10 };
        let Some((descriptor, [checksum, rest @ ..])) = input.split_at_checked(descriptor_len)
        else {
            return Err("short frame header");
        };
        if *checksum != header_checksum(descriptor) {
            return Err("header checksum does not match");
        }
        let header = Self {
            independent_blocks: flags & INDEPENDENT_BLOCKS != 0,
            block_checksums: flags & BLOCK_CHECKSUMS != 0,
            content_checksum: flags & CONTENT_CHECKSUM != 0,
            block_bytes,
        };
        Ok((header, rest))
    }
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    (xxh32(descriptor) >> 8) as u8
}

fn take_u32(input: &mut &[u8]) -> Option<u32> {
    let (word, rest) = input.split_first_chunk::<4>()?;
    *input = rest;
    Some(u32::from_le_bytes(*word))
}

const MAGIC: u32 = 0x184D_2204;
const END_MARK: u32 = 0;
/// The bit of a block's length that says its bytes are not packed.
const STORED: u32 = 1 << 31;

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION_1: u8 = 1 << 6;
const INDEPENDENT_BLOCKS: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED: u8 = 1 << 1;
const DICTIONARY_ID: u8 = 1;
const BLOCKS_OF_64_KIB: u8 = 0x40;

/// How far back a linked block may refer.
const WINDOW_BYTES: usize = 64 * 1024;

/// A length byte adds at most 255 bytes of output, so a block cannot become more than this.
const MOST_BYTES_PER_BYTE: usize = 256;
