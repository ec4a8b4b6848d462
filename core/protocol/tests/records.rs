//! Record batches: what is written is read back, what is broken is refused, nothing panics.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use kohort_protocol::compression::{Compression, Compressor, DecompressError, Decompressor};
use kohort_protocol::records::{
    AppendError, BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchOptions, BatchRef,
    ControlRecord, EndTransactionMarker, Header, MarkerKind, NewRecord, RecordError, RecordRules,
    RecordView, TimestampType, batches, set_base_offset, set_leader_epoch, set_max_timestamp,
    set_producer, validate_records,
};
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Owned {
    fn append_to(&self, builder: &mut BatchBuilder) -> usize {
        let headers: Vec<Header<'_>> = self
            .headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        let record = NewRecord {
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        };
        let foretold = builder.size_with(&record);
        let len = builder.append(&record).unwrap();
        assert_eq!(builder.size_in_bytes(), foretold);
        len
    }

    fn of(view: &RecordView<'_>) -> Self {
        Self {
            timestamp: view.timestamp,
            key: view.key.map(<[u8]>::to_vec),
            value: view.value.map(<[u8]>::to_vec),
            headers: view
                .headers
                .iter()
                .map(|header| (header.key_text().into_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

fn build(records: &[Owned], compression: Compression, options: &BatchOptions) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for record in records {
        record.append_to(&mut builder);
    }
    let mut compressor = Compressor::new(compression, None).unwrap();
    builder.build(options, &mut compressor).to_vec()
}

fn read(batch: &BatchRef<'_>) -> Result<Vec<(i64, Owned)>, RecordError> {
    let mut buffer = Vec::new();
    batch
        .records(&mut Decompressor::new(), &mut buffer, LIMIT)?
        .map(|record| record.map(|record| (record.offset, Owned::of(&record))))
        .collect()
}

fn validate(bytes: &[u8], rules: RecordRules) -> Result<i64, RecordError> {
    let batch = BatchRef::parse(bytes)?;
    let mut buffer = Vec::new();
    validate_records(&batch, rules, &mut Decompressor::new(), &mut buffer, LIMIT)
        .map(|summary| summary.max_timestamp)
}

fn owned() -> impl Strategy<Value = Owned> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let headers = proptest::collection::vec(("[a-z]{0,9}", bytes()), 0..3);
    (any::<i64>(), bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Owned {
        timestamp,
        key,
        value,
        headers,
    })
}

fn small(value: &[u8]) -> Owned {
    Owned { timestamp: 1000, key: None, value: Some(value.to_vec()), headers: Vec::new() }
}

fn plain_batch(values: &[&[u8]]) -> Vec<u8> {
    let records: Vec<Owned> = values.iter().map(|value| small(value)).collect();
    build(&records, Compression::None, &BatchOptions::default())
}

fn refresh_crc(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn compressions() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(
        records in proptest::collection::vec(owned(), 1..30),
        compression in compressions(),
        base_offset in 0..i64::MAX / 2,
    ) {
        let options = BatchOptions { base_offset, producer_id: 7, producer_epoch: 3, base_sequence: 9,
            transactional: true, ..BatchOptions::default() };
        let bytes = build(&records, compression, &options);
        let batch = BatchRef::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        let header = batch.header();
        prop_assert_eq!(header.compression(), Ok(compression));
        prop_assert_eq!(header.size_in_bytes(), bytes.len());
        prop_assert_eq!(header.next_offset(), base_offset + records.len() as i64);
        prop_assert_eq!(
            (header.producer_id, header.producer_epoch, header.base_sequence), (7, 3, 9));
        prop_assert!(header.is_transactional() && !header.is_control());
        let max = records.iter().map(|record| record.timestamp).max().unwrap();
        prop_assert_eq!(header.max_timestamp, max);
        let expected: Vec<(i64, Owned)> = (base_offset..).zip(records).collect();
        prop_assert_eq!(read(&batch).unwrap(), expected);
        prop_assert_eq!(validate(&bytes, RecordRules::default()), Ok(max));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for batch in batches(&bytes).flatten() {
            let _ = read(&batch);
        }
    }

    #[test]
    fn a_damaged_batch_never_panics_and_its_crc_tells(
        records in proptest::collection::vec(owned(), 1..10),
        compression in compressions(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4),
    ) {
        let mut bytes = build(&records, compression, &BatchOptions::default());
        let (at, flip) = &damage[0];
        let first = 21 + at.index(bytes.len() - 21);
        bytes[first] ^= flip;
        if let Ok(batch) = BatchRef::parse(&bytes) {
            prop_assert!(matches!(batch.verify_crc(), Err(BatchError::BadCrc { .. })), "one flip");
        }
        for (at, flip) in &damage[1..] {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        for batch in batches(&bytes).flatten() {
            let _ = read(&batch);
        }
        let _ = validate(&bytes, RecordRules { keys_required: true });
    }
}

#[test]
fn a_cut_off_last_batch_ends_the_walk_without_an_error() {
    let first = plain_batch(&[b"a", b"b"]);
    let second = plain_batch(&[b"c"]);
    let both = [first.clone(), second.clone()].concat();
    for end in first.len()..both.len() {
        let mut walk = batches(&both[..end]);
        assert_eq!(walk.next().unwrap().unwrap().bytes(), first);
        assert!(walk.next().is_none());
        assert_eq!(walk.rest().len(), end - first.len());
    }
    assert_eq!(batches(&both).count(), 2);
}

#[test]
fn formats_before_2_are_refused_by_name() {
    // A message of format 1 with a null key and value.
    let mut old = vec![0; 8];
    old.extend_from_slice(&22i32.to_be_bytes());
    old.extend_from_slice(&[0; 4]);
    old.push(1);
    old.extend_from_slice(&[0; 17]);
    assert_eq!(old.len(), 34);
    let error = batches(&old).next().unwrap().unwrap_err();
    assert_eq!(error, BatchError::UnsupportedMagic { magic: 1 });
}

#[test]
fn impossible_lengths_and_counts_are_refused() {
    let good = plain_batch(&[b"a", b"b"]);
    for length in [-1, 0, 48, i32::MIN] {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&i32::to_be_bytes(length));
        assert_eq!(
            BatchRef::parse(&bytes).unwrap_err(),
            BatchError::BadLength { batch_length: length }
        );
    }
    let mut beyond = good.clone();
    beyond[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(BatchRef::parse(&beyond), Err(BatchError::Truncated { .. })));
    for (count, last_delta) in [(-1, 0), (3, 1), (1, -1), (i32::MAX, 5)] {
        let mut bytes = good.clone();
        bytes[23..27].copy_from_slice(&i32::to_be_bytes(last_delta));
        bytes[57..61].copy_from_slice(&i32::to_be_bytes(count));
        assert!(matches!(BatchRef::parse(&bytes), Err(BatchError::BadCounts { .. })));
    }
    let mut overflowing = good;
    set_base_offset(&mut overflowing, i64::MAX);
    assert!(matches!(BatchRef::parse(&overflowing), Err(BatchError::BadCounts { .. })));
}

#[test]
fn a_count_that_lies_is_found_by_reading() {
    let mut fewer = plain_batch(&[b"a", b"b"]);
    fewer[57..61].copy_from_slice(&1i32.to_be_bytes());
    let batch = BatchRef::parse(&fewer).unwrap();
    assert!(matches!(read(&batch), Err(RecordError::TrailingBytes { .. })));
    assert!(matches!(validate(&fewer, RecordRules::default()), Err(RecordError::OffsetGap { .. })));
    let mut more = plain_batch(&[b"a", b"b"]);
    more[23..27].copy_from_slice(&2i32.to_be_bytes());
    more[57..61].copy_from_slice(&3i32.to_be_bytes());
    let batch = BatchRef::parse(&more).unwrap();
    assert_eq!(read(&batch), Err(RecordError::Malformed { base_offset: 0, index: 2 }));
}

#[test]
fn records_out_of_order_are_refused() {
    let mut bytes = plain_batch(&[b"a", b"b"]);
    // Both records are 8 bytes: length, attributes, timestamp, offset, key, value length, value, 0.
    assert_eq!(bytes.len(), BATCH_HEADER_BYTES + 16);
    bytes[BATCH_HEADER_BYTES + 8 + 3] = 0;
    let batch = BatchRef::parse(&bytes).unwrap();
    assert_eq!(read(&batch), Err(RecordError::Malformed { base_offset: 0, index: 1 }));
}

#[test]
fn a_compacted_batch_with_holes_is_readable_but_not_producible() {
    let mut builder = BatchBuilder::new();
    let record = NewRecord { value: Some(b"x"), ..NewRecord::default() };
    builder.append_at(3, &record).unwrap();
    builder.append_at(7, &record).unwrap();
    assert_eq!(
        builder.append_at(7, &record),
        Err(AppendError::OffsetNotGrowing { offset_delta: 7, last_offset_delta: 7 })
    );
    let options = BatchOptions { base_offset: 100, ..BatchOptions::default() };
    let bytes = builder.build(&options, &mut Compressor::none());
    let batch = BatchRef::parse(&bytes).unwrap();
    let offsets: Vec<i64> = read(&batch).unwrap().iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [103, 107]);
    assert_eq!(batch.header().next_offset(), 108);
    assert_eq!(
        validate(&bytes, RecordRules::default()),
        Err(RecordError::OffsetGap { base_offset: 100 })
    );
}

#[test]
fn a_missing_key_is_refused_only_where_keys_are_required() {
    let keyed = Owned { key: Some(Vec::new()), ..small(b"a") };
    let bytes = build(&[keyed, small(b"b")], Compression::Lz4, &BatchOptions::default());
    assert_eq!(validate(&bytes, RecordRules::default()), Ok(1000));
    assert_eq!(
        validate(&bytes, RecordRules { keys_required: true }),
        Err(RecordError::MissingKey { base_offset: 0, index: 1 })
    );
}

#[test]
fn patches_outside_the_crc_leave_it_and_those_inside_renew_it() {
    let mut bytes = plain_batch(&[b"a", b"b"]);
    let crc = BatchRef::parse(&bytes).unwrap().header().crc;
    set_base_offset(&mut bytes, 41);
    set_leader_epoch(&mut bytes, 5);
    let batch = BatchRef::parse(&bytes).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!(batch.header().crc, crc);
    assert_eq!((batch.header().base_offset, batch.header().partition_leader_epoch), (41, 5));

    set_max_timestamp(&mut bytes, TimestampType::LogAppendTime, 777);
    set_producer(&mut bytes, 12, 1, 2);
    let batch = BatchRef::parse(&bytes).unwrap();
    batch.verify_crc().unwrap();
    assert_ne!(batch.header().crc, crc);
    assert_eq!(batch.header().timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batch.header().producer_id, 12);
    let timestamps: Vec<i64> =
        read(&batch).unwrap().iter().map(|(_, record)| record.timestamp).collect();
    assert_eq!(timestamps, [777, 777]);
}

#[test]
fn sequences_wrap_to_zero() {
    let options = BatchOptions { base_sequence: i32::MAX, ..BatchOptions::default() };
    let bytes = build(&[small(b"a"), small(b"b")], Compression::None, &options);
    assert_eq!(BatchRef::parse(&bytes).unwrap().header().last_sequence(), 0);
}

#[test]
fn an_unknown_codec_is_an_error_of_its_own() {
    let mut bytes = plain_batch(&[b"a"]);
    bytes[22] |= 0b101;
    refresh_crc(&mut bytes);
    let batch = BatchRef::parse(&bytes).unwrap();
    assert_eq!(read(&batch), Err(RecordError::Batch(BatchError::UnknownCompression { id: 5 })));
}

#[test]
fn a_batch_that_unpacks_beyond_the_limit_is_refused() {
    let zeros = small(&vec![0; 4 * LIMIT]);
    for compression in &Compression::ALL[1..] {
        let bytes = build(std::slice::from_ref(&zeros), *compression, &BatchOptions::default());
        assert_eq!(
            read(&BatchRef::parse(&bytes).unwrap()),
            Err(RecordError::Decompress(DecompressError::TooLarge {
                compression: *compression,
                limit: LIMIT
            }))
        );
    }
}

#[test]
fn transaction_markers_are_control_batches_that_read_back() {
    for kind in [MarkerKind::Abort, MarkerKind::Commit] {
        let marker = EndTransactionMarker { kind, coordinator_epoch: 11 };
        let bytes = marker.batch(5, 99, 4);
        let batch = BatchRef::parse(&bytes).unwrap();
        assert!(batch.header().is_control() && batch.header().is_transactional());
        let (_, record) = read(&batch).unwrap().remove(0);
        assert_eq!(
            ControlRecord::parse(record.key.as_deref(), record.value.as_deref()),
            Some(ControlRecord::EndTransaction(marker))
        );
    }
    assert_eq!(ControlRecord::parse(Some(&[0, 0, 0, 2]), None), Some(ControlRecord::Other(2)));
    assert_eq!(ControlRecord::parse(Some(&[0, 0, 0, 1]), None), None);
    assert_eq!(ControlRecord::parse(None, None), None);
}

#[test]
fn a_builder_is_empty_again_after_a_batch() {
    let mut builder = BatchBuilder::with_capacity(256);
    let mut compressor = Compressor::new(Compression::Zstd, Some(9)).unwrap();
    for round in 0..3 {
        assert!(builder.is_empty());
        small(b"again").append_to(&mut builder);
        let bytes = if round == 1 {
            builder.build(&BatchOptions::default(), &mut Compressor::none())
        } else {
            builder.build(&BatchOptions::default(), &mut compressor)
        };
        let batch = BatchRef::parse(&bytes).unwrap();
        assert_eq!(read(&batch).unwrap(), [(0, small(b"again"))]);
    }
}
