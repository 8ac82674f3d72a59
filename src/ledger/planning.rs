//! Planning: what a stretch of the source comes to, in one transaction.

use jiff::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

use super::database::Ledger;
use super::error::LedgerError;
use super::failures::record::{close, mark_retrying};
use super::failures::store_asked;
use super::manifests::hash_planned;
use super::pending::append;
use super::runs::{add_new_failures, set_read};
use super::values::{Columns as _, millis};
use crate::model::failure::Class;
use crate::model::reference::Invalid;
use crate::model::summary::References;
use crate::plan::Batch;

/// What became of a stretch of the source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Planned<'a> {
    /// The batches to be sent, in this order.
    pub batches: &'a [Batch],
    /// The IDs in `batches` that were not known, sorted.
    pub new_ids: &'a [i64],
    /// The IDs in `batches` that are open failures, to be asked for once more.
    pub retried: &'a [i64],
    /// Failures that a row named under an owner who was not asked for them before, each with all such owners.
    pub asked: &'a [(i64, Vec<String>)],
    /// The IDs in `batches` whose open failure was of another conversation or time.
    pub corrected: &'a [i64],
    /// Rows that are no reference.
    pub invalid: &'a [Invalid],
    /// What was read of the source so far.
    pub read: Option<&'a References>,
}

/// What planning changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanReceipt {
    /// The number of the first batch; the others follow it.
    pub first_seq: i64,
    /// Invalid rows that were not known before.
    pub new_invalid: u64,
}

/// How far a source was read, as the source stated it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The checkpoint's own text.
    pub text: String,
    /// The source that it is of.
    pub source: String,
}

impl Ledger {
    /// Stores what was planned in one transaction: batches become pending, new IDs known, retried failures leave the
    /// open ones, corrected ones are closed, and invalid rows are recorded.
    pub async fn plan(&self, run_id: Uuid, now: Timestamp, planned: &Planned<'_>) -> Result<PlanReceipt, LedgerError> {
        let stored = self.transaction("storing planned batches", async |tx| {
            let first_seq = append(tx, planned.batches).await?;
            mark_retrying(tx, planned.retried).await?;
            store_asked(tx, planned.asked).await?;
            close(tx, planned.corrected, millis(now), "corrected").await?;
            let new_invalid = self.store_invalid(tx, run_id, now, planned.invalid).await?;
            sqlx::query("update runs set planned = planned + ?, retried = retried + ? where run_id = ?")
                .bind((planned.new_ids.len() + planned.corrected.len()) as i64)
                .bind(planned.retried.len() as i64)
                .bind(run_id.to_string())
                .execute(&mut *tx)
                .await?;
            hash_planned(tx, run_id, planned.batches).await?;
            if new_invalid > 0 {
                add_new_failures(tx, run_id, &BTreeMap::from([((Class::Invalid, None), new_invalid)])).await?;
            }
            if let Some(read) = planned.read {
                set_read(tx, run_id, read).await?;
            }
            let new_blocks = self.insert_known(tx, planned.new_ids).await?;
            Ok((PlanReceipt { first_seq, new_invalid }, new_blocks))
        });
        let (receipt, new_blocks) = stored.await?;
        new_blocks.committed();
        self.compact_by_the_way().await?;
        Ok(receipt)
    }

    /// How far the source was read.
    pub async fn checkpoint(&self) -> Result<Option<StoredCheckpoint>, LedgerError> {
        self.query("reading the checkpoint", async |conn| {
            let sql = "select checkpoint, checkpoint_source from ledger where checkpoint is not null";
            let Some(row) = sqlx::query(sql).fetch_optional(conn).await? else { return Ok(None) };
            Ok(Some(StoredCheckpoint { text: row.value("checkpoint")?, source: row.value("checkpoint_source")? }))
        })
        .await
    }

    /// Remembers how far the source was read, once everything read is planned.
    pub async fn set_checkpoint(&self, text: &str, source: &str) -> Result<(), LedgerError> {
        self.transaction("storing the checkpoint", async |tx| {
            let sql = "update ledger set checkpoint = ?, checkpoint_source = ?";
            sqlx::query(sql).bind(text).bind(source).execute(tx).await?;
            Ok(())
        })
        .await
    }
}
