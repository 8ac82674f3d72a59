//! Archived messages that are asked for again: what the archive holds of them, and the batches that ask.
//!
//! A batch asks for messages whose latest version is known when it is planned. Batches are planned only when none of an
//! earlier time is left, so a message is never asked for twice at once, and a version gets its number once.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::batches::append;
use super::error::Fault;
use super::statement::{IDS, json, runs, values};
use super::{Ledger, LedgerError};
use crate::model::message::ExistingVersion;
use crate::plan::Batch;

const COLUMNS: &str =
    "message_server_id, conversation_id, create_time, revision, modify_time, fetched_at, requested from versions";

/// What became of messages that were asked for again, beside those that were edited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// Messages that are as the archive has them.
    pub unchanged: u64,
    /// IDs of messages that the service no longer has, and that the commit says so of.
    pub vanished: Vec<i64>,
    /// Messages of which nothing is known: asked in vain.
    pub failed: u64,
}

impl Reviewed {
    /// How many messages these are.
    pub fn total(&self) -> u64 {
        self.unchanged + self.vanished.len() as u64 + self.failed
    }
}

/// Counts of messages that were asked for again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReviewedCounts {
    /// In the archive in a new version.
    pub edited: u64,
    /// As the archive has them.
    pub unchanged: u64,
    /// Gone.
    pub vanished: u64,
    /// Asked in vain.
    pub failed: u64,
}

impl Ledger {
    /// Forgets the versions of an earlier time. Refused while something of then is still to be asked.
    pub async fn begin_refetch(&self) -> Result<(), LedgerError> {
        let begun = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            if still_asking(&mut tx, false).await? {
                return Err(Fault::Inconsistent("messages are to be asked for again twice at once".to_owned()));
            }
            sqlx::query("delete from versions").execute(&mut *tx).await?;
            Ok(tx.commit().await?)
        };
        begun.await.map_err(self.explain("beginning to ask again"))
    }

    /// Forgets the versions once everything was asked.
    pub async fn end_refetch(&self) -> Result<(), LedgerError> {
        let ended = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            if !still_asking(&mut tx, true).await? {
                sqlx::query("delete from versions").execute(&mut *tx).await?;
            }
            Ok(tx.commit().await?)
        };
        ended.await.map_err(self.explain("ending to ask again"))
    }

    /// Keeps versions; of several of one message the latest.
    pub async fn keep_versions(&self, versions: &[ExistingVersion]) -> Result<(), LedgerError> {
        let kept = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            for some in runs(versions) {
                let sql = values(
                    "insert into versions (message_server_id, conversation_id, create_time, revision, modify_time,
                                           fetched_at, requested) values",
                    7,
                    some.len(),
                    "on conflict (message_server_id) do update
                     set conversation_id = excluded.conversation_id, create_time = excluded.create_time,
                         revision = excluded.revision, modify_time = excluded.modify_time,
                         fetched_at = excluded.fetched_at, requested = excluded.requested
                     where excluded.revision > versions.revision",
                );
                let mut query = sqlx::query(sql);
                for version in some {
                    query = query
                        .bind(version.message_server_id)
                        .bind(version.conversation_id.as_str())
                        .bind(version.create_time)
                        .bind(version.revision)
                        .bind(version.modify_time)
                        .bind(version.fetched_at)
                        .bind(version.requested);
                }
                query.execute(&mut *tx).await?;
            }
            Ok(tx.commit().await?)
        };
        kept.await.map_err(self.explain("keeping versions"))
    }

    /// The versions kept of these messages, by their IDs. A message without one was never edited, and a reference asked
    /// for it.
    pub async fn versions(&self, ids: &[i64]) -> Result<Vec<ExistingVersion>, LedgerError> {
        let read = async {
            let mut versions = Vec::new();
            for ids in ids.chunks(IDS) {
                let sql = format!(
                    "select {COLUMNS} where message_server_id in (select value from json_each(?)) order by message_server_id"
                );
                let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                    .bind(json(ids))
                    .fetch_all(&mut self.reader().await?.conn)
                    .await?;
                for row in &rows {
                    versions.push(version(row)?);
                }
            }
            versions.sort_unstable_by_key(|version| version.message_server_id);
            Ok(versions)
        };
        read.await.map_err(self.explain("reading versions"))
    }

    /// Later versions that were fetched since, by their IDs, from the first after `after`.
    pub async fn revised_since(&self, since: i64, after: i64, limit: u32) -> Result<Vec<ExistingVersion>, LedgerError> {
        let read = async {
            let sql = format!(
                "select {COLUMNS} where message_server_id > ? and revision > 0 and fetched_at >= ?
                 order by message_server_id limit ?"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(after)
                .bind(since)
                .bind(limit)
                .fetch_all(&mut self.reader().await?.conn)
                .await?;
            rows.iter().map(version).collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading versions"))
    }

    /// Makes batches that ask again pending after all others. Their IDs are known already.
    pub async fn plan_refetch(&self, run_id: Uuid, batches: &[Batch]) -> Result<(), LedgerError> {
        let stored = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            if batches.iter().any(|batch| !batch.purpose.is_refetch()) {
                return Err(Fault::Inconsistent(
                    "a batch that does not ask again is planned as one that does".to_owned(),
                ));
            }
            append(&mut tx, batches).await?;
            tx.commit().await?;
            tracing::debug!(%run_id, batches = batches.len(), "archived messages are asked for again");
            Ok(())
        };
        stored.await.map_err(self.explain("planning what is asked again"))
    }
}

/// Whether a batch that asks again is pending or carried, or, if `or_may`, may become so because its commit is lost.
async fn still_asking(conn: &mut SqliteConnection, or_may: bool) -> Result<bool, Fault> {
    let still = sqlx::query_scalar(
        "select exists (select 1 from pending where depth < 0) or exists (select 1 from carried where depth < 0)
             or (? and exists (select 1 from done where depth < 0))",
    )
    .bind(or_may)
    .fetch_one(conn)
    .await?;
    Ok(still)
}

fn version(row: &SqliteRow) -> Result<ExistingVersion, Fault> {
    Ok(ExistingVersion {
        message_server_id: row.try_get(0)?,
        conversation_id: row.try_get(1)?,
        create_time: row.try_get(2)?,
        revision: row.try_get(3)?,
        modify_time: row.try_get(4)?,
        fetched_at: row.try_get(5)?,
        requested: row.try_get(6)?,
    })
}
