//! When messages were created that are carried, or that failed: what the vendor's retention is held against.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;

use super::database::Ledger;
use super::encoding::references;
use super::error::{Fault, LedgerError};
use super::values::Columns as _;
use crate::model::failure::Class;
use crate::plan::Purpose;

impl Ledger {
    /// Hands out the times of what is carried: of one conversation, owner and purpose at a time, about as it will be cut
    /// into batches.
    pub async fn carried_times(&self, mut take: impl FnMut(Purpose, &[i64])) -> Result<(), LedgerError> {
        self.query("reading what is carried", async |conn| {
            let sql = "select id, key, asked, depth, body from carried order by key, asked, depth";
            let mut rows = sqlx::query(sql).fetch(conn);
            let (mut of, mut times) = ((String::new(), String::new(), Purpose::default()), Vec::new());
            while let Some(row) = rows.try_next().await? {
                let next = (row.value("key")?, row.value("asked")?, row.purpose("depth")?);
                if next != of {
                    take(of.2, &times);
                    times.clear();
                    of = next;
                }
                let id: i64 = row.value("id")?;
                let (_, refs) =
                    references::decode(row.value("body")?).map_err(Fault::damaged(format_args!("carried row {id}")))?;
                times.extend(refs.iter().map(|reference| reference.create_time));
            }
            take(of.2, &times);
            Ok(())
        })
        .await
    }

    /// Open failures, by class and code, of references that left the retention (milliseconds) after the last run that came
    /// to its end, and before they were recorded as failed for the first time. Of a ledger without such a run: after its
    /// first run began.
    pub async fn failed_late(&self, retention: i64) -> Result<BTreeMap<(Class, Option<i64>), u64>, LedgerError> {
        self.query("reading which failures came too late", async |conn| {
            let sql = "with last as (select coalesce(
                           (select max(finished_at) from runs
                            where outcome in ('complete', 'partial') and command <> 'adopt'),
                           (select min(started_at) from runs)) as ended)
                       select class, code, sum(rows) as n from failures, last
                       where state = 0 and depth = 0 and first_seen > ended
                           and create_time + ?1 > ended and create_time + ?1 <= first_seen
                       group by class, code";
            let rows = sqlx::query(sql).bind(retention).fetch_all(conn).await?;
            rows.iter().map(|row| Ok(((row.class("class")?, row.value("code")?), row.count("n")?))).collect()
        })
        .await
    }
}
