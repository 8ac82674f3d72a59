//! What did not become a message, by class and code.

use jiff::Timestamp;

use super::figures::{count, counted, time};
use super::markup::{details, escape, shortened, table};
use super::{FailureKind, FailureLine, Report, Since};
use crate::failure::Class;

/// Kinds with so few failures are open from the start.
const FEW: usize = 12;

/// A class in words.
pub(crate) fn meaning(class: Class) -> &'static str {
    match class {
        Class::Unavailable => "the API says that the message, or its whole conversation, is not there",
        Class::Unanswered => "the API's answer names the message in neither of its lists",
        Class::Refused => "the API refused the request, even with this reference alone in it",
        Class::Transport => "the attempts were used up by the network, a gateway or a busy service",
        Class::Undecodable => "the API answered with something that cannot be read as a message",
        Class::Invalid => "the input row is no reference",
    }
}

pub(super) fn section(report: &Report) -> String {
    let listed: u64 = report.failures.iter().map(|kind| kind.count).sum();
    let met = report.references.failed + report.references.invalid;
    let mut out = String::new();
    if listed == 0 {
        out.push_str(if met == 0 {
            "<p class=\"none\">Nothing failed.</p>"
        } else {
            "<p class=\"none\">None is left to list.</p>"
        });
    } else {
        let rows: Vec<Vec<String>> = report
            .failures
            .iter()
            .map(|kind| {
                vec![kind.class.to_string(), code(kind.code), count(kind.count), meaning(kind.class).to_owned()]
            })
            .collect();
        out.push_str(&table(
            "Failures by class and code",
            &[("class", false), ("code", true), ("failures", true), ("meaning", false)],
            &rows,
        ));
    }
    if met > listed {
        out.push_str(&format!(
            "<p class=\"note\">{} not among them: a later run met {} again, or {} already known.</p>",
            counted(met - listed, "failure of this run is", "failures of this run are"),
            if met - listed == 1 { "it" } else { "them" },
            if met - listed == 1 { "it repeats a row" } else { "they repeat rows" },
        ));
    }
    for kind in &report.failures {
        out.push_str(&one(report, kind));
    }
    out
}

fn code(code: Option<i64>) -> String {
    code.map_or_else(|| "–".to_owned(), |code| code.to_string())
}

fn one(report: &Report, kind: &FailureKind) -> String {
    let name = match kind.code {
        Some(code) => format!("{} <b>{code}</b>", kind.class),
        None => kind.class.to_string(),
    };
    let rest = kind.count.saturating_sub(kind.listed.len() as u64);
    let summary = if rest > 0 {
        format!("{name}: the first {} of {}", count(kind.listed.len() as u64), count(kind.count))
    } else {
        format!("{name}: {}", count(kind.count))
    };
    let caption = format!(
        "Failures of class {}{}",
        kind.class,
        kind.code.map(|code| format!(", code {code}")).unwrap_or_default()
    );
    let body = if kind.class == Class::Invalid { invalid(&caption, kind) } else { references(report, &caption, kind) };
    let rest = if rest > 0 {
        format!(
            "<p class=\"note\">And {} more: <code>{} failures {} --class {} --format csv</code></p>",
            count(rest),
            escape(&report.invocation),
            escape(&report.job),
            kind.class
        )
    } else {
        String::new()
    };
    details(&summary, kind.listed.len() <= FEW, &format!("{body}{rest}"))
}

fn invalid(caption: &str, kind: &FailureKind) -> String {
    let rows: Vec<Vec<String>> = kind
        .listed
        .iter()
        .map(|line| vec![text(line.source.as_deref(), 200), text(Some(&line.message), 400)])
        .collect();
    table(caption, &[("row", false), ("why", false)], &rows)
}

fn references(report: &Report, caption: &str, kind: &FailureKind) -> String {
    let created = |line: &FailureLine| {
        line.create_time
            .and_then(|millis| Timestamp::from_millisecond(millis).ok())
            .map(|at| time(at, &report.timezone))
            .unwrap_or_default()
    };
    let again = |line: &FailureLine| match line.since {
        Since::Open if line.retryable => "will be asked again",
        Since::Open => "final",
        Since::Pending => "is being asked again",
        Since::Closed => "solved since",
        Since::Dismissed => "dismissed",
    };
    let rows: Vec<Vec<String>> = kind
        .listed
        .iter()
        .map(|line| {
            vec![
                line.message_server_id.map(|id| id.to_string()).unwrap_or_default(),
                text(line.conversation_id.as_deref(), 200),
                created(line),
                count(line.attempts),
                again(line).to_owned(),
                text(Some(&line.message), 400),
            ]
        })
        .collect();
    let header = [
        ("message", true),
        ("conversation", false),
        ("created", false),
        ("attempts", true),
        ("state", false),
        ("the API said", false),
    ];
    table(caption, &header, &rows)
}

fn text(text: Option<&str>, most: usize) -> String {
    format!("<bdi>{}</bdi>", shortened(text.unwrap_or_default(), most))
}
