//! The latest offset of each key, in bounded memory: of a key only its hash is kept.
//!
//! Two keys with one hash would cost the older one's record. The hash has 128 bits and is keyed anew for each pass, so
//! that nobody can look for such keys, and chance finds none: among a billion keys with odds of one to 10^20.

use std::hash::BuildHasher;

use super::LARGEST_SECTION;
use crate::types::Offset;
use crate::wire::batch::BatchHeader;
use crate::wire::records::{self, Records, RecordsError};

/// Bytes of a place in the table: two halves of a hash, and an offset. Kafka's takes as many.
const SLOT: usize = 24;

/// A table of keys. It takes records until it is full, and knows how far it came.
#[derive(Debug)]
pub struct KeyMap<S> {
    /// Both halves of the hash, then the offset plus one: all zeros is a free place, which costs no memory until it is used.
    slots: Vec<[u64; 3]>,
    used: usize,
    limit: usize,
    hashers: [S; 2],
    /// Every record below is accounted for.
    end: Offset,
}

impl<S: BuildHasher> KeyMap<S> {
    /// A table for at most `records` keys and at most `max_bytes` of memory (`log.cleaner.dedupe.buffer.size`), of which
    /// it fills nine tenths. It begins at `start`.
    pub fn new(records: u64, max_bytes: usize, hashers: [S; 2], start: Offset) -> Self {
        let room = (max_bytes / SLOT).max(2);
        let wanted = usize::try_from(records.saturating_add(records / 8).saturating_add(2)).unwrap_or(usize::MAX);
        let slots = wanted.min(room);
        let limit = (slots - slots.div_ceil(10)).max(1);
        Self { slots: vec![[0; 3]; slots], used: 0, limit, hashers, end: start }
    }

    /// Where it ends: records from here on are not in it.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Takes over a batch's records from `from` on; `false` once there is no room for one of them.
    pub fn take(&mut self, header: &BatchHeader, batch: &[u8], from: Offset) -> Result<bool, RecordsError> {
        let section = records::section(batch, LARGEST_SECTION)?;
        for record in Records::new(&section, header.record_count) {
            let record = record?;
            let offset = header.base_offset.plus(i64::from(record.offset_delta));
            if let Some(key) = record.key
                && offset >= from
                && !self.put(key, offset)
            {
                self.end = self.end.max(offset);
                return Ok(false);
            }
        }
        self.skip_to(header.next_offset());
        Ok(true)
    }

    /// There is nothing to take over below `end`.
    pub fn skip_to(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Notes a later offset of a key; `false` when it is a new one and there is no room.
    fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let Some(at) = self.find(hash) else { return false };
        let is_full = self.used >= self.limit;
        let Some(slot) = self.slots.get_mut(at) else { return false };
        if slot[2] == 0 {
            if is_full {
                return false;
            }
            self.used += 1;
        }
        *slot = [hash[0], hash[1], (offset.0 as u64).wrapping_add(1)];
        true
    }

    /// The latest offset of a key.
    pub fn latest(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots.get(self.find(self.hash(key))?)?;
        slot[2].checked_sub(1).map(|offset| Offset(offset as i64))
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hashers[0].hash_one(key), self.hashers[1].hash_one(key)]
    }

    /// The place of a hash, or the free one where it belongs; there is always a free one.
    fn find(&self, hash: [u64; 2]) -> Option<usize> {
        let count = self.slots.len();
        let first = ((u128::from(hash[0]) * count as u128) >> 64) as usize;
        let is_place = |at: &usize| {
            self.slots.get(*at).is_some_and(|slot| slot[2] == 0 || (slot[0] == hash[0] && slot[1] == hash[1]))
        };
        (first..count).chain(0..first).find(is_place)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;
    use std::hash::RandomState;

    use proptest::prelude::*;

    use super::*;

    fn map(records: u64, max_bytes: usize) -> KeyMap<RandomState> {
        KeyMap::new(records, max_bytes, [RandomState::new(), RandomState::new()], Offset(0))
    }

    #[test]
    fn it_takes_what_its_memory_holds_and_goes_on_with_known_keys() {
        let mut map = map(1000, 100 * SLOT);
        let took = (0..1000_i64).take_while(|n| map.put(&n.to_be_bytes(), Offset(*n))).count();
        assert_eq!(took, 90);
        assert!(map.put(&5_i64.to_be_bytes(), Offset(5000)));
        assert_eq!(map.latest(&5_i64.to_be_bytes()), Some(Offset(5000)));
        assert_eq!(map.latest(&90_i64.to_be_bytes()), None);
        assert_eq!(map.slots.len(), 100);
    }

    #[test]
    fn it_is_no_larger_than_its_records_need_and_takes_all_of_them() {
        for records in 0..200_u64 {
            let mut map = map(records, 1 << 30);
            assert!(map.slots.len() as u64 <= records + records / 8 + 2);
            assert!((0..records).all(|n| map.put(&n.to_be_bytes(), Offset(0))), "{records}");
        }
        assert!(map(5, 0).put(b"k", Offset(0)), "a pass always makes progress");
    }

    proptest! {
        #[test]
        fn it_knows_what_a_map_knows(keys in proptest::collection::vec(0..40_u8, 0..200), tight in any::<bool>()) {
            let mut map = map(keys.len() as u64, if tight { 20 * SLOT } else { 1 << 20 });
            let mut model = HashMap::new();
            for (offset, key) in keys.iter().enumerate() {
                if map.put(&[*key], Offset(offset as i64)) {
                    model.insert(*key, Offset(offset as i64));
                } else {
                    prop_assert!(tight && model.len() == 18 && !model.contains_key(key));
                }
            }
            for key in 0..50_u8 {
                prop_assert_eq!(map.latest(&[key]), model.get(&key).copied());
            }
        }
    }
}
