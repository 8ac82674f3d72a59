//! What the manifests of runs say, and which of them are written.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::files;
use super::runs::{self, RunCounts};
use super::values::{Columns as _, count};
use crate::model::manifest::{DataFile, FailureCount, Sealed, Signature};
use crate::plan::Batch;

/// Who runs what with which settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNote {
    /// The program, with its version.
    pub tool: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// Who runs it, if that was said.
    pub operator: Option<String>,
    /// What for, if that was said.
    pub purpose: Option<String>,
    /// SHA-256 of what the job means.
    pub configuration_sha256: Option<String>,
}

/// A run whose manifest has to be written, and what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDue {
    /// The run.
    pub run_id: Uuid,
    /// The manifest's number: one more than the one before.
    pub sequence: u64,
    /// The command.
    pub command: String,
    /// What was noted when it began.
    pub note: RunNote,
    /// When the run began.
    pub started_at: Timestamp,
    /// When it ended; of one that died, when its last commit was recorded, or else when it began.
    pub finished_at: Timestamp,
    /// Whether it died: what it left is then counted from what it took up.
    pub died: bool,
    /// The running hash of what it planned.
    pub references_sha256: Option<String>,
    /// What it recorded.
    pub counts: RunCounts,
    /// Failures new in it.
    pub failures: Vec<FailureCount>,
    /// Its files, in the order of their commits.
    pub files: Vec<DataFile>,
}

/// The last manifest that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastManifest {
    /// Its number.
    pub sequence: u64,
    /// The run.
    pub run_id: Uuid,
    /// SHA-256 of its exact bytes; `None` for one that an earlier version wrote.
    pub sha256: Option<String>,
}

impl Ledger {
    /// Records who runs what. What the run finds to be done counts as resumed.
    pub async fn note_run(
        &self,
        run: Uuid,
        note: &RunNote,
        resumed: u64,
        extras_resumed: u64,
    ) -> Result<(), LedgerError> {
        self.transaction("recording who runs", async |tx| {
            sqlx::query("update runs set note = ?, resumed = ?, extras_planned = ? where run_id = ?")
                .bind(serde_json::json!(note).to_string())
                .bind(resumed as i64)
                .bind(extras_resumed as i64)
                .bind(run.to_string())
                .execute(tx)
                .await?;
            Ok(())
        })
        .await
    }

    /// Runs, in their order, whose manifest has to be written: all that have none, also those that died, except one
    /// that is still running. A run with files that are not yet published waits.
    pub async fn manifest_due(&self, still_running: Option<Uuid>) -> Result<Vec<ManifestDue>, LedgerError> {
        self.query("reading which manifests are due", async |conn| {
            let rows = sqlx::query(
                "select *, (select max(at) from commits where commits.run_id = runs.run_id) as last_commit_at,
                     (select coalesce(max(sequence), 0) from manifests) + row_number() over (order by number) as sequence
                 from runs
                 where run_id not in (select run_id from manifests) and ledger_id = (select ledger_id from ledger)
                     and run_id <> ? and run_id not in (select run_id from files where published = 0)
                 order by number",
            )
            .bind(still_running.map(|run| run.to_string()).unwrap_or_default())
            .fetch_all(&mut *conn)
            .await?;
            let mut runs = rows.iter().map(manifest_due).collect::<Result<Vec<_>, _>>()?;
            for run in &mut runs {
                run.files = files::of_run(conn, run.run_id).await?;
                run.failures = runs::new_failures(conn, run.run_id).await?;
            }
            Ok(runs)
        })
        .await
    }

    /// Records that a run's manifest is written, and the hash of its bytes; with `kept`, the bytes themselves. Doing so
    /// twice changes nothing.
    pub async fn set_manifest(
        &self,
        run: Uuid,
        sequence: u64,
        sha256: &str,
        kept: Option<&Sealed>,
    ) -> Result<(), LedgerError> {
        self.transaction("recording a manifest", async |tx| {
            let row = sqlx::query(
                "select (select sequence from manifests where run_id = ?) as written,
                     (select coalesce(max(sequence), 0) + 1 from manifests) as next",
            )
            .bind(run.to_string())
            .fetch_one(&mut *tx)
            .await?;
            let (written, next): (Option<i64>, _) = (row.value("written")?, row.count("next")?);
            if written.map(count) == Some(sequence) {
                return Ok(());
            }
            if written.is_some() || next != sequence {
                return Err(Fault::Inconsistent(format!("manifest {sequence} of run {run} is not the next, {next}")));
            }
            sqlx::query("insert into manifests (sequence, run_id, sha256, body, signature) values (?, ?, ?, ?, ?)")
                .bind(sequence as i64)
                .bind(run.to_string())
                .bind(sha256)
                .bind(kept.map(|kept| kept.text.as_str()))
                .bind(kept.and_then(|kept| kept.signature.as_ref()).map(|signature| signature.0.as_slice()))
                .execute(tx)
                .await?;
            Ok(())
        })
        .await
    }

