//! References by number, in pieces that never move.

use std::ops::{Index, IndexMut};

use super::Carried;

/// References by number, in pieces that never move.
#[derive(Debug, Default)]
pub(super) struct Slab {
    pieces: Vec<Vec<Carried>>,
    len: usize,
}

/// References of a piece.
const PIECE: usize = 1 << 14;

impl Slab {
    pub(super) fn push(&mut self, carried: Carried) -> u32 {
        if self.len.is_multiple_of(PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        if let Some(last) = self.pieces.last_mut() {
            last.push(carried);
        }
        self.len += 1;
        (self.len - 1) as u32
    }
}

impl Index<u32> for Slab {
    type Output = Carried;

    fn index(&self, slot: u32) -> &Carried {
        &self.pieces[slot as usize / PIECE][slot as usize % PIECE]
    }
}

impl IndexMut<u32> for Slab {
    fn index_mut(&mut self, slot: u32) -> &mut Carried {
        &mut self.pieces[slot as usize / PIECE][slot as usize % PIECE]
    }
}
