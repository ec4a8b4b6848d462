//! The codecs by themselves: round trips, limits, and forms that others write and we do not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write;

use kohort_protocol::compression::{
    Compression, Compressor, DecompressError, Decompressor, InvalidLevel,
};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;

const LIMIT: usize = 8 << 20;

fn unpack(compression: Compression, packed: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let mut buffer = Vec::new();
    Decompressor::new().decompress(compression, packed, &mut buffer, LIMIT).map(<[u8]>::to_vec)
}

fn pack(compression: Compression, level: Option<i32>, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    Compressor::new(compression, level).unwrap().compress(plain, &mut packed);
    packed
}

/// Half compressible, half not, longer than every block size in use.
fn mixed(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..len)
        .map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if index % 2000 < 1000 { (state >> 24) as u8 } else { (index / 7) as u8 }
        })
        .collect()
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        (any::<u8>(), 0..100_000usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn codecs() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[1..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_codec_gives_back_what_it_was_given(
        first in data(), second in data(), codec in codecs(),
    ) {
        let mut compressor = Compressor::new(codec, None).unwrap();
        let mut decompressor = Decompressor::new();
        let mut buffer = Vec::new();
        for plain in [&first, &second, &first] {
            let mut packed = b"kept".to_vec();
            compressor.compress(plain, &mut packed);
            prop_assert_eq!(&packed[..4], b"kept");
            let unpacked = decompressor.decompress(codec, &packed[4..], &mut buffer, LIMIT);
            prop_assert_eq!(unpacked, Ok(plain.as_slice()));
        }
    }

    #[test]
    fn the_limit_is_exact(plain in data(), codec in codecs(), less in 1..100usize) {
        let packed = pack(codec, None, &plain);
        let mut buffer = Vec::new();
        let mut decompressor = Decompressor::new();
        let exact = decompressor.decompress(codec, &packed, &mut buffer, plain.len());
        prop_assert_eq!(exact, Ok(plain.as_slice()));
        if let Some(limit) = plain.len().checked_sub(less) {
            let mut buffer = Vec::new();
            let refused = decompressor.decompress(codec, &packed, &mut buffer, limit);
            prop_assert_eq!(refused, Err(DecompressError::TooLarge { compression: codec, limit }));
            prop_assert!(buffer.len() <= limit + 1);
        }
    }

    #[test]
    fn arbitrary_and_damaged_bytes_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        plain in data(),
        at: prop::sample::Index,
        flip in 1..=255u8,
        codec in codecs(),
    ) {
        let mut packed = pack(codec, None, &plain);
        let head = packed.len().min(20);
        let _ = unpack(codec, &noise);
        let _ = unpack(codec, &[&packed[..head], &noise].concat());
        let at = at.index(packed.len());
        let _ = unpack(codec, &packed[..at]);
        packed[at] ^= flip;
        let _ = unpack(codec, &packed);
    }
}

#[test]
fn cut_off_data_is_an_error() {
    let plain = mixed(5000);
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let packed = pack(codec, None, &plain);
        for end in (0..packed.len()).step_by(97).chain([packed.len() - 1]) {
            let result = unpack(codec, &packed[..end]);
            assert!(matches!(result, Err(DecompressError::Corrupt { .. })), "{codec} cut at {end}");
        }
    }
}

#[test]
fn kafkas_levels_are_accepted_and_others_refused() {
    for (codec, good, bad) in [
        (Compression::Gzip, &[-1, 1, 9][..], &[-2, 0, 10][..]),
        (Compression::Lz4, &[1, 9, 17], &[-1, 0, 18]),
        (Compression::Zstd, &[-131_072, -1, 0, 3, 22], &[-131_073, 23]),
        (Compression::Snappy, &[], &[0, 1]),
        (Compression::None, &[], &[0, 1]),
    ] {
        for level in good {
            let plain = mixed(10_000);
            let packed = pack(codec, Some(*level), &plain);
            assert_eq!(unpack(codec, &packed), Ok(plain), "{codec} at {level}");
        }
        for level in bad {
            let error = InvalidLevel { compression: codec, level: *level };
            assert_eq!(Compressor::new(codec, Some(*level)).unwrap_err(), error);
        }
    }
}

