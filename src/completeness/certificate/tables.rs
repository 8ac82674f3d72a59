//! What was found, in tables.

use jiff::Timestamp;

use super::{Examined, KnownFailures, missing};
use crate::completeness::{Counts, Findings};
use crate::report::calendar::Calendar;
use crate::report::failures::meaning;
use crate::report::figures::{count, counted, share, time, zone};
use crate::report::markup::{details, escape, legend, shortened, table};

/// Accounts that are listed.
const ACCOUNTS: usize = 100;
/// So many rows need no folding away.
const FEW: usize = 40;

pub(super) fn problems(findings: &Findings) -> String {
    let items = findings.problems.iter().take(100).map(|problem| format!("<li><bdi>{}</bdi></li>", escape(problem)));
    let items = items.collect::<Vec<_>>().concat();
    let rest = findings.problems.len().saturating_sub(100) as u64;
    let rest = if rest > 0 { format!("<p class=\"note\">And {} more.</p>", count(rest)) } else { String::new() };
    format!("<p>Their messages count as not archived.</p><ul class=\"plain\">{items}</ul>{rest}")
}

pub(super) fn absent(examined: &Examined, findings: &Findings) -> String {
    let at = |millis: i64| match Timestamp::from_millisecond(millis) {
        Ok(at) => time(at, &examined.timezone),
        Err(_) => format!("{millis} ms"),
    };
    let rows: Vec<Vec<String>> = findings
        .absent
        .iter()
        .map(|absent| {
            vec![
                absent.message_server_id.to_string(),
                bdi(&absent.conversation_id),
                at(absent.create_time),
                bdi(&absent.account),
            ]
        })
        .collect();
    let header = [("message", true), ("conversation", false), ("created", false), ("account", false)];
    let listed = rows.len() as u64;
    let summary = if listed < findings.total.absent {
        format!("The first {} of {}, in order of ID", count(listed), count(findings.total.absent))
    } else {
        format!("All {}, in order of ID", count(listed))
    };
    let pointer = match &examined.absent_file {
        Some(file) => format!(
            "All of them are in <bdi>{}</bdi>, which is a source of JSON lines for a run to fetch them.",
            escape(file)
        ),
        None => "<code>verify --against … --absent FILE</code> writes all of them as a source for a run.".to_owned(),
    };
    let body = table("References to messages that are not in the archive", &header, &rows);
    format!("{}<p class=\"note\">{pointer}</p>", details(&summary, rows.len() <= FEW, &body))
}

fn bdi(text: &str) -> String {
    format!("<bdi>{}</bdi>", shortened(text, 200))
}

pub(super) fn failures(examined: &Examined, findings: &Findings) -> String {
    if findings.failures.is_empty() {
        return match examined.failures {
            KnownFailures::Nowhere => "<p class=\"none\">No record of failures was at hand.</p>".to_owned(),
            _ => "<p class=\"none\">None of the referenced messages is recorded as failed.</p>".to_owned(),
        };
    }
    let rows: Vec<Vec<String>> = findings
        .failures
        .iter()
        .map(|((class, code), n)| {
            let code = code.map_or_else(|| "–".to_owned(), |code| code.to_string());
            vec![class.to_string(), code, count(*n), share(*n, findings.total.referenced), meaning(*class).to_owned()]
        })
        .collect();
    let header = [("class", false), ("code", true), ("messages", true), ("share", true), ("meaning", false)];
    table("Referenced messages that are recorded as failed", &header, &rows)
}

/// The cells of counts.
fn cells(counts: &Counts) -> [String; 6] {
    [counts.referenced, counts.archived, counts.failed, counts.dismissed, counts.pending, counts.absent]
        .map(|n| if n == 0 { "–".to_owned() } else { count(n) })
}

fn header<'a>(first: &'a str, missing: &'a str) -> [(&'a str, bool); 7] {
    let counts = ["referenced", "archived", "failed", "dismissed", "pending", missing].map(|name| (name, true));
    let [referenced, archived, failed, dismissed, pending, missing] = counts;
    [(first, false), referenced, archived, failed, dismissed, pending, missing]
}

