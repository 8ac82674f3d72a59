//! References to be asked for once more, kept until they can be cut into full batches.

use std::collections::HashSet;

use sqlx::SqliteConnection;

use super::batches::{body, stored_batch};
use super::error::Fault;
use super::linked::{self, BatchName, FromBatch, Link};
use super::statement::{runs, values};
use super::{Ledger, LedgerError, history};
use crate::plan::FollowUp;

pub(super) async fn insert(conn: &mut SqliteConnection, follow_ups: &[&FollowUp]) -> Result<(), Fault> {
    for some in runs(follow_ups) {
        let sql =
            values("insert into carried (depth, key, asked, refs, body, history, deferrals) values", 7, some.len(), "");
        let mut query = sqlx::query(sql);
        for follow_up in some {
            let FollowUp { key, asked, purpose, owners, refs, history } = follow_up;
            query = query
                .bind(purpose.number())
                .bind(key.as_str())
                .bind(asked.as_deref().unwrap_or_default())
                .bind(refs.len() as i64)
                .bind(body(key, owners, refs)?)
                .bind(history::encode(&vec![std::sync::Arc::clone(history); owners.len()]))
                .bind(if follow_up.is_deferred() { history.deferrals } else { 0 });
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
    /// The follow-ups; their references are the batch's own.
    pub follow_ups: Vec<FollowUp>,
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
                let row = sqlx::query("select seq, history, key, asked, body, depth from pending where seq = ?")
                    .bind(aside.seq)
                    .fetch_optional(&mut *tx)
                    .await?;
                let Some(row) = row else {
                    return Err(Fault::Inconsistent(format!("batch {} is not pending", aside.seq)));
                };
                let batch = stored_batch(&row)?;
                linked::insert(&mut tx, &[FromBatch { batch: BatchName::of(&batch), links: &aside.links }]).await?;
                if aside.follow_ups.is_empty() {
                    continue;
                }
                let leaving: HashSet<i64> =
                    aside.follow_ups.iter().flat_map(|more| more.refs.iter().map(|r| r.message_server_id)).collect();
                let rest = batch.subset(|index| !leaving.contains(&batch.refs[index].message_server_id));
                if rest.refs.len() + leaving.len() != batch.refs.len() {
                    return Err(Fault::Inconsistent(format!("batch {} has not all that is to leave it", aside.seq)));
                }
                sqlx::query("update pending set refs = ?, body = ?, history = ? where seq = ?")
                    .bind(rest.refs.len() as i64)
                    .bind(body(&rest.key, &rest.owners, &rest.refs)?)
                    .bind(history::encode(&rest.histories))
                    .bind(aside.seq)
                    .execute(&mut *tx)
                    .await?;
                insert(&mut tx, &aside.follow_ups.iter().collect::<Vec<_>>()).await?;
            }
            Ok(tx.commit().await?)
        };
        moved.await.map_err(self.explain("setting follow-up asks aside"))
    }

    /// The teams whose references are pending or carried, `limit` at most, as keys.
    pub async fn teams_to_ask(&self, limit: u32) -> Result<Vec<String>, LedgerError> {
        let read = async {
            let query = sqlx::query_scalar(
                "select key from pending where key >= '2' union select key from carried where key >= '2' limit ?",
            );
            Ok::<_, Fault>(query.bind(limit).fetch_all(&mut self.reader().await?.conn).await?)
        };
        read.await.map_err(self.explain("reading which teams are to be asked for"))
    }

    /// About how many batches the carried references will make.
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
}
