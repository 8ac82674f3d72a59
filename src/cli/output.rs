//! Printing: results to stdout, complaints to stderr.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use crate::model::retention::RetentionOutlook;
pub(super) use crate::page::figures::{count, counted, duration as span, size as bytes};
pub(super) use crate::replacement::{Replacement, replace};

/// Prints a line of a result.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Prints something indented JSON.
pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)?;
    Ok(())
}

/// Reports why a command did not work. A closed stderr is not a reason to fail differently.
pub(super) fn complain(text: &str) {
    writeln!(io::stderr().lock(), "yunxin-archiver: {}", harmless(text)).ok();
}

/// Reports a usage error, or prints the help that was asked for.
pub(super) fn usage(error: &clap::Error) {
    if std::env::args_os().any(|typed| typed.to_string_lossy().contains(char::is_control)) {
        // clap quotes what was typed.
        write!(io::stderr().lock(), "{}", harmless(&error.to_string())).ok();
    } else {
        error.print().ok();
    }
}

/// A text in which a terminal obeys nothing but line ends.
fn harmless(text: &str) -> String {
    escaped(text, |character| character.is_control() && character != '\n')
}

/// A text from elsewhere as one line that a terminal only shows.
pub(super) fn one_line(text: &str) -> String {
    escaped(text, char::is_control)
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_escaped(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Tells something to whoever watches; scripts do not see it.
pub(super) fn say(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Whether stderr takes colours.
pub(super) fn colours() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether the reader of stdout is gone.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    // JSON and CSV encoders hide the writer's error instead of naming it as their cause.
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let plain = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = || cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        let csv = || match cause.downcast_ref::<csv::Error>().map(csv::Error::kind) {
            Some(csv::ErrorKind::Io(error)) => Some(error.kind()),
            _ => None,
        };
        plain.or_else(json).or_else(csv)
    };
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

/// Rows under a header. Columns are as wide as their widest cell, and numbers are right-aligned.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let numeric = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).all(|cell| {
            cell.is_empty() || cell.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.' | '%' | ' ' | '-'))
        })
    };
    let right: Vec<bool> = (0..header.len()).map(numeric).collect();
    let format = |cells: &[String]| {
        let mut out = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            if right[column] {
                out.push_str(&pad);
                out.push_str(cell);
            } else {
                out.push_str(cell);
                out.push_str(&pad);
            }
            out.push_str("  ");
        }
        out.truncate(out.trim_end().len());
        out
    };
    let mut lines = vec![format(&header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())];
    lines.extend(rows.iter().map(|row| format(row)));
    lines.join("\n")
}

/// Open failures, as a number for each class.
pub(super) fn failures<Class: Display>(open: &BTreeMap<Class, u64>) -> String {
    let open = open.iter().filter(|(_, number)| **number > 0);
    let kinds: Vec<String> = open.map(|(class, number)| format!("{} {class}", count(*number))).collect();
    if kinds.is_empty() { "none open".to_owned() } else { kinds.join(", ") }
}

/// How references stand against the vendor's retention.
pub(super) fn retention(outlook: &RetentionOutlook) -> String {
    let RetentionOutlook { retention_seconds, oldest_pending_seconds, gone, expiring } = *outlook;
    let span = |seconds: i64| span(seconds.unsigned_abs() as f64);
    let kept = self::span(retention_seconds as f64);
    let mut text = match oldest_pending_seconds {
        None => format!("retention {kept}: nothing is pending"),
        Some(left) if left < 0 => format!("retention {kept}: the oldest reference left it {} ago", span(left)),
        Some(left) => format!("retention {kept}: the oldest reference leaves it in {}", span(left)),
    };
    for (references, what) in
        [(gone, "gone already"), (expiring, "will be gone before the job gets to them at the quota")]
    {
        if references > 0 {
            text.push_str(&format!("; {} {what}", count(references)));
        }
    }
    text
}

/// A duration, rounded up to the second.
pub(super) fn duration(seconds: f64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds.ceil().max(0.0) as u64)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "1,000".to_owned()]];
        assert_eq!(table(&["name", "n"], &rows), "name      n\na         1\nlong  1,000");
    }
}
