//! The history of a job: all its runs, and all its failures whatever became of them.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::database::Ledger;
use super::error::LedgerError;
use super::failures::{FailureRow, FailureState};
use super::values::Columns as _;
use crate::model::failure::Class;

/// The failures that a run was the last to meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFailures {
    /// Their first and last IDs. There may be others' in between.
    pub ids: RangeInclusive<i64>,
    /// Changes when one of them does.
    pub mark: String,
}

/// How many failures there are of a class, code and state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureKind {
    /// The class.
    pub class: Class,
    /// The API's code.
    pub code: Option<i64>,
    /// The state.
    pub state: FailureState,
    /// How many.
    pub count: u64,
}

impl Ledger {
    /// The last `limit` runs, latest first.
    pub async fn run_ids(&self, limit: u32) -> Result<Vec<Uuid>, LedgerError> {
        self.query("reading runs", async |conn| {
            let sql = "select run_id from runs order by number desc limit ?";
            let rows = sqlx::query(sql).bind(limit).fetch_all(conn).await?;
            rows.iter().map(|row| row.run_id("run_id")).collect()
        })
        .await
    }

    /// What each run was the last to meet. A run without failures is not among them.
    pub async fn failures_by_run(&self) -> Result<HashMap<Uuid, RunFailures>, LedgerError> {
        self.query("counting failures", async |conn| {
            let sql = "select run_id, min(id) as first, max(id) as last,
                           concat_ws(' ', count(*), sum(rows), sum((state + 2) * id), sum(attempts), sum(retryable * id),
                                     max(last_seen), max(closed_at)) as mark
                       from failures group by run_id";
            let rows = sqlx::query(sql).fetch_all(conn).await?;
            let of_run = |row: &SqliteRow| {
                let ids = row.value("first")?..=row.value("last")?;
                Ok((row.run_id("run_id")?, RunFailures { ids, mark: row.value("mark")? }))
            };
            rows.iter().map(of_run).collect()
        })
        .await
    }

    /// How many failures there are, by class, code and state.
    pub async fn failure_kinds(&self) -> Result<Vec<FailureKind>, LedgerError> {
        self.query("counting failures", async |conn| {
            let sql = "select class, code, state, sum(rows) as n from failures group by class, code, state";
            let rows = sqlx::query(sql).fetch_all(conn).await?;
            let kind = |row: &SqliteRow| {
                Ok(FailureKind {
                    class: row.class("class")?,
                    code: row.value("code")?,
                    state: FailureState::of(row)?,
                    count: row.count("n")?,
                })
            };
            rows.iter().map(kind).collect()
        })
        .await
    }

    /// The first `limit` failures: those that are not closed before those that are, and of each the last seen first.
    pub async fn latest_failures(
        &self,
        limit: u32,
        permanent_before: Option<Timestamp>,
    ) -> Result<Vec<FailureRow>, LedgerError> {
        self.query("reading failures", async |conn| {
            let sql = "select * from failures order by state = 2, state = -1, last_seen desc, id desc limit ?";
            let rows = sqlx::query(sql).bind(limit).fetch_all(conn).await?;
            rows.iter().map(|row| self.failure(row, permanent_before)).collect()
        })
        .await
    }
}
