//! Runs of the job: when they began, how they ended, what they recorded; and how long history stays.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};
use uuid::Uuid;

use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::values::{Columns as _, millis, millis_before};
use crate::model::failure::Class;
use crate::model::manifest::FailureCount;
use crate::model::summary::{References, ThreadExtras};

/// The number of the run that last ended with exit 0. A `retry` reads no source, so it says nothing about the night.
const LAST_SUCCESS: &str = "(select max(number) from runs where exit_code = 0 and command = 'run')";

/// What a run's transactions recorded, also of one that died: its manifest says the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Its references; `None` where they are not known: of a run of an earlier version, which did not record them all, and
    /// of one whose ledger was lost or replaced before it recorded the last commit. `read` is what was classified or
    /// planned: anything else is read again. Of a run that was cut off `pending` is what it took up and did not finish.
    pub references: Option<References>,
    /// What it fetched for threads.
    pub thread_extras: Option<ThreadExtras>,
    /// Messages that the archive took.
    pub rows: u64,
    /// Bytes that were written for them.
    pub bytes: u64,
    /// Commits.
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
    /// finished: it is running, or died, which [`JobLock::holder`](super::JobLock::holder) tells.
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

/// What runs that were stopped, failed or died left unreported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreported {
    /// Their new failures that are still open, by class and code.
    pub failures: BTreeMap<(Class, Option<i64>), u64>,
    /// References that were archived or failed in them.
    pub ended: u64,
}

impl Ledger {
    /// Records that a run began. Earlier runs that did not finish died: the caller holds the job's lock.
    pub async fn begin_run(&self, run: Uuid, command: &str, now: Timestamp) -> Result<(), LedgerError> {
        self.transaction("recording a run", async |tx| {
            sqlx::query("update runs set outcome = 'died' where outcome is null").execute(&mut *tx).await?;
            sqlx::query("insert into runs (run_id, ledger_id, command, started_at) values (?, ?, ?, ?)")
                .bind(run.to_string())
                .bind(self.id.to_string())
                .bind(command)
                .bind(millis(now))
                .execute(tx)
                .await?;
            Ok(())
        })
        .await
    }

    /// Records that a run has nothing left to do: what it read, and what it leaves.
    pub async fn end_run(
        &self,
        run: Uuid,
        now: Timestamp,
        references: &References,
        extras: &ThreadExtras,
    ) -> Result<(), LedgerError> {
        self.transaction("recording what a run leaves", async |tx| {
            set_read(tx, run, references).await?;
            sqlx::query("update runs set ended_at = ?, pending = ?, extras_pending = ? where run_id = ?")
                .bind(millis(now))
                .bind(references.pending as i64)
                .bind(extras.pending as i64)
                .bind(run.to_string())
                .execute(tx)
                .await?;
            Ok(())
        })
        .await
    }

    /// Records how a run ended.
    pub async fn finish_run(
        &self,
        run: Uuid,
        now: Timestamp,
        outcome: &str,
        exit_code: u8,
        error: Option<&str>,
        summary_json: &str,
    ) -> Result<(), LedgerError> {
        self.transaction("recording a run's end", async |tx| {
            let updated = sqlx::query(
                "update runs set finished_at = ?, outcome = ?, exit_code = ?, error = ?, summary = ? where run_id = ?",
            )
            .bind(millis(now))
            .bind(outcome)
            .bind(exit_code)
            .bind(error)
            .bind(summary_json)
            .bind(run.to_string())
            .execute(tx)
            .await?;
            if updated.rows_affected() == 0 {
                return Err(Fault::Inconsistent(format!("run {run} finished and never began")));
            }
            Ok(())
        })
        .await
    }

