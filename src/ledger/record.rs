//! Recording a commit: one transaction, in which every reference of every finished batch must be accounted for.

use std::collections::{BTreeMap, HashMap};

use sqlx::{Row as _, SqliteConnection};

use super::batches::{PendingBatch, body, prepend, purpose, stored_batch};
use super::commits::{Commit, FinishedBatch};
use super::error::Fault;
use super::linked::{self, BatchName, FromBatch};
use super::refetch::{Reviewed, ReviewedCounts};
use super::statement::json;
use super::suspects::Suspects;
use super::{Ledger, LedgerError, Writer, answered, carried, count, failures, files, manifests, millis};
use crate::model::failure::Class;
use crate::plan::{Batch, FollowUp, Purpose};

/// Batches finished by one statement.
const AT_ONCE: usize = 256;

/// What recording a commit changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// References that failed and were not failed before, or by another class, by class and code.
    pub new_failures: BTreeMap<(Class, Option<i64>), u64>,
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

/// A pending batch, as far as finishing it needs to know.
struct Stored {
    refs: usize,
    purpose: Purpose,
    /// Only of those that something is to be kept of besides what was archived.
    name: Option<BatchName>,
}

impl Ledger {
    /// Records what a commit finished, in one transaction: batches are done, failures stored, failures of archived IDs
    /// closed, halves pending, follow-up asks carried, links kept, files recorded as unpublished, and the announced commit
    /// forgotten.
    ///
    /// Every reference of a finished batch must be archived, failed, split or asked again; else nothing is recorded.
    pub async fn record(&self, commit: &Commit) -> Result<Recorded, LedgerError> {
        let recorded = async {
            let mut writer = self.writer().await?;
            let Writer { conn, suspects, .. } = &mut *writer;
            let suspects = match suspects {
                Some(suspects) => suspects,
                None => suspects.insert(Suspects::load(conn).await?),
            };
            let mut tx = super::begin(conn).await?;
            let recorded = record(&mut tx, suspects, commit).await?;
            crate::failpoint::reach("record.before");
            tx.commit().await?;
            Ok(recorded)
        };
        recorded.await.map_err(self.explain("recording a commit"))
    }
}

async fn record(conn: &mut SqliteConnection, suspects: &mut Suspects, commit: &Commit) -> Result<Recorded, Fault> {
    let now = millis(commit.now);
    number(conn, commit, now).await?;
    let mut recorded = Recorded::default();
    let mut failed = 0;
    for some in commit.finished.chunks(AT_ONCE) {
        let stored = finish(conn, commit.seq, some).await?;
        let failures: Vec<_> = some
            .iter()
            .flat_map(|batch| {
                let name = stored.get(&batch.seq).and_then(|stored| stored.name.as_ref());
                batch.failures.iter().filter_map(move |failure| Some((failure, name?)))
            })
            .collect();
        failed += failures.len() as i64;
        let links: Vec<FromBatch<'_>> = some
            .iter()
            .filter_map(|batch| Some(FromBatch { batch: stored.get(&batch.seq)?.name.clone()?, links: &batch.links }))
            .collect();
        linked::insert(conn, &links).await?;
        for batch in some {
            let purpose = stored.get(&batch.seq).map(|stored| stored.purpose).unwrap_or_default();
            if purpose.is_extra() {
                recorded.extras_archived += batch.archived.len() as u64;
                recorded.extras_failed += batch.failures.len() as u64;
            } else if purpose.is_refetch() {
                recorded.reviewed.edited += batch.archived.len() as u64;
                recorded.reviewed.unchanged += batch.reviewed.unchanged;
                recorded.reviewed.vanished += batch.reviewed.vanished.len() as u64;
                recorded.reviewed.failed += batch.reviewed.failed;
            }
        }
        for (kind, n) in failures::store(conn, commit.run_id, now, &failures).await? {
            *recorded.new_failures.entry(kind).or_default() += n;
        }
        suspects.extend(failures.iter().map(|(failure, _)| failure.message_server_id));
        let follow_ups: Vec<&FollowUp> = some.iter().flat_map(|batch| &batch.follow_ups).collect();
        carried::insert(conn, &follow_ups).await?;
    }
    // After the failures: an ID that one batch archived and another did not get is archived.
    let archived = || commit.finished.iter().flat_map(|batch| &batch.archived);
    let suspicious: Vec<i64> = archived().copied().filter(|id| suspects.holds(*id)).collect();
    recorded.closed_failures = failures::close(conn, &suspicious, now, "archived").await?;

    let split: Vec<Batch> = commit.finished.iter().flat_map(|batch| &batch.split).cloned().collect();
    if !split.is_empty() {
        let first = prepend(conn, &split).await?;
        recorded.split = (first..).zip(split).map(|(seq, batch)| PendingBatch { seq, batch }).collect();
    }
    files::insert(conn, commit).await?;
    let new: Vec<_> = recorded.new_failures.iter().map(|((class, code), n)| (*class, *code, *n)).collect();
    manifests::count_failures(conn, commit.run_id, &new).await?;
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
    .execute(conn)
    .await?;
    Ok(recorded)
}

