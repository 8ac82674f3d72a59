//! Planning batches, and handing out those to be sent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::bits::Damaged;
use super::error::Fault;
use super::statement::{runs, values};
use super::{Ledger, LedgerError, blob, count, failures, history, invalid, known, manifests, met, millis};
use crate::model::failure::Class;
use crate::model::reference::{ConversationKey, Invalid};
use crate::model::summary::References;
use crate::plan::{Batch, BatchRef, Purpose};

/// Batches are numbered upwards from here.
pub(super) const FIRST_SEQ: i64 = 1 << 32;
/// Halves of split batches are numbered downwards from here, so that they come before all others.
pub(super) const FIRST_URGENT: i64 = FIRST_SEQ - 1;

/// Batches that ask again are numbered upwards from here, so that they come after all others.
const FIRST_REFETCH: i64 = 1 << 48;

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

/// A batch to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingBatch {
    /// Its number, positive. Never used twice.
    pub seq: i64,
    /// The batch. Its references are in the order of their IDs.
    pub batch: Batch,
}

/// How far a source was read, as it was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The checkpoint's own text.
    pub text: String,
    /// Which source it is of.
    pub source: String,
}

/// What a ledger holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Batches to be sent.
    pub pending_batches: u64,
    /// References in them.
    pub pending_refs: u64,
    /// References to be asked for under another owner, and not yet in a batch.
    pub carried_refs: u64,
    /// Messages still to be asked for that only threads need.
    pub pending_extras: u64,
    /// Archived messages still to be asked for again.
    pub pending_refetch: u64,
    /// Open failures by class. Failures whose reference is pending again are not among them.
    pub open_failures: BTreeMap<Class, u64>,
    /// Failures that were dismissed.
    pub dismissed: u64,
    /// Failures whose reference is pending again.
    pub retrying: u64,
    /// Known IDs. An ID that was asked for again may count twice until blocks are merged.
    pub known_ids: u64,
}

/// References by their state, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// In batches to be sent.
    pub pending_refs: u64,
    /// To be asked for under another owner, and not yet in a batch.
    pub carried_refs: u64,
    /// Messages still to be asked for that only threads need; in neither of the two above.
    pub pending_extras: u64,
    /// Archived messages still to be asked for again; in none of the above.
    pub pending_refetch: u64,
    /// Links of archived messages that nobody looked up yet: some may be known.
    pub waiting_links: u64,
    /// Failed, `invalid` excepted.
    pub open_failures: u64,
    /// Failed, and pending or carried again; counted in those as well.
    pub retrying: u64,
    /// Rows that are no reference.
    pub invalid: u64,
}

impl Sums {
    /// References that still have to be asked for.
    pub fn pending(&self) -> u64 {
        self.pending_refs + self.carried_refs
    }

    /// These, and archived messages that still have to be asked for again.
    pub fn to_ask(&self) -> u64 {
        self.pending() + self.pending_refetch
    }
}

impl Ledger {
    /// Stores what was planned in one transaction: batches become pending, new IDs known, retried failures leave the
    /// open ones, corrected ones are closed, and invalid rows are recorded.
    pub async fn plan(&self, run_id: Uuid, now: Timestamp, planned: &Planned<'_>) -> Result<PlanReceipt, LedgerError> {
        let stored = async {
            let mut writer = self.writer().await?;
            let invalid = writer.told.sort(planned.invalid);
            let mut tx = writer.begin().await?;
            let first_seq = append(&mut tx, planned.batches).await?;
            let blocks = known::insert(&mut tx, planned.new_ids).await?;
            failures::retrying(&mut tx, planned.retried).await?;
            met::store_asked(&mut tx, planned.asked).await?;
            failures::close(&mut tx, planned.corrected, millis(now), "corrected").await?;
            let new_invalid = invalid::store(&mut tx, run_id, millis(now), &invalid).await?;
            sqlx::query("update runs set planned = planned + ?, retried = retried + ? where run_id = ?")
                .bind(planned.new_ids.len() as i64 + planned.corrected.len() as i64)
                .bind(planned.retried.len() as i64)
                .bind(run_id.to_string())
                .execute(&mut *tx)
                .await?;
            manifests::hash_planned(&mut tx, run_id, planned.batches).await?;
            if new_invalid > 0 {
                manifests::count_failures(&mut tx, run_id, &[(Class::Invalid, None, new_invalid)]).await?;
            }
            if let Some(read) = planned.read {
                manifests::read_so_far(&mut tx, run_id, read).await?;
            }
            // Held over the commit: whoever loads the directory meanwhile would count the blocks twice.
            let mut directory = self.directory.write().await;
            tx.commit().await?;
            if let Some(suspects) = &mut writer.suspects {
                suspects.extend(planned.invalid.iter().filter_map(|row| row.message_server_id));
            }
            if let Some(directory) = directory.as_mut() {
                directory.add(&blocks);
            }
            known::compact(&mut writer, &mut directory, known::BY_THE_WAY).await?;
            Ok::<_, Fault>(PlanReceipt { first_seq, new_invalid })
        };
        stored.await.map_err(self.explain("storing planned batches"))
    }

