//! What the former ledger had to do and the archive does not hold. It stays to be done.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use super::build::Build;
use super::former;
use crate::ledger::connection::begin;
use crate::ledger::encoding::{histories, ids};
use crate::ledger::error::Fault;
use crate::ledger::failures::record::close;
use crate::ledger::pending::{self, append, body};
use crate::ledger::values::{Columns as _, millis};
use crate::plan::Batch;

/// How many batches are read at once.
const BATCHES: i64 = 2_048;
/// How many failures are read at once.
const FAILURES: i64 = 65_536;
/// How many blocks of formerly known IDs are read at once.
const BLOCKS: i64 = 64;

/// What was carried over from the former ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CarriedOver {
    /// References that are still to be asked for.
    pub pending: u64,
    /// Of these, references that the former ledger had recorded as archived and that the archive does not hold.
    pub lost: u64,
    /// References that were to be asked for, and that the archive holds.
    pub archived: u64,
    /// What became of the cursor.
    pub cursor: CarriedCursor,
    /// Why the former ledger could not be read to its end, so that nothing of it was carried over.
    pub damaged: Option<String>,
}

/// What became of the former ledger's cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CarriedCursor {
    /// There was none: the source is read from its start.
    #[default]
    None,
    /// Everything before it is archived, pending or failed.
    Kept,
    /// So many references before it are neither: the source is read from its start.
    Dropped(u64),
}

/// A table of batches.
#[derive(Clone, Copy)]
struct Table {
    name: &'static str,
    key: &'static str,
    history: &'static str,
}

const TO_ASK: [Table; 2] = [
    Table { name: "pending", key: "seq", history: "history" },
    Table { name: "carried", key: "id", history: "history" },
];
const DONE: Table = Table { name: "done", key: "seq", history: "null" };

/// Carries over, or, from a ledger that is damaged inside, nothing.
pub(super) async fn carry(build: &mut Build, now: Timestamp) -> Result<CarriedOver, Fault> {
    match sift(build, now).await {
        Ok(carried) => know_the_rest(build, carried).await,
        Err(fault) => {
            let damaged = Some(former::damage(fault)?);
            let mut conn = build.ledger.writer().await?;
            let mut tx = begin(&mut conn).await?;
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
            Ok(CarriedOver { damaged, ..CarriedOver::default() })
        }
    }
}

/// Takes what the archive holds out of what was pending, failed or lately done. Reads all of it, so that damage shows
/// before anything of it becomes known.
async fn sift(build: &Build, now: Timestamp) -> Result<CarriedOver, Fault> {
    // What was asked for again is in the archive, in versions that this ledger may not know.
    for sql in [
        "delete from pending where depth < 0",
        "delete from carried where depth < 0",
        "delete from done where depth < 0",
        "delete from versions",
    ] {
        sqlx::query(sql).execute(&mut *build.ledger.writer().await?).await?;
    }
    let mut archived = 0;
    for table in TO_ASK {
        archived += drop_archived(build, table).await?;
    }
    let lost = reopen_lost(build).await?;
    close_archived(build, now).await?;
    Ok(CarriedOver { lost, archived, ..CarriedOver::default() })
}

/// Makes known, beside what the archive holds, what is pending and failed.
async fn know_the_rest(build: &mut Build, mut carried: CarriedOver) -> Result<CarriedOver, Fault> {
    for table in TO_ASK {
        let mut after = i64::MIN;
        while let Some((last, batches)) = page(build, table, after).await? {
            after = last;
            let ids: Vec<i64> = batches.iter().flat_map(|(_, batch)| ids_of(batch)).collect();
            carried.pending += ids.len() as u64;
            build.make_known(ids).await?;
        }
    }
    let mut after = 0;
    while let Some((last, ids)) = failed(build, after).await? {
        after = last;
        build.make_known(ids).await?;
    }
    build.flush().await?;
    carried.cursor = cursor(build).await?;
    Ok(carried)
}

fn ids_of(batch: &Batch) -> impl Iterator<Item = i64> {
    batch.refs.iter().map(|reference| reference.message_server_id)
}

/// The next batches of a table, and the key of the last.
async fn page(build: &Build, table: Table, after: i64) -> Result<Option<(i64, Vec<(i64, Batch)>)>, Fault> {
    let Table { name, key, history } = table;
    let sql = format!(
        "select {key} as id, depth, key, asked, body, {history} as history from {name}
         where {key} > ? order by {key} limit ?"
    );
    let rows =
        sqlx::query(AssertSqlSafe(sql)).bind(after).bind(BATCHES).fetch_all(&mut *build.ledger.writer().await?).await?;
    let read = |row: &SqliteRow| Ok::<_, Fault>((row.value("id")?, pending::batch(row)?));
    let batches = rows.iter().map(read).collect::<Result<Vec<(i64, Batch)>, _>>()?;
    Ok(batches.last().map(|(last, _)| *last).map(|last| (last, batches)))
}

/// The IDs of these batches that the archive holds.
async fn archived(build: &Build, batches: &[(i64, Batch)]) -> Result<HashSet<i64>, Fault> {
    let mut ids: Vec<i64> = batches.iter().flat_map(|(_, batch)| ids_of(batch)).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(build.ledger.look_up(&ids).await?.into_iter().collect())
}

