//! What the former ledger had to do and the archive does not hold: it stays to be done.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::{Adoption, RUN, former};
use crate::ledger::batches::{append, body, stored_batch};
use crate::ledger::error::Fault;
use crate::ledger::{blob, count, failures, history, ids, millis};
use crate::plan::Batch;

/// Batches read at once.
const BATCHES: i64 = 2_048;
/// Failures read at once.
const FAILURES: i64 = 65_536;
/// Blocks of formerly known IDs read at once.
const BLOCKS: i64 = 64;

/// What was carried over from the former ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carried {
    /// References that are still to be asked for.
    pub pending: u64,
    /// Of these, references that the former ledger had recorded as archived and that the archive does not hold.
    pub lost: u64,
    /// References that were to be asked for, and that the archive holds.
    pub archived: u64,
    /// Failures that stay open.
    pub failures: u64,
    /// What became of the cursor.
    pub cursor: Cursor,
    /// Why the former ledger could not be read to its end, so that nothing of it was carried over.
    pub damaged: Option<String>,
}

/// What became of the former ledger's cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cursor {
    /// There was none: the source is read from its start.
    #[default]
    None,
    /// Everything before it is archived, pending or failed.
    Kept,
    /// So many references before it are neither: the source is read from its start.
    Dropped(u64),
}

/// Carries over, or, from a ledger that is damaged inside, nothing.
pub(super) async fn carry(adoption: &mut Adoption, now: Timestamp) -> Result<Carried, Fault> {
    match sift(adoption, now).await {
        Ok(mut carried) => {
            let rest = know_the_rest(adoption).await?;
            (carried.pending, carried.failures) = (rest.pending, rest.failures);
            carried.cursor = cursor(adoption).await?;
            Ok(carried)
        }
        Err(fault) => {
            let Some(why) = former::unreadable(&fault) else { return Err(fault) };
            let mut writer = adoption.ledger.writer().await?;
            let mut tx = writer.begin().await?;
            for sql in [
                "delete from pending",
                "delete from carried",
                "delete from done",
                "delete from versions",
                "delete from failures where state < 2",
                "update ledger set checkpoint = null, checkpoint_source = null",
            ] {
                sqlx::query(sql).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(Carried { damaged: Some(why), ..Carried::default() })
        }
    }
}

/// Takes out of what was pending, failed or lately done what the archive holds. Reads all of it, so that damage shows
/// before anything of it becomes known.
async fn sift(adoption: &Adoption, now: Timestamp) -> Result<Carried, Fault> {
    let mut carried = Carried::default();
    // What was asked for again is in the archive, in versions that this ledger may not know.
    for sql in [
        "delete from pending where depth < 0",
        "delete from carried where depth < 0",
        "delete from done where depth < 0",
        "delete from versions",
    ] {
        sqlx::query(sql).execute(&mut adoption.ledger.writer().await?.conn).await?;
    }
    for table in ["pending", "carried"] {
        carried.archived += drop_archived(adoption, table).await?;
    }
    carried.lost = reopen_lost(adoption).await?;
    close_archived(adoption, now).await?;
    Ok(carried)
}

/// What is pending and failed becomes known, beside what the archive holds. Returns how much that is.
async fn know_the_rest(adoption: &mut Adoption) -> Result<Carried, Fault> {
    let mut rest = Carried::default();
    for table in ["pending", "carried"] {
        let mut after = i64::MIN;
        while let Some((last, batches)) = page(adoption, table, after).await? {
            after = last;
            for (_, batch) in batches {
                rest.pending += batch.refs.len() as u64;
                adoption.buffer.extend(ids_of(&batch));
            }
            if adoption.buffer.len() >= RUN {
                adoption.store_run().await?;
            }
        }
    }
    let mut after = 0;
    while let Some((last, ids)) = open_failures(adoption, after).await? {
        after = last;
        adoption.buffer.extend(ids);
        adoption.store_run().await?;
    }
    adoption.store_run().await?;
    let open = sqlx::query_scalar("select count(*) from failures where state = 0 and class <> 'invalid'");
    rest.failures = count(open.fetch_one(&mut adoption.ledger.writer().await?.conn).await?);
    Ok(rest)
}

fn ids_of(batch: &Batch) -> impl Iterator<Item = i64> {
    batch.refs.iter().map(|reference| reference.message_server_id)
}

fn key(table: &str) -> &'static str {
    if table == "carried" { "id" } else { "seq" }
}