    /// What earlier runs left unreported: those that began since the last one that came to its end, without the run at
    /// hand. Only a run that comes to its end reports its failures by its exit code.
    pub async fn unreported(&self, run: Uuid) -> Result<Unreported, LedgerError> {
        self.query("reading what earlier runs left unreported", async |conn| {
            let since = "number > (select coalesce(max(number), 0) from runs
                                   where outcome in ('complete', 'partial') and command <> 'adopt')
                         and run_id <> ?1";
            let sql =
                format!("select min(started_at) as first, sum(archived + failed) as ended from runs where {since}");
            let row = sqlx::query(AssertSqlSafe(sql)).bind(run.to_string()).fetch_one(&mut *conn).await?;
            let Some(first) = row.value::<Option<i64>>("first")? else { return Ok(Unreported::default()) };
            let mut unreported = Unreported { ended: row.count("ended")?, ..Unreported::default() };
            // Those that were first seen in such a run, and those that are of another class since.
            let sql = format!(
                "select class, code, sum(rows) as n from failures where state = 0 and depth = 0
                     and ((first_seen >= ?2 and first_seen < (select started_at from runs where run_id = ?1))
                          or exists (select 1 from run_failures as new where new.run_id = failures.run_id
                                         and new.class = failures.class and new.code is failures.code
                                         and new.run_id in (select run_id from runs where {since})))
                 group by class, code"
            );
            for row in sqlx::query(AssertSqlSafe(sql)).bind(run.to_string()).bind(first).fetch_all(conn).await? {
                unreported.failures.insert((row.class("class")?, row.value("code")?), row.count("n")?);
            }
            Ok(unreported)
        })
        .await
    }

    /// The last runs, latest first.
    pub async fn runs(&self, limit: u32) -> Result<Vec<RunRow>, LedgerError> {
        self.query("reading runs", async |conn| {
            let sql = "select * from runs order by number desc limit ?";
            sqlx::query(sql).bind(limit).fetch_all(conn).await?.iter().map(run_row).collect()
        })
        .await
    }

    /// The run of this ID, or the latest; `None` when there is none.
    pub async fn run(&self, run: Option<Uuid>) -> Result<Option<RunRow>, LedgerError> {
        self.query("reading a run", async |conn| {
            let row = match run {
                Some(run) => sqlx::query("select * from runs where run_id = ?").bind(run.to_string()),
                None => sqlx::query("select * from runs order by number desc limit 1"),
            };
            row.fetch_optional(conn).await?.as_ref().map(run_row).transpose()
        })
        .await
    }

    /// When the command `run` last ended with exit 0.
    pub async fn last_success(&self) -> Result<Option<Timestamp>, LedgerError> {
        self.query("reading runs", async |conn| {
            let sql = format!("select finished_at from runs where number = {LAST_SUCCESS}");
            let row = sqlx::query(AssertSqlSafe(sql)).fetch_optional(conn).await?;
            Ok(row.map(|row| row.optional_time("finished_at")).transpose()?.flatten())
        })
        .await
    }

    /// Whether a run is the latest of all.
    pub async fn is_latest(&self, run: Uuid) -> Result<bool, LedgerError> {
        Ok(self.run(None).await?.is_some_and(|latest| latest.run_id == run))
    }

    /// Failures new in a run, as far as it recorded them.
    pub async fn new_failures(&self, run: Uuid) -> Result<Vec<FailureCount>, LedgerError> {
        self.query("counting failures", async |conn| new_failures(conn, run).await).await
    }

    /// Keeps the timeline of a run, instead of the one that was kept before. It is text to the ledger.
    pub async fn keep_timeline(&self, run: Uuid, body: &str) -> Result<(), LedgerError> {
        self.transaction("recording a run's timeline", async |tx| {
            let sql = "insert or replace into timelines (run_id, body) values (?, ?)";
            sqlx::query(sql).bind(run.to_string()).bind(body).execute(tx).await?;
            Ok(())
        })
        .await
    }

    /// The timeline that was kept of a run.
    pub async fn timeline(&self, run: Uuid) -> Result<Option<String>, LedgerError> {
        self.query("reading a run's timeline", async |conn| {
            let sql = "select body from timelines where run_id = ?";
            Ok(sqlx::query_scalar(sql).bind(run.to_string()).fetch_optional(conn).await?)
        })
        .await
    }

    /// Forgets runs that began, and failures that were closed, longer than `history` ago; and invalid rows that were
    /// not seen for so long. Files and manifests stay, and so do a run whose manifest is still due and the last that
    /// succeeded.
    pub async fn expire(&self, history: Duration, now: Timestamp) -> Result<(), LedgerError> {
        let runs = format!(
            "delete from runs where started_at < ? and outcome is not null and number is not {LAST_SUCCESS}
             and (run_id in (select run_id from manifests) or ledger_id <> (select ledger_id from ledger))"
        );
        self.transaction("forgetting old runs", async |tx| {
            for sql in [
                runs.as_str(),
                "delete from failures where state = 2 and closed_at < ?",
                "delete from failures where state <= 0 and class = 'invalid' and last_seen < ?",
                "delete from commits where kept = 0 and at < ?",
            ] {
                sqlx::query(AssertSqlSafe(sql)).bind(millis_before(now, history)).execute(&mut *tx).await?;
            }
            Ok(())
        })
        .await
    }
}

