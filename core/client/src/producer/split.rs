//! Taking a batch apart that the broker found too large.
//!
//! Kafka answers a batch above the topic's `max.message.bytes` with MESSAGE_TOO_LARGE. What its records
//! come to is known to the producer alone, so it sends them again in smaller batches, as Java does: halves,
//! until the broker takes them or a single record is refused. The parts take over the
//! batch's sequences in their order. Nothing was written under them, and what was sent behind the batch
//! is refused as out of order until they are.

use kohort_protocol::compression::Decompressor;
use kohort_protocol::records::{BATCH_HEADER_BYTES, BatchBuilder, Header, NewRecord, batches};

/// Returns the records of a batch in two builders: as many as half its size holds, one at least, and the
/// rest. `bytes` is what the batch takes unpacked.
///
/// # Panics
/// If `batch` is not a batch as a builder makes it, of at least two records.
pub(super) fn halves(batch: &[u8], bytes: usize) -> [Box<BatchBuilder>; 2] {
    let (mut decompressor, mut unpacked) = (Decompressor::new(), Vec::new());
    let whole = batches(batch).next().and_then(Result::ok).expect("it is a batch we have built");
    let records = whole.records(&mut decompressor, &mut unpacked, bytes);
    let records = records.expect("it unpacks to what it was packed from");
    let half = BATCH_HEADER_BYTES + bytes.saturating_sub(BATCH_HEADER_BYTES) / 2;
    let mut parts = [Box::new(BatchBuilder::new()), Box::new(BatchBuilder::new())];
    let mut headers: Vec<Header<'_>> = Vec::new();
    for record in records {
        let record = record.expect("it holds the records that were put in");
        headers.clear();
        headers.extend(record.headers);
        let record = NewRecord {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &headers,
        };
        let [first, rest] = &mut parts;
        let fits = first.is_empty() || rest.is_empty() && first.size_with(&record) <= half;
        let part = if fits { first } else { rest };
        part.append(&record).expect("a part is smaller than the whole");
    }
    assert!(!parts[1].is_empty(), "half of it does not hold it all");
    parts
}
