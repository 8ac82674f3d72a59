//! Commits that were made: the last ones, published, or lost and asked for again.

use uuid::Uuid;

use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::values::{Columns as _, count};

/// How long the batches of a database's commits are kept: as long as a failover may lose one.
const KEPT_MILLIS: i64 = 24 * 3_600_000;
/// How many commits are compared with the archive's last one: more than a day's.
const REMEMBERED: i64 = 20_000;

impl Ledger {
    /// The last commit that was recorded; 0 when there was none.
    pub async fn last_commit(&self) -> Result<u64, LedgerError> {
        self.query("reading the last commit", async |conn| {
            Ok(count(sqlx::query_scalar("select last_commit from ledger").fetch_one(conn).await?))
        })
        .await
    }

    /// The last commits and the runs that made them, ascending; that of the intent last.
    pub async fn commit_runs(&self) -> Result<Vec<(u64, Uuid)>, LedgerError> {
        let intent = self.intent().await?.map(|commit| Ok((commit.seq, commit.run_id)));
        self.query("reading commits", async |conn| {
            let sql = "select seq, run_id from commits order by seq desc limit ?";
            let rows = sqlx::query(sql).bind(REMEMBERED).fetch_all(conn).await?;
            rows.iter().rev().map(|row| Ok((row.count("seq")?, row.run_id("run_id")?))).chain(intent).collect()
        })
        .await
    }

    /// Remembers that all commits up to `seq` are visible, and forgets what would have been needed to do them again:
    /// of commits that had an intent a day later, as a database may lose them until then.
    pub async fn published(&self, seq: u64) -> Result<(), LedgerError> {
        self.transaction("recording that a commit is visible", async |tx| {
            sqlx::query("update files set published = 1 where published = 0 and commit_seq <= ?")
                .bind(seq as i64)
                .execute(&mut *tx)
                .await?;
            sqlx::query(
                "update commits set kept = 0 where kept = 1 and seq <= ?1
                 and (intended = 0 or at < (select max(at) from commits where seq <= ?1) - ?2)",
            )
            .bind(seq as i64)
            .bind(KEPT_MILLIS)
            .execute(&mut *tx)
            .await?;
            sqlx::query("delete from done where commit_seq in (select seq from commits where kept = 0)")
                .execute(tx)
                .await?;
            Ok(())
        })
        .await
    }

    /// Makes pending again what the commits after `commit` archived, because the archive lost them, and counts on from
    /// there. Returns how many references these are. Refused when it is no longer kept what they archived.
    pub async fn reopen_after(&self, commit: u64) -> Result<u64, LedgerError> {
        let after = commit as i64;
        self.transaction("asking for lost commits again", async |tx| {
            let row = sqlx::query(
                "select last_commit, (select count(*) from commits where kept = 1 and seq > ?1) as kept,
                     (select count(*) from done where commit_seq > ?1) as batches,
                     (select sum(refs) from done where commit_seq > ?1) as refs
                 from ledger",
            );
            let row = row.bind(after).fetch_one(&mut *tx).await?;
            let (last, kept): (i64, i64) = (row.value("last_commit")?, row.value("kept")?);
            if after >= last {
                return Ok(0);
            }
            if kept < last - after {
                return Err(Fault::Refused(format!(
                    "the archive holds commit {after} and the ledger recorded commit {last}: the archive lost more than \
                     the ledger keeps. Restore the archive, or let `adopt` rebuild the ledger from it"
                )));
            }
            let first: i64 = sqlx::query_scalar("update ledger set next_seq = next_seq + ?1 returning next_seq - ?1")
                .bind(row.value::<i64>("batches")?)
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
                // A manifest that is written stays true.
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
                "delete from intent where seq > ?",
                "delete from commits where seq > ?",
                "update ledger set last_commit = ?",
            ] {
                sqlx::query(sql).bind(after).execute(&mut *tx).await?;
            }
            row.count("refs")
        })
        .await
    }
}
