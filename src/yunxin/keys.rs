//! The keys of an object: which fields they name, and which is most likely next.

#![expect(clippy::inline_always, reason = "see the scanner, which these are part of")]

use super::json::{Broken, Scanner, Spelt, Text};
use super::response::name;

/// The most fields of an object.
const MOST: usize = 32;

/// A field that is known.
#[derive(Debug)]
pub(super) struct Known<F> {
    /// Its key.
    pub(super) name: &'static str,
    /// What it is.
    pub(super) field: F,
    spelt: Spelt,
}

impl<F: Copy> Known<F> {
    pub(super) const fn new(name: &'static str, field: F) -> Self {
        Self { name, field, spelt: Spelt::key(name) }
    }
}

/// A key that was read.
#[derive(Debug)]
pub(super) enum Key<'t, F: 'static> {
    Known(&'static Known<F>),
    Unknown(Text<'t>),
}

/// Reads the keys of objects of one kind, one object after the other.
///
/// The objects of a list have mostly the same keys in the same order: after each field that one is looked for which
/// followed it the last time, and only when it is another, the key is read and its name looked up.
#[derive(Debug)]
pub(super) struct Keys<F: 'static> {
    known: &'static [Known<F>],
    /// By the number of a field from 1 on, and 0 for an object's beginning: the index of the field that followed it.
    next: [u8; MOST],
    /// The number of the field at hand.
    at: usize,
    /// Whether the object at hand had no key yet.
    first: bool,
}

impl<F: Copy> Keys<F> {
    /// Fields that are expected in this order until another is seen; fewer than 32.
    pub(super) fn new(known: &'static [Known<F>]) -> Self {
        Self { known, next: std::array::from_fn(|at| at as u8), at: 0, first: true }
    }

    /// Enters an object.
    #[inline(always)]
    pub(super) fn enter(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Broken> {
        (self.at, self.first) = (0, true);
        scanner.enter_object()
    }

    /// The next key of the object, its colon taken; `None` takes the closing brace.
    #[inline(always)]
    pub(super) fn next<'t>(&mut self, scanner: &mut Scanner<'t>) -> Result<Option<Key<'t, F>>, Broken> {
        let expected = self.next[self.at % MOST];
        if let Some(known) = self.known.get(usize::from(expected))
            && scanner.take_spelt(!self.first, &known.spelt)
        {
            self.first = false;
            self.at = usize::from(expected) + 1;
            return Ok(Some(Key::Known(known)));
        }
        self.read(scanner)
    }

    fn read<'t>(&mut self, scanner: &mut Scanner<'t>) -> Result<Option<Key<'t, F>>, Broken> {
        let Some(key) = scanner.key(&mut self.first)? else { return Ok(None) };
        let name = name(key);
        let Some(index) = self.known.iter().position(|known| known.name == &*name) else {
            return Ok(Some(Key::Unknown(key)));
        };
        self.next[self.at % MOST] = index as u8;
        self.at = index + 1;
        Ok(Some(Key::Known(&self.known[index])))
    }
}