fn run_row(row: &SqliteRow) -> Result<RunRow, Fault> {
    Ok(RunRow {
        run_id: row.run_id("run_id")?,
        command: row.value("command")?,
        started_at: row.time("started_at")?,
        finished_at: row.optional_time("finished_at")?,
        outcome: row.value("outcome")?,
        exit_code: row.value("exit_code")?,
        error: row.value("error")?,
        summary_json: row.value("summary")?,
        counts: counts(row)?,
    })
}

/// What a row of `runs` says that the run recorded.
pub(super) fn counts(row: &SqliteRow) -> Result<RunCounts, Fault> {
    let mut references = References {
        read: 0,
        skipped: row.count("skipped")?,
        invalid: row.count("invalid")?,
        duplicate: row.count("duplicate")?,
        accepted: row.count("planned")?,
        resumed: row.count("resumed")?,
        retried: row.count("retried")?,
        archived: row.count("archived")?,
        failed: row.count("failed")?,
        pending: row.count("pending")?,
    };
    references.read = references.skipped + references.invalid + references.duplicate + references.accepted;
    let mut thread_extras = ThreadExtras {
        planned: row.count("extras_planned")?,
        archived: row.count("extras_archived")?,
        failed: row.count("extras_failed")?,
        pending: row.count("extras_pending")?,
    };
    if row.optional_time("ended_at")?.is_none() {
        let References { accepted, resumed, retried, archived, failed, .. } = references;
        references.pending = (accepted + resumed + retried).saturating_sub(archived + failed);
        let ThreadExtras { planned, archived, failed, .. } = thread_extras;
        thread_extras.pending = planned.saturating_sub(archived + failed);
    }
    let rows = row.count("rows")?;
    let is_noted = row.value::<Option<&str>>("note")?.is_some();
    let is_known = is_noted || (rows == 0 && references == References::default());
    Ok(RunCounts {
        references: is_known.then_some(references),
        thread_extras: is_known.then_some(thread_extras),
        rows,
        bytes: row.count("bytes")?,
        commits: row.count("commits")?,
    })
}

/// Stores how much of the source a run has read.
pub(super) async fn set_read(conn: &mut SqliteConnection, run: Uuid, counts: &References) -> Result<(), Fault> {
    sqlx::query("update runs set skipped = ?, invalid = ?, duplicate = ? where run_id = ?")
        .bind(counts.skipped as i64)
        .bind(counts.invalid as i64)
        .bind(counts.duplicate as i64)
        .bind(run.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// Counts failures that are new in a run, by class and code.
pub(super) async fn add_new_failures(
    conn: &mut SqliteConnection,
    run: Uuid,
    new: &BTreeMap<(Class, Option<i64>), u64>,
) -> Result<(), Fault> {
    for ((class, code), n) in new {
        sqlx::query(
            "insert into run_failures (run_id, class, code, n) select run_id, ?2, ?3, ?4 from runs where run_id = ?1
             on conflict (run_id, class, coalesce(code, 'none')) do update set n = n + excluded.n",
        )
        .bind(run.to_string())
        .bind(class.as_str())
        .bind(code)
        .bind(*n as i64)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

pub(super) async fn new_failures(conn: &mut SqliteConnection, run: Uuid) -> Result<Vec<FailureCount>, Fault> {
    let sql = "select class, code, n from run_failures where run_id = ? order by class, code";
    let rows = sqlx::query(sql).bind(run.to_string()).fetch_all(conn).await?;
    let kind = |row: &SqliteRow| {
        Ok(FailureCount { class: row.value("class")?, code: row.value("code")?, count: row.count("n")? })
    };
    rows.iter().map(kind).collect()
}
