//! Which partition a record goes to, when its sender does not say: Kafka's default partitioner.
//!
//! A record with a key goes where the key's hash says, so that records of one key stay in order. A
//! record without one goes to the topic's current partition, which changes once about a batch of
//! bytes went there (KIP-794): records are spread evenly and batches are full. When queues differ in
//! length, shorter ones are chosen more often, so that a slow broker does not gather the batches.

use crate::backoff::Jitter;

/// Returns the partition of a key among `partition_count`, the same as every client of Kafka.
///
/// ```
/// use kohort_client_core::producer::partitioner::partition_for_key;
///
/// assert_eq!(partition_for_key(b"JFK", 6), 1);
/// ```
///
/// # Panics
/// If there are no partitions.
pub fn partition_for_key(key: &[u8], partition_count: i32) -> i32 {
    assert!(partition_count > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) as i32 % partition_count
}

/// What the partitioner is told of a topic.
#[derive(Debug, Clone, Copy)]
pub struct TopicPartitions<'a> {
    /// How many partitions the topic has; at least one.
    pub partition_count: i32,
    /// The partitions that have a leader now. May be empty.
    pub available: &'a [i32],
}

/// The default partitioner's memory of one topic.
#[derive(Debug, Clone)]
pub struct TopicPartitioner {
    batch_bytes: usize,
    ignore_keys: bool,
    current: Option<i32>,
    bytes_to_current: usize,
    loads: Option<Loads>,
}

impl TopicPartitioner {
    /// Creates the memory of a topic not produced to yet.
    ///
    /// `batch_bytes` is `batch.size`; `ignore_keys` is `partitioner.ignore.keys`.
    pub fn new(batch_bytes: usize, ignore_keys: bool) -> Self {
        Self {
            batch_bytes: batch_bytes.max(1),
            ignore_keys,
            current: None,
            bytes_to_current: 0,
            loads: None,
        }
    }

    /// Returns the partition of the next record.
    pub fn partition(
        &mut self,
        key: Option<&[u8]>,
        topic: TopicPartitions<'_>,
        random: &mut Jitter,
    ) -> i32 {
        match key {
            Some(key) if !self.ignore_keys => partition_for_key(key, topic.partition_count),
            _ => match self.current {
                Some(current) if current < topic.partition_count => current,
                _ => self.switch(topic, random),
            },
        }
    }

    /// Counts a record without a key that was appended, and changes the partition when it is time.
    ///
    /// `may_switch` is false while the partition's open batch is not yet ready to be sent: leaving it
    /// then would send it half full. Twice the batch size ends the wait.
    pub fn appended(
        &mut self,
        bytes: usize,
        may_switch: bool,
        topic: TopicPartitions<'_>,
        random: &mut Jitter,
    ) {
        self.bytes_to_current = self.bytes_to_current.saturating_add(bytes);
        let enough = if may_switch { self.batch_bytes } else { self.batch_bytes.saturating_mul(2) };
        if self.current.is_some() && self.bytes_to_current >= enough {
            self.switch(topic, random);
        }
    }

    /// Tells how many batches wait for each partition that may be chosen.
    ///
    /// Partitions whose broker does not keep up may be left out of `queues`; with no entry, or all of
    /// a topic's partitions at the same length, the choice is uniform.
    pub fn set_queue_lengths(&mut self, queues: &[(i32, u32)], partition_count: i32) {
        self.loads = Loads::new(queues, partition_count);
    }

    fn switch(&mut self, topic: TopicPartitions<'_>, random: &mut Jitter) -> i32 {
        let next = match &self.loads {
            Some(loads) => loads.pick(random),
            None if topic.available.is_empty() => {
                below(random, topic.partition_count as u64) as i32
            }
            None => topic.available[below(random, topic.available.len() as u64) as usize],
        };
        // Loads may be older than the topic's latest description.
        let next = next.clamp(0, topic.partition_count - 1);
        self.current = Some(next);
        self.bytes_to_current = 0;
        next
    }
}

/// Partitions with running sums of their weights.
#[derive(Debug, Clone)]
struct Loads {
    ends: Vec<(u64, i32)>,
    total: u64,
}

impl Loads {
    fn new(queues: &[(i32, u32)], partition_count: i32) -> Option<Self> {
        let longest = queues.iter().map(|(_, len)| *len).max()?;
        let complete = queues.len() as u64 == u64::from(partition_count.unsigned_abs());
        if partition_count < 2 || complete && queues.iter().all(|(_, len)| *len == longest) {
            return None;
        }
        let mut total = 0;
        let ends = queues
            .iter()
            .map(|(partition, len)| {
                // The longest queue keeps a weight of one: it is slow, not forbidden.
                total += u64::from(longest - len) + 1;
                (total, *partition)
            })
            .collect();
        Some(Self { ends, total })
    }

    fn pick(&self, random: &mut Jitter) -> i32 {
        let point = below(random, self.total);
        let at = self.ends.partition_point(|(end, _)| *end <= point);
        self.ends[at].1
    }
}

/// Returns a random number below `bound`; the bias of the remainder is far below what anyone sees.
fn below(random: &mut Jitter, bound: u64) -> u64 {
    random.next_u64() % bound.max(1)
}

