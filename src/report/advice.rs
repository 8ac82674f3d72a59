//! What the end of a run means, and what to do next.

use super::{Ending, Report, Since};
use crate::page::figures::counted;

/// The top of a page.
pub(super) struct Advice {
    /// The ending in a few words.
    pub(super) badge: &'static str,
    /// How grave it is: `good`, `warn`, `bad` or `neutral`.
    pub(super) tone: &'static str,
    /// What happened, in a sentence or two.
    pub(super) sentence: String,
    /// Purpose and text of each command.
    pub(super) commands: Vec<(String, String)>,
}

impl Advice {
    pub(super) fn of(report: &Report) -> Self {
        let new: u64 = report.new_failures.iter().map(|(_, count)| count).sum();
        let failures = counted(new, "failure is", "failures are");
        let pending = counted(report.references.pending, "reference is", "references are");
        let complete = "Every reference ended in one state, and the sums agree.";
        let (badge, tone, mut sentence, purpose) = match report.ending {
            Ending::Running => (
                "running",
                "neutral",
                "This run is still under way. The page shows what was recorded last; create it again for a later view."
                    .to_owned(),
                None,
            ),
            Ending::Complete if new == 0 => (
                "complete",
                "good",
                format!("{complete} There is nothing left to do."),
                Some("continues from here, at any time"),
            ),
            Ending::Complete => (
                "complete",
                "good",
                format!("{complete} {failures} new in this run, all of a kind that the job tolerates."),
                Some("continues from here, at any time"),
            ),
            Ending::Partial if report.looks_wrong() => (
                "complete, but looks wrong",
                "bad",
                format!("{complete} But the result as a whole looks wrong."),
                Some("continues from here, and asks again for what is due"),
            ),
            Ending::Partial => (
                "complete, with failures",
                "warn",
                format!("{complete} {failures} new in this run and not tolerated by the job."),
                Some("continues from here, and asks again for what is due"),
            ),
            Ending::Stopped => (
                "stopped",
                "warn",
                format!(
                    "The run was stopped before its end. {pending} pending; nothing is lost, and nothing is fetched twice."
                ),
                Some("continues where the run stopped"),
            ),
            Ending::Failed => ("failed", "bad", failed(report, &pending), Some("continues once the cause is gone")),
            Ending::Died => (
                "died",
                "bad",
                format!(
                    "The process ended without a word: it was killed, or the machine went down. What was committed is safe; \
                     {pending} pending. Counts of rows read date from seconds before the end."
                ),
                Some("finishes what was left, and continues"),
            ),
        };
        if !report.is_latest && report.among.is_none() {
            sentence.push_str(&format!(
                " There were later runs: {} pending now, {} open.",
                counted(report.pending_now, "reference is", "references are"),
                counted(report.open_now, "failure is", "failures are")
            ));
        }
        Self { badge, tone, sentence, commands: commands(report, purpose) }
    }
}

/// `purpose` says what running the job again does, if that is advised.
fn commands(report: &Report, purpose: Option<&str>) -> Vec<(String, String)> {
    let mut commands = Vec::new();
    let mut add = |purpose: &str, command: &str| {
        commands.push((purpose.to_owned(), format!("{} {command}", report.invocation)));
    };
    let job = &report.job;
    if purpose.is_none() || !report.is_latest {
        add("shows what is pending and open now", &format!("status {job}"));
    }
    if report.looks_wrong() {
        add("shows how the rows are understood", &format!("check --connect {job}"));
    }
    if let Some(purpose) = purpose {
        add(purpose, &format!("run {job}"));
    }
    let open = || report.failures.iter().flat_map(|kind| &kind.listed).filter(|line| line.since == Since::Open);
    if open().next().is_some() {
        add("lists every open failure, with what the API said", &format!("failures {job}"));
    }
    let is_retryable =
        |kind: &&super::FailureKind| kind.listed.iter().any(|line| line.retryable && line.since == Since::Open);
    let mut classes: Vec<&str> = report.failures.iter().filter(is_retryable).map(|kind| kind.class.as_str()).collect();
    classes.dedup();
    if !classes.is_empty() && report.ending != Ending::Running && report.exit_code != Some(4) {
        add(
            "asks for these again at once, whether due or not",
            &format!("retry {job} --class {}", classes.join(" --class ")),
        );
    }
    commands
}

fn failed(report: &Report, pending: &str) -> String {
    let first = match report.exit_code {
        Some(4) => "Credentials or permission were refused. Correct them before you run again: insisting does harm.",
        Some(2) => "The configuration, or something that it names, is wrong. Correct what the error names first.",
        Some(75) => "Another process holds the job, its app or its archive. Wait for it to end.",
        _ => "The run could not continue. Remove the cause that the error names, then run again.",
    };
    let archived = match report.references.archived {
        0 => String::new(),
        archived => format!(" {} archived and safe;", counted(archived, "message is", "messages are")),
    };
    format!("{first}{archived} {pending} pending.")
}
