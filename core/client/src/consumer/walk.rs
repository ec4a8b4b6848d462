//! Walks the batches of a fetch answer by their headers alone.

use kohort_protocol::ErrorCode;

use super::types::Position;

/// What the headers say.
#[derive(Debug, PartialEq)]
pub(super) struct Walked {
    /// How many bytes whole batches take; a broker may cut the last one off.
    pub(super) bytes: usize,
    /// Where reading goes on after them.
    pub(super) next: Option<Position>,
    /// Set when a header cannot be right, and the walk ended there.
    pub(super) broken: Option<ErrorCode>,
}

/// A batch: 8 bytes base offset, 4 bytes length of the rest, then the leader epoch, the magic byte,
/// the checksum, the attributes and the delta of the last offset, all big-endian.
pub(super) fn walk_batches(records: &[u8]) -> Walked {
    let mut walked = Walked { bytes: 0, next: None, broken: None };
    while let Some(batch) = records.get(walked.bytes..) {
        let (Some(base), Some(length)) = (read_i64(batch, 0), read_i32(batch, 8)) else { break };
        let whole = usize::try_from(length).ok().map(|length| LENGTH_END + length);
        let Some(whole) = whole.filter(|whole| *whole >= HEADER_BYTES) else {
            walked.broken = Some(ErrorCode::CORRUPT_MESSAGE);
            break;
        };
        if whole > batch.len() {
            break;
        }
        let (Some(epoch), Some(delta)) = (read_i32(batch, 12), read_i32(batch, 23)) else { break };
        if batch.get(16) != Some(&2) || delta < 0 {
            walked.broken = Some(ErrorCode::CORRUPT_MESSAGE);
            break;
        }
        walked.bytes += whole;
        walked.next = Some(Position {
            offset: base + i64::from(delta) + 1,
            leader_epoch: (epoch >= 0).then_some(epoch),
        });
    }
    walked
}

/// Where the length field ends: it counts what follows.
const LENGTH_END: usize = 12;
/// The fixed part of a batch.
const HEADER_BYTES: usize = 61;

fn read_i64(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
