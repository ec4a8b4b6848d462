//! Record batches held against two others: bytes that Kafka 4.3's own classes wrote, and the
//! `kafka-protocol` crate, which brings the C implementations of lz4 and zstd with it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as other;
use kohort_protocol::compression::{Compression, Compressor, Decompressor};
use kohort_protocol::records::{
    BatchBuilder, BatchOptions, BatchRef, Header, NewRecord, RecordRules, validate_records,
};
use proptest::prelude::*;

/// Three records in one batch per codec: with a key, with headers, and a tombstone that is older.
const WRITTEN_BY_KAFKA: [(Compression, &str); 5] = [
    (
        Compression::None,
        "00000000000000000000006dffffffff0288d963f90000000000020000018bcfe568000000018bcfe569f4000000\
         000000109200070000000b0000000314000000046b31047631004c00e80702012e74776963652074776963652074\
         776963652074776963650402680401020268011200cf0f04046b330100",
    ),
    (
        Compression::Gzip,
        "000000000000000000000072ffffffff02d4de44d60001000000020000018bcfe568000000018bcfe569f4000000\
         000000109200070000000b000000031f8b08000000000000ff1361606060c93664293364f06178c1cec4a857529e\
         999caa8041b23065b030323165300a319ce76761c9366664000014eb81963c000000",
    ),
    (
        Compression::Snappy,
        "000000000000000000000076ffffffff02fbd8d6ec0002000000020000018bcfe568000000018bcfe569f4000000\
         000000109200070000000b0000000382534e41505059000000000100000001000000313c5c14000000046b310476\
         31004c00e80702012e747769636520420600480402680401020268011200cf0f04046b330100",
    ),
    (
        Compression::Lz4,
        "000000000000000000000071ffffffff024fcd13460003000000020000018bcfe568000000018bcfe569f4000000\
         000000109200070000000b0000000304224d1860408231000000fd0914000000046b31047631004c00e80702012e\
         7477696365200600f0040402680401020268011200cf0f04046b33010000000000",
    ),
    (
        Compression::Zstd,
        "00000000000000000000006fffffffff0215e0e7560004000000020000018bcfe568000000018bcfe569f4000000\
         000000109200070000000b0000000328b52ffd0058940100b40214000000046b31047631004c00e80702012e7477\
         696365200402680401020268011200cf0f04046b3301000100642e63010000",
    ),
];

const KAFKAS_RECORDS: [NewRecord<'static>; 3] = [
    NewRecord { timestamp: 1_700_000_000_000, key: Some(b"k1"), value: Some(b"v1"), headers: &[] },
    NewRecord {
        timestamp: 1_700_000_000_500,
        key: None,
        value: Some(b"twice twice twice twice"),
        headers: &[Header { key: b"h", value: Some(&[1, 2]) }, Header { key: b"h", value: None }],
    },
    NewRecord { timestamp: 1_699_999_999_000, key: Some(b"k3"), value: None, headers: &[] },
];

const KAFKAS_OPTIONS: BatchOptions = BatchOptions {
    base_offset: 0,
    partition_leader_epoch: -1,
    timestamp_type: kohort_protocol::records::TimestampType::CreateTime,
    producer_id: 4242,
    producer_epoch: 7,
    base_sequence: 11,
    transactional: false,
    control: false,
};

#[test]
fn batches_written_by_kafka_are_read() {
    let mut decompressor = Decompressor::new();
    let mut buffer = Vec::new();
    for (compression, hex) in WRITTEN_BY_KAFKA {
        let bytes = from_hex(hex);
        let batch = BatchRef::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        assert_eq!(batch.header().compression(), Ok(compression));
        assert_eq!(batch.header().last_sequence(), 13);
        let rules = RecordRules::default();
        let summary = validate_records(&batch, rules, &mut decompressor, &mut buffer, 100).unwrap();
        assert_eq!(summary.offset_of_max_timestamp, 1);
        assert_eq!(summary.min_timestamp, 1_699_999_999_000);
        let records = batch.records(&mut decompressor, &mut buffer, 100).unwrap();
        assert_eq!(records.remaining(), KAFKAS_RECORDS.len());
        for (record, expected) in records.zip(KAFKAS_RECORDS) {
            let record = record.unwrap();
            assert_eq!(record.timestamp, expected.timestamp);
            assert_eq!((record.key, record.value), (expected.key, expected.value));
            let headers: Vec<Header<'_>> = record.headers.iter().collect();
            assert_eq!(headers, expected.headers);
        }
    }
}

