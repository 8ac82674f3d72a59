//! Recording a commit: one transaction, in which every reference of every finished batch must be accounted for.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::answered::remember;
use super::carried;
use super::commit::{Commit, FinishedBatch};
use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::failures::record::Kinds;
use super::files;
use super::links::{self, FromBatch};
use super::pending::{self, PendingBatch, body, prepend};
use super::refetch::{Reviewed, ReviewedCounts};
use super::runs::add_new_failures;
use super::values::{Columns as _, json, millis};
use crate::model::manifest::StagedFile;
use crate::plan::{Batch, FollowUp, Purpose};

/// How many batches one statement finishes.
const AT_ONCE: usize = 256;

/// What recording a commit changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// References that failed and were not failed before, or by another class, by class and code.
    pub new_failures: Kinds,
    /// Failures that were closed because their message is archived now.
    pub closed_failures: u64,
    /// The halves of split batches, pending now: to be sent first.
    pub split: Vec<PendingBatch>,
    /// Messages archived that only threads need.
    pub extras_archived: u64,
    /// Messages failed that only threads need. Never among the new failures.
    pub extras_failed: u64,
    /// Archived messages that were asked for again.
    pub reviewed: ReviewedCounts,
}

/// A pending batch without its references.
struct Stored {
    refs: usize,
    purpose: Purpose,
    key: String,
    asked: String,
}

impl Ledger {
    /// Records what a commit finished, in one transaction: batches are done, failures stored, failures of archived IDs
    /// closed, halves pending, follow-up asks carried, links kept, files recorded as unpublished, and the intent of the
    /// commit forgotten.
    ///
    /// Every reference of a finished batch must be archived, failed, split or asked again; else nothing is recorded.
    pub async fn record(&self, commit: &Commit) -> Result<Recorded, LedgerError> {
        self.transaction("recording a commit", async |tx| {
            insert_commit(tx, commit).await?;
            let mut recorded = Recorded::default();
            let mut failed = 0;
            for finished in commit.finished.chunks(AT_ONCE) {
                let stored = finish(tx, commit.seq, finished).await?;
                let batches: Vec<_> = finished.iter().filter_map(|b| Some((b, stored.get(&b.seq)?))).collect();
                let failures: Vec<_> = batches
                    .iter()
                    .flat_map(|(batch, stored)| {
                        batch.failures.iter().map(|failure| (failure, stored.key.as_str(), stored.purpose))
                    })
                    .collect();
                failed += failures.len() as i64;
                for (kind, n) in self.store_failures(tx, commit.run_id, commit.now, &failures).await? {
                    *recorded.new_failures.entry(kind).or_default() += n;
                }
                let links = batches.iter().map(|(batch, Stored { key, asked, purpose, .. })| FromBatch {
                    key,
                    asked,
                    purpose: *purpose,
                    links: &batch.links,
                });
                links::insert(tx, &links.collect::<Vec<_>>()).await?;
                let follow_ups: Vec<&FollowUp> = finished.iter().flat_map(|batch| &batch.follow_ups).collect();
                carried::insert(tx, &follow_ups).await?;
                for (batch, stored) in batches {
                    recorded.count(batch, stored.purpose);
                }
            }
            // After the failures: an ID that one batch archived and another did not get is archived.
            let archived = || commit.finished.iter().flat_map(|batch| &batch.archived).copied();
            recorded.closed_failures = self.close_archived(tx, commit.now, archived()).await?;

            let split: Vec<Batch> = commit.finished.iter().flat_map(|batch| &batch.split).cloned().collect();
            if !split.is_empty() {
                let first = prepend(tx, &split).await?;
                recorded.split = (first..).zip(split).map(|(seq, batch)| PendingBatch { seq, batch }).collect();
            }
            for StagedFile { file, staged } in &commit.files {
                files::insert(tx, commit.seq, commit.run_id, file, Some(staged)).await?;
            }
            add_new_failures(tx, commit.run_id, &recorded.new_failures).await?;
            sqlx::query(
                "update runs set archived = archived + ?, failed = failed + ?, rows = rows + ?, bytes = bytes + ?,
                                 commits = commits + ?, extras_archived = extras_archived + ?,
                                 extras_failed = extras_failed + ? where run_id = ?",
            )
            .bind(archived().count() as i64 - (recorded.extras_archived + recorded.reviewed.edited) as i64)
            .bind(failed - recorded.extras_failed as i64)
            .bind(commit.rows as i64)
            .bind(commit.bytes as i64)
            .bind(commit.seq != 0)
            .bind(recorded.extras_archived as i64)
            .bind(recorded.extras_failed as i64)
            .bind(commit.run_id.to_string())
            .execute(tx)
            .await?;
            crate::failpoint::reach("record.before");
            Ok(recorded)
        })
        .await
    }
}

impl Recorded {
    /// Counts what became of a batch that no reference asked for.
    fn count(&mut self, batch: &FinishedBatch, purpose: Purpose) {
        if purpose.is_extra() {
            self.extras_archived += batch.archived.len() as u64;
            self.extras_failed += batch.failures.len() as u64;
        } else if purpose.is_refetch() {
            self.reviewed.edited += batch.archived.len() as u64;
            self.reviewed.unchanged += batch.reviewed.unchanged;
            self.reviewed.vanished += batch.reviewed.vanished.len() as u64;
            self.reviewed.failed += batch.reviewed.failed;
        }
    }
}