pub(super) fn days(examined: &Examined, findings: &Findings) -> String {
    if findings.total.referenced == 0 {
        return "<p class=\"none\">No message is referenced.</p>".to_owned();
    }
    let series = [
        ("c-archived", "archived"),
        ("c-failed-recorded", "failed"),
        ("c-dismissed", "dismissed"),
        ("c-pending-still", "pending"),
        ("c-absent", missing(examined)),
    ];
    let dated = || findings.days.iter().filter_map(|(day, counts)| Some(((*day)?, counts)));
    let mut out = legend(&series);
    if let (Some((first, _)), Some((last, _))) = (dated().next(), dated().next_back()) {
        // What is not archived is mostly too little to be seen beside what is, so it is drawn once more by itself.
        let whole = findings.total.archived == findings.total.referenced;
        for from in 0..if whole { 1 } else { 2 } {
            let (n, what) = match from {
                0 => (findings.total.referenced, "messages"),
                _ => (findings.total.referenced - findings.total.archived, "messages not archived,"),
            };
            let names: Vec<&str> = series[from..].iter().map(|(_, name)| *name).collect();
            let describe = format!("{} {what} by day, from {first} to {last}: {}.", count(n), names.join(", "));
            let counts = |c: &Counts| [c.archived, c.failed, c.dismissed, c.pending, c.absent][from..].to_vec();
            let calendar = Calendar {
                days: dated().map(|(day, of_day)| (day, counts(of_day))).collect(),
                series: series[from..].to_vec(),
                what,
                timezone: zone(&examined.timezone),
            };
            out.push_str(&calendar.draw(&describe));
        }
    }
    let rows: Vec<Vec<String>> = findings
        .days
        .iter()
        .map(|(day, counts)| {
            let day = day.map_or_else(|| "beyond all calendars".to_owned(), |day| day.to_string());
            [day].into_iter().chain(cells(counts)).collect()
        })
        .collect();
    let body = table(&format!("Days of {}", zone(&examined.timezone)), &header("day", missing(examined)), &rows);
    out.push_str(&details(&counted(rows.len() as u64, "day", "days"), rows.len() <= FEW, &body));
    out
}

pub(super) fn accounts(examined: &Examined, findings: &Findings) -> String {
    let all = findings.accounts_by_weight();
    if all.is_empty() {
        return "<p class=\"none\">No message is referenced.</p>".to_owned();
    }
    let mut rows: Vec<Vec<String>> = all
        .iter()
        .take(ACCOUNTS)
        .map(|(name, counts)| [bdi(name)].into_iter().chain(cells(counts)).collect())
        .collect();
    if all.len() > ACCOUNTS {
        let mut rest = Counts::default();
        all[ACCOUNTS..].iter().for_each(|(_, counts)| rest.add(counts));
        let name = format!("<i>{}</i>", counted((all.len() - ACCOUNTS) as u64, "more account", "more accounts"));
        rows.push([name].into_iter().chain(cells(&rest)).collect());
    }
    let caption = format!(
        "The account that a reference names as the owner; those with {} messages first, then those with the most",
        missing(examined)
    );
    let body = table(&caption, &header("account", missing(examined)), &rows);
    details(&counted(all.len() as u64, "account", "accounts"), all.len() <= FEW, &body)
}

pub(super) fn invalid(findings: &Findings) -> String {
    let rows: Vec<Vec<String>> = findings
        .invalid
        .iter()
        .map(|row| vec![bdi(&row.position), format!("<bdi>{}</bdi>", shortened(&row.message, 400))])
        .collect();
    let listed = rows.len() as u64;
    let summary = if listed < findings.read.invalid {
        format!("The first {} of {}", count(listed), count(findings.read.invalid))
    } else {
        counted(listed, "row", "rows")
    };
    let body = table(
        "Rows that name no message, so that nothing can be said of one",
        &[("row", false), ("why", false)],
        &rows,
    );
    details(&summary, rows.len() <= 12, &body)
}
