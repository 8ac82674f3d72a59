//! The IDs of the references that are carried, in ascending order.
//!
//! IDs are looked up, added and taken out some ten thousand at a time, and sorted: that is a walk through memory, where
//! a hash table would be a jump to somewhere else for each of them.

/// The IDs of the references that a [`Window`](super::Window) carries.
#[derive(Debug, Default)]
pub struct CarriedIds {
    ids: Vec<i64>,
}

impl CarriedIds {
    /// Whether this ID is carried.
    pub fn contains(&self, id: i64) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// Says of each of `sorted` whether it is carried.
    pub fn among<'a>(&'a self, sorted: impl IntoIterator<Item = i64> + 'a) -> impl Iterator<Item = bool> + 'a {
        let mut at = 0;
        sorted.into_iter().map(move |id| {
            at += smaller(&self.ids[at..], id);
            self.ids.get(at) == Some(&id)
        })
    }

    /// Adds IDs, sorted, none of which is carried.
    pub fn add(&mut self, sorted: &[i64]) {
        debug_assert!(sorted.is_sorted(), "IDs are added in ascending order");
        let mut from = self.ids.len();
        let mut to = from + sorted.len();
        if to > self.ids.capacity() {
            // A quarter more is enough: as much again would be in memory for nothing.
            self.ids.reserve_exact(sorted.len() + from / 4);
        }
        self.ids.resize(to, 0);
        for id in sorted.iter().rev() {
            let greater = greater(&self.ids[..from], *id);
            self.ids.copy_within(from - greater..from, to - greater);
            from -= greater;
            to -= greater + 1;
            self.ids[to] = *id;
        }
    }

    /// Takes IDs out, sorted. What is not carried is passed over.
    pub fn remove(&mut self, sorted: &[i64]) {
        debug_assert!(sorted.is_sorted(), "IDs are taken out in ascending order");
        let (mut from, mut to) = (0, 0);
        for id in sorted {
            let smaller = smaller(&self.ids[from..], *id);
            self.ids.copy_within(from..from + smaller, to);
            from += smaller;
            to += smaller;
            if self.ids.get(from) == Some(id) {
                from += 1;
            }
        }
        self.ids.copy_within(from.., to);
        self.ids.truncate(to + self.ids.len() - from);
    }
}

/// How many of `sorted` are smaller than `id`: few, most likely.
fn smaller(sorted: &[i64], id: i64) -> usize {
    let mut bound = 4;
    while sorted.get(bound).is_some_and(|other| *other < id) {
        bound *= 4;
    }
    let from = if bound == 4 { 0 } else { bound / 4 };
    from + sorted[from..sorted.len().min(bound + 1)].partition_point(|other| *other < id)
}

/// How many of `sorted` are greater than `id`: few, most likely.
fn greater(sorted: &[i64], id: i64) -> usize {
    let last = sorted.len();
    let mut bound = 4;
    while bound < last && sorted[last - 1 - bound] > id {
        bound *= 4;
    }
    let from = last.saturating_sub(bound + 1);
    last - from - sorted[from..].partition_point(|other| *other <= id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn some() -> impl Strategy<Value = BTreeSet<i64>> {
        prop_oneof![prop::collection::btree_set(0_i64..300, 0..80), prop::collection::btree_set(0_i64..5_000, 0..600)]
    }

    proptest! {
        #[test]
        fn they_are_a_set(steps in prop::collection::vec((some(), some()), 1..8)) {
            let (mut carried, mut expected) = (CarriedIds::default(), BTreeSet::new());
            for (added, removed) in steps {
                let new: Vec<i64> = added.difference(&expected).copied().collect();
                carried.add(&new);
                expected.extend(new);
                let found: Vec<bool> = carried.among(removed.iter().copied()).collect();
                let each: Vec<bool> = removed.iter().map(|id| carried.contains(*id)).collect();
                prop_assert_eq!(&found, &each);
                prop_assert_eq!(found, removed.iter().map(|id| expected.contains(id)).collect::<Vec<_>>());
                carried.remove(&removed.iter().copied().collect::<Vec<_>>());
                expected.retain(|id| !removed.contains(id));
                prop_assert_eq!(&carried.ids, &expected.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
