//! What a partition accepts of a producer, one rule a test.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bytes::{Bytes, BytesMut};
use kohort_log::PartitionConfig;
use kohort_log::validator::{
    AppendOrigin, InvalidBatch, InvalidRecord, Scratch, ValidBatch, validate,
};
use kohort_protocol::ErrorCode;
use kohort_protocol::compression::{Compression, Compressor, Decompressor};
use kohort_protocol::records::{
    BatchBuilder, BatchHeader, BatchOptions, BatchRef, Header, NewRecord, TimestampType,
    empty_batch_in_place_of, set_base_offset, set_max_timestamp,
};

const NOW: i64 = 1_700_000_000_000;

fn check(config: &PartitionConfig, batch: Bytes) -> Result<ValidBatch, InvalidBatch> {
    validate(config, NOW, batch, AppendOrigin::Client, &mut Scratch::default())
}

fn code(config: &PartitionConfig, batch: Bytes) -> ErrorCode {
    check(config, batch).expect_err("the batch breaks a rule").code
}

/// Which records are named.
fn indexes(error: &InvalidBatch) -> Vec<i32> {
    error.records.iter().map(|record| record.index).collect()
}

fn batch_at(times: &[i64], options: &BatchOptions, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new();
    for &timestamp in times {
        let record =
            NewRecord { timestamp, key: None, value: Some(b"value"), ..NewRecord::default() };
        builder.append(&record).unwrap();
    }
    builder.build(options, &mut Compressor::new(compression, None).unwrap())
}

fn batch() -> Bytes {
    batch_at(&[NOW, NOW + 1], &BatchOptions::default(), Compression::None)
}

fn changed(change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = BytesMut::from(&batch()[..]);
    change(&mut bytes);
    bytes.freeze()
}

/// Changes a batch and computes its checksum anew.
fn forged(change: impl FnOnce(&mut [u8])) -> Bytes {
    changed(|bytes| {
        change(bytes);
        set_max_timestamp(bytes, TimestampType::CreateTime, NOW + 1);
    })
}

#[test]
fn sound_batch_is_stored_as_it_came_whatever_its_codec() {
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for compression in codecs {
        let batch = batch_at(&[NOW - 5, NOW], &BatchOptions::default(), compression);
        let valid = check(&PartitionConfig::default(), batch.clone()).unwrap();
        assert_eq!(valid.bytes, batch, "{compression}");
        assert_eq!(valid.log_append_time, None);
    }
}

