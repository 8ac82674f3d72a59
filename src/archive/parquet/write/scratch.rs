//! Where small partitions wait when memory runs short: one file without a name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::storage::{Storage, StorageError};

/// A piece of the scratch file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    start: u64,
    /// Its length in bytes.
    pub(super) len: usize,
}

/// The scratch file. One thread appends to it; others read.
#[derive(Debug)]
pub(super) struct Scratch(File);

impl Scratch {
    /// Creates one.
    pub(super) fn new(storage: &dyn Storage) -> Result<Self, StorageError> {
        storage.scratch().map(Self)
    }

    /// Writes bytes. The caller keeps count of where.
    pub(super) fn write(&self, start: u64, bytes: &[u8]) -> io::Result<Segment> {
        self.0.write_all_at(bytes, start)?;
        Ok(Segment { start, len: bytes.len() })
    }

    /// Reads a piece.
    pub(super) fn read(&self, segment: Segment) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; segment.len];
        self.0.read_exact_at(&mut bytes, segment.start)?;
        Ok(bytes)
    }
}
