//! Which invalid rows are recorded one by one and which together: of an input that is of another kind all rows are
//! invalid.

use sha2::{Digest as _, Sha256};

use crate::model::reference::Invalid;

/// How many rows are recorded one by one.
const ONE_BY_ONE: u64 = 10_000;
/// How many of every input, however many there were before.
const OF_EACH: u64 = 100;

/// How many rows were recorded one by one since the ledger was opened.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Grouping {
    rows: u64,
    input: String,
    of_input: u64,
}

/// One or more invalid rows, as they are recorded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) rows: u64,
    pub(super) position: String,
    pub(super) message: String,
    /// Of several rows: a hash of all that is known of them, so that a change in any of them makes another entry.
    pub(super) mark: String,
    /// The IDs in several rows, sorted.
    pub(super) ids: Vec<i64>,
    pub(super) first: &'a Invalid,
}

impl Grouping {
    /// Rows as they are to be recorded, in their order.
    pub(super) fn entries<'a>(&mut self, mut rows: &'a [Invalid]) -> Vec<Entry<'a>> {
        let mut entries = Vec::new();
        while let [first, ..] = rows {
            let size = if self.is_alone(first) {
                1
            } else {
                rows.iter().position(|row| row.input() != first.input()).unwrap_or(rows.len())
            };
            let (group, rest) = rows.split_at(size);
            entries.push(entry(first, group));
            rows = rest;
        }
        entries
    }

    /// Whether this row is recorded by itself.
    fn is_alone(&mut self, row: &Invalid) -> bool {
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
    fn beyond_a_bound_rows_of_one_input_are_recorded_together_and_every_input_has_its_first_rows() {
        let mut grouping = Grouping::default();
        let first = rows("a.csv:", 2..ONE_BY_ONE + 1);
        assert!(grouping.entries(&first).iter().all(|entry| entry.rows == 1));
        let mut more = rows("a.csv:", 20_000..20_005);
        more.extend(rows("b.parquet: row ", 1..OF_EACH + 4));
        more.extend(rows("a.csv:", 7..9));
        let entries = grouping.entries(&more);
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