/// Gives the commit its place after the last one.
async fn number(conn: &mut SqliteConnection, commit: &Commit, now: i64) -> Result<(), Fault> {
    let archives = commit.finished.iter().any(FinishedBatch::has_rows);
    if commit.seq == 0 {
        if archives || commit.rows > 0 || !commit.files.is_empty() {
            return Err(Fault::Inconsistent("messages were archived without a commit".to_owned()));
        }
        return Ok(());
    }
    let seq = commit.seq as i64;
    let last: i64 = sqlx::query_scalar("select last_commit from ledger").fetch_one(&mut *conn).await?;
    if commit.seq != count(last) + 1 {
        return Err(Fault::Inconsistent(format!("commit {seq} is recorded after commit {last}")));
    }
    sqlx::query("update ledger set last_commit = ?").bind(seq).execute(&mut *conn).await?;
    let announced =
        sqlx::query("delete from announced where seq = ?").bind(seq).execute(&mut *conn).await?.rows_affected() > 0;
    sqlx::query("insert into commits (seq, run_id, at, rows, bytes, announced) values (?, ?, ?, ?, ?, ?)")
        .bind(seq)
        .bind(commit.run_id.to_string())
        .bind(now)
        .bind(commit.rows as i64)
        .bind(commit.bytes as i64)
        .bind(announced)
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
    let stored = look_up(conn, finished, &all).await?;
    let (mut whole, mut parts) = (Vec::new(), HashMap::new());
    for batch in finished {
        let Some(Stored { refs, purpose, .. }) = stored.get(&batch.seq) else {
            return Err(Fault::Inconsistent(format!("batch {} is finished and was not pending", batch.seq)));
        };
        let (refs, again) = (*refs, purpose.is_refetch());
        if (again && !batch.failures.is_empty()) || (!again && batch.reviewed != Reviewed::default()) {
            return Err(Fault::Inconsistent(format!(
                "batch {} is finished as if it were of another purpose than {purpose:?}",
                batch.seq
            )));
        }
        let split: usize = batch.split.iter().map(|part| part.refs.len()).sum();
        let follow_ups: usize = batch.follow_ups.iter().map(|more| more.refs.len()).sum();
        let ended = batch.archived.len() + batch.failures.len() + batch.reviewed.total() as usize;
        let accounted = ended + split + follow_ups;
        if accounted != refs {
            return Err(Fault::Inconsistent(format!(
                "batch {} has {refs} references, and {accounted} are accounted for",
                batch.seq
            )));
        }
        if batch.archived.len() == refs {
            whole.push(batch.seq);
        } else if batch.has_rows() {
            parts.insert(batch.seq, batch);
        }
    }
    if stored.len() < finished.len() {
        return Err(Fault::Inconsistent("a batch is finished twice".to_owned()));
    }
    let got: Vec<i64> = finished.iter().filter(|batch| batch.has_got()).map(|batch| batch.seq).collect();
    answered::remember(conn, &got).await?;
    sqlx::query(
        "insert into done (seq, commit_seq, depth, key, asked, refs, body)
         select seq, ?, depth, key, asked, refs, body from pending where seq in (select value from json_each(?))",
    )
    .bind(commit as i64)
    .bind(json(&whole))
    .execute(&mut *conn)
    .await?;
    if !parts.is_empty() {
        keep_parts(conn, commit, &parts).await?;
    }
    sqlx::query("delete from pending where seq in (select value from json_each(?))")
        .bind(json(&all))
        .execute(conn)
        .await?;
    Ok(stored)
}

