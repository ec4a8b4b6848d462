//! Where new member ids come from: a seeded source, so that a run can be repeated.

use kohort_protocol::Uuid;

/// Makes the random part of member ids.
///
/// The generator is SplitMix64: its whole state is the seed, every seed is good, and member ids
/// need to be distinct, not secret. A shell seeds it from the operating system's entropy.
#[derive(Debug, Clone)]
pub(crate) struct MemberIds(u64);

impl MemberIds {
    /// Returns a source that makes the same ids for the same seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns `prefix`, a dash and a random UUID (version 4), as Kafka names members.
    pub(crate) fn next(&mut self, prefix: &str) -> String {
        let (high, low) = (self.next_word(), self.next_word());
        let high = (high & !0xf000) | 0x4000;
        let low = (low & !(0b11 << 62)) | (0b10 << 62);
        format!(
            "{prefix}-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// Returns a random UUID as Kafka prints it, for members that bring no id of their own.
    pub(crate) fn next_uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        for half in bytes.chunks_exact_mut(8) {
            half.copy_from_slice(&self.next_word().to_be_bytes());
        }
        Uuid::from_random(bytes).to_string()
    }

    fn next_word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_id_is_the_prefix_and_a_version_4_uuid() {
        let id = MemberIds::new(7).next("consumer-1");
        let uuid = id.strip_prefix("consumer-1-").unwrap();
        let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(uuid.as_bytes()[14], b'4', "{id}");
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{id}");
    }

    #[test]
    fn equal_seeds_make_equal_ids_and_one_source_never_repeats_itself() {
        let (mut one, mut two) = (MemberIds::new(1), MemberIds::new(1));
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| one.next("c")).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.contains(&two.next("c")));
    }
}
