//! Things by number, in runs that never move: what grows as a whole is in memory twice while it does.

use std::ops::{Index, IndexMut};

/// Things of a run.
const RUN: usize = 1 << 12;

/// Things by number.
#[derive(Debug)]
pub(super) struct Slab<T> {
    runs: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { runs: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends, and returns the number.
    pub(super) fn push(&mut self, value: T) -> u32 {
        if self.len.is_multiple_of(RUN) {
            self.runs.push(Vec::with_capacity(RUN));
        }
        if let Some(last) = self.runs.last_mut() {
            last.push(value);
        }
        self.len += 1;
        (self.len - 1) as u32
    }
}

impl<T> IntoIterator for Slab<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.runs.into_iter().flatten()
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.runs[number as usize / RUN][number as usize % RUN]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.runs[number as usize / RUN][number as usize % RUN]
    }
}
