//! Writes files that another process commits.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::buffers::Buffers;
use super::vanished::Notes;
use super::{NOTES_DUE, Settings};
use crate::archive::parquet::blocking::blocking;
use crate::archive::{ArchiveError, RunStamp, Stager};
use crate::model::manifest::StagedFile;
use crate::model::message::{MessageRows, Vanished};
use crate::storage::Storage;

/// Writes files of an archive that it does not own. After an error it must be dropped: rows may be lost on their way.
#[derive(Debug)]
pub(in crate::archive::parquet) struct ParquetStager {
    storage: Arc<dyn Storage>,
    buffers: Buffers,
    notes: Notes,
}

impl ParquetStager {
    pub(in crate::archive::parquet) fn new(
        settings: &Settings,
        stamp: &RunStamp,
        part: Uuid,
    ) -> Result<Self, ArchiveError> {
        let storage = settings.place.open(stamp.ledger_id)?;
        let name = format!("{}-{}", stamp.run_id, part.simple());
        let notes = Notes::new(settings, stamp, name.clone());
        Ok(Self { buffers: Buffers::new(settings, stamp, Arc::clone(&storage), name), notes, storage })
    }
}

#[async_trait]
impl Stager for ParquetStager {
    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), ArchiveError> {
        self.buffers.write(&rows).await
    }

    async fn write_vanished(&mut self, vanished: Vec<Vanished>) -> Result<(), ArchiveError> {
        self.notes.add(vanished);
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.notes.len() >= NOTES_DUE || self.buffers.is_due()
    }

    async fn finish(&mut self) -> Result<Vec<StagedFile>, ArchiveError> {
        let mut files = self.buffers.finish().await?;
        let (notes, storage) = (self.notes.take(), Arc::clone(&self.storage));
        files.extend(
            blocking(move || notes.into_iter().map(|notes| notes.write(&*storage)).collect::<Result<Vec<_>, _>>())
                .await?,
        );
        Ok(files)
    }
}
