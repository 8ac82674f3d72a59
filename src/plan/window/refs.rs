//! The references of all dialogues, each dialogue's in a list.

use super::slab::Slab;

const NONE: u32 = u32::MAX;
/// References of a piece: with its link it fills a cache line.
const HOLDS: usize = 3;

/// A reference as it is carried.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Carried {
    pub(super) message_server_id: i64,
    pub(super) create_time: i64,
    /// A side of the dialogue, or a name.
    pub(super) owner: u32,
}

/// Some references of one list, and where it goes on.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Piece {
    ids: [i64; HOLDS],
    times: [i64; HOLDS],
    owners: [u32; HOLDS],
    next: u32,
}

/// The references of one dialogue, in the order in which they came.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    /// The only one of many dialogues stands here.
    first: Carried,
    head: u32,
    tail: u32,
    count: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: Carried::default(), head: NONE, tail: NONE, count: 0 }
    }
}

impl List {
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }
}

/// The pieces of all lists.
#[derive(Debug)]
pub(super) struct Refs {
    pieces: Slab<Piece>,
    /// The first of the pieces that no list has.
    free: u32,
}

impl Default for Refs {
    fn default() -> Self {
        Self { pieces: Slab::default(), free: NONE }
    }
}

impl Refs {
    /// Appends to a list.
    #[inline]
    pub(super) fn push(&mut self, list: &mut List, carried: Carried) {
        list.count += 1;
        if list.count == 1 {
            list.first = carried;
            return;
        }
        let place = (list.count as usize - 2) % HOLDS;
        if place == 0 {
            let piece = self.piece();
            if list.head == NONE {
                list.head = piece;
            } else {
                self.pieces[list.tail].next = piece;
            }
            list.tail = piece;
        }
        let piece = &mut self.pieces[list.tail];
        piece.ids[place] = carried.message_server_id;
        piece.times[place] = carried.create_time;
        piece.owners[place] = carried.owner;
    }

    fn piece(&mut self) -> u32 {
        let fresh = Piece { ids: [0; HOLDS], times: [0; HOLDS], owners: [0; HOLDS], next: NONE };
        if self.free == NONE {
            return self.pieces.push(fresh);
        }
        let number = self.free;
        self.free = self.pieces[number].next;
        self.pieces[number] = fresh;
        number
    }

    /// Empties a list, and hands each reference to `each`.
    pub(super) fn drain(&mut self, list: &mut List, mut each: impl FnMut(Carried)) {
        let List { first, head, tail, count } = std::mem::take(list);
        if count == 0 {
            return;
        }
        each(first);
        let (mut rest, mut slot) = (count as usize - 1, head);
        while slot != NONE {
            let piece = &self.pieces[slot];
            for place in 0..rest.min(HOLDS) {
                each(Carried {
                    message_server_id: piece.ids[place],
                    create_time: piece.times[place],
                    owner: piece.owners[place],
                });
            }
            rest = rest.saturating_sub(HOLDS);
            slot = piece.next;
        }
        if tail != NONE {
            self.pieces[tail].next = self.free;
            self.free = head;
        }
    }

    /// Lets `each` amend the owner of every reference of a list.
    pub(super) fn amend_owners(&mut self, list: &mut List, mut each: impl FnMut(&mut u32)) {
        if list.count == 0 {
            return;
        }
        each(&mut list.first.owner);
        let (mut rest, mut slot) = (list.count as usize - 1, list.head);
        while slot != NONE {
            let piece = &mut self.pieces[slot];
            piece.owners.iter_mut().take(rest).for_each(&mut each);
            rest = rest.saturating_sub(HOLDS);
            slot = piece.next;
        }
    }
}
