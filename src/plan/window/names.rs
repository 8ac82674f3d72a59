//! Dialogues and accounts by number.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::refs::{List, Refs};
use super::slab::Slab;

/// Where a text stands among others: start and length in eight bytes, as there are many. A window of a hundred million
/// dialogues has more than 4 GiB of keys; a key has some 200 KB at most.
#[derive(Debug, Clone, Copy)]
struct Place(u64);

impl Place {
    const LENGTH_BITS: u32 = 24;

    fn new(start: usize, length: usize) -> Self {
        Self((start as u64) << Self::LENGTH_BITS | length as u64)
    }

    fn of(self, text: &str) -> &str {
        let (start, length) = (self.0 >> Self::LENGTH_BITS, self.0 & ((1 << Self::LENGTH_BITS) - 1));
        &text[start as usize..(start + length) as usize]
    }
}

/// Something of each name, by number.
#[derive(Debug)]
pub(super) struct Named<T> {
    text: String,
    all: Slab<(Place, T)>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self {
            text: String::new(),
            all: Slab::default(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<T: Default> Named<T> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn name(&self, number: u32) -> &str {
        self.all[number].0.of(&self.text)
    }

    pub(super) fn at(&self, number: u32) -> &T {
        &self.all[number].1
    }

    pub(super) fn at_mut(&mut self, number: u32) -> &mut T {
        &mut self.all[number].1
    }

    /// What [`Self::number`] looks for.
    pub(super) fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    /// The number of this name, which has this hash; a new one if it has none.
    pub(super) fn number(&mut self, hash: u64, name: &str) -> u32 {
        let Self { text, all, table, hasher } = self;
        if let Some(found) = table.find(hash, |number| all[*number].0.of(text) == name) {
            return *found;
        }
        let place = Place::new(text.len(), name.len());
        text.push_str(name);
        let number = all.push((place, T::default()));
        table.insert_unique(hash, number, |number| hasher.hash_one(all[*number].0.of(text)));
        number
    }

    /// The number of this name, a new one if it has none.
    fn number_of(&mut self, name: &str) -> u32 {
        self.number(self.hash(name), name)
    }
}

/// Dialogues by key.
pub(super) type Dialogues = Named<List>;
/// Accounts by spelling.
pub(super) type Owners = Named<()>;

/// Forgets the dialogues that carry nothing and the owners that no carried reference names; what is left is numbered
/// anew.
pub(super) fn forget_unused(dialogues: &mut Dialogues, owners: &mut Owners, refs: &mut Refs) {
    let (former, former_owners) = (std::mem::take(dialogues), std::mem::take(owners));
    let mut renumbered = vec![None; former_owners.len()];
    let Named { text, all, .. } = former;
    for (place, mut list) in all {
        if list.count() == 0 {
            continue;
        }
        refs.amend_owners(&mut list, |owner| {
            if let Some(known) = renumbered.get_mut(*owner as usize) {
                *owner = *known.get_or_insert_with(|| owners.number_of(former_owners.name(*owner)));
            }
        });
        let number = dialogues.number_of(place.of(&text));
        *dialogues.at_mut(number) = list;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_beyond_four_gibibytes_is_told_from_one_before() {
        let place = Place::new((1 << 32) + 7, 200_000);
        assert_eq!((place.0 >> Place::LENGTH_BITS, place.0 & 0xff_ffff), ((1 << 32) + 7, 200_000));
    }

    #[test]
    fn names_are_numbered_once_each_and_found_again() {
        let mut owners = Owners::default();
        let names: Vec<String> = (0..10_000).map(|n| format!("user{n}")).collect();
        for _ in 0..2 {
            for (number, name) in names.iter().enumerate() {
                assert_eq!(owners.number_of(name) as usize, number);
            }
        }
        assert_eq!(owners.len(), names.len());
        assert_eq!(owners.name(9_999), "user9999");
    }
}
