//! Batches that are to be sent.

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, SqliteConnection};

use super::database::Ledger;
use super::encoding::{Damaged, histories, references};
use super::error::{Fault, LedgerError};
use super::schema::FIRST_REFETCH;
use super::values::{Columns as _, ROWS, json};
use crate::model::reference::ConversationKey;
use crate::plan::{Batch, BatchRef};

/// A batch to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingBatch {
    /// Its number, positive. Never used twice.
    pub seq: i64,
    /// The batch. Its references are in the order of their IDs.
    pub batch: Batch,
}

impl Ledger {
    /// Batches to be sent, in order, from the first after `after_seq` (0: from the start).
    ///
    /// Halves of split batches are numbered below all that was handed out before, so a run that goes on from the last
    /// number does not meet those that it split itself: [`record`](Self::record) hands them back.
    pub async fn pending(&self, after_seq: i64, limit: u32) -> Result<Vec<PendingBatch>, LedgerError> {
        self.pending_up_to(after_seq, i64::MAX, limit).await
    }

    /// The same without batches that ask for archived messages again, which come after all others, also after those that
    /// are still to be planned.
    pub async fn pending_first(&self, after_seq: i64, limit: u32) -> Result<Vec<PendingBatch>, LedgerError> {
        self.pending_up_to(after_seq, FIRST_REFETCH - 1, limit).await
    }

    async fn pending_up_to(&self, after: i64, last: i64, limit: u32) -> Result<Vec<PendingBatch>, LedgerError> {
        self.query("reading pending batches", async |conn| {
            let sql = "select seq as id, depth, key, asked, body, history from pending
                       where seq > ? and seq <= ? order by seq limit ?";
            let rows = sqlx::query(sql).bind(after).bind(last).bind(limit).fetch_all(conn).await?;
            rows.iter().map(pending_batch).collect()
        })
        .await
    }

    /// The pending batches with these numbers, in their order.
    pub async fn pending_numbered(&self, numbers: &[i64]) -> Result<Vec<PendingBatch>, LedgerError> {
        self.query("reading pending batches", async |conn| {
            let sql = "select seq as id, depth, pending.key, asked, body, history
                       from json_each(?) as number join pending on seq = number.value order by number.key";
            sqlx::query(sql).bind(json(numbers)).fetch_all(conn).await?.iter().map(pending_batch).collect()
        })
        .await
    }

    /// The conversation keys of teams whose references are pending or carried, at most `limit`.
    pub async fn teams_to_ask(&self, limit: u32) -> Result<Vec<String>, LedgerError> {
        self.query("reading which teams are to be asked for", async |conn| {
            let sql = "select key from pending where key >= '2' union select key from carried where key >= '2' limit ?";
            Ok(sqlx::query_scalar(sql).bind(limit).fetch_all(conn).await?)
        })
        .await
    }
}

fn pending_batch(row: &SqliteRow) -> Result<PendingBatch, Fault> {
    Ok(PendingBatch { seq: row.value("id")?, batch: batch(row)? })
}

/// A batch from the columns `id`, `depth`, `key`, `asked`, `body` and `history`.
pub(super) fn batch(row: &SqliteRow) -> Result<Batch, Fault> {
    let id: i64 = row.value("id")?;
    let (body, history) = (row.value("body")?, row.value("history")?);
    let decoded = references::decode(body).and_then(|(owners, refs)| {
        let histories = histories::decode(history)?;
        let is_whole = histories.is_empty() || histories.len() == owners.len();
        if is_whole { Ok((owners, refs, histories)) } else { Err(Damaged::Content) }
    });
    let (owners, refs, histories) = decoded.map_err(Fault::damaged(format_args!("batch {id}")))?;
    Ok(Batch {
        purpose: row.purpose("depth")?,
        key: ConversationKey::from_stored(row.value("key")?),
        asked: row.value("asked")?,
        owners,
        histories,
        refs,
    })
}

/// The references of a batch as they are stored.
pub(super) fn body(key: &ConversationKey, owners: &[String], refs: &[BatchRef]) -> Result<Vec<u8>, Fault> {
    if refs.is_empty() || refs.iter().any(|reference| usize::from(reference.owner) >= owners.len()) {
        return Err(Fault::Inconsistent(format!(
            "a batch of {key} is empty, or one of its references names none of its {} owners",
            owners.len()
        )));
    }
    Ok(references::encode(owners, refs))
}

/// Stores batches after all others of their kind, those that ask again after those that do not; the batches of one call
/// are of one kind. Returns the number of the first.
pub(super) async fn append(conn: &mut SqliteConnection, batches: &[Batch]) -> Result<i64, Fault> {
    let asks_again = batches.first().is_some_and(|batch| batch.purpose.is_refetch());
    let next = if asks_again {
        "update ledger set next_refetch = next_refetch + ?1 returning next_refetch - ?1"
    } else {
        "update ledger set next_seq = next_seq + ?1 returning next_seq - ?1"
    };
    insert(conn, next, batches).await
}

/// Stores batches before all others. Returns the number of the first.
pub(super) async fn prepend(conn: &mut SqliteConnection, batches: &[Batch]) -> Result<i64, Fault> {
    insert(conn, "update ledger set next_urgent = next_urgent - ?1 returning next_urgent + 1", batches).await
}

async fn insert(conn: &mut SqliteConnection, next: &'static str, batches: &[Batch]) -> Result<i64, Fault> {
    let first: i64 = sqlx::query_scalar(next).bind(batches.len() as i64).fetch_one(&mut *conn).await?;
    let bodies: Vec<Vec<u8>> =
        batches.iter().map(|batch| body(&batch.key, &batch.owners, &batch.refs)).collect::<Result<_, _>>()?;
    let rows: Vec<_> = (first..).zip(batches).zip(bodies).collect();
    for some in rows.chunks(ROWS) {
        let mut sql = QueryBuilder::new("insert into pending (seq, depth, key, asked, refs, body, history, replaces) ");
        sql.push_values(some, |mut row, ((seq, batch), body)| {
            row.push_bind(seq)
                .push_bind(batch.purpose.number())
                .push_bind(batch.key.as_str())
                .push_bind(batch.asked.as_str())
                .push_bind(batch.refs.len() as i64)
                .push_bind(body.as_slice())
                .push_bind(histories::encode(&batch.histories))
                .push_bind(batch.histories.is_empty() || batch.histories.iter().any(|history| history.in_vain));
        });
        sql.build().execute(&mut *conn).await?;
    }
    Ok(first)
}