/// Takes out of a table's batches what the archive holds. Returns how many references that were.
async fn drop_archived(build: &Build, table: Table) -> Result<u64, Fault> {
    let Table { name, key, .. } = table;
    let (mut dropped, mut after) = (0, i64::MIN);
    while let Some((last, batches)) = page(build, table, after).await? {
        after = last;
        let archived = archived(build, &batches).await?;
        let mut conn = build.ledger.writer().await?;
        let mut tx = begin(&mut conn).await?;
        for (id, batch) in batches.iter().filter(|(_, batch)| ids_of(batch).any(|id| archived.contains(&id))) {
            let rest = batch.subset(|index| !archived.contains(&batch.refs[index].message_server_id));
            dropped += (batch.refs.len() - rest.refs.len()) as u64;
            if rest.refs.is_empty() {
                let sql = format!("delete from {name} where {key} = ?");
                sqlx::query(AssertSqlSafe(sql)).bind(id).execute(&mut *tx).await?;
            } else {
                let sql = format!("update {name} set refs = ?, body = ?, history = ? where {key} = ?");
                sqlx::query(AssertSqlSafe(sql))
                    .bind(rest.refs.len() as i64)
                    .bind(body(&rest.key, &rest.owners, &rest.refs)?)
                    .bind(histories::encode(&rest.histories))
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
    }
    Ok(dropped)
}

/// Makes pending again what the former ledger recorded as archived, lately enough to remember it, and the archive does
/// not hold. Returns how many references that are.
async fn reopen_lost(build: &Build) -> Result<u64, Fault> {
    let mut lost: HashSet<i64> = HashSet::new();
    let mut after = i64::MIN;
    while let Some((last, batches)) = page(build, DONE, after).await? {
        after = last;
        let archived = archived(build, &batches).await?;
        lost.extend(batches.iter().flat_map(|(_, batch)| ids_of(batch)).filter(|id| !archived.contains(id)));
    }
    for table in TO_ASK {
        let mut after = i64::MIN;
        while let Some((last, batches)) = page(build, table, after).await? {
            after = last;
            for id in batches.iter().flat_map(|(_, batch)| ids_of(batch)) {
                lost.remove(&id);
            }
        }
    }
    let reopened = lost.len() as u64;
    let mut after = i64::MIN;
    while let Some((last, batches)) = page(build, DONE, after).await? {
        after = last;
        let mut again = Vec::new();
        for (_, batch) in &batches {
            // Each reference once, though two batches may hold it.
            let is_lost: Vec<bool> = ids_of(batch).map(|id| lost.remove(&id)).collect();
            again.push(batch.subset(|index| is_lost[index]));
        }
        again.retain(|batch| !batch.refs.is_empty());
        append(&mut *build.ledger.writer().await?, &again).await?;
    }
    sqlx::query("delete from done").execute(&mut *build.ledger.writer().await?).await?;
    Ok(reopened)
}

/// The next IDs of failures that are open or being retried, and where to go on.
async fn failed(build: &Build, after: i64) -> Result<Option<(i64, Vec<i64>)>, Fault> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select id, message_server_id from failures
         where id > ? and state < 2 and class <> 'invalid' and message_server_id is not null order by id limit ?",
    )
    .bind(after)
    .bind(FAILURES)
    .fetch_all(&mut *build.ledger.writer().await?)
    .await?;
    Ok(rows.last().map(|(last, _)| (*last, rows.iter().map(|(_, id)| *id).collect())))
}

/// Closes the failures of messages that the archive holds.
async fn close_archived(build: &Build, now: Timestamp) -> Result<(), Fault> {
    let mut after = 0;
    while let Some((last, mut ids)) = failed(build, after).await? {
        after = last;
        ids.sort_unstable();
        let archived = build.ledger.look_up(&ids).await?;
        close(&mut *build.ledger.writer().await?, &archived, millis(now), "archived").await?;
    }
    Ok(())
}

/// Keeps the cursor if everything that was planned before it is still known.
async fn cursor(build: &Build) -> Result<CarriedCursor, Fault> {
    let has_cursor: bool = sqlx::query_scalar("select exists (select 1 from ledger where checkpoint is not null)")
        .fetch_one(&mut *build.ledger.writer().await?)
        .await?;
    if !has_cursor {
        return Ok(CarriedCursor::None);
    }
    let (mut unknown, mut after) = (0, 0);
    loop {
        let sql = "select id, ids from former where id > ? order by id limit ?";
        let blocks: Vec<(i64, Vec<u8>)> =
            sqlx::query_as(sql).bind(after).bind(BLOCKS).fetch_all(&mut *build.ledger.writer().await?).await?;
        let Some((last, _)) = blocks.last() else { break };
        after = *last;
        let mut planned = Vec::new();
        for (_, block) in &blocks {
            match ids::decode(block) {
                Ok(ids) => planned.extend(ids),
                // Nobody knows what was in it, nor whether it is still known.
                Err(_) => unknown += ids::BLOCK as u64,
            }
        }
        planned.sort_unstable();
        planned.dedup();
        unknown += (planned.len() - build.ledger.look_up(&planned).await?.len()) as u64;
    }
    if unknown == 0 {
        return Ok(CarriedCursor::Kept);
    }
    sqlx::query("update ledger set checkpoint = null, checkpoint_source = null")
        .execute(&mut *build.ledger.writer().await?)
        .await?;
    Ok(CarriedCursor::Dropped(unknown))
}
