//! For each key the offset of its last record, in bounded memory.
//!
//! Keys are not kept but 96 bits of a keyed hash of them, with the offset counted from the first one
//! in 32 bits: 16 bytes a key, where Kafka's `SkimpyOffsetMap` takes 24 for an unkeyed hash. Two keys
//! that hash alike would lose the older one's record. With ten million keys in a map that happens with a
//! probability of 10^-15 a round, and since the seed is drawn anew for each round nobody can look for
//! such keys. Memory is taken as keys come, up to the limit, and given back after the round; Kafka takes
//! all of it at its start.

use std::hash::{DefaultHasher, Hasher};

/// See the [module](self).
#[derive(Debug)]
pub struct OffsetMap {
    slots: Vec<Slot>,
    used: usize,
    /// Slots there may be.
    slots_max: usize,
    seed: [u64; 2],
    /// Offsets count from here: the first one put.
    first_offset: i64,
    latest: i64,
}

/// A key's hash and its last offset, counted from the map's first one plus one: 0 is an empty slot.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: [u32; 3],
    place: u32,
}

/// The map cannot take the record: the round ends before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapFull;

/// Bytes of memory for one key.
const SLOT_BYTES: usize = size_of::<Slot>();
/// Slots a map begins with.
const SLOTS_MIN: usize = 1024;
/// Of this many quarters of the slots, at most three are used: beyond, searches get long.
const QUARTERS: usize = 4;

impl OffsetMap {
    /// Creates a map that uses up to `memory` bytes, while it grows as well. `seed` must not be known to
    /// whoever writes keys.
    pub fn new(memory: usize, seed: [u64; 2]) -> OffsetMap {
        // While it grows the old table and the new one, of twice the size, are there.
        let room = (memory / SLOT_BYTES) / 3 * 2;
        let slots_max = if room.is_power_of_two() { room } else { room.next_power_of_two() / 2 };
        OffsetMap {
            slots: Vec::new(),
            used: 0,
            slots_max: slots_max.max(QUARTERS),
            seed,
            first_offset: 0,
            latest: -1,
        }
    }

    /// Returns how many keys fit a map of so many bytes.
    pub fn keys_max(memory: usize) -> usize {
        let map = OffsetMap::new(memory, [0; 2]);
        map.slots_max / QUARTERS * (QUARTERS - 1)
    }

    /// Notes that the record at `offset` has this key. Offsets ascend.
    pub fn put(&mut self, key: &[u8], offset: i64) -> Result<(), MapFull> {
        if self.used == 0 {
            self.first_offset = offset;
        }
        let place = offset.checked_sub(self.first_offset).and_then(|at| at.checked_add(1));
        let place = place.and_then(|at| u32::try_from(at).ok()).ok_or(MapFull)?;
        let hash = self.hash(key);
        if let Some(slot) = self.find(&hash)
            && self.slots[slot].place != 0
        {
            self.slots[slot].place = place;
        } else {
            self.make_room()?;
            let slot = self.find(&hash).expect("there is room now");
            self.slots[slot] = Slot { hash, place };
            self.used += 1;
        }
        self.latest = offset;
        Ok(())
    }

