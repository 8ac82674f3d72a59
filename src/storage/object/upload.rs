//! A file on its way into a bucket, part by part.

use std::io::{self, Write};
use std::sync::Arc;

use object_store::multipart::PartId;
use object_store::{PutMode, PutPayload};
use tokio::task::JoinHandle;

use super::blocking::{connections, wait};
use super::note::{Note, note_of};
use super::{ObjectStorage, Token};
use crate::failpoint::reach;
use crate::panics::unended;
use crate::storage::{StagedOutput, Storage as _, StorageError};

/// A multipart upload. The next part waits in the spool; memory has only the parts that are on their way.
#[derive(Debug)]
pub(super) struct Upload {
    storage: ObjectStorage,
    name: String,
    id: String,
    slot: u64,
    waiting: usize,
    parts: Vec<JoinHandle<Result<PartId, object_store::Error>>>,
}

impl Upload {
    /// Begins an upload and notes it in the archive. A death between the two leaves an upload without parts, which the
    /// bucket's own rule for unfinished uploads removes.
    pub(super) fn begin(storage: ObjectStorage, name: &str) -> Result<Self, StorageError> {
        let key = storage.key(name)?;
        let note_name = note_of(name, storage.ledger);
        let note_key = storage.key(&note_name)?;
        let id = wait(storage.store.create_multipart(&key)).map_err(storage.failed("beginning", name))?;
        reach("upload.begun");
        let note = Note { name: name.to_owned(), upload: id.clone() };
        let note = serde_json::to_vec(&note).expect("text is JSON");
        let noted =
            wait(storage.put(&note_key, &note, PutMode::Overwrite)).map_err(storage.failed("writing", &note_name));
        let slot = noted.and_then(|_| storage.spool.take(|| storage.scratch()));
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => {
                wait(storage.give_up(name, &id, &note_name)).ok();
                return Err(error);
            }
        };
        reach("upload.noted");
        Ok(Self { storage, name: name.to_owned(), id, slot, waiting: 0, parts: Vec::new() })
    }

    /// Sends what waits as a part, as soon as one more may be on its way.
    fn send(&mut self) -> io::Result<()> {
        let room = wait(Arc::clone(&self.storage.room).acquire_owned()).map_err(io::Error::other)?;
        let part = self.storage.spool.read(self.slot, self.waiting)?;
        self.waiting = 0;
        let key = self.storage.key(&self.name).map_err(io::Error::other)?;
        let (store, id, index) = (Arc::clone(&self.storage.store), self.id.clone(), self.parts.len());
        self.parts.push(connections().spawn(async move {
            let sent = store.put_part(&key, &id, index, PutPayload::from(part)).await;
            drop(room);
            sent
        }));
        reach("part.sent");
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.storage.spool.part() - self.waiting);
        self.storage.spool.write(self.slot, self.waiting, &bytes[..taken])?;
        self.waiting += taken;
        if self.waiting == self.storage.spool.part() {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StagedOutput for Upload {
    fn at(&self) -> String {
        self.storage.at(&self.name)
    }

    fn pause(&mut self) {}

    fn finish(mut self: Box<Self>) -> Result<String, StorageError> {
        reach("file.fsync");
        let failed = |storage: &ObjectStorage, name: &str, source: io::Error| StorageError::Failed {
            doing: format!("writing {}", storage.at(name)),
            source: Box::new(source),
        };
        if self.waiting > 0 || self.parts.is_empty() {
            self.send().map_err(|error| failed(&self.storage, &self.name, error))?;
        }
        let mut token = Token { upload: self.id.clone(), parts: Vec::new() };
        for part in std::mem::take(&mut self.parts) {
            match wait(part) {
                Ok(sent) => token.parts.push(sent.map_err(self.storage.failed("writing", &self.name))?.content_id),
                Err(error) => return Err(failed(&self.storage, &self.name, io::Error::other(unended(error)))),
            }
        }
        reach("file.fsynced");
        Ok(serde_json::to_string(&token).expect("text is JSON"))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        for part in &self.parts {
            part.abort();
        }
        self.storage.spool.give_back(self.slot);
    }
}
