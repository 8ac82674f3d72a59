//! Files that commits made.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};
use uuid::Uuid;

use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::values::Columns as _;
use crate::model::manifest::{DataFile, FileRange, StagedFile};

/// A file that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedFile {
    /// The run that wrote it.
    pub run_id: Uuid,
    /// The manifest that names it.
    pub manifest: u64,
    /// The file.
    pub file: DataFile,
}

impl Ledger {
    /// Files that were recorded and not yet seen published, in the order of their commits.
    pub async fn unpublished(&self) -> Result<Vec<StagedFile>, LedgerError> {
        self.query("reading files", async |conn| staged(conn, "published = 0").await).await
    }

    /// The files that a run recorded, in the order of their commits.
    pub async fn files_of(&self, run: Uuid) -> Result<Vec<DataFile>, LedgerError> {
        self.query("reading files", async |conn| of_run(conn, run).await).await
    }

    /// Every file that was published, also those that say what vanished.
    pub async fn published_files(&self) -> Result<Vec<DataFile>, LedgerError> {
        self.query("reading files", async |conn| select(conn, "published = 1").await?.iter().map(file).collect()).await
    }

    /// Every file of messages that a manifest names, in order, from the first after the manifest of `after`. Files that
    /// say what vanished are not among them: they are beside the archive.
    pub async fn files(&self, after: Option<Uuid>) -> Result<Vec<CommittedFile>, LedgerError> {
        self.query("reading files", async |conn| {
            let mut from = 0;
            if let Some(run) = after {
                from = sqlx::query_scalar("select sequence from manifests where run_id = ?")
                    .bind(run.to_string())
                    .fetch_optional(&mut *conn)
                    .await?
                    .ok_or(Fault::UnknownRun(run))?;
            }
            let sql = "select files.*, sequence from files join manifests using (run_id)
                       where published = 1 and sequence > ? and path not like 'vanished:%'
                       order by sequence, commit_seq, id";
            let rows = sqlx::query(sql).bind::<i64>(from).fetch_all(conn).await?;
            let committed = rows.iter().map(|row| {
                let (run_id, manifest) = (row.run_id("run_id")?, row.count("sequence")?);
                Ok(CommittedFile { run_id, manifest, file: file(row)? })
            });
            committed.collect()
        })
        .await
    }
}

/// The files that a run recorded.
pub(super) async fn of_run(conn: &mut SqliteConnection, run: Uuid) -> Result<Vec<DataFile>, Fault> {
    select(conn, &format!("run_id = '{run}'")).await?.iter().map(file).collect()
}

/// The files of a condition, each with where it waits until it is published, in the order of their commits.
pub(super) async fn staged(conn: &mut SqliteConnection, condition: &str) -> Result<Vec<StagedFile>, Fault> {
    let rows = select(conn, condition).await?;
    rows.iter().map(|row| Ok(StagedFile { file: file(row)?, staged: row.value("temporary")? })).collect()
}

async fn select(conn: &mut SqliteConnection, condition: &str) -> Result<Vec<SqliteRow>, Fault> {
    let sql = format!("select * from files where {condition} order by commit_seq, id");
    Ok(sqlx::query(AssertSqlSafe(sql)).fetch_all(conn).await?)
}

fn file(row: &SqliteRow) -> Result<DataFile, Fault> {
    let ends = [row.value("first_time")?, row.value("last_time")?, row.value("first_id")?, row.value("last_id")?];
    Ok(DataFile {
        path: row.value("path")?,
        rows: row.count("rows")?,
        bytes: row.count("bytes")?,
        sha256: row.value("sha256")?,
        range: match ends {
            [Some(first_time), Some(last_time), Some(first_id), Some(last_id)] => {
                Some(FileRange::of(first_time, first_id).with(FileRange::of(last_time, last_id)))
            }
            _ => None,
        },
    })
}

/// Stores a file of a commit, which is published unless it is `staged`; one of commit 0 cannot be taken back.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    commit: u64,
    run: Uuid,
    file: &DataFile,
    staged: Option<&str>,
) -> Result<(), Fault> {
    let (times, ids) = (file.range.map(|range| range.create_time), file.range.map(|range| range.message_server_id));
    sqlx::query(
        "insert into files (commit_seq, run_id, path, temporary, rows, bytes, sha256, published,
                            first_time, last_time, first_id, last_id)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(commit as i64)
    .bind(run.to_string())
    .bind(file.path.as_str())
    .bind(staged.unwrap_or_default())
    .bind(file.rows as i64)
    .bind(file.bytes as i64)
    .bind(file.sha256.as_str())
    .bind(staged.is_none())
    .bind(times.map(|times| times.min))
    .bind(times.map(|times| times.max))
    .bind(ids.map(|ids| ids.min))
    .bind(ids.map(|ids| ids.max))
    .execute(conn)
    .await?;
    Ok(())
}
