//! IDs in many small sets.

use std::hash::BuildHasherDefault;

use hashbrown::HashSet;

/// IDs are spread well enough by one multiplication.
#[derive(Debug, Default, Clone, Copy)]
struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_i64(i64::from(*byte));
        }
    }

    fn write_i64(&mut self, id: i64) {
        let mixed = (self.0 ^ id as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Parts of a set of IDs: a set that grows as a whole needs half as much again while it moves.
const SHARDS: usize = 64;

/// IDs in many small sets.
#[derive(Debug)]
pub(super) struct IdSet(Vec<HashSet<i64, BuildHasherDefault<IdHasher>>>);

impl Default for IdSet {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| HashSet::default()).collect())
    }
}

impl IdSet {
    /// Other bits than those that the sets themselves go by.
    fn shard(id: i64) -> usize {
        ((id as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 58) as usize
    }

    pub(super) fn contains(&self, id: i64) -> bool {
        self.0[Self::shard(id)].contains(&id)
    }

    pub(super) fn insert(&mut self, id: i64) {
        self.0[Self::shard(id)].insert(id);
    }

    pub(super) fn remove(&mut self, id: i64) {
        self.0[Self::shard(id)].remove(&id);
    }
}
