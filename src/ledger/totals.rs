//! What a ledger holds, counted.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::values::Columns as _;
use crate::model::failure::Class;

/// References by their state, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// In batches to be sent.
    pub pending_refs: u64,
    /// To be asked for under another owner or once more, and not yet in a batch.
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

/// What a ledger holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// References by their state.
    pub sums: Sums,
    /// Batches to be sent.
    pub pending_batches: u64,
    /// Open failures by class. Failures whose reference is pending again are not among them.
    pub open_failures: BTreeMap<Class, u64>,
    /// Failures that were dismissed.
    pub dismissed: u64,
    /// Known IDs. An ID that was asked for again may count twice until blocks are merged.
    pub known_ids: u64,
}

impl Ledger {
    /// What the ledger holds.
    pub async fn totals(&self) -> Result<Totals, LedgerError> {
        self.query("counting", async |conn| {
            let mut totals = Totals { sums: sums(conn).await?, ..Totals::default() };
            let sql = "select (select count(*) from pending) as batches, (select sum(n) from known) as known,
                           (select sum(rows) from failures where state = -1) as dismissed";
            let row = sqlx::query(sql).fetch_one(&mut *conn).await?;
            totals.pending_batches = row.count("batches")?;
            totals.known_ids = row.count("known")?;
            totals.dismissed = row.count("dismissed")?;
            let sql = "select class, sum(rows) as n from failures where state = 0 group by class";
            for row in sqlx::query(sql).fetch_all(conn).await? {
                totals.open_failures.insert(row.class("class")?, row.count("n")?);
            }
            Ok(totals)
        })
        .await
    }

    /// References by their state, at one moment: what a run's sums are checked against.
    pub async fn sums(&self) -> Result<Sums, LedgerError> {
        self.query("counting", sums).await
    }

    /// About how many batches the carried references will make.
    pub async fn carried_batches(&self, batch_size: usize) -> Result<u64, LedgerError> {
        self.query("counting", async |conn| {
            let sql = "select sum((refs + ?1 - 1) / ?1) as batches
                       from (select sum(refs) as refs from carried group by key, asked)";
            let size = batch_size.clamp(1, usize::from(u16::MAX)) as i64;
            sqlx::query(sql).bind(size).fetch_one(conn).await?.count("batches")
        })
        .await
    }
}

async fn sums(conn: &mut SqliteConnection) -> Result<Sums, Fault> {
    let row = sqlx::query(
        "with asked as (select depth, refs, 1 as pending from pending union all select depth, refs, 0 from carried)
         select (select sum(refs) from asked where depth = 0 and pending) as pending,
             (select sum(refs) from asked where depth = 0 and not pending) as carried,
             (select sum(refs) from asked where depth > 0) as extras,
             (select sum(refs) from linked where planned) as retried_extras,
             (select sum(refs) from asked where depth < 0) as refetch,
             (select sum(refs) from linked where not planned) as links,
             (select count(*) from failures where state = 0 and class <> 'invalid') as open,
             (select count(*) from failures where state = 1) as retrying,
             (select sum(rows) from failures where state = 0 and class = 'invalid') as invalid",
    )
    .fetch_one(conn)
    .await?;
    Ok(Sums {
        pending_refs: row.count("pending")?,
        carried_refs: row.count("carried")?,
        pending_extras: row.count("extras")? + row.count("retried_extras")?,
        pending_refetch: row.count("refetch")?,
        waiting_links: row.count("links")?,
        open_failures: row.count("open")?,
        retrying: row.count("retrying")?,
        invalid: row.count("invalid")?,
    })
}
