//! The keys of messages, to find those that are in an archive twice.

use std::io::{self, BufRead, Write};

use crate::sort::Sortable;

/// A version of a message, and the file it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) id: i64,
    /// The number of its application.
    pub(super) app: u32,
    pub(super) revision: i32,
    /// The number of the file.
    pub(super) file: u32,
}

impl Key {
    /// Whether both are the same version of the same message.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.id, self.app, self.revision) == (other.id, other.app, other.revision)
    }
}

impl Sortable for Key {
    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.id.to_le_bytes())?;
        out.write_all(&self.app.to_le_bytes())?;
        out.write_all(&self.revision.to_le_bytes())?;
        out.write_all(&self.file.to_le_bytes())
    }

    fn read(input: &mut impl BufRead) -> io::Result<Option<Self>> {
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let (mut id, mut app, mut revision, mut file) = ([0; 8], [0; 4], [0; 4], [0; 4]);
        for part in [&mut id[..], &mut app, &mut revision, &mut file] {
            input.read_exact(part)?;
        }
        Ok(Some(Self {
            id: i64::from_le_bytes(id),
            app: u32::from_le_bytes(app),
            revision: i32::from_le_bytes(revision),
            file: u32::from_le_bytes(file),
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::sort::Sorter;

    #[test]
    fn keys_are_in_order_however_little_memory_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut keys: Vec<Key> = (0..500_i64)
            .map(|n| Key {
                id: (n * 7919 % 500 - 250) * (i64::MAX / 2_000),
                app: u32::from(n % 3 == 0),
                revision: -i32::from(n % 5 == 0),
                file: n as u32,
            })
            .chain([Key { id: i64::MIN, app: u32::MAX, revision: i32::MAX, file: 0 }])
            .collect();
        for memory in [usize::MAX, 24 * 10, 1] {
            let mut sorter = Sorter::new(directory.path().to_owned(), memory);
            for key in &keys {
                sorter.push(*key).unwrap();
            }
            let ordered: Vec<Key> = sorter.finish().unwrap().map(Result::unwrap).collect();
            keys.sort_unstable();
            assert_eq!(ordered, keys, "{memory}");
        }
    }
}