/// 32-bit MurmurHash2 with Kafka's seed.
fn murmur2(key: &[u8]) -> u32 {
    let (words, tail) = key.as_chunks::<4>();
    let mut hash = SEED ^ key.len() as u32;
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        for (byte, shift) in tail.iter().zip([0, 8, 16]) {
            hash ^= u32::from(*byte) << shift;
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: TopicPartitions<'static> =
        TopicPartitions { partition_count: 4, available: &[0, 1, 2, 3] };

    /// The right-hand sides are what Kafka 4.3's own hash function returns.
    #[test]
    fn keys_hash_as_with_kafka() {
        let every_byte: Vec<u8> = (0..=255).collect();
        for (key, hash) in [
            (&b""[..], 275_646_681),
            (b"a", -1_563_381_124),
            (b"ab", 316_155_434),
            (b"abc", 479_470_107),
            (b"abcd", -1_323_649_548),
            (b"abcde", 461_995_741),
            (b"21", -973_932_308),
            (b"ATL", -1_647_261_917),
            (b"JFK", 531_569_365),
            (b"a-little-bit-longer-string", -1_486_304_829),
            ("\u{e9}\u{20ac}".as_bytes(), 1_912_689_889),
            (&every_byte, -1_948_347_274),
            (&[0xff, 0x80, 0xfe], 957_058_525),
        ] {
            assert_eq!(murmur2(key) as i32, hash, "{key:?}");
        }
    }

    #[test]
    fn a_keyless_record_stays_until_a_batch_of_bytes_went_to_its_partition() {
        let mut random = Jitter::seeded(7);
        let mut partitioner = TopicPartitioner::new(1000, false);
        let mut seen = [0; 4];
        for _ in 0..4000 {
            let first = partitioner.partition(None, ALL, &mut random);
            for _ in 0..9 {
                partitioner.appended(100, true, ALL, &mut random);
                assert_eq!(partitioner.partition(None, ALL, &mut random), first);
            }
            partitioner.appended(100, true, ALL, &mut random);
            assert_eq!(partitioner.bytes_to_current, 0, "another one is chosen");
            seen[first as usize] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }

    #[test]
    fn an_unready_batch_is_left_only_after_twice_its_size() {
        let mut random = Jitter::seeded(1);
        let mut partitioner = TopicPartitioner::new(1000, false);
        partitioner.partition(None, ALL, &mut random);
        partitioner.appended(1999, false, ALL, &mut random);
        assert_eq!(partitioner.bytes_to_current, 1999);
        partitioner.appended(1, false, ALL, &mut random);
        assert_eq!(partitioner.bytes_to_current, 0);
    }

    #[test]
    fn a_key_decides_unless_keys_are_ignored() {
        let mut random = Jitter::seeded(1);
        let mut keyed = TopicPartitioner::new(1, false);
        let mut ignoring = TopicPartitioner::new(1, true);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            for (key, hash) in [(&b"JFK"[..], 531_569_365), (b"abc", 479_470_107)] {
                assert_eq!(keyed.partition(Some(key), ALL, &mut random), hash % 4);
            }
            seen.insert(ignoring.partition(Some(b"JFK"), ALL, &mut random));
            ignoring.appended(1, true, ALL, &mut random);
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn partitions_without_a_leader_are_avoided_while_others_have_one() {
        let mut random = Jitter::seeded(3);
        let mut partitioner = TopicPartitioner::new(1, false);
        let some = TopicPartitions { available: &[1, 3], ..ALL };
        let none = TopicPartitions { available: &[], ..ALL };
        for _ in 0..100 {
            partitioner.appended(1, true, some, &mut random);
            assert!([1, 3].contains(&partitioner.partition(None, some, &mut random)));
        }
        partitioner.appended(1, true, none, &mut random);
        assert!((0..4).contains(&partitioner.partition(None, none, &mut random)));
    }

    #[test]
    fn a_topic_that_has_fewer_partitions_than_before_gets_records_for_those_it_has() {
        let mut random = Jitter::seeded(3);
        let three = TopicPartitions { partition_count: 3, available: &[0, 1, 2] };
        for loaded in [false, true] {
            let mut partitioner = TopicPartitioner::new(1, false);
            if loaded {
                partitioner.set_queue_lengths(&[(0, 9), (1, 9), (2, 9), (3, 0)], 4);
            }
            while partitioner.partition(None, ALL, &mut random) != 3 {
                partitioner.appended(1, true, ALL, &mut random);
            }
            assert!(partitioner.partition(None, three, &mut random) < 3, "loaded: {loaded}");
        }
    }

    #[test]
    fn shorter_queues_are_chosen_more_often() {
        let mut random = Jitter::seeded(3);
        let mut partitioner = TopicPartitioner::new(1, false);
        // The weights are 4, 1 and 3.
        let three = TopicPartitions { partition_count: 3, available: &[0, 1, 2] };
        partitioner.set_queue_lengths(&[(0, 0), (1, 3), (2, 1)], 3);
        let mut seen = [0; 3];
        for _ in 0..8000 {
            seen[partitioner.partition(None, three, &mut random) as usize] += 1;
            partitioner.appended(1, true, three, &mut random);
        }
        for (count, expected) in seen.iter().zip([4000, 1000, 3000]) {
            assert!(i32::abs(count - expected) < 300, "{seen:?}");
        }
        partitioner.set_queue_lengths(&[(0, 5), (1, 5), (2, 5)], 3);
        assert!(partitioner.loads.is_none());
        partitioner.set_queue_lengths(&[(0, 5), (1, 4)], 2);
        assert!(partitioner.loads.is_some());
    }
}
