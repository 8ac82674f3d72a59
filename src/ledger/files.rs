//! Files that commits made, and the manifests that name them.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::batches::{append, stored_batch};
use super::commits::Commit;
use super::error::Fault;
use super::record::keep;
use super::{Ledger, LedgerError, count, ids, run_id, timestamp};

/// Batches looked through at once for the references of a lost file.
const AT_ONCE: i64 = 64;

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
    /// The IDs of the messages in it, each once, in any order: kept until it is published, so that a lost file costs
    /// only its own references. Empty when read back.
    pub ids: Vec<i64>,
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
    /// When it finished; `None` for a run that died or still runs.
    pub finished_at: Option<Timestamp>,
    /// Its files, in the order of their commits.
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

    /// Sends back the references of a recorded file that is nowhere, and forgets the file. Returns how many are
    /// pending again. What other files of its commit hold stays archived.
    pub async fn reopen_file(&self, path: &str) -> Result<u64, LedgerError> {
        let reopened = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let commit: Option<i64> =
                sqlx::query_scalar("select commit_seq from files where path = ? and published = 0")
                    .bind(path)
                    .fetch_optional(&mut *tx)
                    .await?;
            let Some(commit) = commit else {
                return Err(Fault::Inconsistent(format!("{path} is no file that waits to be published")));
            };
            let lost = Lost::load(&mut tx, commit, path).await?;
            let refs = reopen(&mut tx, commit, &lost).await?;
            sqlx::query("update commits set rows = rows - (select rows from files where path = ?1) where seq = ?2")
                .bind(path)
                .bind(commit)
                .execute(&mut *tx)
                .await?;
            sqlx::query("delete from files where path = ?").bind(path).execute(&mut *tx).await?;
            tx.commit().await?;
            tracing::warn!(path, references = refs, "a recorded file is nowhere: its messages are fetched again");
            Ok(refs)
        };
        reopened.await.map_err(self.explain("sending a lost file's references back"))
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

    /// Every file that a manifest names, in order, from the first after the manifest of `after`.
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
                 from files join manifests using (run_id) where published = 1 and sequence > ?
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
            let runs = format!("select run_id, started_at, finished_at {due} order by number");
            let rows = sqlx::query(sqlx::AssertSqlSafe(runs)).bind(&except).fetch_all(&mut reader.conn).await?;
            let mut runs = Vec::with_capacity(rows.len());
            for (row, sequence) in rows.iter().zip(count(next)..) {
                runs.push(ManifestDue {
                    run_id: run_id(row.try_get(0)?)?,
                    sequence,
                    started_at: timestamp(row.try_get(1)?),
                    finished_at: row.try_get::<Option<i64>, _>(2)?.map(timestamp),
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
        ids: Vec::new(),
    })
}

pub(super) async fn insert(conn: &mut SqliteConnection, commit: &Commit) -> Result<(), Fault> {
    for file in &commit.files {
        let mut within = file.ids.clone();
        within.sort_unstable();
        sqlx::query(
            "insert into files (commit_seq, run_id, path, temporary, rows, bytes, sha256, ids)
             values (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(commit.seq as i64)
        .bind(commit.run_id.to_string())
        .bind(file.path.as_str())
        .bind(file.temporary.as_str())
        .bind(file.rows as i64)
        .bind(file.bytes as i64)
        .bind(file.sha256.as_str())
        .bind((!within.is_empty()).then(|| ids::encode(&within)))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Which references of a commit a lost file held.
enum Lost {
    /// These.
    Named(Vec<i64>),
    /// Nobody said which: all that no other file of the commit is known to hold.
    AllBut(Vec<i64>),
}

impl Lost {
    async fn load(conn: &mut SqliteConnection, commit: i64, path: &str) -> Result<Self, Fault> {
        let rows = sqlx::query("select path, ids from files where commit_seq = ? and ids is not null")
            .bind(commit)
            .fetch_all(conn)
            .await?;
        let mut others = Vec::new();
        for row in &rows {
            let name: &str = row.try_get(0)?;
            let mut within = Vec::new();
            let held = if name == path { &mut within } else { &mut others };
            ids::decode(row.try_get(1)?, held).map_err(Fault::damaged(format_args!("the list of IDs in {name}")))?;
            if name == path {
                return Ok(Self::Named(within));
            }
        }
        others.sort_unstable();
        Ok(Self::AllBut(others))
    }

    fn holds(&self, id: i64) -> bool {
        match self {
            Self::Named(ids) => ids.binary_search(&id).is_ok(),
            Self::AllBut(ids) => ids.binary_search(&id).is_err(),
        }
    }
}

/// Moves the lost references of a commit's batches back to pending.
async fn reopen(conn: &mut SqliteConnection, commit: i64, lost: &Lost) -> Result<u64, Fault> {
    let mut refs = 0;
    let mut after: i64 = 0;
    loop {
        let rows = sqlx::query(
            "select seq, ask, key, asked, body from done where commit_seq = ? and seq > ? order by seq limit ?",
        )
        .bind(commit)
        .bind(after)
        .bind(AT_ONCE)
        .fetch_all(&mut *conn)
        .await?;
        let Some(row) = rows.last() else { return Ok(refs) };
        after = row.try_get(0)?;
        let mut again = Vec::new();
        for row in &rows {
            let seq: i64 = row.try_get(0)?;
            let mut kept = stored_batch(row)?;
            let mut gone = kept.clone();
            gone.refs.retain(|reference| lost.holds(reference.message_server_id));
            if gone.refs.is_empty() {
                continue;
            }
            kept.refs.retain(|reference| !lost.holds(reference.message_server_id));
            if kept.refs.is_empty() {
                sqlx::query("delete from done where seq = ?").bind(seq).execute(&mut *conn).await?;
            } else {
                keep(conn, seq, commit, &kept).await?;
            }
            refs += gone.refs.len() as u64;
            again.push(gone);
        }
        append(conn, &again).await?;
    }
}
