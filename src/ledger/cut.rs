//! Cutting what is carried into full batches. Now that all of it is known, the next owner is chosen for each reference of
//! a team; one for which nobody is left has failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::answered::{answered, remember};
use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::failures::record::{FailedRef, Kinds};
use super::pending::{self, append};
use super::runs::add_new_failures;
use super::values::{Columns as _, json};
use crate::model::reference::ConversationKey;
use crate::plan::{Batch, BatchRef, Candidates, FollowUp, History, Purpose};

/// About how many rows are read at once; those of one conversation stay together.
const PAGE: usize = 1_024;

/// What became of carried references.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CutOutcome {
    /// Batches that are pending now.
    pub batches: u64,
    /// References that failed, as nobody is left to be asked; those included that only threads need.
    pub failed: u64,
    /// Of these, messages that only threads need.
    pub extras_failed: u64,
    /// Archived messages that were asked for again in vain.
    pub review_failed: u64,
    /// References that failed and were not failed before, or by another class, by class and code.
    pub new_failures: Kinds,
}

/// When and how carried references are cut.
#[derive(Debug, Clone, Copy)]
pub struct CutSettings {
    /// The run.
    pub run_id: Uuid,
    /// When.
    pub now: Timestamp,
    /// References of a batch, at most.
    pub batch_size: usize,
}

/// Whether an owner was refused for a conversation.
type IsRefused<'a> = dyn Fn(&ConversationKey, &str) -> bool + Sync + 'a;
/// The owners that are known besides for a conversation, and how many rows name each.
type Named<'a> = dyn Fn(&ConversationKey) -> Vec<(String, u32)> + Sync + 'a;

impl Ledger {
    /// Cuts what waits for another owner into batches of at most `batch_size` references, each of one conversation, one
    /// asked owner and one purpose, as full as arithmetic allows. They become pending after all others. Who is asked for
    /// a team is chosen first: an owner that references name, or that `named` knows of besides, but never one for whom
    /// `is_refused` is true. A reference for which nobody is left has failed.
    ///
    /// `got` are pending batches whose owner got something, in messages that are not committed yet.
    ///
    /// This is one transaction. In memory are some thousand batches, and those of one conversation.
    pub async fn cut_follow_ups(
        &self,
        order: &CutSettings,
        got: &[i64],
        is_refused: &IsRefused<'_>,
        named: &Named<'_>,
    ) -> Result<CutOutcome, LedgerError> {
        self.cut(order, false, got, is_refused, named).await
    }

    /// Cuts what was refused for now in the same way, to be asked for once more under the same owners.
    pub async fn cut_deferred(&self, order: &CutSettings) -> Result<CutOutcome, LedgerError> {
        self.cut(order, true, &[], &|_, _| false, &|_| Vec::new()).await
    }

    async fn cut(
        &self,
        order: &CutSettings,
        deferred: bool,
        got: &[i64],
        is_refused: &IsRefused<'_>,
        named: &Named<'_>,
    ) -> Result<CutOutcome, LedgerError> {
        let cut = self.transaction("cutting follow-up asks", async |tx| {
            let (mut cut, mut is_first) = (CutOutcome::default(), true);
            loop {
                let page = page(tx, deferred).await?;
                if page.is_empty() {
                    break;
                }
                if std::mem::take(&mut is_first) {
                    remember(tx, got).await?;
                }
                let conversations: Vec<&[CarriedRow]> = page.chunk_by(|a, b| a.more.key == b.more.key).collect();
                let keys: Vec<&str> = conversations.iter().map(|rows| rows[0].more.key.as_str()).collect();
                let answered = answered(tx, &keys).await?;
                let mut cutter = Cutter::new(order.batch_size);
                for rows in conversations {
                    let key = &rows[0].more.key;
                    cutter.add(key, rows, answered.get(key.as_str()).map(String::as_str), named(key), is_refused);
                }
                for kind in cutter.full.chunk_by(|a, b| a.purpose.is_refetch() == b.purpose.is_refetch()) {
                    append(tx, kind).await?;
                }
                let failed = &cutter.failed;
                let failures: Vec<_> =
                    failed.iter().map(|(failure, key, purpose)| (failure, key.as_str(), *purpose)).collect();
                for (kind, n) in self.store_failures(tx, order.run_id, order.now, &failures).await? {
                    *cut.new_failures.entry(kind).or_default() += n;
                }
                cut.batches += cutter.full.len() as u64;
                cut.review_failed += cutter.review_failed;
                cut.failed += failed.len() as u64;
                cut.extras_failed += failed.iter().filter(|(.., purpose)| purpose.is_extra()).count() as u64;
                sqlx::query("delete from carried where id in (select value from json_each(?))")
                    .bind(json(page.iter().map(|row| &row.id)))
                    .execute(&mut *tx)
                    .await?;
            }
            if cut.failed > 0 {
                add_new_failures(tx, order.run_id, &cut.new_failures).await?;
                sqlx::query("update runs set failed = failed + ?, extras_failed = extras_failed + ? where run_id = ?")
                    .bind((cut.failed - cut.extras_failed) as i64)
                    .bind(cut.extras_failed as i64)
                    .bind(order.run_id.to_string())
                    .execute(tx)
                    .await?;
            }
            crate::failpoint::reach("cut.before");
            Ok(cut)
        });
        let cut = cut.await?;
        if cut != CutOutcome::default() {
            let (batches, failed) = (cut.batches, cut.failed);
            tracing::debug!(run_id = %order.run_id, deferred, batches, failed, "cut carried references into batches");
        }
        Ok(cut)
    }
}

