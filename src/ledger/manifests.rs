//! What the manifests of runs say, and which of them are written.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::error::Fault;
use super::files;
use super::runs::{self, RunCounts};
use super::{Ledger, LedgerError, count, millis, run_id, timestamp};
use crate::model::digits;
use crate::model::failure::Class;
use crate::model::manifest::{DataFile, FailureCount, Sealed, Signature};
use crate::model::summary::{References, ThreadExtras};
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

/// A run whose manifest has to be written, and what it says.
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
pub struct Head {
    /// Its number.
    pub sequence: u64,
    /// The run.
    pub run_id: Uuid,
    /// SHA-256 of its exact bytes; `None` for one that an earlier version wrote.
    pub sha256: Option<String>,
}

impl Ledger {
    /// Remembers who runs what. What the run finds to be done counts as resumed.
    pub async fn note_run(
        &self,
        run: Uuid,
        note: &RunNote,
        resumed: u64,
        extras_resumed: u64,
    ) -> Result<(), LedgerError> {
        let stored = async {
            let note = serde_json::to_string(note).map_err(|error| Fault::Inconsistent(error.to_string()))?;
            sqlx::query("update runs set note = ?, resumed = ?, extras_planned = ? where run_id = ?")
                .bind(note)
                .bind(resumed as i64)
                .bind(extras_resumed as i64)
                .bind(run.to_string())
                .execute(&mut self.writer().await?.conn)
                .await?;
            Ok(())
        };
        stored.await.map_err(self.explain("recording who runs"))
    }

    /// Remembers that a run has nothing left to do: what it read, and what it leaves.
    pub async fn end_run(
        &self,
        run: Uuid,
        now: Timestamp,
        references: &References,
        extras: &ThreadExtras,
    ) -> Result<(), LedgerError> {
        let stored = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            read_so_far(&mut tx, run, references).await?;
            sqlx::query("update runs set ended_at = ?, pending = ?, extras_pending = ? where run_id = ?")
                .bind(millis(now))
                .bind(references.pending as i64)
                .bind(extras.pending as i64)
                .bind(run.to_string())
                .execute(&mut *tx)
                .await?;
            Ok(tx.commit().await?)
        };
        stored.await.map_err(self.explain("recording what a run leaves"))
    }

    /// Runs, in their order, whose manifest has to be written: all that have none, also those that died, except one
    /// that still runs. A run with files that are not yet published waits.
    pub async fn manifest_due(&self, still_running: Option<Uuid>) -> Result<Vec<ManifestDue>, LedgerError> {
        let read = async {
            let mut reader = self.reader().await?;
            let due = "from runs where run_id not in (select run_id from manifests)
                       and ledger_id = (select ledger_id from ledger) and run_id <> ?
                       and run_id not in (select run_id from files where published = 0)";
            let except = still_running.map(|run| run.to_string()).unwrap_or_default();
            let next: i64 = sqlx::query_scalar("select coalesce(max(sequence), 0) + 1 from manifests")
                .fetch_one(&mut reader.conn)
                .await?;
            let runs = format!(
                "select *, (select max(at) from commits where commits.run_id = runs.run_id) as last_commit_at
                 {due} order by number"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(runs)).bind(&except).fetch_all(&mut reader.conn).await?;
            let mut runs = Vec::with_capacity(rows.len());
            for (row, sequence) in rows.iter().zip(count(next)..) {
                runs.push(manifest_due(row, sequence)?);
            }
            let places: HashMap<Uuid, usize> = runs.iter().enumerate().map(|(at, run)| (run.run_id, at)).collect();
            let files = format!(
                "select {}, run_id from files where run_id in (select run_id {due}) order by commit_seq, id",
                files::COLUMNS
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(files)).bind(&except).fetch_all(&mut reader.conn).await?;
            for row in &rows {
                if let Some(at) = places.get(&run_id(row.try_get("run_id")?)?) {
                    runs[*at].files.push(files::file(row)?);
                }
            }
            for run in &mut runs {
                run.failures = new_failures(&mut reader.conn, run.run_id).await?;
            }
            Ok::<_, Fault>(runs)
        };
        read.await.map_err(self.explain("reading which manifests are due"))
    }

    /// Failures new in a run, as far as it recorded them.
    pub async fn new_failures(&self, run: Uuid) -> Result<Vec<FailureCount>, LedgerError> {
        let read = async { new_failures(&mut self.reader().await?.conn, run).await };
        read.await.map_err(self.explain("counting failures"))
    }

    /// Remembers that a run's manifest is written, and the hash of its bytes; with `kept`, the bytes themselves. Saying
    /// so twice does nothing.
    pub async fn set_manifest(
        &self,
        run: Uuid,
        sequence: u64,
        sha256: &str,
        kept: Option<&Sealed>,
    ) -> Result<(), LedgerError> {
        let stored = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let run = run.to_string();
            let written: Option<i64> = sqlx::query_scalar("select sequence from manifests where run_id = ?")
                .bind(&run)
                .fetch_optional(&mut *tx)
                .await?;
            if written.map(count) == Some(sequence) {
                return Ok(());
            }
            let next: i64 =
                sqlx::query_scalar("select coalesce(max(sequence), 0) + 1 from manifests").fetch_one(&mut *tx).await?;
            if written.is_some() || count(next) != sequence {
                return Err(Fault::Inconsistent(format!("manifest {sequence} of run {run} is not the next, {next}")));
            }
            sqlx::query("insert into manifests (sequence, run_id, sha256, body, signature) values (?, ?, ?, ?, ?)")
                .bind(next)
                .bind(&run)
                .bind(sha256)
                .bind(kept.map(|kept| kept.text.as_str()))
                .bind(kept.and_then(|kept| kept.signature.as_ref()).map(|signature| signature.0.as_slice()))
                .execute(&mut *tx)
                .await?;
            Ok(tx.commit().await?)
        };
        stored.await.map_err(self.explain("recording a manifest"))
    }

    /// The last manifest.
    pub async fn head(&self) -> Result<Option<Head>, LedgerError> {
        let read = async {
            let row = sqlx::query("select sequence, run_id, sha256 from manifests order by sequence desc limit 1")
                .fetch_optional(&mut self.reader().await?.conn)
                .await?;
            row.map(|row| {
                Ok::<_, Fault>(Head {
                    sequence: count(row.try_get(0)?),
                    run_id: run_id(row.try_get(1)?)?,
                    sha256: row.try_get(2)?,
                })
            })
            .transpose()
        };
        read.await.map_err(self.explain("reading the last manifest"))
    }

    /// A manifest whose bytes were kept: its text and signature.
    pub async fn kept_manifest(&self, sequence: u64) -> Result<Option<Sealed>, LedgerError> {
        let read = async {
            let row = sqlx::query("select body, signature from manifests where sequence = ? and body is not null")
                .bind(sequence as i64)
                .fetch_optional(&mut self.reader().await?.conn)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let signature: Option<Vec<u8>> = row.try_get(1)?;
            let kept = Sealed::read(row.try_get(0)?)
                .map_err(|error| Fault::Damaged(format!("manifest {sequence} cannot be read ({error})")))?;
            Ok::<_, Fault>(Some(Sealed { signature: signature.map(Signature), ..kept }))
        };
        read.await.map_err(self.explain("reading a manifest"))
    }
}

