//! Runs of the job: begun, finished, or dead; and how long history stays.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::error::Fault;
use super::{Ledger, LedgerError, count, failures, millis, run_id, timestamp};
use crate::model::failure::Class;
use crate::model::summary::{References, ThreadExtras};

/// What an unfinished run is called once a later one began.
const DIED: &str = "died";

/// What a run's transactions recorded, also when it died: its manifest says the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Its references; `None` where they are not known: of a run of an earlier version, which did not record them all, and
    /// of one whose ledger was lost or replaced before it recorded the last commit. `read` is what was classified or planned: anything else is read again. Of a run that did not end in order
    /// `pending` is what it took up and did not finish.
    pub references: Option<References>,
    /// What it fetched for threads.
    pub thread_extras: Option<ThreadExtras>,
    /// Messages that the sink took.
    pub rows: u64,
    /// Bytes that the sink wrote.
    pub bytes: u64,
    /// Commits of the sink.
    pub commits: u64,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its ID, a `UUIDv7`.
    pub run_id: Uuid,
    /// The command, such as `run` or `retry`.
    pub command: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it finished, if it did.
    pub finished_at: Option<Timestamp>,
    /// How it ended: `complete`, `partial`, `stopped`, `failed`, or `died`. `None` for the last run if it is not
    /// finished: it runs, or died, which [`JobLock::holder`](super::JobLock::holder) tells.
    pub outcome: Option<String>,
    /// Its exit code.
    pub exit_code: Option<u8>,
    /// What stopped it.
    pub error: Option<String>,
    /// Its summary, as JSON.
    pub summary_json: Option<String>,
    /// What it recorded.
    pub counts: RunCounts,
}

/// What runs left untold that were stopped, failed or died.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Untold {
    /// Their new failures that are still open, by class and code.
    pub failures: BTreeMap<(Class, Option<i64>), u64>,
    /// References that ended in them.
    pub ended: u64,
}

impl Ledger {
    /// Remembers that a run began. Earlier runs that did not finish are dead: the caller holds the job's lock.
    pub async fn begin_run(&self, run: Uuid, command: &str, now: Timestamp) -> Result<(), LedgerError> {
        let stored = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            sqlx::query("update runs set outcome = ? where outcome is null").bind(DIED).execute(&mut *tx).await?;
            sqlx::query("insert into runs (run_id, ledger_id, command, started_at) values (?, ?, ?, ?)")
                .bind(run.to_string())
                .bind(self.id.to_string())
                .bind(command)
                .bind(millis(now))
                .execute(&mut *tx)
                .await?;
            Ok(tx.commit().await?)
        };
        stored.await.map_err(self.explain("recording a run"))
    }

    /// Remembers how a run ended.
    pub async fn finish_run(
        &self,
        run: Uuid,
        now: Timestamp,
        outcome: &str,
        exit_code: u8,
        error: Option<&str>,
        summary_json: &str,
    ) -> Result<(), LedgerError> {
        let stored = async {
            let updated = sqlx::query(
                "update runs set finished_at = ?, outcome = ?, exit_code = ?, error = ?, summary = ? where run_id = ?",
            )
            .bind(millis(now))
            .bind(outcome)
            .bind(exit_code)
            .bind(error)
            .bind(summary_json)
            .bind(run.to_string())
            .execute(&mut self.writer().await?.conn)
            .await?
            .rows_affected();
            if updated == 0 {
                return Err(Fault::Inconsistent(format!("run {run} finished and never began")));
            }
            Ok(())
        };
        stored.await.map_err(self.explain("recording a run's end"))
    }

    /// What earlier runs left untold: those that began since the last one that came to its end, the run at hand left out.
    /// Only a run that comes to its end tells of its failures by its exit code.
    pub async fn untold(&self, run: Uuid) -> Result<Untold, LedgerError> {
        let read = async {
            let mut reader = self.reader().await?;
            let since = "number > (select coalesce(max(number), 0) from runs
                                   where outcome in ('complete', 'partial') and command <> 'adopt')
                         and run_id <> ?1";
            let sql = format!("select min(started_at), coalesce(sum(archived + failed), 0) from runs where {since}");
            let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(run.to_string()).fetch_one(&mut reader.conn).await?;
            let Some(first) = row.try_get::<Option<i64>, _>(0)? else { return Ok(Untold::default()) };
            let mut untold = Untold { ended: count(row.try_get(1)?), ..Untold::default() };
            // Those that were met first in such a run, and those that are of another class since.
            let sql = format!(
                "select class, code, sum(rows) from failures where state = 0 and depth = 0
                     and ((first_seen >= ?2 and first_seen < (select started_at from runs where run_id = ?1))
                          or exists (select 1 from run_failures as new where new.run_id = failures.run_id
                                         and new.class = failures.class and new.code is failures.code
                                         and new.run_id in (select run_id from runs where {since})))
                 group by class, code"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(run.to_string())
                .bind(first)
                .fetch_all(&mut reader.conn)
                .await?;
            for row in rows {
                untold.failures.insert((failures::class(row.try_get(0)?)?, row.try_get(1)?), count(row.try_get(2)?));
            }
            Ok::<_, Fault>(untold)
        };
        read.await.map_err(self.explain("reading what earlier runs left untold"))
    }

    /// The last runs, latest first.
    pub async fn runs(&self, limit: u32) -> Result<Vec<RunRow>, LedgerError> {
        let read = async {
            let rows = sqlx::query("select * from runs order by number desc limit ?")
                .bind(limit)
                .fetch_all(&mut self.reader().await?.conn)
                .await?;
            rows.iter().map(run).collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading runs"))
    }

    /// Forgets runs that began, and failures that were closed, longer than `history` ago; and invalid rows that were
    /// not met for so long. Files and manifests stay, and so does a run whose manifest is still due.
    pub async fn expire(&self, history: Duration, now: Timestamp) -> Result<(), LedgerError> {
        let before = millis(now).saturating_sub(history.as_millis().min(i64::MAX as u128) as i64);
        let expired = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            for sql in [
                "delete from runs where started_at < ? and outcome is not null
                 and (run_id in (select run_id from manifests) or ledger_id <> (select ledger_id from ledger))",
                "delete from failures where state = 2 and closed_at < ?",
                "delete from failures where state <= 0 and class = 'invalid' and last_seen < ?",
                "delete from commits where kept = 0 and at < ?",
            ] {
                sqlx::query(sql).bind(before).execute(&mut *tx).await?;
            }
            Ok(tx.commit().await?)
        };
        expired.await.map_err(self.explain("forgetting old runs"))
    }
}

