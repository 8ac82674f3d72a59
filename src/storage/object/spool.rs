//! Where the next part of each upload waits until it is full: slots of one local file without a name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::storage::StorageError;

/// A file of slots, each as large as a part. It is created with the first slot.
#[derive(Debug)]
pub(super) struct Spool {
    part: usize,
    file: OnceLock<File>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    free: Vec<u64>,
    used: u64,
}

impl Spool {
    pub(super) fn new(part: usize) -> Self {
        Self { part, file: OnceLock::new(), slots: Mutex::default() }
    }

    /// Bytes of a slot.
    pub(super) fn part(&self) -> usize {
        self.part
    }

    /// Takes a free slot. `create` creates the file.
    pub(super) fn take(&self, create: impl FnOnce() -> Result<File, StorageError>) -> Result<u64, StorageError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if self.file.get().is_none() {
            self.file.set(create()?).ok();
        }
        Ok(slots.free.pop().unwrap_or_else(|| {
            slots.used += 1;
            slots.used - 1
        }))
    }

    pub(super) fn give_back(&self, slot: u64) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).free.push(slot);
    }

    pub(super) fn write(&self, slot: u64, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all_at(bytes, slot * self.part as u64 + at as u64)
    }

    /// The first bytes of a slot.
    pub(super) fn read(&self, slot: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file()?.read_exact_at(&mut bytes, slot * self.part as u64)?;
        Ok(bytes)
    }

    fn file(&self) -> io::Result<&File> {
        self.file.get().ok_or_else(|| io::Error::other("the spool of parts is not there"))
    }
}
