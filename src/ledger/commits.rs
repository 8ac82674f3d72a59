//! Commits: intended, made, published, or lost and done again.

use jiff::Timestamp;
use sqlx::Row as _;
use uuid::Uuid;

use super::error::Fault;
use super::linked::Link;
use super::refetch::Reviewed;
use super::{Ledger, LedgerError, count, payload, run_id};
use crate::model::failure::Reason;
use crate::model::manifest::StagedFile;
use crate::plan::{Batch, FollowUp};

/// How long the batches of a database's commits are kept: as long as a failover may lose one.
const KEPT_MILLIS: i64 = 24 * 3_600_000;
/// How many commits are compared with the archive's last one: more than a day's.
const REMEMBERED: i64 = 20_000;

/// What one commit, or one step without a commit of the sink, finishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its number, one more than the last; 0 for a step in which nothing is archived: a split, or only failures.
    pub seq: u64,
    /// The run that makes it.
    pub run_id: Uuid,
    /// When.
    pub now: Timestamp,
    /// The batches that it finishes.
    pub finished: Vec<FinishedBatch>,
    /// The files that it made.
    pub files: Vec<StagedFile>,
    /// Messages.
    pub rows: u64,
    /// Bytes written for them.
    pub bytes: u64,
}

/// A batch, and what became of each of its references.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FinishedBatch {
    /// The batch.
    pub seq: i64,
    /// IDs of the messages that the commit holds.
    pub archived: Vec<i64>,
    /// References that failed for good, or for now.
    pub failures: Vec<FailedRef>,
    /// References to be sent again at once, in smaller batches.
    pub split: Vec<Batch>,
    /// References to be asked for once more in this run.
    pub follow_ups: Vec<FollowUp>,
    /// What its archived messages link to, wanted for their threads. Whether it is known is not yet looked up.
    pub links: Vec<Link>,
    /// What became of the others, in a batch that asks again for what is in the archive: there `archived` are those of
    /// which the commit holds a new version, and none fails.
    pub reviewed: Reviewed,
}

impl FinishedBatch {
    /// Whether its owner got something of what was asked for.
    pub fn has_got(&self) -> bool {
        !self.archived.is_empty() || self.reviewed.unchanged > 0
    }

    /// Whether the sink has something of it.
    pub fn has_rows(&self) -> bool {
        !self.archived.is_empty() || !self.reviewed.vanished.is_empty()
    }
}

/// A reference that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRef {
    /// The message's ID.
    pub message_server_id: i64,
    /// When it was created, milliseconds since the epoch.
    pub create_time: i64,
    /// The conversation as the reference spelt it, `owner|type|other`.
    pub conversation_id: String,
    /// Why.
    pub reason: Reason,
    /// How often it was tried in this run; added to what earlier runs tried.
    pub attempts: u32,
}

