//! Writes an archive: messages are collected until they are committed.

use std::sync::Arc;

use async_trait::async_trait;

use super::commit::Commit;
use super::connect::{Refusal, Tries};
use super::encode::Encoder;
use super::existing::PostgresVersions;
use super::open;
use super::statements::{CommitId, Statements};
use super::target::{OpenArchive, Target};
use super::unlogged;
use crate::archive::{ArchiveError, ArchiveWriter, Claim, ExistingVersions, Opened, Prepared};
use crate::model::manifest::{DataFile, Sealed, StagedFile};
use crate::model::message::{MessageRows, Vanished};

/// Messages that make a commit due. More would make its transaction long.
const DUE_ROWS: u64 = 75_000;
/// Bytes in memory that make a commit due.
const DUE_BYTES: usize = 24 * 1024 * 1024;

/// Writes messages to a table in Postgres.
pub(super) struct PostgresWriter {
    target: Target,
    archive: Option<OpenArchive>,
    pending: Vec<Arc<MessageRows>>,
    vanished: Vec<Vanished>,
    rows: u64,
    bytes: usize,
}

impl PostgresWriter {
    /// Connects to nothing.
    pub(super) fn new(target: Target) -> Self {
        Self { target, archive: None, pending: Vec::new(), vanished: Vec::new(), rows: 0, bytes: 0 }
    }
}

#[async_trait]
impl ArchiveWriter for PostgresWriter {
    async fn open(&mut self, claim: &Claim) -> Result<Opened, ArchiveError> {
        let target = &self.target;
        self.archive = None;
        let mut tries = Tries::new();
        let (found, session) = loop {
            let mut session = target.server.session(target.locks(), tries.is_later()).await?;
            let error = match open::open(&target.server, &mut session, &target.names, claim, target.raw).await {
                Ok(found) => break (found, session),
                Err(Refusal::Archive(error)) => return Err(error),
                Err(Refusal::Database(error)) => error,
            };
            drop(session);
            tries.wait(error).await.map_err(|error| not_set_up(target, error))?;
        };
        let mut warnings = Vec::new();
        if !session.durable {
            warnings.push(format!(
                "The server {} runs with fsync=off: if its machine fails, it loses commits that it confirmed.",
                target.server.place()
            ));
        }
        warnings.extend(unlogged::warning(&found.unlogged));
        self.archive = Some(OpenArchive {
            ledger_id: claim.ledger_id,
            statements: Arc::new(Statements::new(&target.names, found.raw, target.raw)),
            encoder: Encoder::new(&target.stamp, target.raw),
            session: Some(session),
            committed: found.commit,
            tried: 0,
            look_first: found.triggers,
        });
        Ok(Opened { commit: found.commit, holds: found.holds, missing: Vec::new(), warnings })
    }

    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), ArchiveError> {
        self.rows += rows.len() as u64;
        self.bytes += rows.size();
        self.pending.push(rows);
        Ok(())
    }

    async fn write_vanished(&mut self, vanished: Vec<Vanished>) -> Result<(), ArchiveError> {
        self.vanished.extend(vanished);
        Ok(())
    }

    async fn existing_versions(
        &mut self,
        since: i64,
        _published: Vec<DataFile>,
    ) -> Result<Box<dyn ExistingVersions>, ArchiveError> {
        let session = self.target.server.connect().await?;
        Ok(Box::new(PostgresVersions::new(&self.target, session, since)))
    }

    fn is_due(&self) -> bool {
        self.rows + self.vanished.len() as u64 >= DUE_ROWS || self.bytes >= DUE_BYTES
    }

    fn needs_intent(&self) -> bool {
        true
    }

    async fn prepare(&mut self, commit: u64) -> Result<Prepared, ArchiveError> {
        let Some(archive) = &mut self.archive else {
            return Err(self.target.failed("the archive was not opened"));
        };
        let stamp = &self.target.stamp;
        let commit = Commit {
            id: CommitId {
                app_key: stamp.app_key.clone(),
                ledger_id: archive.ledger_id,
                run_id: stamp.run_id,
                locks: self.target.locks(),
                before: archive.committed,
                sequence: commit,
            },
            pending: &self.pending,
            vanished: &self.vanished,
            messages: self.rows,
        };
        let bytes = self.target.commit(archive, &commit).await?;
        archive.committed = commit.id.sequence;
        let prepared = Prepared { rows: self.rows, bytes, files: Vec::new() };
        self.pending.clear();
        self.vanished.clear();
        (self.rows, self.bytes) = (0, 0);
        Ok(prepared)
    }

    /// A committed transaction is visible.
    async fn publish(&mut self, _commit: u64, _files: &[StagedFile]) -> Result<(), ArchiveError> {
        Ok(())
    }

    async fn manifest(&mut self, sequence: u64) -> Result<Option<Sealed>, ArchiveError> {
        self.target.manifest(self.archive.as_mut(), sequence).await
    }

    async fn write_manifest(&mut self, sealed: &Sealed) -> Result<(), ArchiveError> {
        self.target.write_manifest(self.archive.as_mut(), sealed).await
    }
}

fn not_set_up(target: &Target, error: sqlx::Error) -> ArchiveError {
    match target.server.report(&format!("cannot set up {}", target.table()), error) {
        ArchiveError::Denied(sentence) => ArchiveError::Denied(format!(
            "{sentence}; grant the role what it needs, or have somebody run what `schema postgres` prints"
        )),
        error => error,
    }
}