fn manifest_due(row: &SqliteRow, sequence: u64) -> Result<ManifestDue, Fault> {
    let time = |column: &str| Ok::<_, Fault>(row.try_get::<Option<i64>, _>(column)?.map(timestamp));
    let note: Option<&str> = row.try_get("note")?;
    let started_at = timestamp(row.try_get("started_at")?);
    let ended_at = time("ended_at")?;
    Ok(ManifestDue {
        run_id: run_id(row.try_get("run_id")?)?,
        sequence,
        command: row.try_get("command")?,
        note: note.and_then(|note| serde_json::from_str(note).ok()).unwrap_or_default(),
        started_at,
        finished_at: match ended_at.or(time("finished_at")?) {
            Some(ended) => ended,
            None => time("last_commit_at")?.unwrap_or(started_at),
        },
        died: ended_at.is_none() && row.try_get::<Option<i64>, _>("finished_at")?.is_none(),
        references_sha256: row.try_get("references_sha256")?,
        counts: runs::counts(row)?,
        failures: Vec::new(),
        files: Vec::new(),
    })
}

async fn new_failures(conn: &mut SqliteConnection, run: Uuid) -> Result<Vec<FailureCount>, Fault> {
    let rows = sqlx::query("select class, code, n from run_failures where run_id = ? order by class, code")
        .bind(run.to_string())
        .fetch_all(conn)
        .await?;
    let kind = |row: &SqliteRow| {
        Ok(FailureCount { class: row.try_get(0)?, code: row.try_get(1)?, count: count(row.try_get(2)?) })
    };
    rows.iter().map(kind).collect()
}

/// Stores how much of the source a run has read.
pub(super) async fn read_so_far(conn: &mut SqliteConnection, run: Uuid, counts: &References) -> Result<(), Fault> {
    sqlx::query("update runs set skipped = ?, invalid = ?, duplicate = ? where run_id = ?")
        .bind(counts.skipped as i64)
        .bind(counts.invalid as i64)
        .bind(counts.duplicate as i64)
        .bind(run.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// Counts failures that are new in a run.
pub(super) async fn count_failures(
    conn: &mut SqliteConnection,
    run: Uuid,
    kinds: &[(Class, Option<i64>, u64)],
) -> Result<(), Fault> {
    for (class, code, n) in kinds {
        sqlx::query(
            "insert into run_failures (run_id, class, code, n) select run_id, ?2, ?3, ?4 from runs where run_id = ?1
             on conflict (run_id, class, coalesce(code, 'none')) do update set n = n + excluded.n",
        )
        .bind(run.to_string())
        .bind(class.as_str())
        .bind(code)
        .bind(*n as i64)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
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
        hash = hex::decode(&stored).map_err(|_| Fault::Damaged(format!("{stored:?} is no hash")))?;
    }
    let mut lines = Vec::new();
    for batch in batches {
        let mut refs: Vec<_> = batch.refs.iter().collect();
        refs.sort_by_key(|reference| reference.message_server_id);
        lines.clear();
        for reference in refs {
            lines.extend_from_slice(batch.key.as_str().as_bytes());
            lines.push(b'\t');
            digits::push(&mut lines, reference.message_server_id);
            lines.push(b'\t');
            digits::push(&mut lines, reference.create_time);
            lines.push(b'\n');
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