/// The next batches of a table, and the key of the last.
async fn page(adoption: &Adoption, table: &str, after: i64) -> Result<Option<(i64, Vec<(i64, Batch)>)>, Fault> {
    let key = key(table);
    let history = if table == "done" { "null" } else { "history" };
    let sql =
        format!("select {key}, {history}, key, asked, body, depth from {table} where {key} > ? order by {key} limit ?");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(after)
        .bind(BATCHES)
        .fetch_all(&mut adoption.ledger.writer().await?.conn)
        .await?;
    let read = |row: &SqliteRow| Ok::<_, Fault>((row.try_get(0)?, stored_batch(row)?));
    let batches = rows.iter().map(read).collect::<Result<Vec<(i64, Batch)>, _>>()?;
    Ok(batches.last().map(|(last, _)| *last).map(|last| (last, batches)))
}

/// The IDs of these batches that are known, sorted.
async fn known(adoption: &Adoption, batches: &[(i64, Batch)]) -> Result<Vec<i64>, Fault> {
    let mut ids: Vec<i64> = batches.iter().flat_map(|(_, batch)| ids_of(batch)).collect();
    ids.sort_unstable();
    ids.dedup();
    adoption.ledger.probe(&ids).await
}

/// Takes out of a table's batches what the archive holds. Returns how many references that were.
async fn drop_archived(adoption: &Adoption, table: &str) -> Result<u64, Fault> {
    let (mut dropped, mut after) = (0, i64::MIN);
    let key = key(table);
    while let Some((last, batches)) = page(adoption, table, after).await? {
        after = last;
        let archived = known(adoption, &batches).await?;
        let is_archived = |id: i64| archived.binary_search(&id).is_ok();
        let mut writer = adoption.ledger.writer().await?;
        let mut tx = writer.begin().await?;
        for (seq, batch) in batches.iter().filter(|(_, batch)| ids_of(batch).any(is_archived)) {
            let rest = batch.subset(|index| !is_archived(batch.refs[index].message_server_id));
            dropped += (batch.refs.len() - rest.refs.len()) as u64;
            let query = if rest.refs.is_empty() {
                sqlx::query(AssertSqlSafe(format!("delete from {table} where {key} = ?")))
            } else {
                sqlx::query(AssertSqlSafe(format!(
                    "update {table} set refs = ?, body = ?, history = ? where {key} = ?"
                )))
                .bind(rest.refs.len() as i64)
                .bind(blob::encode(&rest.owners, &rest.refs))
                .bind(history::encode(&rest.histories))
            };
            query.bind(seq).execute(&mut *tx).await?;
        }
        tx.commit().await?;
    }
    Ok(dropped)
}