    /// Batches to be sent, in order, from the first after `after_seq` (0: from the start).
    ///
    /// Halves of split batches are numbered below all that was handed out before, so a run that goes on from the last
    /// number does not meet those it split itself: [`record`](Self::record) hands them back for that.
    pub async fn pending(&self, after_seq: i64, limit: u32) -> Result<Vec<PendingBatch>, LedgerError> {
        self.pending_up_to(after_seq, i64::MAX, limit).await
    }

    /// The same without batches that ask for archived messages again: these come after all others, also after those that
    /// are still to be planned.
    pub async fn pending_first(&self, after_seq: i64, limit: u32) -> Result<Vec<PendingBatch>, LedgerError> {
        self.pending_up_to(after_seq, FIRST_REFETCH - 1, limit).await
    }

    async fn pending_up_to(&self, after: i64, last: i64, limit: u32) -> Result<Vec<PendingBatch>, LedgerError> {
        let read = async {
            let rows = sqlx::query(
                "select seq, history, key, asked, body, depth from pending where seq > ? and seq <= ? order by seq limit ?",
            )
            .bind(after)
            .bind(last)
            .bind(limit)
            .fetch_all(&mut self.reader().await?.conn)
            .await?;
            rows.iter()
                .map(|row| Ok(PendingBatch { seq: row.try_get(0)?, batch: stored_batch(row)? }))
                .collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading pending batches"))
    }

    /// How far the source was read.
    pub async fn checkpoint(&self) -> Result<Option<StoredCheckpoint>, LedgerError> {
        let read = async {
            let row = sqlx::query("select checkpoint, checkpoint_source from ledger where checkpoint is not null")
                .fetch_optional(&mut self.reader().await?.conn)
                .await?;
            row.map(|row| Ok(StoredCheckpoint { text: row.try_get(0)?, source: row.try_get(1)? })).transpose()
        };
        read.await.map_err(self.explain("reading the checkpoint"))
    }

    /// Remembers how far the source was read, once everything read is planned.
    pub async fn set_checkpoint(&self, text: &str, source: &str) -> Result<(), LedgerError> {
        let stored = async {
            sqlx::query("update ledger set checkpoint = ?, checkpoint_source = ?")
                .bind(text)
                .bind(source)
                .execute(&mut self.writer().await?.conn)
                .await?;
            Ok(())
        };
        stored.await.map_err(self.explain("storing the checkpoint"))
    }

    /// What the ledger holds.
    pub async fn totals(&self) -> Result<Totals, LedgerError> {
        let read = async {
            let mut reader = self.reader().await?;
            let row = sqlx::query(
                "select (select count(*) from pending), (select coalesce(sum(refs), 0) from pending where depth = 0),
                        (select coalesce(sum(refs), 0) from carried where depth = 0),
                        (select coalesce(sum(n), 0) from known), (select count(*) from failures where state = 1),
                        (select coalesce(sum(refs), 0) from pending where depth > 0)
                        + (select coalesce(sum(refs), 0) from carried where depth > 0)
                        + (select coalesce(sum(refs), 0) from linked where planned),
                        (select coalesce(sum(refs), 0) from pending where depth < 0)
                        + (select coalesce(sum(refs), 0) from carried where depth < 0),
                        (select coalesce(sum(rows), 0) from failures where state = -1)",
            )
            .fetch_one(&mut reader.conn)
            .await?;
            let mut totals = Totals {
                pending_batches: count(row.try_get(0)?),
                pending_refs: count(row.try_get(1)?),
                carried_refs: count(row.try_get(2)?),
                known_ids: count(row.try_get(3)?),
                retrying: count(row.try_get(4)?),
                pending_extras: count(row.try_get(5)?),
                pending_refetch: count(row.try_get(6)?),
                dismissed: count(row.try_get(7)?),
                open_failures: BTreeMap::new(),
            };
            let rows = sqlx::query("select class, sum(rows) from failures where state = 0 group by class")
                .fetch_all(&mut reader.conn)
                .await?;
            for row in rows {
                totals.open_failures.insert(failures::class(row.try_get(0)?)?, count(row.try_get(1)?));
            }
            Ok::<_, Fault>(totals)
        };
        read.await.map_err(self.explain("counting"))
    }

    /// References by their state, at one moment: what a run's sums are checked against.
    pub async fn sums(&self) -> Result<Sums, LedgerError> {
        let read = async {
            let row = sqlx::query(
                "select (select coalesce(sum(refs), 0) from pending where depth = 0),
                        (select coalesce(sum(refs), 0) from carried where depth = 0),
                        (select count(*) from failures where state = 0 and class <> 'invalid'),
                        (select count(*) from failures where state = 1),
                        (select coalesce(sum(rows), 0) from failures where state = 0 and class = 'invalid'),
                        (select coalesce(sum(refs), 0) from pending where depth > 0)
                        + (select coalesce(sum(refs), 0) from carried where depth > 0)
                        + (select coalesce(sum(refs), 0) from linked where planned),
                        (select coalesce(sum(refs), 0) from linked where not planned),
                        (select coalesce(sum(refs), 0) from pending where depth < 0)
                        + (select coalesce(sum(refs), 0) from carried where depth < 0)",
            )
            .fetch_one(&mut self.reader().await?.conn)
            .await?;
            Ok::<_, Fault>(Sums {
                pending_refs: count(row.try_get(0)?),
                carried_refs: count(row.try_get(1)?),
                open_failures: count(row.try_get(2)?),
                retrying: count(row.try_get(3)?),
                invalid: count(row.try_get(4)?),
                pending_extras: count(row.try_get(5)?),
                waiting_links: count(row.try_get(6)?),
                pending_refetch: count(row.try_get(7)?),
            })
        };
        read.await.map_err(self.explain("counting"))
    }
}

/// A batch from a row that has `history`, `key`, `asked`, `body`, `depth` from its second column on.
pub(super) fn stored_batch(row: &SqliteRow) -> Result<Batch, Fault> {
    let seq: i64 = row.try_get(0)?;
    let (history, body): (Option<&[u8]>, &[u8]) = (row.try_get(1)?, row.try_get(4)?);
    let decoded = blob::decode(body).and_then(|(owners, refs)| {
        let histories = history::decode(history)?;
        let whole = histories.is_empty() || histories.len() == owners.len();
        if whole { Ok((owners, refs, histories)) } else { Err(Damaged::Content) }
    });
    let (owners, refs, histories) = decoded.map_err(Fault::damaged(format_args!("batch {seq}")))?;
    Ok(Batch {
        purpose: purpose(row.try_get(5)?)?,
        key: ConversationKey::from_stored(row.try_get(2)?),
        asked: row.try_get(3)?,
        owners,
        histories,
        refs,
    })
}

/// A purpose as it was stored.
pub(super) fn purpose(number: i64) -> Result<Purpose, Fault> {
    Purpose::from_number(number).ok_or_else(|| Fault::Damaged(format!("no batch has the purpose {number}")))
}

/// Stores batches after all others of their kind, those that ask again after those that do not; the batches of one call
/// are of one kind. Returns the number of the first.
pub(super) async fn append(conn: &mut SqliteConnection, batches: &[Batch]) -> Result<i64, Fault> {
    let n = batches.len() as i64;
    let again = batches.first().is_some_and(|batch| batch.purpose.is_refetch());
    let next = if again {
        "update ledger set next_refetch = next_refetch + ?1 returning next_refetch - ?1"
    } else {
        "update ledger set next_seq = next_seq + ?1 returning next_seq - ?1"
    };
    let first: i64 = sqlx::query_scalar(next).bind(n).fetch_one(&mut *conn).await?;
    insert(conn, first, batches).await?;
    Ok(first)
}

/// Stores batches before all others; returns the number of the first.
pub(super) async fn prepend(conn: &mut SqliteConnection, batches: &[Batch]) -> Result<i64, Fault> {
    let n = batches.len() as i64;
    let first: i64 = sqlx::query_scalar("update ledger set next_urgent = next_urgent - ?1 returning next_urgent + 1")
        .bind(n)
        .fetch_one(&mut *conn)
        .await?;
    insert(conn, first, batches).await?;
    Ok(first)
}

async fn insert(conn: &mut SqliteConnection, first: i64, batches: &[Batch]) -> Result<(), Fault> {
    let mut seq = first;
    for some in runs(batches) {
        let sql = values(
            "insert into pending (seq, depth, key, asked, refs, body, history, replaces) values",
            8,
            some.len(),
            "",
        );
        let mut query = sqlx::query(sql);
        for batch in some {
            query = query
                .bind(seq)
                .bind(batch.purpose.number())
                .bind(batch.key.as_str())
                .bind(batch.asked.as_str())
                .bind(batch.refs.len() as i64)
                .bind(body(&batch.key, &batch.owners, &batch.refs)?)
                .bind(history::encode(&batch.histories))
                .bind(batch.histories.is_empty() || batch.histories.iter().any(|history| history.in_vain));
            seq += 1;
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// A batch's references as they are stored.
pub(super) fn body(key: &ConversationKey, owners: &[String], refs: &[BatchRef]) -> Result<Vec<u8>, Fault> {
    if refs.is_empty() || refs.iter().any(|reference| usize::from(reference.owner) >= owners.len()) {
        return Err(Fault::Inconsistent(format!(
            "a batch of {key} is empty, or one of its references names none of its {} owners",
            owners.len()
        )));
    }
    Ok(blob::encode(owners, refs))
}