    /// Returns the offset of the last record noted with this key.
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots.get(self.find(&self.hash(key))?)?;
        (slot.place != 0).then(|| self.first_offset + i64::from(slot.place) - 1)
    }

    /// Returns the offset up to which all records were noted, -1 if there was none.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// Notes that there is no other record up to `offset`.
    pub fn advance_latest(&mut self, offset: i64) {
        self.latest = self.latest.max(offset);
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Tells whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Returns the bytes of memory in use.
    pub fn memory(&self) -> usize {
        self.slots.capacity() * SLOT_BYTES
    }

    /// Returns the slot of a hash, or the one it would get; none if there are no slots.
    fn find(&self, hash: &[u32; 3]) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash[0] as usize & mask;
        // There is always an empty slot, so this ends.
        while self.slots[at].place != 0 && self.slots[at].hash != *hash {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    /// Sees to it that one more key fits.
    fn make_room(&mut self) -> Result<(), MapFull> {
        if self.used < self.slots.len() / QUARTERS * (QUARTERS - 1) {
            return Ok(());
        }
        if self.slots.len() >= self.slots_max {
            return Err(MapFull);
        }
        let count = (self.slots.len() * 2).max(SLOTS_MIN).min(self.slots_max);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); count]);
        for slot in old.into_iter().filter(|slot| slot.place != 0) {
            let at = self.find(&slot.hash).expect("there are slots");
            self.slots[at] = slot;
        }
        Ok(())
    }

    fn hash(&self, key: &[u8]) -> [u32; 3] {
        let [first, second] = self.seed.map(|seed| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write(key);
            hasher.finish()
        });
        [first as u32, (first >> 32) as u32, second as u32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_offset_of_each_key_is_found_however_much_the_map_grew() {
        let mut map = OffsetMap::new(1 << 20, [7, 9]);
        assert_eq!((map.get(b"key"), map.memory(), map.latest()), (None, 0, -1));
        for offset in 0..20_000i64 {
            map.put(&(offset % 9000).to_be_bytes(), 1_000_000_000_000 + offset).unwrap();
        }
        assert_eq!(map.len(), 9000);
        for key in 0..9000i64 {
            let last = if key < 2000 { key + 18_000 } else { key + 9000 };
            assert_eq!(map.get(&key.to_be_bytes()), Some(1_000_000_000_000 + last));
        }
        assert_eq!(map.get(&9000i64.to_be_bytes()), None);
        assert_eq!(map.latest(), 1_000_000_019_999);
        assert!(map.memory() <= 1 << 20);
    }

    #[test]
    fn full_map_still_takes_keys_it_knows_and_never_more_memory_than_it_may() {
        let memory = 3 * 4096 * SLOT_BYTES / 2;
        let mut map = OffsetMap::new(memory, [1, 2]);
        let mut offset = 0i64;
        while map.put(&offset.to_be_bytes(), offset).is_ok() {
            offset += 1;
        }
        assert_eq!(offset as usize, OffsetMap::keys_max(memory));
        assert_eq!(offset, 3072);
        assert_eq!(map.memory(), 4096 * SLOT_BYTES);
        assert_eq!(map.latest(), offset - 1);
        assert_eq!(map.put(&5i64.to_be_bytes(), offset), Ok(()));
        assert_eq!(map.get(&5i64.to_be_bytes()), Some(offset));
        assert_eq!(map.get(&offset.to_be_bytes()), None);
    }

    #[test]
    fn smallest_map_takes_some_keys_so_that_every_round_gets_on() {
        assert!(OffsetMap::keys_max(0) > 0);
        let mut map = OffsetMap::new(0, [0, 0]);
        assert_eq!(map.put(b"a", i64::MAX - 1), Ok(()));
        assert_eq!(map.put(b"b", i64::MAX), Ok(()));
        assert_eq!(map.get(b"a"), Some(i64::MAX - 1));
    }

    #[test]
    fn keys_hash_otherwise_under_another_seed() {
        let hash = |seed| OffsetMap::new(0, seed).hash(b"key");
        let [here, there, elsewhere] = [[1, 2], [3, 2], [1, 4]].map(hash);
        assert_ne!(here[..2], there[..2]);
        assert_ne!(here[2], elsewhere[2]);
    }

    #[test]
    fn offset_too_far_from_the_first_one_ends_the_round() {
        let mut map = OffsetMap::new(1 << 16, [0, 0]);
        map.put(b"a", 100).unwrap();
        map.put(b"b", 100 + i64::from(u32::MAX) - 1).unwrap();
        assert_eq!(map.put(b"c", 100 + i64::from(u32::MAX)), Err(MapFull));
        assert_eq!(map.latest(), 100 + i64::from(u32::MAX) - 1);
    }
}
