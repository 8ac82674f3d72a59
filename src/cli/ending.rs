//! The block that closes a run on a terminal.

use std::path::Path;

use super::output::{self, bytes, count};
use super::provenance;
use crate::model::fleet::FleetState;
use crate::model::summary::{JobSummary, Outcome};

/// The run in a few lines: references, requests, and what to do next.
pub(super) fn block(summary: &JobSummary, config: &Path, colours: bool) -> String {
    let paint = |code: &str, text: &str| if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let r = &summary.references;
    let seconds = summary.finished_at.duration_since(summary.started_at).as_secs_f64();
    let outcome = match outcome(summary) {
        FAILURES => format!("{FAILURES}{}", not_tolerated(summary)),
        outcome => outcome.to_owned(),
    };
    let colour = match summary.outcome {
        Outcome::Complete => "1;32",
        Outcome::Partial if summary.looks_wrong.is_empty() => "1;33",
        Outcome::Stopped => "1;33",
        Outcome::Partial | Outcome::Failed => "1;31",
    };
    let mut lines = vec![
        String::new(),
        format!(
            "  {}  {}  {}",
            paint("1", &summary.job),
            paint(colour, &outcome),
            paint("2", &format!("{seconds:.1} s"))
        ),
    ];
    if (summary.outcome != Outcome::Partial || summary.looks_wrong.is_empty())
        && let Some(error) = &summary.error
    {
        lines.push(format!("  {error}"));
    }
    for found in &summary.looks_wrong {
        lines.push(format!("  {} {found}", paint("1;31", "this looks wrong:")));
    }
    if summary.run_id.is_some() {
        lines.push(String::new());
        let mut row = |indent: &str, name: &str, number: u64, note: &str| {
            let name = format!("{indent}{name}");
            let line = format!("  {name:<13}{}  {}", paint("1", &format!("{:>12}", count(number))), paint("2", note));
            lines.push(if note.is_empty() { line.trim_end().to_owned() } else { line });
        };
        row("", "read", r.read, "");
        for (name, number, note) in [
            ("skipped", r.skipped, "rows about other things"),
            ("invalid", r.invalid, "rows that are not references"),
            ("duplicate", r.duplicate, "known already"),
        ] {
            if number > 0 {
                row("  ", name, number, note);
            }
        }
        row("", "to fetch", r.accepted + r.resumed + r.retried, &taken_up(summary));
        row("  ", "archived", r.archived, &archived(summary));
        row("  ", "failed", r.failed, &failed(summary));
        row("  ", "pending", r.pending, if r.pending > 0 { "left for the next run" } else { "" });
        let extras = &summary.thread_extras;
        if extras.planned > 0 {
            let note = format!("{} archived, {} failed, {} pending", extras.archived, extras.failed, extras.pending);
            row("", "extras", extras.planned, &note);
        }
        let again = &summary.refetched;
        if again.planned > 0 {
            let mut note = format!(
                "{} unchanged, {} edited, {} vanished",
                count(again.unchanged),
                count(again.edited),
                count(again.vanished)
            );
            for (number, what) in [(again.failed, "failed"), (again.pending, "pending")] {
                if number > 0 {
                    note.push_str(&format!(", {} {what}", count(number)));
                }
            }
            row("", "asked again", again.planned, &note);
        }
        row("", "requests", summary.requests.sent, &requests(summary));
        if let Some(fleet) = &summary.fleet {
            row("", "workers", fleet.workers.len() as u64, &redelivered(fleet));
        }
        if let Some(retention) = &summary.retention {
            if retention.old_when_read > 0 {
                row("", "old", retention.old_when_read, "had left the vendor's retention when they were read");
            }
            if retention.pending.oldest_pending_seconds.is_some() {
                lines.push(format!("  {}", output::retention(&retention.pending)));
            }
        }
    }
    if let Some(head) = &summary.manifest {
        lines.push(format!("  manifest     {:>12}  SHA-256 {}", head.sequence, head.sha256));
        if provenance::is_worth_keeping(summary) {
            lines.push(format!("  {:<25}  {}", "", paint("2", provenance::ADVICE)));
        }
    }
    lines.push(String::new());
    for then in next(summary) {
        lines.push(format!("  {} {}", paint("2", "›"), command(config, &then)));
    }
    lines.join("\n")
}

/// How a run ended that had failures which its job does not tolerate.
const FAILURES: &str = "complete, with new failures";

