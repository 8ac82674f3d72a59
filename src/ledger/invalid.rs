//! Rows of the input that are no reference: the first of them one by one, and, of a file of another kind, the rest
//! together.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::error::Fault;
use super::ids;
use super::statement::{runs, values};
use crate::model::failure::Class;
use crate::model::reference::Invalid;

/// So many rows of a run are told one by one.
const ONE_BY_ONE: u64 = 10_000;
/// And so many of every input, however many there were before.
const OF_EACH: u64 = 100;

/// How many rows were told one by one, since the ledger was opened.
#[derive(Debug, Default)]
pub(super) struct Told {
    rows: u64,
    input: String,
    of_input: u64,
}

/// One or more rows, as they are recorded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    rows: u64,
    position: String,
    message: String,
    /// Of more than one row: a hash of all that is known of them, so that a change in any of them makes another entry.
    mark: String,
    /// The IDs in more than one row, sorted.
    ids: Vec<i64>,
    first: &'a Invalid,
}

impl Told {
    /// Rows as they are to be recorded, in their order.
    pub(super) fn sort<'a>(&mut self, rows: &'a [Invalid]) -> Vec<Entry<'a>> {
        let mut entries = Vec::new();
        let mut rest: &[Invalid] = rows;
        while let [first, ..] = rest {
            let alike = if self.tells(first) {
                1
            } else {
                rest.iter().position(|row| row.input() != first.input()).unwrap_or(rest.len())
            };
            let (these, others) = rest.split_at(alike);
            entries.push(entry(first, these));
            rest = others;
        }
        entries
    }

    /// Whether this row is told by itself.
    fn tells(&mut self, row: &Invalid) -> bool {
        if self.input != row.input() {
            row.input().clone_into(&mut self.input);
            self.of_input = 0;
        }
        self.rows += 1;
        self.of_input += 1;
        self.rows <= ONE_BY_ONE || self.of_input <= OF_EACH
    }
}

/// The entry of one row, or of several of one input.
fn entry<'a>(first: &'a Invalid, rows: &[Invalid]) -> Entry<'a> {
    let [.., _, last] = rows else {
        let (position, message) = (first.position.clone(), first.message.clone());
        return Entry { rows: 1, position, message, mark: String::new(), ids: Vec::new(), first };
    };
    let mut hash = Sha256::new();
    for Invalid { position, message, conversation_id, message_server_id, create_time } in rows {
        hash.update(format!(
            "{}\n",
            serde_json::json!([position, message, conversation_id, message_server_id, create_time])
        ));
    }
    let mut ids: Vec<i64> = rows.iter().filter_map(|row| row.message_server_id).collect();
    ids.sort_unstable();
    Entry {
        rows: rows.len() as u64,
        position: format!("{}-{}", first.position, last.row()),
        message: format!("{} rows that are no reference, the first: {}", rows.len(), first.message),
        mark: hex::encode(&hash.finalize()[..16]),
        ids,
        first,
    }
}

/// Records rows; returns how many of them are new.
pub(super) async fn store(
    conn: &mut SqliteConnection,
    run_id: Uuid,
    now: i64,
    entries: &[Entry<'_>],
) -> Result<u64, Fault> {
    let run_id = run_id.to_string();
    let mut new = 0;
    for some in runs(entries) {
        let sql = values(
            "insert into failures (state, class, message, retryable, attempts, rounds, message_server_id, create_time,
                                   conversation_id, source, run_id, first_seen, last_seen, rows, mark, ids) values",
            16,
            some.len(),
            "on conflict (source, message, mark) where state < 2 and class = 'invalid' do update
             set rounds = rounds + 1, run_id = excluded.run_id, last_seen = excluded.last_seen
             returning iif(rounds = 1, rows, 0)",
        );
        let mut query = sqlx::query_scalar(sql);
        for entry in some {
            let alone = (entry.rows == 1).then_some(entry.first);
            query = query
                .bind(0)
                .bind(Class::Invalid.as_str())
                .bind(entry.message.as_str())
                .bind(false)
                .bind(0)
                .bind(1)
                .bind(alone.and_then(|row| row.message_server_id))
                .bind(alone.and_then(|row| row.create_time))
                .bind(alone.and_then(|row| row.conversation_id.as_deref()))
                .bind(entry.position.as_str())
                .bind(run_id.as_str())
                .bind(now)
                .bind(now)
                .bind(entry.rows as i64)
                .bind(entry.mark.as_str())
                .bind((!entry.ids.is_empty()).then(|| ids::encode(&entry.ids)));
        }
        let counts: Vec<i64> = query.fetch_all(&mut *conn).await?;
        new += counts.into_iter().sum::<i64>() as u64;
    }
    Ok(new)
}