/// What is pending of these batches. A row for each of them would cost more than all else that is done with them: rows
/// come from SQLite's thread one by one.
async fn look_up(
    conn: &mut SqliteConnection,
    finished: &[FinishedBatch],
    all: &[i64],
) -> Result<HashMap<i64, Stored>, Fault> {
    let list: Option<String> = sqlx::query_scalar(
        "select group_concat(seq || ' ' || refs || ' ' || depth) from pending
         where seq in (select value from json_each(?))",
    )
    .bind(json(all))
    .fetch_one(&mut *conn)
    .await?;
    let mut stored = HashMap::with_capacity(all.len());
    for item in list.unwrap_or_default().split_terminator(',') {
        let mut numbers = item.split(' ').map(|number| number.parse::<i64>().ok());
        let (Some(Some(seq)), Some(Some(refs)), Some(Some(depth))) = (numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(Fault::Damaged(format!("{item:?} is no batch")));
        };
        stored.insert(seq, Stored { refs: count(refs) as usize, purpose: purpose(depth)?, name: None });
    }
    let named = finished.iter().filter(|batch| !batch.failures.is_empty() || !batch.links.is_empty());
    let named: Vec<i64> = named.map(|batch| batch.seq).collect();
    if named.is_empty() {
        return Ok(stored);
    }
    let rows = sqlx::query("select seq, key, asked from pending where seq in (select value from json_each(?))")
        .bind(json(&named))
        .fetch_all(conn)
        .await?;
    for row in rows {
        if let Some(stored) = stored.get_mut(&row.try_get(0)?) {
            stored.name = Some(BatchName { key: row.try_get(1)?, asked: row.try_get(2)?, purpose: stored.purpose });
        }
    }
    Ok(stored)
}

/// Keeps those references of partly archived batches that were archived.
async fn keep_parts(
    conn: &mut SqliteConnection,
    commit: u64,
    parts: &HashMap<i64, &FinishedBatch>,
) -> Result<(), Fault> {
    let rows = sqlx::query(
        "select seq, history, key, asked, body, depth from pending where seq in (select value from json_each(?))",
    )
    .bind(json(parts.keys()))
    .fetch_all(&mut *conn)
    .await?;
    for row in rows {
        let seq: i64 = row.try_get(0)?;
        let mut batch = stored_batch(&row)?;
        let finished = parts.get(&seq);
        let vanished = finished.into_iter().flat_map(|finished| &finished.reviewed.vanished);
        let mut archived: Vec<i64> =
            finished.into_iter().flat_map(|finished| &finished.archived).chain(vanished).copied().collect();
        archived.sort_unstable();
        batch.refs.retain(|reference| archived.binary_search(&reference.message_server_id).is_ok());
        if batch.refs.len() != archived.len() {
            return Err(Fault::Inconsistent(format!("batch {seq} archived messages that it did not ask for")));
        }
        keep(conn, seq, commit as i64, &batch).await?;
    }
    Ok(())
}

/// Remembers that a commit archived these references.
async fn keep(conn: &mut SqliteConnection, seq: i64, commit: i64, batch: &Batch) -> Result<(), Fault> {
    sqlx::query(
        "insert or replace into done (seq, commit_seq, depth, key, asked, refs, body) values (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(seq)
    .bind(commit)
    .bind(batch.purpose.number())
    .bind(batch.key.as_str())
    .bind(batch.asked.as_str())
    .bind(batch.refs.len() as i64)
    .bind(body(&batch.key, &batch.owners, &batch.refs)?)
    .execute(conn)
    .await?;
    Ok(())
}
