//! References that are carried until they can be cut into full batches, to be asked for once more.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::{QueryBuilder, SqliteConnection};

use super::database::Ledger;
use super::encoding::histories;
use super::error::{Fault, LedgerError};
use super::links::{self, FromBatch, Link};
use super::pending::{self, body};
use super::values::{Columns as _, ROWS};
use crate::plan::FollowUp;

/// What leaves a pending batch before the batch is recorded, because it is to be asked for in this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlyFollowUps {
    /// The batch. What is left of it stays pending: its messages are with an archive that has not committed yet.
    pub seq: i64,
    /// The follow-ups; their references are the batch's own.
    pub follow_ups: Vec<FollowUp>,
    /// What its messages link to.
    pub links: Vec<Link>,
}

impl Ledger {
    /// Moves references from pending batches to the carried ones, and keeps what their messages link to, in one
    /// transaction. A batch of which nothing is left is refused: it is finished, and to be recorded.
    pub async fn carry_early(&self, asides: &[EarlyFollowUps]) -> Result<(), LedgerError> {
        self.transaction("setting follow-up asks aside", async |tx| {
            for aside in asides {
                set_aside(tx, aside).await?;
            }
            Ok(())
        })
        .await
    }

    /// The most often that a carried reference was refused for now; 0 when none was.
    pub async fn most_deferrals(&self) -> Result<u32, LedgerError> {
        self.query("counting", async |conn| {
            let row = sqlx::query("select max(deferrals) as most from carried").fetch_one(conn).await?;
            Ok(u32::try_from(row.count("most")?).unwrap_or(u32::MAX))
        })
        .await
    }
}

async fn set_aside(tx: &mut SqliteConnection, aside: &EarlyFollowUps) -> Result<(), Fault> {
    let EarlyFollowUps { seq, follow_ups, links } = aside;
    let sql = "select seq as id, depth, key, asked, body, history from pending where seq = ?";
    let Some(row) = sqlx::query(sql).bind(seq).fetch_optional(&mut *tx).await? else {
        return Err(Fault::Inconsistent(format!("batch {seq} is not pending")));
    };
    let batch = pending::batch(&row)?;
    let (key, asked, purpose) = (batch.key.as_str(), batch.asked.as_str(), batch.purpose);
    links::insert(tx, &[FromBatch { key, asked, purpose, links }]).await?;
    if follow_ups.is_empty() {
        return Ok(());
    }
    let leaving: HashSet<i64> =
        follow_ups.iter().flat_map(|more| more.refs.iter().map(|reference| reference.message_server_id)).collect();
    let rest = batch.subset(|index| !leaving.contains(&batch.refs[index].message_server_id));
    if rest.refs.len() + leaving.len() != batch.refs.len() {
        return Err(Fault::Inconsistent(format!("batch {seq} does not hold all that is to leave it")));
    }
    sqlx::query("update pending set refs = ?, body = ?, history = ? where seq = ?")
        .bind(rest.refs.len() as i64)
        .bind(body(&rest.key, &rest.owners, &rest.refs)?)
        .bind(histories::encode(&rest.histories))
        .bind(seq)
        .execute(&mut *tx)
        .await?;
    insert(tx, &follow_ups.iter().collect::<Vec<_>>()).await
}

/// Stores follow-up asks.
pub(super) async fn insert(conn: &mut SqliteConnection, follow_ups: &[&FollowUp]) -> Result<(), Fault> {
    let bodies: Vec<Vec<u8>> =
        follow_ups.iter().map(|more| body(&more.key, &more.owners, &more.refs)).collect::<Result<_, _>>()?;
    let rows: Vec<_> = follow_ups.iter().zip(bodies).collect();
    for some in rows.chunks(ROWS) {
        let mut sql = QueryBuilder::new("insert into carried (depth, key, asked, refs, body, history, deferrals) ");
        sql.push_values(some, |mut row, (follow_up, body)| {
            let FollowUp { key, asked, purpose, owners, refs, history } = follow_up;
            row.push_bind(purpose.number())
                .push_bind(key.as_str())
                .push_bind(asked.as_deref().unwrap_or_default())
                .push_bind(refs.len() as i64)
                .push_bind(body.as_slice())
                .push_bind(histories::encode(&vec![Arc::clone(history); owners.len()]))
                .push_bind(if follow_up.is_deferred() { history.deferrals } else { 0 });
        });
        sql.build().execute(&mut *conn).await?;
    }
    Ok(())
}