#[test]
fn broken_batches_are_refused_with_kafkas_codes() {
    let config = PartitionConfig::default();
    let two = [&batch()[..], &batch()[..]].concat();
    let header = BatchHeader::parse(&batch()).unwrap();
    let producer = BatchOptions { producer_id: 5, ..BatchOptions::default() };
    let control = BatchOptions { control: true, ..BatchOptions::default() };
    let cases = [
        ("nothing", Bytes::new(), ErrorCode::INVALID_RECORD),
        ("two batches", Bytes::from(two), ErrorCode::INVALID_RECORD),
        ("half a batch", batch().slice(..80), ErrorCode::INVALID_RECORD),
        ("format 1", changed(|b| b[16] = 1), ErrorCode::INVALID_RECORD),
        ("format 5", changed(|b| b[16] = 5), ErrorCode::CORRUPT_MESSAGE),
        ("base offset", changed(|b| set_base_offset(b, 1)), ErrorCode::INVALID_RECORD),
        ("no records", empty_batch_in_place_of(&header), ErrorCode::INVALID_RECORD),
        ("offsets with a gap", forged(|b| b[26] = 2), ErrorCode::INVALID_RECORD),
        ("codec 5", forged(|b| b[22] = 5), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        ("flipped bit", changed(|b| b[70] ^= 1), ErrorCode::CORRUPT_MESSAGE),
        ("length one too small", changed(|b| b[11] -= 1), ErrorCode::CORRUPT_MESSAGE),
        ("nothing but zeros", Bytes::from(vec![0; 80]), ErrorCode::CORRUPT_MESSAGE),
        ("negative length", changed(|b| b[8] = 0xff), ErrorCode::CORRUPT_MESSAGE),
        (
            "producer without sequence",
            batch_at(&[NOW], &producer, Compression::None),
            ErrorCode::INVALID_RECORD,
        ),
        ("control batch", batch_at(&[NOW], &control, Compression::None), ErrorCode::INVALID_RECORD),
    ];
    for (name, batch, expected) in cases {
        assert_eq!(code(&config, batch), expected, "{name}");
    }
}

#[test]
fn batch_above_the_topics_or_the_segments_limit_is_refused() {
    let size = batch().len();
    let exact = PartitionConfig { max_message_bytes: size, ..PartitionConfig::default() };
    assert!(check(&exact, batch()).is_ok());
    let less = PartitionConfig { max_message_bytes: size - 1, ..PartitionConfig::default() };
    assert_eq!(code(&less, batch()), ErrorCode::MESSAGE_TOO_LARGE);
    let long = PartitionConfig { segment_bytes: size as u32, ..PartitionConfig::default() };
    assert!(check(&long, batch()).is_ok());
    let short = PartitionConfig { segment_bytes: size as u32 - 1, ..PartitionConfig::default() };
    assert_eq!(code(&short, batch()), ErrorCode::RECORD_LIST_TOO_LARGE);
}

#[test]
fn batch_that_the_topics_codec_makes_too_large_is_refused() {
    let repeated = batch_at(&[NOW; 100], &BatchOptions::default(), Compression::Gzip);
    let unpacked = batch_at(&[NOW; 100], &BatchOptions::default(), Compression::None).len();
    let with_limit = |max_message_bytes| PartitionConfig {
        max_message_bytes,
        compression: Some(Compression::None),
        ..PartitionConfig::default()
    };
    assert!(check(&with_limit(unpacked), repeated.clone()).is_ok());
    assert_eq!(code(&with_limit(unpacked - 1), repeated), ErrorCode::MESSAGE_TOO_LARGE);
}

#[test]
fn sequences_of_an_idempotent_producer_begin_at_zero() {
    let options = BatchOptions { producer_id: 5, base_sequence: 0, ..BatchOptions::default() };
    let batch = batch_at(&[NOW], &options, Compression::None);
    assert!(check(&PartitionConfig::default(), batch).is_ok());
}

#[test]
fn compacted_topic_names_the_records_without_a_key() {
    let config = PartitionConfig { compacted: true, ..PartitionConfig::default() };
    let mut builder = BatchBuilder::new();
    for key in [None, Some(&b"key"[..]), None] {
        builder.append(&NewRecord { timestamp: NOW, key, ..NewRecord::default() }).unwrap();
    }
    let batch = builder.build(&BatchOptions::default(), &mut Compressor::none());
    let error = check(&config, batch).unwrap_err();
    assert_eq!(error.code, ErrorCode::INVALID_RECORD);
    assert_eq!(indexes(&error), [0, 2]);
}

#[test]
fn timestamps_out_of_bounds_are_refused_by_record_and_missing_ones_are_not() {
    let config = PartitionConfig {
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 500,
        ..PartitionConfig::default()
    };
    let times = |times: &[i64]| batch_at(times, &BatchOptions::default(), Compression::None);
    for accepted in [&[NOW - 1000, NOW + 500][..], &[-1], &[-1, NOW]] {
        assert!(check(&config, times(accepted)).is_ok(), "{accepted:?}");
    }
    let refused: [(&[i64], &[i32]); 4] = [
        (&[NOW, NOW - 1001, NOW + 501], &[1, 2]),
        (&[NOW, NOW - 1001], &[1]),
        (&[NOW, NOW + 501], &[1]),
        // The record without a time must not hide the early one.
        (&[-1, NOW, NOW - 1001], &[2]),
    ];
    for (refused, expected) in refused {
        let error = check(&config, times(refused)).unwrap_err();
        assert_eq!(error.code, ErrorCode::INVALID_TIMESTAMP);
        assert_eq!(indexes(&error), expected, "{refused:?}");
    }
    let many = check(&config, times(&[0; 101])).unwrap_err();
    assert_eq!(many.records.len(), 100, "an answer names no more than that");
}

/// Kafka's `LogValidator` looks at a record's key before its timestamp, and at all records before it answers.
#[test]
fn one_wrong_timestamp_is_the_reason_also_where_keys_are_missing() {
    let mut builder = BatchBuilder::new();
    for (key, timestamp) in [(None, NOW), (None, NOW - 1001), (Some(b"k"), NOW + 501)] {
        let key = key.map(|key: &[u8; 1]| &key[..]);
        let value = Some(&b"v"[..]);
        builder.append(&NewRecord { timestamp, key, value, ..NewRecord::default() }).unwrap();
    }
    let batch = builder.build(&BatchOptions::default(), &mut Compressor::none());
    for compression in [None, Some(Compression::Lz4)] {
        let config = PartitionConfig {
            compacted: true,
            timestamp_before_max_ms: 1000,
            timestamp_after_max_ms: 500,
            compression,
            ..PartitionConfig::default()
        };
        let without_key = "a compacted topic does not accept a record without a key";
        let time =
            format!("timestamp {} is not within {} and {}", NOW + 501, NOW - 1000, NOW + 500);
        let record = |index, message: &str| InvalidRecord { index, message: message.to_owned() };
        let refused = InvalidBatch {
            code: ErrorCode::INVALID_TIMESTAMP,
            message: "the timestamps of some records are out of range".to_owned(),
            records: vec![record(0, without_key), record(1, without_key), record(2, &time)],
        };
        assert_eq!(check(&config, batch.clone()), Err(refused));
    }
}

#[test]
fn append_time_is_stamped_and_a_producer_may_not_claim_it() {
    let config = PartitionConfig {
        timestamp_type: TimestampType::LogAppendTime,
        ..PartitionConfig::default()
    };
    let old = batch_at(&[5, 6], &BatchOptions::default(), Compression::None);
    let valid = check(&config, old).unwrap();
    assert_eq!(valid.log_append_time, Some(NOW));
    let header = BatchHeader::parse(&valid.bytes).unwrap();
    assert_eq!((header.max_timestamp, header.timestamp_type()), (NOW, config.timestamp_type));
    let of_now = batch_at(&[NOW], &BatchOptions::default(), Compression::None);
    let header = check(&config, of_now).unwrap().header;
    assert_eq!(header.timestamp_type(), config.timestamp_type, "also if the time is the same");
    let claimed = changed(|bytes| set_max_timestamp(bytes, TimestampType::LogAppendTime, NOW));
    assert_eq!(code(&config, claimed), ErrorCode::INVALID_TIMESTAMP);
}

#[test]
fn wrong_greatest_timestamp_of_a_producer_is_put_right() {
    let wrong = changed(|bytes| set_max_timestamp(bytes, TimestampType::CreateTime, NOW + 99));
    let valid = check(&PartitionConfig::default(), wrong).unwrap();
    assert_eq!(valid.header.max_timestamp, NOW + 1);
    assert_eq!(valid.bytes, batch());
}

#[test]
fn topic_with_its_own_codec_has_batches_packed_anew() {
    let config =
        PartitionConfig { compression: Some(Compression::Zstd), ..PartitionConfig::default() };
    let options =
        BatchOptions { producer_id: 3, producer_epoch: 1, base_sequence: 9, ..Default::default() };
    let records = |batch: &Bytes| -> Vec<String> {
        let batch = BatchRef::parse(batch).unwrap();
        let mut buffer = Vec::new();
        let records = batch.records(&mut Decompressor::new(), &mut buffer, 1 << 20).unwrap();
        records.map(|record| format!("{:?}", record.unwrap())).collect()
    };
    let mut builder = BatchBuilder::new();
    for (timestamp, header) in [(NOW, &b"one"[..]), (NOW + 7, b"two")] {
        let headers = [Header { key: b"header", value: Some(header) }];
        let (key, value) = (Some(&b"key"[..]), Some(&b"value"[..]));
        builder.append(&NewRecord { timestamp, key, value, headers: &headers }).unwrap();
    }
    let batch = builder.build(&options, &mut Compressor::new(Compression::Gzip, None).unwrap());
    let valid = check(&config, batch.clone()).unwrap();
    assert_eq!(records(&valid.bytes), records(&batch));
    let header = valid.header;
    assert_eq!(header.compression(), Ok(Compression::Zstd));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (3, 1, 9));
    assert_eq!((header.record_count, header.max_timestamp), (2, NOW + 7));
    assert!(check(&PartitionConfig::default(), valid.bytes).is_ok());
}

