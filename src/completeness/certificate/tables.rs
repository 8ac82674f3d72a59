//! The findings in tables.

use maud::{Markup, html};

use super::{Examined, KnownFailures};
use crate::completeness::findings::{Counts, Findings};
use crate::page::blocks::{details, legend, none, shortened, table};
use crate::page::calendar::Calendar;
use crate::page::figures::{count, counted, share, zone};

/// How many unreadable files are listed.
const PROBLEMS: usize = 100;
/// How many accounts are listed.
const ACCOUNTS: usize = 100;
/// A longer table is folded.
const FEW: usize = 40;
/// A longer table of invalid rows is folded.
const FEW_INVALID: usize = 12;

pub(super) fn problems(findings: &Findings) -> Markup {
    let rest = findings.problems.len().saturating_sub(PROBLEMS) as u64;
    html! {
        p { "Their messages count as not archived." }
        ul.plain {
            @for problem in findings.problems.iter().take(PROBLEMS) {
                li { bdi { (problem) } }
            }
        }
        @if rest > 0 { p.note { "And " (count(rest)) " more." } }
    }
}

pub(super) fn absent(examined: &Examined, findings: &Findings) -> Markup {
    let listed = findings.absent.len();
    let summary = if (listed as u64) < findings.total.absent {
        format!("The first {} of {}, in order of ID", count(listed as u64), count(findings.total.absent))
    } else {
        format!("All {}, in order of ID", count(listed as u64))
    };
    let columns = [("message", true), ("conversation", false), ("created", false), ("account", false)];
    let rows = html! {
        @for absent in &findings.absent {
            tr {
                td.n { (absent.message_server_id) }
                td { bdi { (shortened(&absent.conversation_id, 200)) } }
                td { (examined.time(absent.create_time)) }
                td { bdi { (shortened(&absent.account, 200)) } }
            }
        }
    };
    let listing = table("References to messages that are not in the archive", &columns, &rows);
    html! {
        (details(&summary, listed <= FEW, &listing))
        p.note {
            @if let Some(file) = &examined.absent_file {
                "All of them are in " bdi { (file) } ", which a run can read as a source of JSON lines to fetch them."
            } @else {
                code { "verify --against … --absent FILE" } " writes all of them as a source for a run."
            }
        }
    }
}

pub(super) fn failures(examined: &Examined, findings: &Findings) -> Markup {
    if findings.failures.is_empty() {
        return none(match examined.failures {
            KnownFailures::Nowhere => "No record of failures was available.",
            _ => "None of the referenced messages is recorded as failed.",
        });
    }
    let columns = [("class", false), ("code", true), ("messages", true), ("share", true), ("meaning", false)];
    let rows = html! {
        @for ((class, code), n) in &findings.failures {
            tr {
                td { (class.as_str()) }
                td.n { (code.map_or_else(|| "–".to_owned(), |code| code.to_string())) }
                td.n { (count(*n)) }
                td.n { (share(*n, findings.total.referenced)) }
                td { (class.meaning()) }
            }
        }
    };
    table("Referenced messages that are recorded as failed", &columns, &rows)
}

/// A table of counts, each with its name as markup.
fn counts<'a>(
    caption: &str,
    first: &str,
    examined: &Examined,
    rows: impl Iterator<Item = (Markup, &'a Counts)>,
) -> Markup {
    let names = ["referenced", "archived", "failed", "dismissed", "pending", examined.missing()];
    let columns: Vec<(&str, bool)> = [(first, false)].into_iter().chain(names.map(|name| (name, true))).collect();
    let rows = html! {
        @for (name, counts) in rows {
            tr {
                td { (name) }
                @let Counts { referenced, archived, failed, dismissed, pending, absent } = *counts;
                @for n in [referenced, archived, failed, dismissed, pending, absent] {
                    td.n { @if n == 0 { "–" } @else { (count(n)) } }
                }
            }
        }
    };
    table(caption, &columns, &rows)
}

pub(super) fn days(examined: &Examined, findings: &Findings) -> Markup {
    if findings.total.referenced == 0 {
        return none("No message is referenced.");
    }
    let zone = zone(&examined.timezone);
    let rows = findings.days.iter().map(|(day, counts)| {
        let day = day.map_or_else(|| "outside the calendar".to_owned(), |day| day.to_string());
        (html! { (day) }, counts)
    });
    let n = findings.days.len();
    html! {
        (charts(examined, findings, zone))
        (details(
            &counted(n as u64, "day", "days"),
            n <= FEW,
            &counts(&format!("Days in {zone}"), "day", examined, rows),
        ))
    }
}

/// Two charts: the messages that are not archived are usually too few to be seen beside the others, so they also have a
/// chart of their own.
fn charts(examined: &Examined, findings: &Findings, zone: &str) -> Markup {
    let series = [
        ("c-archived", "archived"),
        ("c-failed-recorded", "failed"),
        ("c-dismissed", "dismissed"),
        ("c-pending-still", "pending"),
        ("c-absent", examined.missing()),
    ];
    let chart = |from: usize, what: &str| {
        let counts = |c: &Counts| [c.archived, c.failed, c.dismissed, c.pending, c.absent][from..].to_vec();
        let days = findings.days.iter().filter_map(|(day, of_day)| Some(((*day)?, counts(of_day)))).collect();
        Calendar { days, series: series[from..].to_vec(), what, timezone: zone }.draw()
    };
    html! {
        (legend(&series))
        (chart(0, "messages"))
        @if findings.total.archived < findings.total.referenced { (chart(1, "messages not archived,")) }
    }
}

pub(super) fn accounts(examined: &Examined, findings: &Findings) -> Markup {
    let all = findings.accounts_by_weight();
    if all.is_empty() {
        return none("No message is referenced.");
    }
    let mut rest = Counts::default();
    all.iter().skip(ACCOUNTS).for_each(|(_, counts)| rest.add(counts));
    let others = all.len().saturating_sub(ACCOUNTS) as u64;
    let others = (others > 0).then(|| (html! { i { (counted(others, "more account", "more accounts")) } }, &rest));
    let rows = all.iter().take(ACCOUNTS).map(|(name, counts)| (html! { bdi { (shortened(name, 200)) } }, *counts));
    let caption = format!(
        "The account that a reference names as the owner. Those with {} messages come first, then those with the most",
        examined.missing()
    );
    details(
        &counted(all.len() as u64, "account", "accounts"),
        all.len() <= FEW,
        &counts(&caption, "account", examined, rows.chain(others)),
    )
}

pub(super) fn invalid(findings: &Findings) -> Markup {
    let listed = findings.invalid.len();
    let summary = if (listed as u64) < findings.read.invalid {
        format!("The first {} of {}", count(listed as u64), count(findings.read.invalid))
    } else {
        counted(listed as u64, "row", "rows")
    };
    let rows = html! {
        @for row in &findings.invalid {
            tr { td { bdi { (shortened(&row.position, 200)) } } td { bdi { (shortened(&row.message, 400)) } } }
        }
    };
    let caption = "Rows that name no message, so nothing can be said about one";
    details(&summary, listed <= FEW_INVALID, &table(caption, &[("row", false), ("why", false)], &rows))
}
