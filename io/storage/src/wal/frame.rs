//! The bytes of one commit in the write-ahead log.
//!
//! A frame is everything one group commit made durable together: either all of it is there after a
//! crash or none of it. It starts on a block boundary and is padded with zeros to the next.
//!
//! ```text
//!  0  u32  magic "KWF1"
//!  4  u32  crc32c of the bytes from 8 to the end of the payload
//!  8  u32  payload length
//! 12  u32  crc of the frame before (the one in its bytes 4..8)
//! 16  u64  sequence number, one more than the frame before
//! 24  u64  salt of the data folder
//! 32  u32  number of entries in the payload
//! 36  u32  zero
//! 40       payload: entries one after another (see `entry`)
//! ```
//!
//! The sequence number and the chained checksum tell a frame of this round from what an earlier use of
//! the same file left behind. The salt keeps bytes that a producer sent from passing as a frame.

use crate::aligned::{BLOCK, round_up};

/// Bytes before the payload.
pub(crate) const FRAME_HEADER: usize = 40;
const MAGIC: u32 = u32::from_le_bytes(*b"KWF1");

/// The largest payload a frame may declare; anything above is not a frame.
pub(crate) const FRAME_PAYLOAD_MAX: usize = 1 << 30;

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) crc: u32,
    pub(crate) payload: usize,
    pub(crate) previous_crc: u32,
    pub(crate) sequence: u64,
    pub(crate) salt: u64,
    pub(crate) entries: u32,
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`, if there is one. The checksum is not yet verified.
    pub(crate) fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let bytes: &[u8; FRAME_HEADER] = bytes.get(..FRAME_HEADER)?.try_into().ok()?;
        let header = FrameHeader {
            crc: u32_at(bytes, 4),
            payload: u32_at(bytes, 8) as usize,
            previous_crc: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            salt: u64_at(bytes, 24),
            entries: u32_at(bytes, 32),
        };
        let plausible = u32_at(bytes, 0) == MAGIC
            && u32_at(bytes, 36) == 0
            && header.payload <= FRAME_PAYLOAD_MAX;
        plausible.then_some(header)
    }

    /// Returns how many bytes of the file the frame covers, padding included.
    pub(crate) fn span(&self) -> u64 {
        frame_span(self.payload) as u64
    }

    /// Tells whether `frame` (header and payload) is what was written.
    pub(crate) fn verifies(&self, frame: &[u8]) -> bool {
        frame
            .get(8..FRAME_HEADER + self.payload)
            .is_some_and(|covered| crc32c::crc32c(covered) == self.crc)
    }
}

/// Fills in the header of a frame whose payload already lies behind it, and returns its checksum.
pub(crate) fn seal(
    frame: &mut [u8],
    sequence: u64,
    previous_crc: u32,
    salt: u64,
    entries: u32,
) -> u32 {
    let payload = frame.len() - FRAME_HEADER;
    assert!(payload <= FRAME_PAYLOAD_MAX, "the writer splits commits long before this");
    frame[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    frame[8..12].copy_from_slice(&(payload as u32).to_le_bytes());
    frame[12..16].copy_from_slice(&previous_crc.to_le_bytes());
    frame[16..24].copy_from_slice(&sequence.to_le_bytes());
    frame[24..32].copy_from_slice(&salt.to_le_bytes());
    frame[32..36].copy_from_slice(&entries.to_le_bytes());
    frame[36..40].fill(0);
    let crc = crc32c::crc32c(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Returns how many bytes a frame of this payload covers.
pub(crate) fn frame_span(payload: usize) -> usize {
    round_up(FRAME_HEADER + payload)
}

/// Returns whether a frame may begin at `position`.
pub(crate) fn is_frame_position(position: u64) -> bool {
    position.is_multiple_of(BLOCK as u64)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_frame_parses_and_any_flipped_bit_is_noticed() {
        let mut frame = vec![0; FRAME_HEADER];
        frame.extend_from_slice(b"some entries");
        let crc = seal(&mut frame, 7, 0xabcd, 99, 1);
        let header = FrameHeader::parse(&frame).unwrap();
        assert_eq!(
            header,
            FrameHeader {
                crc,
                payload: 12,
                previous_crc: 0xabcd,
                sequence: 7,
                salt: 99,
                entries: 1
            }
        );
        assert!(header.verifies(&frame));
        assert_eq!(header.span(), 4096);
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let noticed = FrameHeader::parse(&flipped).is_none_or(|h| !h.verifies(&flipped));
            assert!(noticed, "bit {bit}");
        }
    }
}
