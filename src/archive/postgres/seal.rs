//! Manifests in a table: one row for every run, with the exact text and its signature.

use std::io;

use sqlx::AssertSqlSafe;
use tokio::time::{sleep, timeout};

use super::connect::{Mode, Session, Trouble, delays, trouble};
use super::{COMMIT, TRIES, Target, Writing};
use crate::archive::ArchiveError;
use crate::failpoint::reach;
use crate::model::manifest::Sealed;

/// What is asked of the table of manifests. It may be asked twice.
enum Errand<'a> {
    Read(u64),
    Write(&'a Sealed),
}

impl Target {
    /// The manifest of this number.
    pub(super) async fn manifest(
        &self,
        writing: Option<&mut Writing>,
        sequence: u64,
    ) -> Result<Option<Sealed>, ArchiveError> {
        let unreadable = |error| {
            let table = self.names.qualified(&self.names.manifests);
            ArchiveError::Unusable(format!(
                "manifest {sequence} in {table} at {} cannot be read ({error}): restore it from a backup first",
                self.server.place()
            ))
        };
        let (_, body) = self.run_errand(writing, &Errand::Read(sequence)).await?;
        body.map(|body| Sealed::read(body).map_err(unreadable)).transpose()
    }

    /// Writes a manifest unless it is there already.
    pub(super) async fn seal(&self, writing: Option<&mut Writing>, sealed: &Sealed) -> Result<(), ArchiveError> {
        reach("manifest.insert");
        let (owned, there) = self.run_errand(writing, &Errand::Write(sealed)).await?;
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
            "the archive {} at {} does not wait for manifest {} of ledger {}: it holds one of a run that this ledger \
             does not know, or another ledger took it over. If this ledger is an old copy, \
             `yunxin-archiver adopt {}` takes the archive over",
            self.table(),
            self.server.place(),
            manifest.sequence,
            manifest.ledger_id,
            manifest.job
        )))
    }

    /// Over as many connections as it takes. Returns whether the archive is that of the manifest's ledger, and the text
    /// that is there afterwards.
    async fn run_errand(
        &self,
        writing: Option<&mut Writing>,
        errand: &Errand<'_>,
    ) -> Result<(bool, Option<String>), ArchiveError> {
        let Some(writing) = writing else { return Err(self.failed("the sink is not open")) };
        let mut delays = delays();
        let mut tries = 0;
        loop {
            tries += 1;
            // Taken while it is used: what is interrupted must not be gone on with.
            let (mut session, begun) = match writing.session.take() {
                Some(session) => (session, false),
                None => (self.server.session(self.locks(), true).await?, true),
            };
            let error = match timeout(COMMIT, self.errand(&mut session, begun, errand)).await {
                Ok(Ok(done)) => {
                    writing.session = Some(session);
                    return Ok(done);
                }
                Ok(Err(error)) => error,
                Err(_) => io::Error::new(io::ErrorKind::TimedOut, "it took too long").into(),
            };
            if trouble(&error) != Trouble::Transient || tries == TRIES {
                let table = self.names.qualified(&self.names.manifests);
                return Err(self.server.report(&format!("cannot write {table}"), error));
            }
            tracing::debug!(%error, "the manifest is tried again over a new connection");
            sleep(delays.next().unwrap_or_default()).await;
        }
    }

    /// Over one connection, in one transaction, which may have begun.
    async fn errand(
        &self,
        session: &mut Session,
        begun: bool,
        errand: &Errand<'_>,
    ) -> Result<(bool, Option<String>), sqlx::Error> {
        let manifests = self.names.qualified(&self.names.manifests);
        let archive = self.names.qualified(&self.names.archive);
        if !begun {
            session.begin(Mode::Write).await?;
        }
        let sequence = match errand {
            Errand::Read(sequence) => *sequence,
            Errand::Write(sealed) => {
                // Only the ledger that owns the archive adds to it.
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
