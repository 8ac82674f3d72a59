//! Files that commits made.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::commits::Commit;
use super::error::Fault;
use super::{Ledger, LedgerError, count, run_id};
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
        let read = async {
            let sql = format!("select {COLUMNS} from files where published = 0 order by commit_seq, id");
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut self.reader().await?.conn).await?;
            rows.iter().map(staged_file).collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading files"))
    }

    /// The files that a run recorded, in the order of their commits.
    pub async fn files_of(&self, run: Uuid) -> Result<Vec<DataFile>, LedgerError> {
        let read = async {
            let sql = format!("select {COLUMNS} from files where run_id = ? order by commit_seq, id");
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
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
            let sql = format!(
                "select files.*, sequence from (select {COLUMNS}, run_id, commit_seq, id, published from files) as files
                 join manifests using (run_id) where published = 1 and sequence > ? and path not like 'vanished:%'
                 order by sequence, commit_seq, id"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind::<i64>(from).fetch_all(&mut reader.conn).await?;
            let committed = rows.iter().map(|row| {
                let manifest = count(row.try_get("sequence")?);
                Ok(CommittedFile { run_id: run_id(row.try_get("run_id")?)?, manifest, file: file(row)? })
            });
            committed.collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading files"))
    }
}

/// What [`file`] and [`staged_file`] read.
pub(super) const COLUMNS: &str = "path, temporary, rows, bytes, sha256, first_time, last_time, first_id, last_id";

pub(super) fn file(row: &SqliteRow) -> Result<DataFile, Fault> {
    let ends = [row.try_get(5)?, row.try_get(6)?, row.try_get(7)?, row.try_get(8)?];
    Ok(DataFile {
        path: row.try_get(0)?,
        rows: count(row.try_get(2)?),
        bytes: count(row.try_get(3)?),
        sha256: row.try_get(4)?,
        range: match ends {
            [Some(first_time), Some(last_time), Some(first_id), Some(last_id)] => {
                Some(FileRange::of(first_time, first_id).with(FileRange::of(last_time, last_id)))
            }
            _ => None,
        },
    })
}

pub(super) fn staged_file(row: &SqliteRow) -> Result<StagedFile, Fault> {
    Ok(StagedFile { file: file(row)?, staged: row.try_get(1)? })
}

/// Stores a file of a commit: one that is still `staged`, or one that is published. Commit 0 is one that cannot be taken
/// back.
pub(super) async fn insert_file(
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

pub(super) async fn insert(conn: &mut SqliteConnection, commit: &Commit) -> Result<(), Fault> {
    for file in &commit.files {
        insert_file(conn, commit.seq, commit.run_id, &file.file, Some(&file.staged)).await?;
    }
    Ok(())
}
