//! Packing one block of LZ4.
//!
//! A block is a list of sequences: bytes as they are, then a copy of at least four bytes from up to 64 KiB
//! before. What may be copied is found by a table that remembers, for a hash of the bytes at a place, the
//! place seen last. Six bytes are hashed, not four as in the first compressors of this format: what is found is
//! then worth being found, and few of the candidates that are looked at are none. Where nothing is found for
//! long, places are skipped.
//!
//! Why it is our own is told in `docs/decisions/0031`.

/// Packs blocks, with memory that is used again.
#[derive(Debug)]
pub(super) struct BlockEncoder {
    /// By hash, the place where bytes of that hash were seen last. The zeros of an empty table are a place
    /// like any other: candidates are compared.
    places: Box<[u16; PLACES]>,
    block: Box<Block>,
    packed: Box<[u8]>,
}

/// A block, copied to where every place of 16 bits has as many bytes behind it as are read at once: to copy it
/// costs less than a look at its end for every place.
type Block = [u8; BLOCK_BYTES_MAX + READ_AT_ONCE];

impl BlockEncoder {
    pub(super) fn new() -> Self {
        let block = vec![0; BLOCK_BYTES_MAX + READ_AT_ONCE].into_boxed_slice();
        Self {
            places: Box::new([0; PLACES]),
            block: block.try_into().expect("a slice of a block's size"),
            packed: vec![0; PACKED_BYTES_MAX].into_boxed_slice(),
        }
    }

    /// Returns the packed form of `block`, which may be longer than the block.
    ///
    /// # Panics
    /// If the block is longer than 64 KiB.
    pub(super) fn pack(&mut self, block: &[u8]) -> &[u8] {
        assert!(block.len() <= BLOCK_BYTES_MAX, "places have 16 bits");
        let Self { places, block: copy, packed } = self;
        places.fill(0);
        copy[..block.len()].copy_from_slice(block);
        let mut output = Output { bytes: packed, len: 0 };
        let mut copied_to = 0;
        // The format ends blocks with literals: the last five bytes, and no copy begins in the last twelve.
        let copies_end = block.len().saturating_sub(LAST_LITERALS);
        let last_start = block.len().saturating_sub(LAST_START);
        let mut at = 1;
        while let Some((found, source)) = find(places, copy, at, last_start) {
            let common = common_before(copy, found, source, found - copied_to);
            let (start, source) = (found - common, source - common);
            let known = found + MATCH_MIN;
            let end = known + common_behind(copy, known, source + common + MATCH_MIN, copies_end);
            output.sequence(copy, copied_to..start, start - source, end - start);
            copied_to = end;
            at = end;
            if at <= last_start {
                places[hash(word(copy, at - 2))] = (at - 2) as u16;
            }
        }
        output.last_literals(&block[copied_to..]);
        &output.bytes[..output.len]
    }
}

/// Finds, from `at` on, a place whose next four bytes are also at an earlier one; returns both.
#[inline]
fn find(
    places: &mut [u16; PLACES],
    block: &Block,
    mut at: usize,
    last_start: usize,
) -> Option<(usize, usize)> {
    // Mostly it is near. Eight bytes have all six of three places.
    let far = at + TRIED_ONE_BY_ONE;
    let end = far.min(last_start + 1);
    while at + PLACES_OF_A_WORD <= end {
        let words = word(block, at);
        for skipped in 0..PLACES_OF_A_WORD {
            let (here, at) = (words >> (8 * skipped), at + skipped);
            let before = exchange(places, here, at);
            if half_word(block, before) == here as u32 {
                return Some((at, before));
            }
        }
        at += PLACES_OF_A_WORD;
    }
    find_far(places, block, far, last_start)
}

/// Goes on to find where nothing was found for long, and skips more and more places.
#[cold]
fn find_far(
    places: &mut [u16; PLACES],
    block: &Block,
    mut at: usize,
    last_start: usize,
) -> Option<(usize, usize)> {
    let mut tries = TRIED_ONE_BY_ONE;
    while at <= last_start {
        let here = word(block, at);
        let before = exchange(places, here, at);
        if half_word(block, before) == here as u32 {
            return Some((at, before));
        }
        at += tries / TRIES_PER_STEP;
        tries += 1;
    }
    None
}