#[test]
fn batches_without_compression_are_the_bytes_kafka_writes() {
    let mut builder = BatchBuilder::new();
    for record in &KAFKAS_RECORDS {
        builder.append(record).unwrap();
    }
    let ours = builder.build(&KAFKAS_OPTIONS, &mut Compressor::none());
    assert_eq!(ours, from_hex(WRITTEN_BY_KAFKA[0].1));
}

#[derive(Debug, Clone)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn records() -> impl Strategy<Value = Vec<Plain>> {
    let bytes = || proptest::option::of(proptest::collection::vec(0..50u8, 0..2000));
    // The other crate keeps headers in a map, so keys differ.
    let headers = proptest::collection::btree_map("[a-z]{1,9}", bytes(), 0..3);
    let record =
        (1..1_i64 << 40, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| {
            Plain { timestamp, key, value, headers: headers.into_iter().collect() }
        });
    proptest::collection::vec(record, 1..60)
}

fn theirs(index: usize, plain: &Plain) -> other::Record {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Bytes::from);
    other::Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 5,
        producer_id: 77,
        producer_epoch: 2,
        timestamp_type: other::TimestampType::Creation,
        offset: 1000 + index as i64,
        sequence: 30 + index as i32,
        timestamp: plain.timestamp,
        key: bytes(&plain.key),
        value: bytes(&plain.value),
        headers: plain
            .headers
            .iter()
            .map(|(key, value)| (StrBytes::from_string(key.clone()), bytes(value)))
            .collect::<IndexMap<_, _>>(),
    }
}

fn their_codec(compression: Compression) -> other::Compression {
    match compression {
        Compression::None => other::Compression::None,
        Compression::Gzip => other::Compression::Gzip,
        Compression::Snappy => other::Compression::Snappy,
        Compression::Lz4 => other::Compression::Lz4,
        Compression::Zstd => other::Compression::Zstd,
    }
}

fn build_ours(records: &[Plain], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new();
    for record in records {
        let headers: Vec<Header<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        let record = NewRecord {
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        builder.append(&record).unwrap();
    }
    let options = BatchOptions {
        base_offset: 1000,
        partition_leader_epoch: 5,
        producer_id: 77,
        producer_epoch: 2,
        base_sequence: 30,
        transactional: true,
        ..BatchOptions::default()
    };
    builder.build(&options, &mut Compressor::new(compression, None).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_we_write_the_crate_reads(
        records in records(),
        compression in proptest::sample::select(&Compression::ALL[..]),
    ) {
        let mut ours = build_ours(&records, compression);
        let expected: Vec<_> =
            records.iter().enumerate().map(|(index, record)| theirs(index, record)).collect();
        let read = other::RecordBatchDecoder::decode(&mut ours).unwrap();
        prop_assert_eq!(read.compression, their_codec(compression));
        prop_assert_eq!(read.records, expected);
    }

    #[test]
    fn what_the_crate_writes_we_read(
        records in records(),
        compression in proptest::sample::select(&Compression::ALL[..]),
    ) {
        let written: Vec<_> =
            records.iter().enumerate().map(|(index, record)| theirs(index, record)).collect();
        let mut bytes = BytesMut::new();
        let options = other::RecordEncodeOptions { version: 2, compression: their_codec(compression) };
        other::RecordBatchEncoder::encode(&mut bytes, &written, &options).unwrap();
        let batch = BatchRef::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        prop_assert_eq!(batch.header().base_sequence, 30);
        prop_assert!(batch.header().is_transactional());
        let mut buffer = Vec::new();
        let read = batch.records(&mut Decompressor::new(), &mut buffer, 1 << 20).unwrap();
        prop_assert_eq!(read.remaining(), records.len());
        for ((offset, record), expected) in (1000..).zip(read).zip(&records) {
            let record = record.unwrap();
            prop_assert_eq!(record.offset, offset);
            prop_assert_eq!(record.timestamp, expected.timestamp);
            prop_assert_eq!(record.key, expected.key.as_deref());
            prop_assert_eq!(record.value, expected.value.as_deref());
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|header| (header.key_text().into_owned(), header.value.map(<[u8]>::to_vec)))
                .collect();
            prop_assert_eq!(&headers, &expected.headers);
        }
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}
