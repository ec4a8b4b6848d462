//! A batch's checksum, computed while its records are appended.
//!
//! The checksum covers the end of the header before the records, and the header is known last. So the records
//! have a sum of their own, and both are joined at the end: to go on with `n` bytes is, for what was summed
//! before, a multiplication with `x^8n` modulo the polynomial, and the sum of those bytes is added to it.

/// The sum of a buffer from some place on.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunningSum {
    from: usize,
    to: usize,
    sum: u32,
}

impl RunningSum {
    /// Starts behind the first `from` bytes of a buffer.
    pub(super) const fn behind(from: usize) -> Self {
        Self { from, to: from, sum: 0 }
    }

    /// Follows a buffer that has grown, once that is worth it.
    #[inline]
    pub(super) fn follow(&mut self, buffer: &[u8]) {
        if buffer.len() - self.to >= STEP_BYTES {
            self.sum = crc32c::crc32c_append(self.sum, &buffer[self.to..]);
            self.to = buffer.len();
        }
    }

    /// Returns the sum of what has the sum `before` and `bytes` behind it: all of them from the place this
    /// started at.
    pub(super) fn finish_behind(self, before: u32, bytes: &[u8]) -> u32 {
        let sum = crc32c::crc32c_append(self.sum, &bytes[self.to - self.from..]);
        shifted(before, bytes.len()) ^ sum
    }
}

/// Returns `sum` as it is after `bytes` zeros.
fn shifted(sum: u32, bytes: usize) -> u32 {
    let bytes = u32::try_from(bytes).expect("a batch is below 2 GiB");
    let digits = bytes.to_le_bytes().into_iter().zip(&POWERS);
    digits
        .filter(|(digit, _)| *digit > 0)
        .fold(sum, |sum, (digit, powers)| multiplied(sum, powers[usize::from(digit)]))
}

/// Multiplies two polynomials modulo the one of CRC-32C. The highest bit is the coefficient of `x^0`.
const fn multiplied(left: u32, right: u32) -> u32 {
    let (mut left, mut right, mut product) = (left, right, 0);
    let mut bit = 0;
    while bit < u32::BITS {
        product ^= right & (left >> 31).wrapping_neg();
        left <<= 1;
        right = (right >> 1) ^ (POLYNOMIAL & (right & 1).wrapping_neg());
        bit += 1;
    }
    product
}

/// `x^(8 * digit * 256^place)`, by the place and the digit.
const POWERS: [[u32; 256]; 4] = {
    let mut powers = [[ONE; 256]; 4];
    // x^8
    let mut step = ONE >> 8;
    let mut place = 0;
    while place < 4 {
        let mut digit = 1;
        while digit < 256 {
            powers[place][digit] = multiplied(powers[place][digit - 1], step);
            digit += 1;
        }
        step = multiplied(powers[place][255], step);
        place += 1;
    }
    powers
};

const ONE: u32 = 1 << 31;
/// The polynomial of CRC-32C without its highest term, `x^0` first.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// What the checksum's instructions are worth being started for; far less than the nearest cache holds.
const STEP_BYTES: usize = 3 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_joined_whatever_their_lengths() {
        let bytes: Vec<u8> = (0..70_000_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
        for (front, len) in [(0, 1), (40, 0), (40, 1), (1, 255), (40, 256), (40, 69_000)] {
            let (before, behind) = bytes[..front + len].split_at(front);
            let mut running = RunningSum::behind(front);
            for end in (front..=front + len).step_by(1000) {
                running.follow(&bytes[..end]);
            }
            let whole = crc32c::crc32c(&bytes[..front + len]);
            assert_eq!(running.finish_behind(crc32c::crc32c(before), behind), whole);
        }
    }

    #[test]
    fn a_sum_is_shifted_by_millions_of_bytes() {
        let (before, zeros) = (b"before", vec![0; 17_000_000]);
        let whole = crc32c::crc32c_append(crc32c::crc32c(before), &zeros);
        let joined = shifted(crc32c::crc32c(before), zeros.len()) ^ crc32c::crc32c(&zeros);
        assert_eq!(joined, whole);
    }
}