/// Remembers the place of what begins with six bytes; returns where bytes of the same hash were seen before.
#[inline]
fn exchange(places: &mut [u16; PLACES], here: u64, at: usize) -> usize {
    usize::from(std::mem::replace(&mut places[hash(here)], at as u16))
}

/// Returns how many bytes before both places are the same, `most` at the most.
#[inline]
fn common_before(block: &Block, at: usize, source: usize, most: usize) -> usize {
    let most = most.min(source);
    let mut count = 0;
    while count < most && block[place(at - count - 1)] == block[place(source - count - 1)] {
        count += 1;
    }
    count
}

/// Returns how many bytes from `at` and from `source` on are the same, before `end`.
#[inline]
fn common_behind(block: &Block, at: usize, source: usize, end: usize) -> usize {
    let mut count = 0;
    while at + count + 8 <= end {
        let difference = word(block, at + count) ^ word(block, source + count);
        if difference != 0 {
            return count + (difference.trailing_zeros() / 8) as usize;
        }
        count += 8;
    }
    while at + count < end && block[place(at + count)] == block[place(source + count)] {
        count += 1;
    }
    count
}

struct Output<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    /// Writes `literals` of the block as they are and then a copy of `length` bytes from `distance` before.
    #[inline]
    fn sequence(
        &mut self,
        block: &Block,
        literals: std::ops::Range<usize>,
        distance: usize,
        length: usize,
    ) {
        let (count, length) = (literals.len(), length - MATCH_MIN);
        let distance = (distance as u16).to_le_bytes();
        if count < NIBBLE_MAX {
            // Sixteen bytes are copied faster than an unknown number; what is too much is written over.
            let room: &mut [u8; 1 + READ_AT_ONCE + 2] = array_mut(self.bytes, self.len);
            room[0] = token(count, length);
            let read: [u8; READ_AT_ONCE] = array(block, literals.start);
            room[1..=READ_AT_ONCE].copy_from_slice(&read);
            room[1 + count..3 + count].copy_from_slice(&distance);
            self.len += 3 + count;
        } else {
            self.bytes[self.len] = token(count, length);
            self.len += 1;
            self.literals(&block[literals]);
            self.bytes[self.len..self.len + 2].copy_from_slice(&distance);
            self.len += 2;
        }
        self.more_of(length);
    }

    fn last_literals(&mut self, literals: &[u8]) {
        self.bytes[self.len] = token(literals.len(), 0);
        self.len += 1;
        self.literals(literals);
    }

    fn literals(&mut self, literals: &[u8]) {
        self.more_of(literals.len());
        self.bytes[self.len..self.len + literals.len()].copy_from_slice(literals);
        self.len += literals.len();
    }

    /// Writes what of a length is beyond the four bits it has in the token.
    #[inline]
    fn more_of(&mut self, length: usize) {
        let Some(mut rest) = length.checked_sub(NIBBLE_MAX) else { return };
        while rest >= 255 {
            self.bytes[self.len] = 255;
            self.len += 1;
            rest -= 255;
        }
        self.bytes[self.len] = rest as u8;
        self.len += 1;
    }
}

#[inline]
fn token(literals: usize, length: usize) -> u8 {
    (literals.min(NIBBLE_MAX) << 4 | length.min(NIBBLE_MAX)) as u8
}

/// Hashes the first six of eight bytes.
#[inline]
fn hash(word: u64) -> usize {
    ((word << 16).wrapping_mul(HASH_FACTOR) >> (u64::BITS - PLACES_LOG)) as usize
}

#[inline]
fn word(block: &Block, at: usize) -> u64 {
    u64::from_le_bytes(array(block, at))
}

#[inline]
fn half_word(block: &Block, at: usize) -> u32 {
    u32::from_le_bytes(array(block, at))
}

#[inline]
fn array<const N: usize>(block: &Block, at: usize) -> [u8; N] {
    const { assert!(N <= READ_AT_ONCE) };
    *block[place(at)..].first_chunk().expect("so many bytes are behind every place")
}

#[inline]
fn array_mut<const N: usize>(bytes: &mut [u8], at: usize) -> &mut [u8; N] {
    bytes[at..].first_chunk_mut().expect("there is room for more than a sequence")
}

