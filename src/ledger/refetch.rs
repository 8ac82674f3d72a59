//! Archived messages that are asked for again: what the archive holds of them, and the batches that ask.
//!
//! The latest version of a message is known when its batch is planned. Batches are planned only when none of an earlier
//! refetch is left, so a message is never asked for twice at once, and a version gets its number once.

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, SqliteConnection};
use uuid::Uuid;

use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::pending::append;
use super::values::{Columns as _, IDS, ROWS, json};
use crate::model::message::ExistingVersion;
use crate::plan::Batch;

/// What became of messages that were asked for again, beside those that were edited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// Messages that are as the archive has them.
    pub unchanged: u64,
    /// IDs of messages that the service no longer has, which the commit records.
    pub vanished: Vec<i64>,
    /// Messages that nobody could tell anything of.
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
    /// Forgets the versions of an earlier refetch. Refused while something of it is still to be asked.
    pub async fn begin_refetch(&self) -> Result<(), LedgerError> {
        self.transaction("beginning to ask again", async |tx| {
            if is_asking(tx, false).await? {
                return Err(Fault::Inconsistent("messages are to be asked for again twice at once".to_owned()));
            }
            sqlx::query("delete from versions").execute(tx).await?;
            Ok(())
        })
        .await
    }

    /// Forgets the versions once everything was asked.
    pub async fn end_refetch(&self) -> Result<(), LedgerError> {
        self.transaction("ending to ask again", async |tx| {
            if !is_asking(tx, true).await? {
                sqlx::query("delete from versions").execute(tx).await?;
            }
            Ok(())
        })
        .await
    }

    /// Keeps versions; of several of one message the latest.
    pub async fn keep_versions(&self, versions: &[ExistingVersion]) -> Result<(), LedgerError> {
        self.transaction("keeping versions", async |tx| {
            for some in versions.chunks(ROWS) {
                let mut sql = QueryBuilder::new(
                    "insert into versions (message_server_id, conversation_id, create_time, revision, modify_time,
                                           fetched_at, requested) ",
                );
                sql.push_values(some, |mut row, version| {
                    row.push_bind(version.message_server_id)
                        .push_bind(version.conversation_id.as_str())
                        .push_bind(version.create_time)
                        .push_bind(version.revision)
                        .push_bind(version.modify_time)
                        .push_bind(version.fetched_at)
                        .push_bind(version.requested);
                });
                sql.push(
                    " on conflict (message_server_id) do update
                     set conversation_id = excluded.conversation_id, create_time = excluded.create_time,
                         revision = excluded.revision, modify_time = excluded.modify_time,
                         fetched_at = excluded.fetched_at, requested = excluded.requested
                     where excluded.revision > versions.revision",
                );
                sql.build().execute(&mut *tx).await?;
            }
            Ok(())
        })
        .await
    }

    /// The versions kept of these messages, by their IDs. A message without one was never edited, and a reference asked
    /// for it.
    pub async fn versions(&self, ids: &[i64]) -> Result<Vec<ExistingVersion>, LedgerError> {
        self.query("reading versions", async |conn| {
            let mut versions = Vec::new();
            for ids in ids.chunks(IDS) {
                let sql = "select * from versions where message_server_id in (select value from json_each(?))";
                for row in &sqlx::query(sql).bind(json(ids)).fetch_all(&mut *conn).await? {
                    versions.push(version(row)?);
                }
            }
            versions.sort_unstable_by_key(|version| version.message_server_id);
            Ok(versions)
        })
        .await
    }

    /// Later versions that were fetched since, by their IDs, from the first after `after`.
    pub async fn revised_since(&self, since: i64, after: i64, limit: u32) -> Result<Vec<ExistingVersion>, LedgerError> {
        self.query("reading versions", async |conn| {
            let sql = "select * from versions where message_server_id > ? and revision > 0 and fetched_at >= ?
                       order by message_server_id limit ?";
            sqlx::query(sql).bind(after).bind(since).bind(limit).fetch_all(conn).await?.iter().map(version).collect()
        })
        .await
    }

    /// Makes batches that ask again pending after all others. Their IDs are known already.
    pub async fn plan_refetch(&self, run_id: Uuid, batches: &[Batch]) -> Result<(), LedgerError> {
        self.transaction("planning what is asked again", async |tx| {
            if batches.iter().any(|batch| !batch.purpose.is_refetch()) {
                return Err(Fault::Inconsistent(
                    "a batch that does not ask again is planned as one that does".to_owned(),
                ));
            }
            append(tx, batches).await
        })
        .await?;
        tracing::debug!(%run_id, batches = batches.len(), "planned to ask for archived messages again");
        Ok(())
    }
}

/// Whether a batch that asks again is pending or carried, or, if `or_lost`, would be if its commit were lost.
async fn is_asking(conn: &mut SqliteConnection, or_lost: bool) -> Result<bool, Fault> {
    let sql = "select exists (select 1 from pending where depth < 0) or exists (select 1 from carried where depth < 0)
                   or (? and exists (select 1 from done where depth < 0))";
    Ok(sqlx::query_scalar(sql).bind(or_lost).fetch_one(conn).await?)
}

fn version(row: &SqliteRow) -> Result<ExistingVersion, Fault> {
    Ok(ExistingVersion {
        message_server_id: row.value("message_server_id")?,
        conversation_id: row.value("conversation_id")?,
        create_time: row.value("create_time")?,
        revision: row.value("revision")?,
        modify_time: row.value("modify_time")?,
        fetched_at: row.value("fetched_at")?,
        requested: row.value("requested")?,
    })
}
