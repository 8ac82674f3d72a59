//! A Bloom filter over message IDs.

/// Which IDs may be in a set, in one mebibyte: it may err by saying yes.
#[derive(Debug)]
pub(super) struct Bloom(Box<[u64]>);

impl Bloom {
    const BITS: u32 = 23;

    pub(super) fn new() -> Self {
        Self(vec![0; 1 << (Self::BITS - 6)].into_boxed_slice())
    }

    pub(super) fn add(&mut self, id: i64) {
        let (word, bit) = Self::place(id);
        self.0[word] |= bit;
    }

    pub(super) fn may_hold(&self, id: i64) -> bool {
        let (word, bit) = Self::place(id);
        self.0[word] & bit != 0
    }

    fn place(id: i64) -> (usize, u64) {
        let hash = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::BITS);
        ((hash >> 6) as usize, 1 << (hash & 63))
    }
}
