//! Where small partitions wait when memory runs short: one file without a name, gone with the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::disk;

/// A piece of the scratch file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    start: u64,
    /// Its length in bytes.
    pub(super) len: usize,
}

/// The scratch file: appended by one, read by many.
#[derive(Debug)]
pub(super) struct Scratch {
    file: File,
}

impl Scratch {
    /// Makes one in this directory. It loses its name at once, so a crash leaves nothing behind.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!("{}.scratch", uuid::Uuid::now_v7()));
        let file = disk::create_new(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { file })
    }

    /// Writes bytes at a place that the caller keeps count of.
    pub(super) fn write(&self, start: u64, bytes: &[u8]) -> io::Result<Segment> {
        self.file.write_all_at(bytes, start)?;
        Ok(Segment { start, len: bytes.len() })
    }

    /// Reads a piece back.
    pub(super) fn read(&self, segment: Segment) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; segment.len];
        self.file.read_exact_at(&mut bytes, segment.start)?;
        Ok(bytes)
    }
}