impl Ledger {
    /// Stores durably what a commit will finish, before the sink makes it: for sinks whose own commit is final.
    pub async fn record_intent(&self, commit: &Commit) -> Result<(), LedgerError> {
        let stored = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let last: i64 = sqlx::query_scalar("select last_commit from ledger").fetch_one(&mut *tx).await?;
            if commit.seq != count(last) + 1 {
                return Err(Fault::Inconsistent(format!("commit {} is intended after commit {last}", commit.seq)));
            }
            sqlx::query("insert or replace into announced (one, seq, body) values (1, ?, ?)")
                .bind(commit.seq as i64)
                .bind(payload::encode(commit))
                .execute(&mut *tx)
                .await?;
            Ok(tx.commit().await?)
        };
        stored.await.map_err(self.explain("announcing a commit"))
    }

    /// The commit that the sink may have made and the ledger has not recorded. Record it if the sink holds it;
    /// discard it if not.
    pub async fn intent(&self) -> Result<Option<Commit>, LedgerError> {
        let read = async {
            let body: Option<Vec<u8>> =
                sqlx::query_scalar("select body from announced").fetch_optional(&mut self.reader().await?.conn).await?;
            body.map(|body| payload::decode(&body).map_err(Fault::damaged("the intent of a commit"))).transpose()
        };
        read.await.map_err(self.explain("reading the intent of a commit"))
    }

    /// Forgets the intent of a commit: the sink did not make it, and its batches are still pending.
    pub async fn discard_intent(&self) -> Result<(), LedgerError> {
        let discarded = async {
            sqlx::query("delete from announced").execute(&mut self.writer().await?.conn).await?;
            Ok(())
        };
        discarded.await.map_err(self.explain("discarding the intent of a commit"))
    }

    /// The last commit that was recorded; 0 when there was none.
    pub async fn last_commit(&self) -> Result<u64, LedgerError> {
        let read = async {
            let last =
                sqlx::query_scalar("select last_commit from ledger").fetch_one(&mut self.reader().await?.conn).await?;
            Ok::<_, Fault>(count(last))
        };
        read.await.map_err(self.explain("reading the last commit"))
    }

    /// The last commits and the runs that made them, ascending; that of the intent last.
    pub async fn commit_runs(&self) -> Result<Vec<(u64, Uuid)>, LedgerError> {
        let intent = self.intent().await?;
        let read = async {
            let rows = sqlx::query("select seq, run_id from commits order by seq desc limit ?")
                .bind(REMEMBERED)
                .fetch_all(&mut self.reader().await?.conn)
                .await?;
            let mut runs = Vec::with_capacity(rows.len() + 1);
            for row in rows.iter().rev() {
                runs.push((count(row.try_get(0)?), run_id(row.try_get(1)?)?));
            }
            runs.extend(intent.map(|commit| (commit.seq, commit.run_id)));
            Ok::<_, Fault>(runs)
        };
        read.await.map_err(self.explain("reading commits"))
    }

    /// Remembers that all commits up to `seq` are visible, and forgets what would have been needed to do them again:
    /// of commits that had an intent a day later, as a database may lose them until then.
    pub async fn published(&self, seq: u64) -> Result<(), LedgerError> {
        let stored = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            sqlx::query("update files set published = 1 where published = 0 and commit_seq <= ?")
                .bind(seq as i64)
                .execute(&mut *tx)
                .await?;
            let spent = "select seq from commits where kept = 1 and seq <= ?1
                         and (announced = 0 or at < (select max(at) from commits where seq <= ?1) - ?2)";
            for sql in [
                format!("delete from done where commit_seq in ({spent})"),
                format!("update commits set kept = 0 where seq in ({spent})"),
            ] {
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(seq as i64).bind(KEPT_MILLIS).execute(&mut *tx).await?;
            }
            Ok(tx.commit().await?)
        };
        stored.await.map_err(self.explain("recording that a commit is visible"))
    }

    /// Sends back what the commits after `commit` archived, because the archive lost them, and counts on from there.
    /// Returns how many references are pending again. Refused when it is no longer kept what they archived.
    pub async fn reopen_after(&self, commit: u64) -> Result<u64, LedgerError> {
        let after = commit as i64;
        let reopened = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let last: i64 = sqlx::query_scalar("select last_commit from ledger").fetch_one(&mut *tx).await?;
            if after >= last {
                return Ok(0);
            }
            let kept: i64 = sqlx::query_scalar("select count(*) from commits where kept = 1 and seq > ?")
                .bind(after)
                .fetch_one(&mut *tx)
                .await?;
            if kept < last - after {
                return Err(Fault::Refused(format!(
                    "the archive holds commit {after} and the ledger recorded commit {last}: the archive lost more than \
                     the ledger keeps. Restore the archive, or let `adopt` rebuild the ledger from it"
                )));
            }
            let row = sqlx::query("select count(*), coalesce(sum(refs), 0) from done where commit_seq > ?")
                .bind(after)
                .fetch_one(&mut *tx)
                .await?;
            let (batches, refs): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let first: i64 = sqlx::query_scalar("update ledger set next_seq = next_seq + ?1 returning next_seq - ?1")
                .bind(batches)
                .fetch_one(&mut *tx)
                .await?;
            sqlx::query(
                "insert into pending (seq, depth, key, asked, refs, body)
                 select ?2 - 1 + row_number() over (order by seq), depth, key, asked, refs, body
                 from done where commit_seq > ?1",
            )
            .bind(after)
            .bind(first)
            .execute(&mut *tx)
            .await?;
            for sql in [
                // What a manifest says of its run stays said.
                "update runs set (archived, pending, extras_archived, extras_pending, rows, bytes, commits) = (
                     select archived - refs, pending + refs, extras_archived - extras, extras_pending + extras,
                            rows - lost_rows, bytes - lost_bytes, commits - lost
                     from (select count(*) as lost, sum(rows) as lost_rows, sum(bytes) as lost_bytes
                           from commits where run_id = runs.run_id and seq > ?1)
                     join (select coalesce(sum(refs) filter (where depth = 0), 0) as refs,
                                  coalesce(sum(refs) filter (where depth > 0), 0) as extras
                           from done join commits on commits.seq = commit_seq
                           where commits.run_id = runs.run_id and commit_seq > ?1))
                 where run_id in (select run_id from commits where seq > ?1)
                     and run_id not in (select run_id from manifests)",
                "delete from done where commit_seq > ?",
                "delete from files where commit_seq > ?",
                "delete from announced where seq > ?",
                "delete from commits where seq > ?",
                "update ledger set last_commit = ?",
            ] {
                sqlx::query(sql).bind(after).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(count(refs))
        };
        reopened.await.map_err(self.explain("sending lost commits back"))
    }
}