/// Stores the commit after the last one.
async fn insert_commit(conn: &mut SqliteConnection, commit: &Commit) -> Result<(), Fault> {
    if commit.seq == 0 {
        if commit.finished.iter().any(FinishedBatch::has_rows) || commit.rows > 0 || !commit.files.is_empty() {
            return Err(Fault::Inconsistent("messages were archived without a commit".to_owned()));
        }
        return Ok(());
    }
    let seq = commit.seq as i64;
    let last: i64 = sqlx::query_scalar("select last_commit from ledger").fetch_one(&mut *conn).await?;
    if seq != last + 1 {
        return Err(Fault::Inconsistent(format!("commit {seq} is recorded after commit {last}")));
    }
    sqlx::query("update ledger set last_commit = ?").bind(seq).execute(&mut *conn).await?;
    let intents = sqlx::query("delete from intent where seq = ?").bind(seq).execute(&mut *conn).await?;
    sqlx::query("insert into commits (seq, run_id, at, rows, bytes, intended) values (?, ?, ?, ?, ?, ?)")
        .bind(seq)
        .bind(commit.run_id.to_string())
        .bind(millis(commit.now))
        .bind(commit.rows as i64)
        .bind(commit.bytes as i64)
        .bind(intents.rows_affected() > 0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes batches out of the pending ones, and keeps what was archived of them.
async fn finish(
    conn: &mut SqliteConnection,
    commit: u64,
    finished: &[FinishedBatch],
) -> Result<HashMap<i64, Stored>, Fault> {
    let all: Vec<i64> = finished.iter().map(|batch| batch.seq).collect();
    let stored = stored(conn, &all).await?;
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    for batch in finished {
        let Some(stored) = stored.get(&batch.seq) else {
            return Err(Fault::Inconsistent(format!("batch {} is finished and was not pending", batch.seq)));
        };
        account(batch, stored)?;
        if batch.archived.len() == stored.refs {
            whole.push(batch.seq);
        } else if batch.has_rows() {
            parts.push(batch);
        }
    }
    if stored.len() < finished.len() {
        return Err(Fault::Inconsistent("a batch is finished twice".to_owned()));
    }
    let got: Vec<i64> = finished.iter().filter(|batch| batch.has_got()).map(|batch| batch.seq).collect();
    remember(conn, &got).await?;
    sqlx::query(
        "insert into done (seq, commit_seq, depth, key, asked, refs, body)
         select seq, ?, depth, key, asked, refs, body from pending where seq in (select value from json_each(?))",
    )
    .bind(commit as i64)
    .bind(json(&whole))
    .execute(&mut *conn)
    .await?;
    for batch in parts {
        keep_part(conn, commit, batch).await?;
    }
    sqlx::query("delete from pending where seq in (select value from json_each(?))")
        .bind(json(&all))
        .execute(conn)
        .await?;
    Ok(stored)
}

async fn stored(conn: &mut SqliteConnection, batches: &[i64]) -> Result<HashMap<i64, Stored>, Fault> {
    let sql = "select seq, refs, depth, key, asked from pending where seq in (select value from json_each(?))";
    let rows = sqlx::query(sql).bind(json(batches)).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let (refs, purpose) = (row.count("refs")? as usize, row.purpose("depth")?);
            Ok((row.value("seq")?, Stored { refs, purpose, key: row.value("key")?, asked: row.value("asked")? }))
        })
        .collect()
}

/// Refuses a batch that is not finished as a batch of its purpose is, or not with all its references.
fn account(batch: &FinishedBatch, stored: &Stored) -> Result<(), Fault> {
    let (seq, purpose) = (batch.seq, stored.purpose);
    let asks_again = purpose.is_refetch();
    if (asks_again && !batch.failures.is_empty()) || (!asks_again && batch.reviewed != Reviewed::default()) {
        return Err(Fault::Inconsistent(format!(
            "batch {seq} is finished as if it were of another purpose than {purpose:?}"
        )));
    }
    let split: usize = batch.split.iter().map(|part| part.refs.len()).sum();
    let follow_ups: usize = batch.follow_ups.iter().map(|more| more.refs.len()).sum();
    let ended = batch.archived.len() + batch.failures.len() + batch.reviewed.total() as usize;
    let accounted = ended + split + follow_ups;
    if accounted != stored.refs {
        return Err(Fault::Inconsistent(format!(
            "batch {seq} has {} references, and {accounted} are accounted for",
            stored.refs
        )));
    }
    Ok(())
}

/// Keeps those references of a batch that were archived, as not all of them were.
async fn keep_part(conn: &mut SqliteConnection, commit: u64, finished: &FinishedBatch) -> Result<(), Fault> {
    let seq = finished.seq;
    let sql = "select seq as id, depth, key, asked, body, history from pending where seq = ?";
    let mut batch = pending::batch(&sqlx::query(sql).bind(seq).fetch_one(&mut *conn).await?)?;
    let mut archived: Vec<i64> = finished.archived.iter().chain(&finished.reviewed.vanished).copied().collect();
    archived.sort_unstable();
    batch.refs.retain(|reference| archived.binary_search(&reference.message_server_id).is_ok());
    if batch.refs.len() != archived.len() {
        return Err(Fault::Inconsistent(format!("batch {seq} archived messages that it did not ask for")));
    }
    sqlx::query("insert into done (seq, commit_seq, depth, key, asked, refs, body) values (?, ?, ?, ?, ?, ?, ?)")
        .bind(seq)
        .bind(commit as i64)
        .bind(batch.purpose.number())
        .bind(batch.key.as_str())
        .bind(batch.asked.as_str())
        .bind(batch.refs.len() as i64)
        .bind(body(&batch.key, &batch.owners, &batch.refs)?)
        .execute(conn)
        .await?;
    Ok(())
}
