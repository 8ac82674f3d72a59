//! Manifests in a table: a row for every run, with the exact text and its signature.

use sqlx::AssertSqlSafe;

use super::connect::{Mode, Refusal, Session, Tries, timed};
use super::target::{OpenArchive, PATIENCE, Target};
use crate::archive::ArchiveError;
use crate::failpoint::reach;
use crate::model::manifest::Sealed;

/// What is done with the table of manifests. It may be done twice.
enum Work<'a> {
    Read(u64),
    Write(&'a Sealed),
}

impl Target {
    /// The manifest of this number.
    pub(super) async fn manifest(
        &self,
        archive: Option<&mut OpenArchive>,
        sequence: u64,
    ) -> Result<Option<Sealed>, ArchiveError> {
        let unreadable = |error| {
            let table = self.names.shown(&self.names.manifests);
            ArchiveError::Unusable(format!(
                "manifest {sequence} in {table} at {} cannot be read ({error}): restore it from a backup first",
                self.server.place()
            ))
        };
        let (_, body) = self.run_over_connections(archive, &Work::Read(sequence)).await?;
        body.map(|body| Sealed::read(body).map_err(unreadable)).transpose()
    }

    /// Writes a manifest unless it is there already.
    pub(super) async fn write_manifest(
        &self,
        archive: Option<&mut OpenArchive>,
        sealed: &Sealed,
    ) -> Result<(), ArchiveError> {
        reach("manifest.insert");
        let (owned, there) = self.run_over_connections(archive, &Work::Write(sealed)).await?;
        reach("manifest.inserted");
        if there.as_deref() == Some(sealed.text.as_str()) {
            return Ok(());
        }
        let manifest = &sealed.manifest;
        if owned && there.is_none() {
            let what = format!("lacks manifest {}, which was", manifest.sequence);
            return Err(self.dropped(&self.names.manifests, &what, None));
        }
        Err(ArchiveError::NotOurs(format!(
            "the archive {} at {} does not wait for manifest {} of ledger {}: it has one of a run that this ledger \
             does not know, or another ledger took it over. If this ledger is an old copy, \
             `yunxin-archiver adopt {}` takes the archive over",
            self.table(),
            self.server.place(),
            manifest.sequence,
            manifest.ledger_id,
            manifest.job
        )))
    }

    /// Works over as many connections as it takes. Returns whether this ledger owns the archive, and the text that is there
    /// afterwards.
    async fn run_over_connections(
        &self,
        archive: Option<&mut OpenArchive>,
        work: &Work<'_>,
    ) -> Result<(bool, Option<String>), ArchiveError> {
        let Some(archive) = archive else { return Err(self.failed("the archive was not opened")) };
        let mut tries = Tries::new();
        loop {
            // Taken while it is used: a connection whose use was interrupted must not be used again.
            let (mut session, has_begun) = match archive.session.take() {
                Some(session) => (session, false),
                None => (self.server.session(self.locks(), true).await?, true),
            };
            let error = match timed(PATIENCE, self.run(&mut session, has_begun, work)).await {
                Ok(done) => {
                    archive.session = Some(session);
                    return Ok(done);
                }
                Err(Refusal::Archive(error)) => return Err(error),
                Err(Refusal::Database(error)) => error,
            };
            let doing = format!("cannot write {}", self.names.shown(&self.names.manifests));
            tries.wait(error).await.map_err(|error| self.server.report(&doing, error))?;
        }
    }

    /// Works over one connection, in one transaction, which may have begun.
    async fn run(
        &self,
        session: &mut Session,
        has_begun: bool,
        work: &Work<'_>,
    ) -> Result<(bool, Option<String>), Refusal> {
        let manifests = self.names.qualified(&self.names.manifests);
        let archive = self.names.qualified(&self.names.archive);
        if !has_begun {
            session.begin(Mode::Write).await?;
        }
        let sequence = match work {
            Work::Read(sequence) => *sequence,
            Work::Write(sealed) => {
                // Only the ledger that owns the archive may add to it.
                let sql = format!(
                    "insert into {manifests} (sequence, run_id, ledger_id, sha256, body, signature) \
                     select $1, $2, ledger_id, $4, $5, $6 from {archive} where ledger_id = $3 on conflict do nothing"
                );
                let manifest = &sealed.manifest;
                sqlx::query(AssertSqlSafe(sql))
                    .persistent(false)
                    .bind(manifest.sequence as i64)
                    .bind(&manifest.run_id)
                    .bind(&manifest.ledger_id)
                    .bind(sealed.sha256())
                    .bind(&sealed.text)
                    .bind(sealed.signature.as_ref().map(|signature| signature.0.as_slice()))
                    .execute(&mut session.connection)
                    .await?;
                manifest.sequence
            }
        };
        let there = sqlx::query_as(AssertSqlSafe(format!(
            "select exists (select from {archive} where ledger_id = $1), \
                (select body from {manifests} where sequence = $2)"
        )))
        .persistent(false)
        .bind(self.stamp.ledger_id.to_string())
        .bind(sequence as i64)
        .fetch_one(&mut session.connection)
        .await?;
        session.commit().await?;
        Ok(there)
    }
}
