//! The timeline of runs, and what a report of a run asks for.

use sqlx::Row as _;
use uuid::Uuid;

use super::error::Fault;
use super::{FailureFilter, FailureRow, Ledger, LedgerError, RunRow, count};

impl Ledger {
    /// Keeps the timeline of a run, instead of what was kept of it before. It is text to the ledger.
    pub async fn keep_timeline(&self, run: Uuid, body: &str) -> Result<(), LedgerError> {
        let stored = async {
            sqlx::query("insert or replace into courses (run_id, body) values (?, ?)")
                .bind(run.to_string())
                .bind(body)
                .execute(&mut self.writer().await?.conn)
                .await?;
            Ok(())
        };
        stored.await.map_err(self.explain("recording a run's timeline"))
    }

    /// What was kept of a run's timeline.
    pub async fn timeline(&self, run: Uuid) -> Result<Option<String>, LedgerError> {
        let read = async {
            let body = sqlx::query_scalar("select body from courses where run_id = ?")
                .bind(run.to_string())
                .fetch_optional(&mut self.reader().await?.conn)
                .await?;
            Ok::<_, Fault>(body)
        };
        read.await.map_err(self.explain("reading a run's timeline"))
    }

    /// The run of this ID, or the latest; `None` when there is none.
    pub async fn run(&self, run: Option<Uuid>) -> Result<Option<RunRow>, LedgerError> {
        let read = async {
            let row = sqlx::query("select * from runs where ?1 is null or run_id = ?1 order by number desc limit 1")
                .bind(run.map(|run| run.to_string()))
                .fetch_optional(&mut self.reader().await?.conn)
                .await?;
            row.as_ref().map(super::runs::run).transpose()
        };
        read.await.map_err(self.explain("reading a run"))
    }

    /// Whether a run is the latest of all.
    pub async fn is_latest(&self, run: Uuid) -> Result<bool, LedgerError> {
        let read = async {
            let last: Option<String> = sqlx::query_scalar("select run_id from runs order by number desc limit 1")
                .fetch_optional(&mut self.reader().await?.conn)
                .await?;
            Ok::<_, Fault>(last == Some(run.to_string()))
        };
        read.await.map_err(self.explain("reading a run"))
    }

    /// The failures that no later run has met again, by class and code: how many there are of each kind, and the first
    /// `limit` of them.
    pub async fn failures_met(&self, run: Uuid, limit: u32) -> Result<Vec<(u64, Vec<FailureRow>)>, LedgerError> {
        let read = async {
            let rows = sqlx::query(
                "select * from (
                     select *, depth > 0 as extra, row_number() over kind as place, sum(rows) over (partition by class, code) as alike
                     from failures where run_id = ? window kind as (partition by class, code order by id)
                 ) where place <= ? order by class, code, id",
            )
            .bind(run.to_string())
            .bind(limit)
            .fetch_all(&mut self.reader().await?.conn)
            .await?;
            let mut kinds: Vec<(u64, Vec<FailureRow>)> = Vec::new();
            for row in &rows {
                let failure = self.failure(row, &FailureFilter::default())?;
                if row.try_get::<i64, _>("place")? == 1 {
                    kinds.push((count(row.try_get("alike")?), Vec::new()));
                }
                if let Some((_, failures)) = kinds.last_mut() {
                    failures.push(failure);
                }
            }
            Ok(kinds)
        };
        read.await.map_err(self.explain("reading failures"))
    }
}