/// Returns the place itself, which is within the block: so the compiler knows it as well.
#[inline]
fn place(at: usize) -> usize {
    at & (BLOCK_BYTES_MAX - 1)
}

/// The longest block.
pub(super) const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// The most bytes that are read in one go.
const READ_AT_ONCE: usize = 16;
/// A block of which nothing is found to be copied grows by a byte for each 255 of its literals; then the token,
/// and room for sixteen bytes in one go.
const PACKED_BYTES_MAX: usize = BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 255 + 64;
/// 8 KiB: a quarter of what the nearest cache has.
const PLACES: usize = 1 << PLACES_LOG;
const PLACES_LOG: u32 = 12;
/// So many places have all bytes that are hashed among eight.
const PLACES_OF_A_WORD: usize = 3;
/// So many places are tried before any is skipped.
const TRIED_ONE_BY_ONE: usize = 22 * PLACES_OF_A_WORD;
/// After so many more tries without anything found, one place more is skipped each time.
const TRIES_PER_STEP: usize = 32;
const HASH_FACTOR: u64 = 0x9e37_79b1_85eb_ca87;
const MATCH_MIN: usize = 4;
const LAST_LITERALS: usize = 5;
const LAST_START: usize = 12;
/// What four bits hold.
const NIBBLE_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use lz4_flex::block::decompress;

    use super::*;

    #[track_caller]
    fn check(encoder: &mut BlockEncoder, block: &[u8]) -> usize {
        let packed = encoder.pack(block);
        assert_eq!(decompress(packed, block.len()).unwrap(), block);
        packed.len()
    }

    /// The same each time.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    #[test]
    fn blocks_of_every_length_come_back() {
        let mut encoder = BlockEncoder::new();
        let mixed: Vec<u8> = b"to be or not to be, ".iter().copied().cycle().take(3000).collect();
        for len in (0..200).chain([255, 256, 270, 271, 2999]) {
            check(&mut encoder, &mixed[..len]);
            check(&mut encoder, &noise(len));
        }
    }

    #[test]
    fn long_runs_and_no_runs_come_back() {
        let mut encoder = BlockEncoder::new();
        assert!(check(&mut encoder, &vec![7; BLOCK_BYTES_MAX]) < 300);
        let wild = noise(BLOCK_BYTES_MAX);
        assert!(check(&mut encoder, &wild) <= BLOCK_BYTES_MAX + 260);
        // The end again, as far back as it goes.
        let far = [&wild[..1000], &noise(BLOCK_BYTES_MAX - 2000)[..], &wild[..1000]].concat();
        check(&mut encoder, &far);
    }

    #[test]
    fn lengths_around_each_limit_of_their_coding_come_back() {
        let mut encoder = BlockEncoder::new();
        let wild = noise(2000);
        for literals in [1, 14, 15, 16, 269, 270, 271, 525] {
            for copied in [4, 5, 6, 18, 19, 20, 273, 274, 275] {
                let front = &wild[..600];
                let block =
                    [front, &wild[700..700 + literals], &front[..copied], &wild[1300..1340]];
                check(&mut encoder, &block.concat());
            }
        }
    }

    #[test]
    fn a_block_is_packed_alike_whatever_was_packed_before() {
        let digits: Vec<u8> =
            (0..300_u32).flat_map(|at| (at * 7919).to_string().into_bytes()).collect();
        let fresh = BlockEncoder::new().pack(&digits).to_vec();
        let mut used = BlockEncoder::new();
        used.pack(&vec![b'7'; BLOCK_BYTES_MAX]);
        check(&mut used, &noise(BLOCK_BYTES_MAX));
        check(&mut used, &digits[..digits.len() - 9]);
        assert_eq!(used.pack(&digits), fresh);
    }

    #[test]
    fn records_that_resemble_each_other_shrink() {
        let mut encoder = BlockEncoder::new();
        let records: Vec<u8> = (0..300)
            .flat_map(|at| format!("{{\"reading\":\"{}\"}}", at * 7919).into_bytes())
            .collect();
        assert!(check(&mut encoder, &records) < records.len() * 2 / 3);
    }
}