/// How a run ended.
pub(super) fn outcome(summary: &JobSummary) -> &'static str {
    match summary.outcome {
        Outcome::Complete => "complete",
        Outcome::Partial if summary.looks_wrong.is_empty() => FAILURES,
        Outcome::Partial => "complete, but it looks wrong",
        Outcome::Stopped => "stopped",
        Outcome::Failed => "failed",
    }
}

/// The failures that make the exit code 3, in parentheses. Empty if it is 3 because the run looks wrong.
pub(super) fn not_tolerated(summary: &JobSummary) -> String {
    let kinds: Vec<String> = summary.not_tolerated.iter().map(|(kind, n)| format!("{} {kind}", count(*n))).collect();
    if kinds.is_empty() { String::new() } else { format!(" that the job does not tolerate ({})", kinds.join(", ")) }
}

/// A command to type, with the configuration that is in use.
pub(super) fn command(config: &Path, command: &str) -> String {
    let config = if config == Path::new("jobs.yaml") { String::new() } else { format!(" -c {}", config.display()) };
    format!("yunxin-archiver{config} {command}")
}

fn taken_up(summary: &JobSummary) -> String {
    let r = &summary.references;
    let mut parts = vec![format!("{} accepted", count(r.accepted))];
    if r.resumed > 0 {
        parts.push(format!("{} resumed", count(r.resumed)));
    }
    if r.retried > 0 {
        parts.push(format!("{} retried", count(r.retried)));
    }
    parts.join(" + ")
}

fn archived(summary: &JobSummary) -> String {
    match summary.files.len() {
        0 => String::new(),
        files => {
            let written = summary.files.iter().map(|file| file.bytes).sum();
            format!("in {files} {}, {}", if files == 1 { "file" } else { "files" }, bytes(written))
        }
    }
}

fn failed(summary: &JobSummary) -> String {
    let new: Vec<String> =
        summary.failures.iter().map(|(class, number)| format!("{} {class}", count(*number))).collect();
    if new.is_empty() { String::new() } else { format!("new: {}", new.join(", ")) }
}

fn requests(summary: &JobSummary) -> String {
    let requests = &summary.requests;
    if requests.sent == 0 {
        return String::new();
    }
    let rates = &summary.rates;
    let mut note = format!(
        "at least {} needed · {:.1} per second, {:.0}% of the quota",
        count(requests.minimum),
        rates.requests_per_second,
        rates.quota_used * 100.0
    );
    if requests.throttled > 0 {
        note.push_str(&format!(" · {} answered with 416", count(requests.throttled)));
    }
    note
}

/// What the workers of a run had to do twice.
pub(super) fn redelivered(fleet: &FleetState) -> String {
    let mut parts = Vec::new();
    for (number, what) in [(fleet.redelivered, "batches redelivered"), (fleet.refused, "results refused")] {
        if number > 0 {
            parts.push(format!("{} {what}", count(number)));
        }
    }
    parts.join(", ")
}

/// The commands to run next.
fn next(summary: &JobSummary) -> Vec<String> {
    let job = &summary.job;
    let mut commands = Vec::new();
    match summary.outcome {
        Outcome::Stopped | Outcome::Failed => commands.push(format!("run {job}")),
        Outcome::Partial => commands.push(format!("failures {job}")),
        Outcome::Complete => {}
    }
    if summary.run_id.is_some() {
        commands.push(format!("report {job}"));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::run::not_begun;
    use crate::model::summary::References;

    #[test]
    fn a_run_that_did_not_begin_says_why_and_shows_no_numbers() {
        let summary = not_begun("nightly", Outcome::Failed, 2, "no such column");
        let text = block(&summary, Path::new("jobs.yaml"), false);
        assert!(text.contains("nightly  failed") && text.contains("no such column"), "{text}");
        assert!(!text.contains("archived") && text.ends_with("› yunxin-archiver run nightly"), "{text}");
    }

    #[test]
    fn numbers_stand_in_a_column_and_colours_only_where_they_are_wanted() {
        let mut summary = not_begun("nightly", Outcome::Complete, 0, "");
        summary.run_id = Some("id".to_owned());
        summary.error = None;
        summary.references =
            References { read: 1_002, duplicate: 2, accepted: 1_000, archived: 1_000, ..References::default() };
        let text = block(&summary, Path::new("a/b.yaml"), false);
        assert!(text.contains("  read                1,002\n    duplicate             2  known already\n"), "{text}");
        assert!(text.contains("› yunxin-archiver -c a/b.yaml report nightly") && !text.contains('\x1b'), "{text}");
        assert!(block(&summary, Path::new("a/b.yaml"), true).contains("\x1b[1;32mcomplete\x1b[0m"));
    }
}