/// Sends back what the former ledger recorded as archived, lately enough to remember it, and the archive does not
/// hold. Returns how many references that are.
async fn reopen_lost(adoption: &Adoption) -> Result<u64, Fault> {
    let mut lost: HashSet<i64> = HashSet::new();
    let mut after = i64::MIN;
    while let Some((last, batches)) = page(adoption, "done", after).await? {
        after = last;
        let archived = known(adoption, &batches).await?;
        lost.extend(
            batches.iter().flat_map(|(_, batch)| ids_of(batch)).filter(|id| archived.binary_search(id).is_err()),
        );
    }
    for table in ["pending", "carried"] {
        let mut after = i64::MIN;
        while !lost.is_empty()
            && let Some((last, batches)) = page(adoption, table, after).await?
        {
            after = last;
            for id in batches.iter().flat_map(|(_, batch)| ids_of(batch)) {
                lost.remove(&id);
            }
        }
    }
    let reopened = lost.len() as u64;
    let mut after = i64::MIN;
    while !lost.is_empty()
        && let Some((last, batches)) = page(adoption, "done", after).await?
    {
        after = last;
        let mut again = Vec::new();
        for (_, batch) in &batches {
            // Each once, though two batches may name it.
            let again_here: Vec<bool> = ids_of(batch).map(|id| lost.remove(&id)).collect();
            let rest = batch.subset(|index| again_here[index]);
            if !rest.refs.is_empty() {
                body(&rest.key, &rest.owners, &rest.refs)?;
                again.push(rest);
            }
        }
        append(&mut adoption.ledger.writer().await?.conn, &again).await?;
    }
    sqlx::query("delete from done").execute(&mut adoption.ledger.writer().await?.conn).await?;
    Ok(reopened)
}

/// The next IDs of failures that are open or being retried, and where to go on.
async fn open_failures(adoption: &Adoption, after: i64) -> Result<Option<(i64, Vec<i64>)>, Fault> {
    let rows = sqlx::query(
        "select id, message_server_id from failures
         where id > ? and state < 2 and class <> 'invalid' and message_server_id is not null order by id limit ?",
    )
    .bind(after)
    .bind(FAILURES)
    .fetch_all(&mut adoption.ledger.writer().await?.conn)
    .await?;
    let Some(last) = rows.last() else { return Ok(None) };
    let last = last.try_get(0)?;
    let ids = rows.iter().map(|row| Ok(row.try_get(1)?)).collect::<Result<Vec<i64>, Fault>>()?;
    Ok(Some((last, ids)))
}

/// Closes the failures of messages that the archive holds.
async fn close_archived(adoption: &Adoption, now: Timestamp) -> Result<(), Fault> {
    let mut after = 0;
    while let Some((last, mut ids)) = open_failures(adoption, after).await? {
        after = last;
        ids.sort_unstable();
        let archived = adoption.ledger.probe(&ids).await?;
        let mut writer = adoption.ledger.writer().await?;
        failures::close(&mut writer.conn, &archived, millis(now), "archived").await?;
    }
    Ok(())
}

/// Keeps the cursor if everything that was planned before it is still known.
async fn cursor(adoption: &Adoption) -> Result<Cursor, Fault> {
    let there: bool = sqlx::query_scalar("select exists (select 1 from ledger where checkpoint is not null)")
        .fetch_one(&mut adoption.ledger.writer().await?.conn)
        .await?;
    if !there {
        return Ok(Cursor::None);
    }
    let (mut unknown, mut after) = (0, 0);
    loop {
        let rows = sqlx::query("select id, ids from former where id > ? order by id limit ?")
            .bind(after)
            .bind(BLOCKS)
            .fetch_all(&mut adoption.ledger.writer().await?.conn)
            .await?;
        let Some(last) = rows.last() else { break };
        after = last.try_get(0)?;
        let mut planned = Vec::new();
        for row in &rows {
            if ids::decode(row.try_get(1)?, &mut planned).is_err() {
                // Nobody knows what was in it, and as little whether it is still known.
                unknown += ids::BLOCK as u64;
            }
        }
        planned.sort_unstable();
        planned.dedup();
        unknown += (planned.len() - adoption.ledger.probe(&planned).await?.len()) as u64;
    }
    if unknown == 0 {
        return Ok(Cursor::Kept);
    }
    sqlx::query("update ledger set checkpoint = null, checkpoint_source = null")
        .execute(&mut adoption.ledger.writer().await?.conn)
        .await?;
    Ok(Cursor::Dropped(unknown))
}
