//! Cutting what is carried into full batches. Now that all of it is known, it is chosen who is asked next for a team; what
//! nobody is left for has failed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::answered::{answered, remember};
use super::batches::{append, stored_batch};
use super::commits::FailedRef;
use super::error::Fault;
use super::linked::BatchName;
use super::statement::json;
use super::{Ledger, LedgerError, Writer, failures, manifests, millis};
use crate::model::failure::Class;
use crate::model::reference::ConversationKey;
use crate::plan::{Batch, BatchRef, Candidates, History, Purpose};

/// Rows read at once, about: those of one dialogue stay together.
const PAGE: i64 = 1_024;
const COLUMNS: &str = "id, history, key, asked, body, depth from carried";

/// What became of carried references.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// Batches that are pending now.
    pub batches: u64,
    /// References that failed, as nobody is left to be asked; those included that only threads need.
    pub failed: u64,
    /// Of these, messages that only threads need.
    pub extras_failed: u64,
    /// Archived messages that were asked for again in vain.
    pub review_failed: u64,
    /// References that failed and were not failed before, or by another class, by class and code.
    pub new_failures: BTreeMap<(Class, Option<i64>), u64>,
}

/// When and how carried references are cut.
#[derive(Debug, Clone, Copy)]
pub struct CutOrder {
    /// The run.
    pub run_id: Uuid,
    /// When.
    pub now: Timestamp,
    /// References of a batch, at most.
    pub batch_size: usize,
}

impl Ledger {
    /// Cuts what waits for another owner into batches of at most `batch_size` references, each of one dialogue, one
    /// asked account and one purpose, as full as arithmetic allows; they become pending after all others. Of teams it is
    /// chosen first who is asked: an owner that references name, or that `named` knows of besides, with how many rows
    /// name him; never one for whom `is_refused` is true. What nobody is left for has failed.
    ///
    /// `got` are pending batches whose owner got something, in messages that are not committed yet.
    ///
    /// One transaction; in memory for some thousand batches, and for those of one dialogue.
    pub async fn cut_follow_ups(
        &self,
        order: &CutOrder,
        got: &[i64],
        is_refused: &(dyn Fn(&ConversationKey, &str) -> bool + Sync),
        named: &(dyn Fn(&ConversationKey) -> Vec<(String, u32)> + Sync),
    ) -> Result<Cut, LedgerError> {
        self.cut(order, false, got, is_refused, named).await.map_err(self.explain("cutting follow-up asks"))
    }

    /// Cuts what was refused for now in the same way, to be asked for once more under the same owners.
    pub async fn cut_deferred(&self, order: &CutOrder) -> Result<Cut, LedgerError> {
        let cut = self.cut(order, true, &[], &|_, _| false, &|_| Vec::new()).await;
        cut.map_err(self.explain("cutting what was refused for now"))
    }

    /// The most often that a carried reference was refused for now; 0 when none was.
    pub async fn most_deferrals(&self) -> Result<u32, LedgerError> {
        let read = async {
            let most: i64 = sqlx::query_scalar("select coalesce(max(deferrals), 0) from carried")
                .fetch_one(&mut self.reader().await?.conn)
                .await?;
            Ok::<_, Fault>(u32::try_from(most).unwrap_or(u32::MAX))
        };
        read.await.map_err(self.explain("counting"))
    }

