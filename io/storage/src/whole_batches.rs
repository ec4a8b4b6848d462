//! Which of some bytes of a log are whole batches.

use kohort_protocol::records::{BatchError, BatchRef, LOG_OVERHEAD_BYTES};

/// Returns how many of the first bytes are whole batches within `max_bytes`, looking at each with
/// `each(position, batch)`.
pub(crate) fn whole_batches<E>(
    bytes: &[u8],
    max_bytes: usize,
    mut each: impl FnMut(usize, Result<BatchRef<'_>, BatchError>) -> Result<(), E>,
) -> Result<usize, E> {
    let mut at = 0;
    while bytes.len() - at >= LOG_OVERHEAD_BYTES {
        let size = first_batch_bytes(&bytes[at..]);
        if size > bytes.len() - at || at + size > max_bytes {
            break;
        }
        each(at, BatchRef::parse(&bytes[at..]))?;
        at += size;
    }
    Ok(at)
}

/// Returns the size of the batch at the front, as its length field tells.
pub(crate) fn first_batch_bytes(bytes: &[u8]) -> usize {
    let length = i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes"));
    LOG_OVERHEAD_BYTES + usize::try_from(length).unwrap_or(0)
}