#[test]
fn topics_codec_packs_at_its_own_level_and_leaves_batches_of_that_codec_alone() {
    let mut builder = BatchBuilder::new();
    let mut text = 1u64;
    for timestamp in NOW..NOW + 200 {
        // Words that repeat near and far, so that looking longer finds more.
        text = text.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let value = format!("{} {} {}", text >> 56, (text >> 48) & 255, (text >> 40) & 15);
        let value = Some(value.as_bytes());
        builder.append(&NewRecord { timestamp, value, ..NewRecord::default() }).unwrap();
    }
    let plain = builder.build(&BatchOptions::default(), &mut Compressor::none());
    // A compressor is kept from one batch to the next.
    let mut scratch = Scratch::default();
    for (codec, fast, thorough) in [(Compression::Gzip, 1, 9), (Compression::Zstd, -5, 19)] {
        let mut pack = |level, batch: &Bytes| {
            let config = PartitionConfig {
                compression: Some(codec),
                compression_level: Some(level),
                ..PartitionConfig::default()
            };
            let valid = validate(&config, NOW, batch.clone(), AppendOrigin::Client, &mut scratch);
            let valid = valid.unwrap();
            assert_eq!(valid.header.compression(), Ok(codec));
            valid.bytes
        };
        let packed = pack(fast, &plain);
        assert!(pack(thorough, &plain).len() < packed.len(), "{codec}");
        assert_eq!(pack(fast, &plain), packed);
        let again = pack(thorough, &packed);
        assert_eq!(again, packed, "the codec is right, so the level is not asked");
    }
}

#[test]
fn coordinators_own_batches_may_be_of_any_size() {
    let config = PartitionConfig { max_message_bytes: 1, ..PartitionConfig::default() };
    let origin = AppendOrigin::Coordinator;
    assert!(validate(&config, NOW, batch(), origin, &mut Scratch::default()).is_ok());
}

#[test]
fn coordinators_own_batches_may_be_control_batches() {
    let control = BatchOptions { control: true, ..BatchOptions::default() };
    let batch = batch_at(&[NOW], &control, Compression::None);
    let config = PartitionConfig::default();
    let origin = AppendOrigin::Coordinator;
    assert!(validate(&config, NOW, batch, origin, &mut Scratch::default()).is_ok());
}

#[test]
fn transactional_records_are_refused_while_there_are_no_transactions() {
    let options = BatchOptions {
        producer_id: 1,
        producer_epoch: 0,
        base_sequence: 0,
        transactional: true,
        ..BatchOptions::default()
    };
    let batch = batch_at(&[NOW], &options, Compression::None);
    assert_eq!(
        code(&PartitionConfig::default(), batch),
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    );
}