    async fn cut(
        &self,
        order: &CutOrder,
        deferred: bool,
        got: &[i64],
        is_refused: &(dyn Fn(&ConversationKey, &str) -> bool + Sync),
        named: &(dyn Fn(&ConversationKey) -> Vec<(String, u32)> + Sync),
    ) -> Result<Cut, Fault> {
        let mut writer = self.writer().await?;
        let Writer { conn, suspects, .. } = &mut *writer;
        let mut tx = super::begin(conn).await?;
        let (mut cut, mut failed_ids, mut after) = (Cut::default(), Vec::new(), String::new());
        loop {
            let rows = page(&mut tx, deferred, &after).await?;
            let Some(last) = rows.last() else { break };
            if after.is_empty() {
                remember(&mut tx, got).await?;
            }
            after = last.key.as_str().to_owned();
            let keys: Vec<&str> = rows.chunk_by(|a, b| a.key == b.key).map(|rows| rows[0].key.as_str()).collect();
            let answered = answered(&mut tx, &keys).await?;
            let mut heap = Heap::new(order.batch_size);
            for rows in rows.chunk_by(|a, b| a.key == b.key) {
                let named = named(&rows[0].key);
                heap.add(rows, answered.get(rows[0].key.as_str()).map(String::as_str), named, is_refused);
            }
            cut.batches += heap.full.len() as u64;
            cut.review_failed += heap.review_failed;
            for kind in heap.full.chunk_by(|a, b| a.purpose.is_refetch() == b.purpose.is_refetch()) {
                append(&mut tx, kind).await?;
            }
            let failed: Vec<_> = heap.failed.iter().map(|(failure, name)| (failure, name)).collect();
            cut.failed += failed.len() as u64;
            cut.extras_failed += failed.iter().filter(|(_, name)| name.purpose.is_extra()).count() as u64;
            failed_ids.extend(failed.iter().map(|(failure, _)| failure.message_server_id));
            for (kind, n) in failures::store(&mut tx, order.run_id, millis(order.now), &failed).await? {
                *cut.new_failures.entry(kind).or_default() += n;
            }
            sqlx::query("delete from carried where id in (select value from json_each(?))")
                .bind(json(rows.iter().map(|row| &row.id)))
                .execute(&mut *tx)
                .await?;
        }
        if cut.failed > 0 {
            let new: Vec<_> = cut.new_failures.iter().map(|((class, code), n)| (*class, *code, *n)).collect();
            manifests::count_failures(&mut tx, order.run_id, &new).await?;
            sqlx::query("update runs set failed = failed + ?, extras_failed = extras_failed + ? where run_id = ?")
                .bind((cut.failed - cut.extras_failed) as i64)
                .bind(cut.extras_failed as i64)
                .bind(order.run_id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        crate::failpoint::reach("cut.before");
        tx.commit().await?;
        if let Some(suspects) = suspects {
            suspects.extend(failed_ids);
        }
        if cut != Cut::default() {
            tracing::debug!(run_id = %order.run_id, deferred, batches = cut.batches, failed = cut.failed, "asked once more");
        }
        Ok(cut)
    }
}

/// A carried row.
struct Row {
    id: i64,
    key: ConversationKey,
    /// Empty while the owner is to be chosen.
    asked: String,
    purpose: Purpose,
    owners: Vec<String>,
    refs: Vec<BatchRef>,
    history: Arc<History>,
}

impl Row {
    fn read(row: &SqliteRow) -> Result<Self, Fault> {
        let Batch { key, asked, purpose, owners, histories, refs } = stored_batch(row)?;
        let history = histories.into_iter().next().unwrap_or_default();
        Ok(Self { id: row.try_get(0)?, key, asked, purpose, owners, refs, history })
    }
}

/// The next rows by their dialogues, each dialogue with all its rows.
async fn page(conn: &mut SqliteConnection, deferred: bool, after: &str) -> Result<Vec<Row>, Fault> {
    let sql = format!("select {COLUMNS} where (deferrals > 0) = ? and key > ? order by key, id limit ?");
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(deferred).bind(after).bind(PAGE).fetch_all(&mut *conn).await?;
    let mut page = rows.iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
    let Some(last) = page.last().filter(|_| rows.len() as i64 == PAGE).map(|row| row.key.clone()) else {
        return Ok(page);
    };
    page.retain(|row| row.key != last);
    if page.is_empty() {
        let sql = format!("select {COLUMNS} where (deferrals > 0) = ? and key = ? order by id");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(deferred).bind(last.as_str()).fetch_all(&mut *conn).await?;
        page = rows.iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
    }
    Ok(page)
}

/// References on their way into batches.
struct Heap {
    batch_size: usize,
    /// Those of the dialogue at hand, by asked account and purpose.
    gathered: Vec<Batch>,
    places: HashMap<(String, Purpose), usize>,
    full: Vec<Batch>,
    failed: Vec<(FailedRef, BatchName)>,
    review_failed: u64,
}

impl Heap {
    fn new(batch_size: usize) -> Self {
        Self {
            batch_size: batch_size.clamp(1, usize::from(u16::MAX)),
            gathered: Vec::new(),
            places: HashMap::new(),
            full: Vec::new(),
            failed: Vec::new(),
            review_failed: 0,
        }
    }

    /// Takes the rows of one dialogue.
    fn add(
        &mut self,
        rows: &[Row],
        answered: Option<&str>,
        named: Vec<(String, u32)>,
        is_refused: &dyn Fn(&ConversationKey, &str) -> bool,
    ) {
        let open = rows.iter().filter(|row| row.asked.is_empty());
        let besides = History { named, ..History::default() };
        let candidates = Candidates::new(answered, open.map(|row| &*row.history).chain([&besides]));
        for row in rows {
            let Row { key, purpose, history, .. } = row;
            let kept = if row.asked.is_empty() {
                Arc::new(History { named: candidates.first(), ..History::clone(history) })
            } else {
                Arc::clone(history)
            };
            for reference in &row.refs {
                let own = row.owners.get(usize::from(reference.owner)).map_or(row.asked.as_str(), String::as_str);
                let next = if row.asked.is_empty() {
                    candidates.next(history, own, |owner| is_refused(key, owner))
                } else {
                    Some(row.asked.as_str())
                };
                match next {
                    Some(asked) => self.gather(key, asked, *purpose, *reference, own, &kept),
                    None if purpose.is_refetch() => self.review_failed += 1,
                    None => self.failed.push((
                        FailedRef {
                            message_server_id: reference.message_server_id,
                            create_time: reference.create_time,
                            conversation_id: key.seen_by(own).to_string(),
                            reason: history.reason.clone(),
                            attempts: history.attempts,
                        },
                        BatchName { key: key.as_str().to_owned(), asked: own.to_owned(), purpose: *purpose },
                    )),
                }
            }
        }
        self.places.clear();
        self.full.extend(self.gathered.drain(..).filter(|batch| !batch.refs.is_empty()));
    }

    fn gather(
        &mut self,
        key: &ConversationKey,
        asked: &str,
        purpose: Purpose,
        reference: BatchRef,
        own: &str,
        history: &Arc<History>,
    ) {
        let Self { batch_size, gathered, places, full, .. } = self;
        let empty = |asked: &str| {
            let (key, asked) = (key.clone(), asked.to_owned());
            Batch { key, asked, purpose, owners: Vec::new(), histories: Vec::new(), refs: Vec::new() }
        };
        let place = *places.entry((asked.to_lowercase(), purpose)).or_insert_with(|| {
            gathered.push(empty(asked));
            gathered.len() - 1
        });
        gathered[place].push(reference, own, Some(history));
        if gathered[place].refs.len() == *batch_size {
            full.push(std::mem::replace(&mut gathered[place], empty(asked)));
        }
    }
}
