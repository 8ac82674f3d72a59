//! Who was answered for a team last. The next batches of the team begin with that owner.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::values::json;
use crate::plan::{Batch, TeamOwner};

impl Ledger {
    /// Has batches of teams asked under the owner that was answered for their team before, unless the job says who asks.
    pub async fn begin_with_answered(&self, batches: &mut [Batch], by: &TeamOwner) -> Result<(), LedgerError> {
        let chosen = self.choose_answered(batches, by).await;
        chosen.map_err(|fault| fault.at(&self.path, "reading who was answered"))
    }

    pub(super) async fn choose_answered(&self, batches: &mut [Batch], by: &TeamOwner) -> Result<(), Fault> {
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

/// The owners that were answered for these teams, by conversation key.
pub(super) async fn answered(conn: &mut SqliteConnection, keys: &[&str]) -> Result<HashMap<String, String>, Fault> {
    let keys = serde_json::json!(keys).to_string();
    let sql = "select key, owner from answered where key in (select value from json_each(?))";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).bind(keys).fetch_all(conn).await?;
    Ok(rows.into_iter().collect())
}

/// Remembers the owners of these pending batches, each of whom got something of its batch. A one-to-one conversation has
/// two sides, and needs no memory.
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