    /// The last manifest.
    pub async fn last_manifest(&self) -> Result<Option<LastManifest>, LedgerError> {
        self.query("reading the last manifest", async |conn| {
            let sql = "select sequence, run_id, sha256 from manifests order by sequence desc limit 1";
            let Some(row) = sqlx::query(sql).fetch_optional(conn).await? else { return Ok(None) };
            let (sequence, run_id) = (row.count("sequence")?, row.run_id("run_id")?);
            Ok(Some(LastManifest { sequence, run_id, sha256: row.value("sha256")? }))
        })
        .await
    }

    /// A manifest whose bytes were kept.
    pub async fn kept_manifest(&self, sequence: u64) -> Result<Option<Sealed>, LedgerError> {
        self.query("reading a manifest", async |conn| {
            let sql = "select body, signature from manifests where sequence = ? and body is not null";
            let row: Option<(String, Option<Vec<u8>>)> =
                sqlx::query_as(sql).bind(sequence as i64).fetch_optional(conn).await?;
            let Some((text, signature)) = row else { return Ok(None) };
            let kept = Sealed::read(text)
                .map_err(|error| Fault::Damaged(format!("manifest {sequence} cannot be read ({error})")))?;
            Ok(Some(Sealed { signature: signature.map(Signature), ..kept }))
        })
        .await
    }
}

fn manifest_due(row: &SqliteRow) -> Result<ManifestDue, Fault> {
    let note: Option<&str> = row.value("note")?;
    let started_at = row.time("started_at")?;
    let ended = row.optional_time("ended_at")?.or(row.optional_time("finished_at")?);
    Ok(ManifestDue {
        run_id: row.run_id("run_id")?,
        sequence: row.count("sequence")?,
        command: row.value("command")?,
        note: note.and_then(|note| serde_json::from_str(note).ok()).unwrap_or_default(),
        started_at,
        finished_at: ended.or(row.optional_time("last_commit_at")?).unwrap_or(started_at),
        died: ended.is_none(),
        references_sha256: row.value("references_sha256")?,
        counts: runs::counts(row)?,
        failures: Vec::new(),
        files: Vec::new(),
    })
}

/// Takes planned batches into a run's running hash: of the hash before (at first 32 zero bytes) and then, for every
/// batch, of one line a reference in the order of their IDs: `<conversation key> TAB <message ID> TAB <time> LF`.
pub(super) async fn hash_planned(conn: &mut SqliteConnection, run: Uuid, batches: &[Batch]) -> Result<(), Fault> {
    if batches.is_empty() {
        return Ok(());
    }
    let stored: Option<Option<String>> = sqlx::query_scalar("select references_sha256 from runs where run_id = ?")
        .bind(run.to_string())
        .fetch_optional(&mut *conn)
        .await?;
    let mut hash = vec![0; 32];
    if let Some(stored) = stored.flatten() {
        hash = hex::decode(&stored).map_err(|_| Fault::Damaged(format!("{stored:?} is not a hash")))?;
    }
    for batch in batches {
        let mut refs: Vec<_> = batch.refs.iter().collect();
        refs.sort_by_key(|reference| reference.message_server_id);
        let mut lines = String::new();
        for reference in refs {
            let _ = writeln!(lines, "{}\t{}\t{}", batch.key, reference.message_server_id, reference.create_time);
        }
        hash = Sha256::new().chain_update(&hash).chain_update(&lines).finalize().to_vec();
    }
    sqlx::query("update runs set references_sha256 = ? where run_id = ?")
        .bind(hex::encode(hash))
        .bind(run.to_string())
        .execute(conn)
        .await?;
    Ok(())
}
