//! The entries inside a frame: what happened to which partition.
//!
//! ```text
//! 0  u8       kind
//! 1  [u8; 3]  zero
//! 4  u32      length of the body
//! 8           body
//! ```
//!
//! | kind | body |
//! |---|---|
//! | 1 append | topic id (16), index i32, first offset i64, offset after the last i64, record batches |
//! | 2 create partition | topic id (16), index i32, topic name (UTF-8, the rest) |
//! | 3 delete partition | topic id (16), index i32 |
//! | 4 log start | topic id (16), index i32, new log start offset i64 |
//! | 5 leader epoch | new leader epoch i32 of every partition in the folder |

use kohort_protocol::Uuid;

/// Bytes before an entry's body.
pub(crate) const ENTRY_HEADER: usize = 8;
/// Bytes of an append's body before its batches.
pub(crate) const APPEND_PREFIX: usize = 36;

const KIND_APPEND: u8 = 1;
const KIND_CREATE: u8 = 2;
const KIND_DELETE: u8 = 3;
const KIND_LOG_START: u8 = 4;
const KIND_LEADER_EPOCH: u8 = 5;

/// A partition as the log names it: topic id and index.
pub(crate) type PartitionKey = (Uuid, i32);

/// One entry, borrowed from its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// Record batches, one after another, with their final offsets.
    Append {
        key: PartitionKey,
        first_offset: i64,
        next_offset: i64,
        /// Where in the frame the batches begin.
        position: usize,
        batches: &'a [u8],
    },
    /// A partition came to be.
    Create { key: PartitionKey, topic: &'a str },
    /// A partition is gone, with all its records.
    Delete { key: PartitionKey },
    /// Records below this offset are gone.
    LogStart { key: PartitionKey, offset: i64 },
    /// A new leader epoch began, because a restart cut something off.
    LeaderEpoch { epoch: i32 },
}

/// Writes the header and fixed part of an append whose batches follow.
pub(crate) fn append_prefix(
    key: PartitionKey,
    first_offset: i64,
    next_offset: i64,
    batches: usize,
) -> [u8; ENTRY_HEADER + APPEND_PREFIX] {
    let mut out = [0; ENTRY_HEADER + APPEND_PREFIX];
    out[0] = KIND_APPEND;
    out[4..8].copy_from_slice(&((APPEND_PREFIX + batches) as u32).to_le_bytes());
    out[8..24].copy_from_slice(&key.0.0);
    out[24..28].copy_from_slice(&key.1.to_le_bytes());
    out[28..36].copy_from_slice(&first_offset.to_le_bytes());
    out[36..44].copy_from_slice(&next_offset.to_le_bytes());
    out
}

/// Encodes an entry other than an append.
pub(crate) fn encode_control(entry: &Entry<'_>) -> Vec<u8> {
    let (kind, body) = match *entry {
        Entry::Append { .. } => unreachable!("appends are written in place by the commit loop"),
        Entry::Create { key, topic } => {
            (KIND_CREATE, [&key_bytes(key)[..], topic.as_bytes()].concat())
        }
        Entry::Delete { key } => (KIND_DELETE, key_bytes(key).to_vec()),
        Entry::LogStart { key, offset } => {
            (KIND_LOG_START, [&key_bytes(key)[..], &offset.to_le_bytes()].concat())
        }
        Entry::LeaderEpoch { epoch } => (KIND_LEADER_EPOCH, epoch.to_le_bytes().to_vec()),
    };
    let mut out = vec![kind, 0, 0, 0];
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// Calls `each` for every entry of a verified frame (`frame` begins with the frame's header, the
/// entries lie in `from..to`). Fails on the first entry that makes no sense.
pub(crate) fn for_each_entry<'a, E: From<BadEntry>>(
    frame: &'a [u8],
    from: usize,
    to: usize,
    mut each: impl FnMut(Entry<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = from;
    while at < to {
        let (entry, next) = decode(frame, at, to).ok_or(BadEntry { position: at })?;
        each(entry)?;
        at = next;
    }
    Ok(())
}

/// An entry that cannot be decoded although its frame's checksum is right: written by a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadEntry {
    pub(crate) position: usize,
}

fn decode(frame: &[u8], at: usize, to: usize) -> Option<(Entry<'_>, usize)> {
    let header = frame.get(at..at + ENTRY_HEADER)?;
    let length = u32::from_le_bytes(header[4..8].try_into().ok()?) as usize;
    let body_at = at + ENTRY_HEADER;
    let next = body_at.checked_add(length).filter(|next| *next <= to)?;
    let body = frame.get(body_at..next)?;
    let entry = match header[0] {
        KIND_APPEND => Entry::Append {
            key: key_at(body)?,
            first_offset: i64_at(body, 20)?,
            next_offset: i64_at(body, 28)?,
            position: body_at + APPEND_PREFIX,
            batches: body.get(APPEND_PREFIX..)?,
        },
        KIND_CREATE => {
            Entry::Create { key: key_at(body)?, topic: str::from_utf8(body.get(20..)?).ok()? }
        }
        KIND_DELETE => Entry::Delete { key: key_at(body)? },
        KIND_LOG_START => Entry::LogStart { key: key_at(body)?, offset: i64_at(body, 20)? },
        KIND_LEADER_EPOCH => {
            Entry::LeaderEpoch { epoch: i32::from_le_bytes(body.try_into().ok()?) }
        }
        _ => return None,
    };
    Some((entry, next))
}

fn key_bytes(key: PartitionKey) -> [u8; 20] {
    let mut out = [0; 20];
    out[..16].copy_from_slice(&key.0.0);
    out[16..].copy_from_slice(&key.1.to_le_bytes());
    out
}

fn key_at(body: &[u8]) -> Option<PartitionKey> {
    let id: [u8; 16] = body.get(..16)?.try_into().ok()?;
    let index = i32::from_le_bytes(body.get(16..20)?.try_into().ok()?);
    Some((Uuid(id), index))
}

fn i64_at(body: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_as_written() {
        let key = (Uuid([7; 16]), 3);
        let controls = [
            Entry::Create { key, topic: "flights" },
            Entry::Delete { key },
            Entry::LogStart { key, offset: 42 },
            Entry::LeaderEpoch { epoch: 5 },
        ];
        let mut frame = vec![9; 40];
        for entry in &controls {
            frame.extend_from_slice(&encode_control(entry));
        }
        frame.extend_from_slice(&append_prefix(key, 10, 12, 4));
        let position = frame.len();
        frame.extend_from_slice(b"abcd");
        let append =
            Entry::Append { key, first_offset: 10, next_offset: 12, position, batches: b"abcd" };
        let mut seen = Vec::new();
        for_each_entry::<BadEntry>(&frame, 40, frame.len(), |entry| {
            seen.push(entry);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [&controls[..], &[append]].concat());
    }

    #[test]
    fn unknown_or_cut_entry_is_refused() {
        let mut frame = encode_control(&Entry::LeaderEpoch { epoch: 1 });
        let whole = frame.clone();
        frame[0] = 99;
        for bad in [&frame[..], &whole[..whole.len() - 1]] {
            let result = for_each_entry::<BadEntry>(bad, 0, bad.len(), |_| Ok(()));
            assert_eq!(result, Err(BadEntry { position: 0 }));
        }
    }
}