pub(super) fn run(row: &SqliteRow) -> Result<RunRow, Fault> {
    Ok(RunRow {
        run_id: run_id(row.try_get("run_id")?)?,
        command: row.try_get("command")?,
        started_at: timestamp(row.try_get("started_at")?),
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(timestamp),
        outcome: row.try_get("outcome")?,
        exit_code: row.try_get::<Option<i64>, _>("exit_code")?.map(|code| code as u8),
        error: row.try_get("error")?,
        summary_json: row.try_get("summary")?,
        counts: counts(row)?,
    })
}

pub(super) fn counts(row: &SqliteRow) -> Result<RunCounts, Fault> {
    let number = |column: &str| Ok::<_, Fault>(count(row.try_get::<Option<i64>, _>(column)?.unwrap_or(0)));
    let mut references = References {
        read: 0,
        skipped: number("skipped")?,
        invalid: number("invalid")?,
        duplicate: number("duplicate")?,
        accepted: number("planned")?,
        resumed: number("resumed")?,
        retried: number("retried")?,
        archived: number("archived")?,
        failed: number("failed")?,
        pending: number("pending")?,
    };
    references.read = references.skipped + references.invalid + references.duplicate + references.accepted;
    let mut thread_extras = ThreadExtras {
        planned: number("extras_planned")?,
        archived: number("extras_archived")?,
        failed: number("extras_failed")?,
        pending: number("extras_pending")?,
    };
    if row.try_get::<Option<i64>, _>("ended_at")?.is_none() {
        let References { accepted, resumed, retried, archived, failed, .. } = references;
        references.pending = (accepted + resumed + retried).saturating_sub(archived + failed);
        let ThreadExtras { planned, archived, failed, .. } = thread_extras;
        thread_extras.pending = planned.saturating_sub(archived + failed);
    }
    let rows = number("rows")?;
    let is_noted = row.try_get::<Option<&str>, _>("note")?.is_some();
    let is_known = is_noted || (rows == 0 && references == References::default());
    Ok(RunCounts {
        references: is_known.then_some(references),
        thread_extras: is_known.then_some(thread_extras),
        rows,
        bytes: number("bytes")?,
        commits: number("commits")?,
    })
}