/// A carried row.
struct CarriedRow {
    id: i64,
    more: FollowUp,
}

impl CarriedRow {
    fn read(row: &SqliteRow) -> Result<Self, Fault> {
        let Batch { key, asked, purpose, owners, histories, refs } = pending::batch(row)?;
        // An empty name says that the owner is still to be chosen.
        let asked = Some(asked).filter(|asked| !asked.is_empty());
        let history = histories.into_iter().next().unwrap_or_default();
        Ok(Self { id: row.value("id")?, more: FollowUp { key, asked, purpose, owners, refs, history } })
    }
}

/// The first rows by their conversations, each conversation with all its rows.
async fn page(conn: &mut SqliteConnection, deferred: bool) -> Result<Vec<CarriedRow>, Fault> {
    let sql = "select id, depth, key, asked, body, history from carried where (deferrals > 0) = ? order by key, id";
    let mut rows = sqlx::query(sql).bind(deferred).fetch(conn);
    let mut page: Vec<CarriedRow> = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let row = CarriedRow::read(&row)?;
        if page.len() >= PAGE && page.last().is_some_and(|last| last.more.key != row.more.key) {
            break;
        }
        page.push(row);
    }
    Ok(page)
}

/// References on their way into batches.
struct Cutter {
    batch_size: usize,
    /// Those of the conversation at hand, by asked owner and purpose.
    gathered: BTreeMap<(String, Purpose), Batch>,
    full: Vec<Batch>,
    failed: Vec<(FailedRef, String, Purpose)>,
    review_failed: u64,
}

impl Cutter {
    fn new(batch_size: usize) -> Self {
        let batch_size = batch_size.clamp(1, usize::from(u16::MAX));
        Self { batch_size, gathered: BTreeMap::new(), full: Vec::new(), failed: Vec::new(), review_failed: 0 }
    }

    /// Takes the rows of one conversation.
    fn add(
        &mut self,
        key: &ConversationKey,
        rows: &[CarriedRow],
        answered: Option<&str>,
        named: Vec<(String, u32)>,
        is_refused: &IsRefused<'_>,
    ) {
        let open = rows.iter().filter(|row| row.more.asked.is_none());
        let besides = History { named, ..History::default() };
        let candidates = Candidates::new(answered, open.map(|row| &*row.more.history).chain([&besides]));
        for CarriedRow { more: FollowUp { asked, purpose, owners, refs, history, .. }, .. } in rows {
            let kept = match asked {
                None => Arc::new(History { named: candidates.first(), ..History::clone(history) }),
                Some(_) => Arc::clone(history),
            };
            for reference in refs {
                let own = owners[usize::from(reference.owner)].as_str();
                let next = match asked {
                    None => candidates.next(history, own, |owner| is_refused(key, owner)),
                    Some(asked) => Some(asked.as_str()),
                };
                match next {
                    Some(asked) => self.gather(key, asked, *purpose, *reference, own, &kept),
                    None if purpose.is_refetch() => self.review_failed += 1,
                    None => {
                        let failure = FailedRef {
                            message_server_id: reference.message_server_id,
                            create_time: reference.create_time,
                            conversation_id: key.seen_by(own).to_string(),
                            reason: history.reason.clone(),
                            attempts: history.attempts,
                        };
                        self.failed.push((failure, key.as_str().to_owned(), *purpose));
                    }
                }
            }
        }
        self.full.extend(std::mem::take(&mut self.gathered).into_values());
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
        let place = (asked.to_lowercase(), purpose);
        let batch = self.gathered.entry(place.clone()).or_insert_with(|| Batch {
            key: key.clone(),
            asked: asked.to_owned(),
            purpose,
            owners: Vec::new(),
            histories: Vec::new(),
            refs: Vec::new(),
        });
        batch.push(reference, own, Some(history));
        if batch.refs.len() == self.batch_size {
            self.full.extend(self.gathered.remove(&place));
        }
    }
}
