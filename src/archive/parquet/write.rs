//! Writes an archive.
//!
//! Messages are buffered for each partition in compact form. A partition with enough rows becomes a row group of its open
//! file. When memory runs short, the largest partitions are written: as a row group if they make a fair one, else to a
//! scratch file. Between row groups an open file takes no descriptor and a few kilobytes.
//!
//! A commit finishes every open file. It is staged until it is published.

mod buffers;
mod encode;
mod file;
mod pack;
mod partition;
mod scratch;
mod stage;
mod vanished;

use std::sync::Arc;

use async_trait::async_trait;

use self::buffers::Buffers;
pub(super) use self::stage::ParquetStager;
use self::vanished::Notes;
use super::blocking::blocking;
use super::existing::{self, ParquetVersions};
use super::manifests;
use super::owner::OwnedArchive;
use super::settings::Settings;
use crate::archive::{ArchiveError, ArchiveWriter, Claim, ExistingVersions, Opened, Prepared, RunStamp};
use crate::model::manifest::{DataFile, Sealed, StagedFile, is_vanished};
use crate::model::message::{MessageRows, Vanished};

/// Notes of what vanished that make a commit due. They are in memory until then.
const NOTES_DUE: usize = 200_000;

/// Writes an archive of Parquet files.
#[derive(Debug)]
pub(super) struct ParquetWriter {
    archive: Arc<OwnedArchive>,
    settings: Settings,
    stamp: RunStamp,
    state: State,
    notes: Notes,
    /// Files that workers staged, for the next commit.
    accepted: Vec<StagedFile>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Box<Buffers>),
    /// Rows were lost on the way to disk. Nothing more is accepted: the next commit would miss them.
    Broken,
}

impl ParquetWriter {
    /// Touches nothing.
    pub(super) fn new(settings: Settings, stamp: RunStamp) -> Result<Self, ArchiveError> {
        let archive = Arc::new(OwnedArchive::new(settings.place.open(stamp.ledger_id)?, &stamp));
        let notes = Notes::new(&settings, &stamp, stamp.run_id.to_string());
        Ok(Self { archive, settings, stamp, state: State::Closed, notes, accepted: Vec::new() })
    }

    /// Takes the buffers out. Until they are put back the writer is broken, so that neither an error nor a call that is
    /// dropped half-way leads to a commit that misses rows.
    fn take_buffers(&mut self) -> Result<Box<Buffers>, ArchiveError> {
        let why = match std::mem::replace(&mut self.state, State::Broken) {
            State::Open(buffers) => return Ok(buffers),
            State::Closed => {
                self.state = State::Closed;
                "the archive was not opened"
            }
            State::Broken => "an earlier write failed or was cut off, and its rows are lost",
        };
        Err(ArchiveError::failed(format!("writing to the archive at {}", self.archive.storage().place()), why))
    }

    /// Does something with the archive that blocks.
    async fn with_archive<T: Send + 'static>(
        &self,
        work: impl FnOnce(&OwnedArchive) -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let archive = Arc::clone(&self.archive);
        blocking(move || work(&archive)).await
    }
}

#[async_trait]
impl ArchiveWriter for ParquetWriter {
    async fn open(&mut self, claim: &Claim) -> Result<Opened, ArchiveError> {
        let claim = claim.clone();
        let opened = self.with_archive(move |archive| archive.open(&claim)).await?;
        let storage = Arc::clone(self.archive.storage());
        self.state =
            State::Open(Box::new(Buffers::new(&self.settings, &self.stamp, storage, self.stamp.run_id.to_string())));
        Ok(opened)
    }

    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), ArchiveError> {
        let mut buffers = self.take_buffers()?;
        buffers.write(&rows).await?;
        self.state = State::Open(buffers);
        Ok(())
    }

    async fn write_vanished(&mut self, vanished: Vec<Vanished>) -> Result<(), ArchiveError> {
        self.notes.add(vanished);
        Ok(())
    }

    async fn accept(&mut self, files: Vec<StagedFile>) -> Result<(), ArchiveError> {
        self.accepted.extend(files);
        Ok(())
    }

    async fn existing_versions(
        &mut self,
        since: i64,
        published: Vec<DataFile>,
    ) -> Result<Box<dyn ExistingVersions>, ArchiveError> {
        let RunStamp { app_key, job, .. } = self.stamp.clone();
        let open = move |archive: &OwnedArchive| {
            let files = existing::find(&**archive.storage(), &published, &job)?;
            ParquetVersions::open(Arc::clone(archive.storage()), files, app_key, since)
        };
        Ok(Box::new(self.with_archive(open).await?))
    }

    fn is_due(&self) -> bool {
        self.notes.len() >= NOTES_DUE || matches!(&self.state, State::Open(buffers) if buffers.is_due())
    }

    fn needs_intent(&self) -> bool {
        false
    }

    async fn prepare(&mut self, _commit: u64) -> Result<Prepared, ArchiveError> {
        let mut buffers = self.take_buffers()?;
        let mut files = buffers.finish().await?;
        files.append(&mut self.accepted);
        let rows =
            files.iter().map(|staged| &staged.file).filter(|file| !is_vanished(&file.path)).map(|file| file.rows).sum();
        if self.notes.len() > 0 {
            let notes = self.notes.take();
            let write =
                |archive: &OwnedArchive| notes.into_iter().map(|notes| notes.write(&**archive.storage())).collect();
            files.extend(self.with_archive::<Vec<_>>(write).await?);
        }
        if !files.is_empty() {
            self.with_archive(|archive| {
                archive.still_owned()?;
                Ok(archive.storage().sync_staged()?)
            })
            .await?;
        }
        self.state = State::Open(buffers);
        Ok(Prepared { rows, bytes: files.iter().map(|staged| staged.file.bytes).sum(), files })
    }

    async fn publish(&mut self, commit: u64, files: &[StagedFile]) -> Result<(), ArchiveError> {
        let files = files.to_vec();
        self.with_archive(move |archive| archive.publish(commit, &files)).await
    }

    async fn manifest(&mut self, sequence: u64) -> Result<Option<Sealed>, ArchiveError> {
        self.with_archive(move |archive| manifests::find(archive, sequence)).await
    }

    async fn write_manifest(&mut self, sealed: &Sealed) -> Result<(), ArchiveError> {
        let sealed = sealed.clone();
        self.with_archive(move |archive| manifests::write(archive, &sealed)).await
    }
}
