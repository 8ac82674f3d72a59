//! Failures by class and code.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{FailureKind, FailureLine, Report, Since};
use crate::model::failure::Class;
use crate::page::blocks::{details, none, shortened, table};
use crate::page::figures::{count, counted, time};

/// Up to this many failures of a kind are shown unfolded.
const FEW: usize = 12;

pub(super) fn section(report: &Report) -> Markup {
    let listed: u64 = report.failures.iter().map(|kind| kind.count).sum();
    let met = report.references.failed + report.references.invalid;
    let columns = [("class", false), ("code", true), ("failures", true), ("meaning", false)];
    let rows = html! {
        @for kind in &report.failures {
            tr {
                td { (kind.class.as_str()) }
                td.n { (kind.code.map_or_else(|| "–".to_owned(), |code| code.to_string())) }
                td.n { (count(kind.count)) }
                td { (kind.class.meaning()) }
            }
        }
    };
    html! {
        @if met == 0 && listed == 0 {
            (none("Nothing failed."))
        } @else if listed == 0 {
            (none("There is nothing left to list."))
        } @else {
            (table("Failures by class and code", &columns, &rows))
        }
        @if met > listed {
            p.note {
                (counted(met - listed, "failure of this run is", "failures of this run are"))
                " not listed: a later run tried these references again, or the rows repeat earlier ones."
            }
        }
        @for kind in &report.failures { (one(report, kind)) }
    }
}

fn one(report: &Report, kind: &FailureKind) -> Markup {
    let listed = kind.listed.len() as u64;
    let rest = kind.count.saturating_sub(listed);
    let summary = html! {
        (kind.class.as_str())
        @if let Some(code) = kind.code { " " b { (code) } }
        ": "
        @if rest > 0 { "the first " (count(listed)) " of " }
        (count(kind.count))
    };
    let mut caption = format!("Failures of class {}", kind.class);
    if let Some(code) = kind.code {
        caption.push_str(&format!(", code {code}"));
    }
    let body = html! {
        @if kind.class == Class::Invalid { (invalid(&caption, kind)) } @else { (references(report, &caption, kind)) }
        @if rest > 0 {
            p.note {
                "And " (count(rest)) " more: "
                code { (report.invocation) " failures " (report.job) " --class " (kind.class.as_str()) " --format csv" }
            }
        }
    };
    details(&summary, kind.listed.len() <= FEW, &body)
}

fn invalid(caption: &str, kind: &FailureKind) -> Markup {
    let rows = html! {
        @for line in &kind.listed {
            tr {
                td { bdi { (shortened(line.source.as_deref().unwrap_or_default(), 200)) } }
                td { bdi { (shortened(&line.message, 400)) } }
            }
        }
    };
    table(caption, &[("row", false), ("why", false)], &rows)
}

fn references(report: &Report, caption: &str, kind: &FailureKind) -> Markup {
    let created = |line: &FailureLine| {
        let at = line.create_time.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        at.map(|at| time(at, &report.timezone)).unwrap_or_default()
    };
    let state = |line: &FailureLine| match line.since {
        Since::Open if line.retryable => "will be asked again",
        Since::Open => "final",
        Since::Pending => "is being asked again",
        Since::Closed => "resolved since then",
        Since::Dismissed => "dismissed",
    };
    let rows = html! {
        @for line in &kind.listed {
            tr {
                td.n { (line.message_server_id.map(|id| id.to_string()).unwrap_or_default()) }
                td { bdi { (shortened(line.conversation_id.as_deref().unwrap_or_default(), 200)) } }
                td { (created(line)) }
                td.n { (count(line.attempts)) }
                td { (state(line)) }
                td { bdi { (shortened(&line.message, 400)) } }
            }
        }
    };
    let columns = [
        ("message", true),
        ("conversation", false),
        ("created", false),
        ("attempts", true),
        ("state", false),
        ("the API said", false),
    ];
    table(caption, &columns, &rows)
}
