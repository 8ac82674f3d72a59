//! Rows of the input that are no reference, in the table of failures.

use std::collections::HashSet;

use sqlx::{QueryBuilder, SqliteConnection};
use uuid::Uuid;

use super::grouping::Entry;
use crate::ledger::encoding::ids;
use crate::ledger::error::Fault;
use crate::ledger::values::{Columns as _, ROWS};
use crate::model::failure::Class;

/// Records rows; returns how many of them are new.
pub(super) async fn store(
    conn: &mut SqliteConnection,
    run_id: Uuid,
    now: i64,
    entries: &[Entry<'_>],
) -> Result<u64, Fault> {
    let run_id = run_id.to_string();
    let mut new = 0;
    for some in entries.chunks(ROWS) {
        let mut sql = QueryBuilder::new(
            "insert into failures (state, class, message, retryable, attempts, rounds, message_server_id, create_time,
                                   conversation_id, source, run_id, first_seen, last_seen, rows, mark, ids) ",
        );
        sql.push_values(some, |mut row, entry| {
            let alone = (entry.rows == 1).then_some(entry.first);
            row.push_bind(0)
                .push_bind(Class::Invalid.as_str())
                .push_bind(entry.message.as_str())
                .push_bind(false)
                .push_bind(0)
                .push_bind(1)
                .push_bind(alone.and_then(|row| row.message_server_id))
                .push_bind(alone.and_then(|row| row.create_time))
                .push_bind(alone.and_then(|row| row.conversation_id.as_deref()))
                .push_bind(entry.position.as_str())
                .push_bind(run_id.as_str())
                .push_bind(now)
                .push_bind(now)
                .push_bind(entry.rows as i64)
                .push_bind(entry.mark.as_str())
                .push_bind((!entry.ids.is_empty()).then(|| ids::encode(&entry.ids)));
        });
        sql.push(
            " on conflict (source, message, mark) where state < 2 and class = 'invalid' do update
             set rounds = rounds + 1, run_id = excluded.run_id, last_seen = excluded.last_seen
             returning iif(rounds = 1, rows, 0)",
        );
        let counts: Vec<i64> = sql.build_query_scalar().fetch_all(&mut *conn).await?;
        new += counts.into_iter().sum::<i64>() as u64;
    }
    Ok(new)
}

/// The IDs in rows that are recorded together and not closed, by the number of the failure.
pub(super) async fn grouped_ids(conn: &mut SqliteConnection) -> Result<Vec<(i64, Vec<i64>)>, Fault> {
    let sql = "select id, ids from failures indexed by failures_together where state < 2 and ids is not null";
    let rows = sqlx::query(sql).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let id: i64 = row.value("id")?;
            let ids = ids::decode(row.value("ids")?).map_err(Fault::damaged(format_args!("failure {id}")))?;
            Ok((id, ids))
        })
        .collect()
}

/// Takes the rows of these IDs out of those that are recorded together; returns how many rows that were.
pub(super) async fn close_grouped(
    conn: &mut SqliteConnection,
    ids: &[i64],
    now: i64,
    note: &str,
) -> Result<u64, Fault> {
    if ids.is_empty() {
        return Ok(0);
    }
    let ids: HashSet<i64> = ids.iter().copied().collect();
    let mut closed = 0;
    for (id, mut left) in grouped_ids(conn).await? {
        let before = left.len();
        left.retain(|id| !ids.contains(id));
        let gone = (before - left.len()) as u64;
        if gone == 0 {
            continue;
        }
        closed += gone;
        // A failure that is closed as a whole keeps its number of rows.
        sqlx::query(
            "update failures set ids = ?2, rows = iif(rows > ?3, rows - ?3, rows),
                 state = iif(rows > ?3, state, 2), closed_at = iif(rows > ?3, closed_at, ?4),
                 note = iif(rows > ?3, note, ?5), closed_by = iif(rows > ?3, closed_by, null)
             where id = ?1",
        )
        .bind(id)
        .bind((!left.is_empty()).then(|| ids::encode(&left)))
        .bind(gone as i64)
        .bind(now)
        .bind(note)
        .execute(&mut *conn)
        .await?;
    }
    Ok(closed)
}
