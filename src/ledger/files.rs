//! Files that commits made, and the manifests that name them.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::commits::Commit;
use super::error::Fault;
use super::{Ledger, LedgerError, count, run_id, timestamp};

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Where it is found once published, relative to the archive.
    pub path: String,
    /// Where it stands until then.
    pub temporary: String,
    /// Messages in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
}

/// A file that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedFile {
    /// The run that wrote it.
    pub run_id: Uuid,
    /// The manifest that names it.
    pub manifest: u64,
    /// The file.
    pub file: FileRow,
}

/// A run whose manifest has to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDue {
    /// The run.
    pub run_id: Uuid,
    /// The manifest's number: one more than the one before.
    pub sequence: u64,
    /// When the run began.
    pub started_at: Timestamp,
    /// When its last commit was recorded; when it began, for a run without one. Known before the run is over, and the
    /// same whenever it is asked.
    pub finished_at: Timestamp,
    /// Its files, in the order of their commits; also those that say what vanished.
    pub files: Vec<FileRow>,
}

impl Ledger {
    /// Files that were recorded and not yet seen published, in the order of their commits.
    pub async fn unpublished(&self) -> Result<Vec<FileRow>, LedgerError> {
        let read = async {
            let rows = sqlx::query(
                "select path, temporary, rows, bytes, sha256 from files where published = 0 order by commit_seq, id",
            )
            .fetch_all(&mut self.reader().await?.conn)
            .await?;
            rows.iter().map(file).collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading files"))
    }

    /// The files that a run recorded, in the order of their commits.
    pub async fn files_of(&self, run: Uuid) -> Result<Vec<FileRow>, LedgerError> {
        let read = async {
            let rows = sqlx::query(
                "select path, temporary, rows, bytes, sha256 from files where run_id = ? order by commit_seq, id",
            )
            .bind(run.to_string())
            .fetch_all(&mut self.reader().await?.conn)
            .await?;
            rows.iter().map(file).collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading files"))
    }

    /// Every file of messages that a manifest names, in order, from the first after the manifest of `after`. Those that
    /// say what vanished are not among them: they lie beside the archive.
    pub async fn files(&self, after: Option<Uuid>) -> Result<Vec<CommittedFile>, LedgerError> {
        let read = async {
            let mut reader = self.reader().await?;
            let mut from = 0;
            if let Some(run) = after {
                from = sqlx::query_scalar("select sequence from manifests where run_id = ?")
                    .bind(run.to_string())
                    .fetch_optional(&mut reader.conn)
                    .await?
                    .ok_or(Fault::UnknownRun(run))?;
            }
            let rows = sqlx::query(
                "select path, temporary, rows, bytes, sha256, sequence, run_id
                 from files join manifests using (run_id)
                 where published = 1 and sequence > ? and path not like 'vanished:%'
                 order by sequence, commit_seq, id",
            )
            .bind::<i64>(from)
            .fetch_all(&mut reader.conn)
            .await?;
            let committed = rows.iter().map(|row| {
                let manifest = count(row.try_get(5)?);
                Ok(CommittedFile { run_id: run_id(row.try_get(6)?)?, manifest, file: file(row)? })
            });
            committed.collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading files"))
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
                "select run_id, started_at,
                        coalesce((select max(at) from commits where commits.run_id = runs.run_id), started_at)
                 {due} order by number"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(runs)).bind(&except).fetch_all(&mut reader.conn).await?;
            let mut runs = Vec::with_capacity(rows.len());
            for (row, sequence) in rows.iter().zip(count(next)..) {
                runs.push(ManifestDue {
                    run_id: run_id(row.try_get(0)?)?,
                    sequence,
                    started_at: timestamp(row.try_get(1)?),
                    finished_at: timestamp(row.try_get(2)?),
                    files: Vec::new(),
                });
            }
            let files = format!(
                "select path, temporary, rows, bytes, sha256, run_id from files
                 where run_id in (select run_id {due}) order by commit_seq, id"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(files)).bind(&except).fetch_all(&mut reader.conn).await?;
            let places: HashMap<Uuid, usize> = runs.iter().enumerate().map(|(at, run)| (run.run_id, at)).collect();
            for row in &rows {
                if let Some(at) = places.get(&run_id(row.try_get(5)?)?) {
                    runs[*at].files.push(file(row)?);
                }
            }
            Ok::<_, Fault>(runs)
        };
        read.await.map_err(self.explain("reading which manifests are due"))
    }

    /// Remembers that a run's manifest is written. Saying so twice does nothing.
    pub async fn set_manifest(&self, run: Uuid, sequence: u64) -> Result<(), LedgerError> {
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
            sqlx::query("insert into manifests (sequence, run_id) values (?, ?)")
                .bind(next)
                .bind(&run)
                .execute(&mut *tx)
                .await?;
            Ok(tx.commit().await?)
        };
        stored.await.map_err(self.explain("recording a manifest"))
    }
}

fn file(row: &SqliteRow) -> Result<FileRow, Fault> {
    Ok(FileRow {
        path: row.try_get(0)?,
        temporary: row.try_get(1)?,
        rows: count(row.try_get(2)?),
        bytes: count(row.try_get(3)?),
        sha256: row.try_get(4)?,
    })
}

pub(super) async fn insert(conn: &mut SqliteConnection, commit: &Commit) -> Result<(), Fault> {
    for file in &commit.files {
        sqlx::query(
            "insert into files (commit_seq, run_id, path, temporary, rows, bytes, sha256)
             values (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(commit.seq as i64)
        .bind(commit.run_id.to_string())
        .bind(file.path.as_str())
        .bind(file.temporary.as_str())
        .bind(file.rows as i64)
        .bind(file.bytes as i64)
        .bind(file.sha256.as_str())
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