/// The IDs in rows that are told together and not closed, by the number of the failure.
pub(super) async fn together(conn: &mut SqliteConnection) -> Result<Vec<(i64, Vec<i64>)>, Fault> {
    let sql = "select id, ids from failures indexed by failures_together where state < 2 and ids is not null";
    let rows = sqlx::query(sql).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let (id, mut found): (i64, _) = (row.try_get(0)?, Vec::new());
            ids::decode(row.try_get(1)?, &mut found).map_err(Fault::damaged(format_args!("failure {id}")))?;
            Ok((id, found))
        })
        .collect()
}

/// Takes the rows of these IDs out of those that are told together; returns how many rows that were.
pub(super) async fn close(conn: &mut SqliteConnection, ids: &[i64], now: i64, note: &str) -> Result<u64, Fault> {
    if ids.is_empty() {
        return Ok(0);
    }
    let ids: HashSet<i64> = ids.iter().copied().collect();
    let mut closed = 0;
    for (id, mut left) in together(conn).await? {
        let before = left.len();
        left.retain(|id| !ids.contains(id));
        if left.len() == before {
            continue;
        }
        let gone = (before - left.len()) as u64;
        closed += gone;
        // What is closed as a whole keeps its number of rows.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(input: &str, numbers: std::ops::Range<u64>) -> Vec<Invalid> {
        let row = |n| Invalid {
            position: format!("{input}{n}"),
            message: "create_time is empty".to_owned(),
            conversation_id: None,
            message_server_id: (n % 2 == 0).then_some(n as i64),
            create_time: None,
        };
        numbers.map(row).collect()
    }

    fn positions(entries: &[Entry<'_>]) -> Vec<(String, u64)> {
        entries.iter().map(|entry| (entry.position.clone(), entry.rows)).collect()
    }

    #[test]
    fn beyond_a_bound_rows_of_one_input_are_told_together_and_every_input_has_its_first_rows() {
        let mut told = Told::default();
        let first = rows("a.csv:", 2..ONE_BY_ONE + 1);
        assert!(told.sort(&first).iter().all(|entry| entry.rows == 1));
        let mut more = rows("a.csv:", 20_000..20_005);
        more.extend(rows("b.parquet: row ", 1..OF_EACH + 4));
        more.extend(rows("a.csv:", 7..9));
        let entries = told.sort(&more);
        let found = positions(&entries);
        assert_eq!(found[..2], [("a.csv:20000".to_owned(), 1), ("a.csv:20001-20004".to_owned(), 4)]);
        assert_eq!(
            found[OF_EACH as usize + 1..][..2],
            [("b.parquet: row 100".to_owned(), 1), ("b.parquet: row 101-103".to_owned(), 3)]
        );
        assert_eq!(
            (entries[1].ids.as_slice(), entries[1].first.position.as_str()),
            (&[20_002, 20_004][..], "a.csv:20001")
        );
        assert_eq!(more.len() as u64, entries.iter().map(|entry| entry.rows).sum::<u64>());
        // The same rows have the same mark, and others another.
        let mark = |rows: &[Invalid]| entry(&rows[0], rows).mark;
        assert_eq!(mark(&first[..9]), mark(&rows("a.csv:", 2..11)));
        assert_ne!(mark(&first[..9]), mark(&first[..8]));
    }
}
