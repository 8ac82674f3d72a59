//! A failure as it is written: a JSON line that is itself a reference, or a CSV row for spreadsheets.

use std::io::Write;

use serde::Serialize;

use crate::ledger::{FailureRow, FailureState};

/// One failure, with its fields in this order. Its JSON line is a reference, so a file of failures is itself a source.
#[derive(Serialize)]
struct Record<'a> {
    job: &'a str,
    run_id: String,
    conversation_id: Option<&'a str>,
    /// Text, because jq, JavaScript and spreadsheets round numbers with that many digits.
    message_server_id: Option<String>,
    create_time: Option<i64>,
    class: &'static str,
    code: Option<i64>,
    message: &'a str,
    attempts: u64,
    retryable: bool,
    first_seen: String,
    last_seen: String,
    source: Option<&'a str>,
    requested: bool,
    /// How many rows this entry stands for, if more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(flatten)]
    dismissed: Option<Dismissed<'a>>,
}

#[derive(Serialize)]
struct Dismissed<'a> {
    #[serde(rename = "dismissed_at")]
    at: String,
    #[serde(rename = "dismissed_by")]
    by: &'a str,
    reason: &'a str,
}

impl<'a> Dismissed<'a> {
    fn of(row: &'a FailureRow) -> Option<Self> {
        let (at, reason) = row.closed.as_ref().filter(|_| row.state == FailureState::Dismissed)?;
        Some(Self { at: at.to_string(), by: row.closed_by.as_deref().unwrap_or_default(), reason })
    }
}

pub(super) fn json_line(out: &mut impl Write, row: &FailureRow) -> anyhow::Result<()> {
    let record = Record {
        job: &row.job,
        run_id: row.run_id.to_string(),
        conversation_id: row.conversation_id.as_deref(),
        message_server_id: row.message_server_id.map(|id| id.to_string()),
        create_time: row.create_time,
        class: row.class.as_str(),
        code: row.code,
        message: &row.message,
        attempts: row.attempts,
        retryable: row.retryable,
        first_seen: row.first_seen.to_string(),
        last_seen: row.last_seen.to_string(),
        source: row.source.as_deref(),
        requested: !row.extra,
        rows: (row.rows > 1).then_some(row.rows),
        dismissed: Dismissed::of(row),
    };
    let mut line = serde_json::to_vec(&record)?;
    line.push(b'\n');
    Ok(out.write_all(&line)?)
}

pub(super) fn columns(dismissed: bool) -> Vec<&'static str> {
    let mut columns = vec![
        "job",
        "run_id",
        "conversation_id",
        "message_server_id",
        "create_time",
        "class",
        "code",
        "message",
        "attempts",
        "retryable",
        "first_seen",
        "last_seen",
        "source",
        "requested",
        "rows",
    ];
    if dismissed {
        columns.extend(["dismissed_at", "dismissed_by", "reason"]);
    }
    columns
}

pub(super) fn cells(row: &FailureRow, dismissed: bool) -> Vec<String> {
    let number = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    let mut cells = vec![
        row.job.clone(),
        row.run_id.to_string(),
        harmless(row.conversation_id.as_deref().unwrap_or_default()),
        // A spreadsheet keeps 15 digits of a number, but all of a text. A source reads either.
        row.message_server_id.map(|id| format!("'{id}")).unwrap_or_default(),
        number(row.create_time),
        row.class.to_string(),
        number(row.code),
        harmless(&row.message),
        row.attempts.to_string(),
        row.retryable.to_string(),
        row.first_seen.to_string(),
        row.last_seen.to_string(),
        harmless(row.source.as_deref().unwrap_or_default()),
        (!row.extra).to_string(),
        row.rows.to_string(),
    ];
    if dismissed {
        let said = Dismissed::of(row).map(|Dismissed { at, by, reason }| [at, harmless(by), harmless(reason)]);
        cells.extend(said.unwrap_or_default());
    }
    cells
}

/// A text that no spreadsheet takes for a formula. A source of CSV takes the apostrophe away again, and so that it takes
/// none of the text's own, a text with apostrophes before such a beginning gets one more.
fn harmless(text: &str) -> String {
    let begins = text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r']);
    if begins { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1", "''@x"] {
            assert_eq!(harmless(text), format!("'{text}"));
        }
        assert_eq!(harmless("a|1|b"), "a|1|b");
        assert_eq!(harmless("'a|1|b"), "'a|1|b");
    }
}
