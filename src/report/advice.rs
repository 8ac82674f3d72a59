//! What a run's end means, and what to do.

use super::figures::{count, counted};
use super::{Ending, Report, Since};

/// What is said at the top of a page.
pub(super) struct Advice {
    /// One word.
    pub(super) badge: &'static str,
    /// How grave it is: a class of the style sheet.
    pub(super) tone: &'static str,
    /// What happened, in a sentence or two.
    pub(super) sentence: String,
    /// What each command does, and the command.
    pub(super) commands: Vec<(String, String)>,
}

pub(super) fn advice(report: &Report) -> Advice {
    let command = |rest: &str| format!("{} {rest}", report.invocation);
    let run = || command(&format!("run {}", report.job));
    let r = &report.references;
    let new: u64 = report.new_failures.iter().map(|(_, count)| count).sum();
    let pending = counted(r.pending, "reference is", "references are");
    let status = ("what is pending and open now".to_owned(), command(&format!("status {}", report.job)));
    let go_on = |words: &str| (words.to_owned(), run());
    let (badge, tone, sentence, mut commands) = match report.ending {
        Ending::Running => (
            "running",
            "neutral",
            "This run is under way. The page shows it as it was noted last; make it again for a later view.".to_owned(),
            vec![status.clone()],
        ),
        Ending::Complete if new == 0 => (
            "complete",
            "good",
            "Every reference ended in one state, and the sums agree. Nothing is left to be done.".to_owned(),
            vec![go_on("goes on from here, at any time")],
        ),
        Ending::Complete => (
            "complete",
            "good",
            format!(
                "Every reference ended in one state, and the sums agree. {} new in this run, all of a kind that the job tolerates.",
                counted(new, "failure is", "failures are")
            ),
            vec![go_on("goes on from here, at any time")],
        ),
        Ending::Partial if report.error.is_some() => (
            "complete, but looks wrong",
            "bad",
            "Every reference ended in one state, and the sums agree, but nearly nothing came of them.".to_owned(),
            vec![
                ("shows how rows are understood".to_owned(), command(&format!("check --connect {}", report.job))),
                go_on("goes on from here, and asks again what is due"),
            ],
        ),
        Ending::Partial => (
            "complete, with failures",
            "warn",
            format!(
                "Every reference ended in one state, and the sums agree. {} new in this run and not tolerated by the job.",
                counted(new, "failure is", "failures are")
            ),
            vec![go_on("goes on from here, and asks again what is due")],
        ),
        Ending::Stopped => (
            "stopped",
            "warn",
            format!(
                "The run was stopped before its end. {pending} pending; nothing is lost, and nothing is fetched twice."
            ),
            vec![go_on("goes on where it stopped")],
        ),
        Ending::Failed => failed(report, &pending, run()),
        Ending::Died => (
            "died",
            "bad",
            format!(
                "The process ended without saying how: killed, or the machine went down. What was committed is safe; {pending} pending. \
                 Counts of rows read are as they were noted last, seconds before."
            ),
            vec![go_on("finishes what was left, and goes on")],
        ),
    };
    if report.failures.iter().any(|kind| kind.listed.iter().any(|line| line.since == Since::Open)) {
        commands.push((
            "every open failure, with what the API said".to_owned(),
            command(&format!("failures {}", report.job)),
        ));
    }
    let mut retryable: Vec<&str> = report
        .failures
        .iter()
        .filter(|kind| kind.listed.iter().any(|line| line.retryable && line.since == Since::Open))
        .map(|kind| kind.class.as_str())
        .collect();
    retryable.dedup();
    if !retryable.is_empty() && report.ending != Ending::Running && report.exit_code != Some(4) {
        let classes = retryable.iter().map(|class| format!(" --class {class}")).collect::<Vec<_>>().concat();
        commands.push((
            "asks these again at once, due or not".to_owned(),
            command(&format!("retry {}{classes}", report.job)),
        ));
    }
    let mut sentence = sentence;
    if !report.is_latest {
        sentence.push_str(&format!(
            " Later runs have gone on since: {} pending now, {} open.",
            counted(report.pending_now, "reference is", "references are"),
            counted(report.open_now, "failure is", "failures are")
        ));
        if !commands.contains(&status) {
            commands.insert(0, status);
        }
    }
    Advice { badge, tone, sentence, commands }
}

fn failed(report: &Report, pending: &str, run: String) -> (&'static str, &'static str, String, Vec<(String, String)>) {
    let first = match report.exit_code {
        Some(4) => "Credentials or permission were refused. Correct them first; asking again before does harm.",
        Some(2) => "The configuration, or something it names, does not fit. Correct what the error names first.",
        Some(75) => "Another process holds the job, its app or its archive. Wait for it.",
        _ => "The run could not go on. Remove the cause that the error names, then run again.",
    };
    let archived = report.references.archived;
    let safe =
        if archived > 0 { format!(" {} messages were archived and are safe;", count(archived)) } else { String::new() };
    (
        "failed",
        "bad",
        format!("{first}{safe} {pending} pending."),
        vec![("goes on where it stopped, once the cause is gone".to_owned(), run)],
    )
}
