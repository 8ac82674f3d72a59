//! Who was answered for a team: with that owner the next batches of it begin.

use std::collections::HashMap;

use sqlx::{Row as _, SqliteConnection};

use super::error::Fault;
use super::statement::json;
use super::{Ledger, LedgerError};
use crate::plan::{Batch, TeamOwner};

impl Ledger {
    /// Has batches of teams asked under the owner that was answered for their team before. Where the job says who asks,
    /// its word stands.
    pub async fn begin_with_answered(&self, batches: &mut [Batch], by: &TeamOwner) -> Result<(), LedgerError> {
        self.prefer_answered(batches, by).await.map_err(self.explain("reading who was answered"))
    }

    pub(super) async fn prefer_answered(&self, batches: &mut [Batch], by: &TeamOwner) -> Result<(), Fault> {
        let teams = batches.iter_mut().filter(|batch| *by == TeamOwner::Merge && batch.is_of_team());
        let teams: Vec<&mut Batch> = teams.collect();
        if teams.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = teams.iter().map(|batch| batch.key.as_str()).collect();
        let answered = answered(&mut self.reader().await?.conn, &keys).await?;
        for batch in teams {
            if let Some(owner) = answered.get(batch.key.as_str()) {
                batch.asked.clone_from(owner);
            }
        }
        Ok(())
    }
}

/// Who was answered for these teams, by their keys.
pub(super) async fn answered(conn: &mut SqliteConnection, keys: &[&str]) -> Result<HashMap<String, String>, Fault> {
    let keys = serde_json::to_string(keys).map_err(|error| Fault::Inconsistent(error.to_string()))?;
    let rows = sqlx::query("select key, owner from answered where key in (select value from json_each(?))")
        .bind(keys)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Remembers who is asked by these pending batches: the owner got something of each. One dialogue has two sides, and
/// needs no memory.
pub(super) async fn remember(conn: &mut SqliteConnection, batches: &[i64]) -> Result<(), Fault> {
    if batches.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into answered (key, owner)
         select key, asked from pending where seq in (select value from json_each(?)) and key >= '2'
             and (replaces or not exists (select 1 from answered as known where known.key = pending.key))
         on conflict (key) do update set owner = excluded.owner where owner <> excluded.owner",
    )
    .bind(json(batches))
    .execute(conn)
    .await?;
    Ok(())
}