#[test]
fn higher_levels_pack_tighter_where_a_level_has_an_effect() {
    let plain: Vec<u8> = mixed(60_000)
        .iter()
        .flat_map(|byte| {
            format!("{{\"origin\":{},\"delay\":{}}}", byte % 37, byte / 3).into_bytes()
        })
        .collect();
    for (codec, low, high) in [(Compression::Gzip, 1, 9), (Compression::Zstd, 1, 19)] {
        assert!(pack(codec, Some(high), &plain).len() < pack(codec, Some(low), &plain).len());
    }
}

#[test]
fn snappy_is_read_framed_and_bare() {
    let plain = mixed(100_000);
    let bare = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    assert_eq!(unpack(Compression::Snappy, &bare).as_deref(), Ok(&plain[..]));
    let framed = pack(Compression::Snappy, None, &plain);
    assert_eq!(&framed[..8], b"\x82SNAPPY\0");
    assert_eq!(unpack(Compression::Snappy, &framed).as_deref(), Ok(&plain[..]));
}

#[test]
fn a_snappy_block_cannot_make_us_reserve_what_it_claims() {
    // Claims 4 GiB less one byte in five.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let mut buffer = Vec::new();
    let result = Decompressor::new().decompress(Compression::Snappy, &lie, &mut buffer, usize::MAX);
    assert!(matches!(result, Err(DecompressError::Corrupt { .. })));
    assert!(buffer.is_empty());
}

#[test]
fn lz4_frames_of_every_shape_are_read() {
    let plain = mixed(700_000);
    for block_mode in [BlockMode::Independent, BlockMode::Linked] {
        for block_size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for checksums in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(block_mode)
                    .block_size(block_size)
                    .block_checksums(checksums)
                    .content_checksum(checksums)
                    .content_size(checksums.then_some(plain.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&plain).unwrap();
                let mut packed = encoder.finish().unwrap();
                assert_eq!(unpack(Compression::Lz4, &packed).as_deref(), Ok(&plain[..]));
                let twice = [packed.clone(), packed.clone()].concat();
                assert_eq!(
                    unpack(Compression::Lz4, &twice).map(|twice| twice.len()),
                    Ok(1_400_000)
                );
                if checksums {
                    let last = packed.len() - 1;
                    packed[last] ^= 1;
                    assert!(unpack(Compression::Lz4, &packed).is_err());
                }
            }
        }
    }
}

#[test]
fn an_lz4_frame_starts_as_javas_does_and_others_can_read_it() {
    let plain = mixed(200_000);
    let packed = pack(Compression::Lz4, None, &plain);
    assert_eq!(packed[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    let mut unpacked = Vec::new();
    std::io::copy(&mut lz4_flex::frame::FrameDecoder::new(&packed[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
}

#[test]
fn gzip_members_with_names_and_several_members_are_read() {
    let plain = mixed(50_000);
    let mut encoder = flate2::GzBuilder::new()
        .filename("orders")
        .comment("two words")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&plain).unwrap();
    let mut packed = encoder.finish().unwrap();
    assert_eq!(unpack(Compression::Gzip, &packed).as_deref(), Ok(&plain[..]));
    packed.extend(pack(Compression::Gzip, None, b"and more"));
    assert_eq!(unpack(Compression::Gzip, &packed), Ok([&plain[..], b"and more"].concat()));
}

#[test]
fn a_zstd_frame_without_its_size_is_read() {
    let plain = mixed(300_000);
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    for piece in plain.chunks(10_000) {
        encoder.write_all(piece).unwrap();
    }
    let packed = encoder.finish().unwrap();
    assert_eq!(unpack(Compression::Zstd, &packed).as_deref(), Ok(&plain[..]));
}
