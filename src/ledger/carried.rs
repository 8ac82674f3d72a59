//! References to be asked for once more under another owner: kept until they can be cut into full batches.

use std::collections::HashSet;

use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::batches::{append, body, purpose, stored_batch};
use super::error::Fault;
use super::linked::{self, BatchName, FromBatch, Link};
use super::statement::{json, runs, values};
use super::{Ledger, LedgerError, blob};
use crate::plan::{Ask, Batch, BatchRef, Purpose};
use crate::reference::{ConversationKey, same_account};

/// Rows read, and batches written, at once.
const AT_ONCE: i64 = 256;

pub(super) async fn insert(conn: &mut SqliteConnection, batches: &[&Batch]) -> Result<(), Fault> {
    for some in runs(batches) {
        let sql = values("insert into carried (depth, key, asked, refs, body) values", 5, some.len(), "");
        let mut query = sqlx::query(sql);
        for batch in some {
            query = query
                .bind(batch.purpose.number())
                .bind(batch.key.as_str())
                .bind(batch.asked.as_str())
                .bind(batch.refs.len() as i64)
                .bind(body(batch)?);
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// What leaves a pending batch before it is recorded, because it is to be asked for in this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// The batch. What is left of it stays pending: its messages are with a sink that has not committed yet.
    pub seq: i64,
    /// The second asks; their references are the batch's own.
    pub second: Vec<Batch>,
    /// What its messages link to.
    pub links: Vec<Link>,
}

impl Ledger {
    /// Moves references from pending batches to the carried ones, and keeps what their messages link to, in one
    /// transaction. A batch of which nothing is left is refused: it is finished, and to be recorded.
    pub async fn set_aside(&self, asides: &[Aside]) -> Result<(), LedgerError> {
        let moved = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            for aside in asides {
                let row = sqlx::query("select seq, ask, key, asked, body, depth from pending where seq = ?")
                    .bind(aside.seq)
                    .fetch_optional(&mut *tx)
                    .await?;
                let Some(row) = row else {
                    return Err(Fault::Inconsistent(format!("batch {} is not pending", aside.seq)));
                };
                let batch = stored_batch(&row)?;
                linked::insert(&mut tx, &[FromBatch { batch: BatchName::of(&batch), links: &aside.links }]).await?;
                if aside.second.is_empty() {
                    continue;
                }
                let leaving: HashSet<i64> =
                    aside.second.iter().flat_map(|second| second.refs.iter().map(|r| r.message_server_id)).collect();
                let rest = batch.subset(|index| !leaving.contains(&batch.refs[index].message_server_id));
                if rest.refs.len() + leaving.len() != batch.refs.len() {
                    return Err(Fault::Inconsistent(format!("batch {} has not all that is to leave it", aside.seq)));
                }
                sqlx::query("update pending set refs = ?, body = ? where seq = ?")
                    .bind(rest.refs.len() as i64)
                    .bind(body(&rest)?)
                    .bind(aside.seq)
                    .execute(&mut *tx)
                    .await?;
                insert(&mut tx, &aside.second.iter().collect::<Vec<_>>()).await?;
            }
            Ok(tx.commit().await?)
        };
        moved.await.map_err(self.explain("setting second asks aside"))
    }

    /// How many batches [`cut_carried`](Self::cut_carried) would make.
    pub async fn carried_batches(&self, batch_size: usize) -> Result<u64, LedgerError> {
        let counted = async {
            let cut: i64 = sqlx::query_scalar(
                "select coalesce(sum((refs + ?1 - 1) / ?1), 0)
                 from (select sum(refs) as refs from carried group by key, asked)",
            )
            .bind(batch_size.clamp(1, usize::from(u16::MAX)) as i64)
            .fetch_one(&mut self.reader().await?.conn)
            .await?;
            Ok(super::count(cut))
        };
        counted.await.map_err(self.explain("counting"))
    }

    /// Cuts everything carried into batches of at most `batch_size` references, each of one dialogue, one asked account
    /// and one purpose, as full as arithmetic allows; they become pending after all others. Returns how many there are.
    ///
    /// One transaction, in memory for a few hundred batches.
    pub async fn cut_carried(&self, run_id: Uuid, batch_size: usize) -> Result<u64, LedgerError> {
        let cut = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let mut cut = 0;
            let mut heap =
                Heap { batch_size: batch_size.clamp(1, usize::from(u16::MAX)), gathered: None, full: Vec::new() };
            loop {
                let rows = sqlx::query(
                    "select id, key, asked, body, depth from carried order by key, asked, depth, id limit ?",
                )
                .bind(AT_ONCE)
                .fetch_all(&mut *tx)
                .await?;
                let mut taken = Vec::with_capacity(rows.len());
                for row in &rows {
                    let id: i64 = row.try_get(0)?;
                    let decoded = blob::decode(row.try_get(3)?);
                    let (owners, refs) = decoded.map_err(Fault::damaged(format_args!("carried batch {id}")))?;
                    let purpose = purpose(row.try_get(4)?)?;
                    heap.add(row.try_get(1)?, row.try_get(2)?, purpose, &owners, &refs);
                    taken.push(id);
                }
                if rows.is_empty() {
                    heap.finish();
                }
                cut += heap.full.len() as u64;
                for kind in heap.full.chunk_by(|a, b| a.purpose.is_refetch() == b.purpose.is_refetch()) {
                    append(&mut tx, kind).await?;
                }
                heap.full.clear();
                if rows.is_empty() {
                    break;
                }
                sqlx::query("delete from carried where id in (select value from json_each(?))")
                    .bind(json(&taken))
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            if cut > 0 {
                tracing::debug!(%run_id, batches = cut, "what one owner did not get is asked under another");
            }
            Ok(cut)
        };
        cut.await.map_err(self.explain("cutting batches for other owners"))
    }
}

/// Gathers the references of one dialogue, asked account and purpose, which come one after the other.
struct Heap {
    batch_size: usize,
    gathered: Option<Batch>,
    full: Vec<Batch>,
}

impl Heap {
    fn add(&mut self, key: &str, asked: &str, purpose: Purpose, owners: &[String], refs: &[BatchRef]) {
        if self.gathered.as_ref().is_some_and(|batch| {
            batch.key.as_str() != key || !same_account(&batch.asked, asked) || batch.purpose != purpose
        }) {
            self.finish();
        }
        for reference in refs {
            let batch = self.gathered.get_or_insert_with(|| Batch {
                key: ConversationKey::from_stored(key.to_owned()),
                asked: asked.to_owned(),
                ask: Ask::Second,
                purpose,
                owners: Vec::new(),
                refs: Vec::with_capacity(self.batch_size.min(1024)),
            });
            let owner = owners.get(usize::from(reference.owner)).map_or(asked, String::as_str);
            let index = batch.owners.iter().position(|known| known == owner).unwrap_or_else(|| {
                batch.owners.push(owner.to_owned());
                batch.owners.len() - 1
            });
            batch.refs.push(BatchRef { owner: index as u16, ..*reference });
            if batch.refs.len() == self.batch_size {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        self.full.extend(self.gathered.take());
    }
}
