//! Failures as batches end: recorded, pending again, closed.

use std::collections::{BTreeMap, HashMap};

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, SqliteConnection};
use uuid::Uuid;

use super::invalid;
use crate::ledger::bloom::Bloom;
use crate::ledger::database::Ledger;
use crate::ledger::error::Fault;
use crate::ledger::values::{Columns as _, IDS, ROWS, json, millis};
use crate::model::failure::{Class, Reason};
use crate::model::reference::Invalid;
use crate::plan::Purpose;

/// A reference that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRef {
    /// The message's ID.
    pub message_server_id: i64,
    /// When it was created, milliseconds since the epoch.
    pub create_time: i64,
    /// The conversation as the reference spelt it, `owner|type|other`.
    pub conversation_id: String,
    /// Why.
    pub reason: Reason,
    /// How often it was tried in this run; added to what earlier runs tried.
    pub attempts: u32,
}

/// A failure with the key and the purpose of the batch that it was asked in.
pub(in crate::ledger) type OfBatch<'a> = (&'a FailedRef, &'a str, Purpose);

/// How many there are, by class and code.
pub(in crate::ledger) type Kinds = BTreeMap<(Class, Option<i64>), u64>;

impl Ledger {
    /// Records failures; returns how many are new. New is a reference that was not failed before, or failed by another
    /// class. What only a thread asked for never is.
    pub(in crate::ledger) async fn store_failures(
        &self,
        tx: &mut SqliteConnection,
        run_id: Uuid,
        now: Timestamp,
        failed: &[OfBatch<'_>],
    ) -> Result<Kinds, Fault> {
        let mut new = BTreeMap::new();
        for failed in failed.chunks(IDS) {
            let mut before = classes(tx, failed).await?;
            for (failure, _, purpose) in failed {
                let (id, class) = (failure.message_server_id, failure.reason.class);
                if class == Class::Invalid {
                    return Err(Fault::Inconsistent(format!("reference {id} became an invalid row")));
                }
                if before.insert(id, class) != Some(class) && !purpose.is_extra() {
                    *new.entry((class, failure.reason.code)).or_default() += 1;
                }
            }
            for some in failed.chunks(ROWS) {
                insert(tx, run_id, millis(now), some).await?;
            }
        }
        self.note_failed(failed.iter().map(|(failure, ..)| failure.message_server_id)).await;
        Ok(new)
    }

    /// Records invalid rows; returns how many are new.
    pub(in crate::ledger) async fn store_invalid(
        &self,
        tx: &mut SqliteConnection,
        run_id: Uuid,
        now: Timestamp,
        rows: &[Invalid],
    ) -> Result<u64, Fault> {
        let entries = self.grouping.lock().await.entries(rows);
        let new = invalid::store(tx, run_id, millis(now), &entries).await?;
        self.note_failed(rows.iter().filter_map(|row| row.message_server_id)).await;
        Ok(new)
    }

    async fn note_failed(&self, ids: impl Iterator<Item = i64>) {
        if let Some(failed) = &mut *self.failed_ids.lock().await {
            ids.for_each(|id| failed.add(id));
        }
    }

    /// Closes the failures of messages that are archived now; returns how many that were. Nearly every message has none,
    /// and must not cost a look-up.
    pub(in crate::ledger) async fn close_archived(
        &self,
        tx: &mut SqliteConnection,
        now: Timestamp,
        ids: impl Iterator<Item = i64>,
    ) -> Result<u64, Fault> {
        let mut failed = self.failed_ids.lock().await;
        let failed = match &mut *failed {
            Some(failed) => failed,
            unknown => unknown.insert(failed_ids(tx).await?),
        };
        let ids: Vec<i64> = ids.filter(|id| failed.may_hold(*id)).collect();
        close(tx, &ids, millis(now), "archived").await
    }
}

async fn failed_ids(conn: &mut SqliteConnection) -> Result<Bloom, Fault> {
    let mut failed = Bloom::new();
    let sql = "select message_server_id from failures indexed by failures_ids
               where state < 2 and message_server_id is not null";
    let mut ids = sqlx::query_scalar(sql).fetch(&mut *conn);
    while let Some(id) = ids.try_next().await? {
        failed.add(id);
    }
    drop(ids);
    for (_, ids) in invalid::grouped_ids(conn).await? {
        for id in ids {
            failed.add(id);
        }
    }
    Ok(failed)
}

async fn classes(conn: &mut SqliteConnection, failed: &[OfBatch<'_>]) -> Result<HashMap<i64, Class>, Fault> {
    let rows = sqlx::query(
        "select message_server_id, class from failures
         where state < 2 and class <> 'invalid' and message_server_id in (select value from json_each(?))",
    )
    .bind(json(failed.iter().map(|(failure, ..)| &failure.message_server_id)))
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| Ok((row.value("message_server_id")?, row.class("class")?))).collect()
}

async fn insert(conn: &mut SqliteConnection, run_id: Uuid, now: i64, failed: &[OfBatch<'_>]) -> Result<(), Fault> {
    let run_id = run_id.to_string();
    let mut sql = QueryBuilder::new(
        "insert into failures (state, class, code, message, retryable, attempts, rounds, message_server_id,
                               create_time, conversation_id, key, depth, run_id, first_seen, last_seen) ",
    );
    sql.push_values(failed, |mut row, (failure, key, purpose)| {
        row.push_bind(0)
            .push_bind(failure.reason.class.as_str())
            .push_bind(failure.reason.code)
            .push_bind(failure.reason.message.as_str())
            .push_bind(failure.reason.retryable)
            .push_bind(failure.attempts)
            .push_bind(1)
            .push_bind(failure.message_server_id)
            .push_bind(failure.create_time)
            .push_bind(failure.conversation_id.as_str())
            .push_bind(*key)
            .push_bind(purpose.depth().unwrap_or_default())
            .push_bind(run_id.as_str())
            .push_bind(now)
            .push_bind(now);
    });
    sql.push(
        " on conflict (message_server_id) where state < 2 and class <> 'invalid' do update
         set state = 0, class = excluded.class, code = excluded.code, message = excluded.message,
             retryable = excluded.retryable, attempts = attempts + excluded.attempts, rounds = rounds + 1,
             create_time = excluded.create_time, conversation_id = excluded.conversation_id,
             key = excluded.key, depth = excluded.depth, run_id = excluded.run_id, last_seen = excluded.last_seen",
    );
    sql.build().execute(conn).await?;
    Ok(())
}

/// Marks the failures of these IDs as pending again.
pub(in crate::ledger) async fn mark_retrying(conn: &mut SqliteConnection, ids: &[i64]) -> Result<(), Fault> {
    for some in ids.chunks(IDS) {
        sqlx::query(
            "update failures set state = 1
             where state < 2 and class <> 'invalid' and message_server_id in (select value from json_each(?))",
        )
        .bind(json(some))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Closes whatever is open or dismissed of these IDs; returns how many failures that were.
pub(in crate::ledger) async fn close(
    conn: &mut SqliteConnection,
    ids: &[i64],
    now: i64,
    note: &str,
) -> Result<u64, Fault> {
    let mut closed = invalid::close_grouped(conn, ids, now, note).await?;
    for some in ids.chunks(IDS) {
        let update = sqlx::query(
            "update failures set state = 2, closed_at = ?, note = ?, closed_by = null
             where state < 2 and message_server_id in (select value from json_each(?))",
        );
        closed += update.bind(now).bind(note).bind(json(some)).execute(&mut *conn).await?.rows_affected();
    }
    Ok(closed)
}
