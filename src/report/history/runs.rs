//! All runs as a table, year by year.

use maud::{Markup, html};

use super::{History, Run};
use crate::page::blocks::{details, none, shortened, table};
use crate::page::figures::{count, counted, duration, share, time};

/// The characters of an error that a row has room for.
const ROOM: usize = 200;

pub(super) fn section(history: &History) -> Markup {
    if history.runs.is_empty() {
        return none("No run has been recorded yet.");
    }
    let lacks = history.runs.iter().filter(|run| run.is_of_references() && run.references.is_none()).count() as u64;
    let by_year: Vec<&[Run]> =
        history.runs.chunk_by(|one, other| history.day(one).year() == history.day(other).year()).collect();
    html! {
        @for (index, runs) in by_year.iter().enumerate() {
            @let year = history.day(&runs[0]).year();
            @let summary = format!("{year}: {}", counted(runs.len() as u64, "run", "runs"));
            (details(&summary, index == 0, &of_year(history, year, runs)))
        }
        @if lacks > 0 {
            p.note {
                "“–” stands for what was not recorded. "
                (counted(lacks, "run", "runs")) " recorded no counts: an earlier version ran, or the ledger was lost."
            }
        }
        @if history.has_more_runs {
            p.note { "Only the latest " (count(history.runs.len() as u64)) " runs are listed." }
        }
        @if !history.former.is_empty() { (former(history)) }
    }
}

fn of_year(history: &History, year: i16, runs: &[Run]) -> Markup {
    let columns = [
        ("began", false),
        ("ended", false),
        ("archived", true),
        ("failed", true),
        ("pending", true),
        ("requests", true),
        ("quota", true),
        ("duration", true),
    ];
    let number = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), count);
    let rows = html! {
        @for run in runs {
            @let counts = run.references;
            @let quota = run.quota_used.map(|used| share((used * 100_000.0) as u64, 100_000));
            tr {
                th.began scope="row" {
                    a href=(run.page) { (time(run.started_at, &history.timezone)) }
                    @if run.command != "run" { " " span.beside { (run.command) } }
                }
                td.ended {
                    (run.mark.draw()) (run.mark.words())
                    @if let Some(code) = run.exit_code.filter(|code| *code > 0) { " " span.beside { "exit " (code) } }
                    @if let Some(error) = &run.error { span.why { bdi { (shortened(error, ROOM)) } } }
                }
                td.n { (number(counts.map(|counts| counts.archived))) }
                td.n { (number(counts.map(|counts| counts.failed))) }
                td.n { (number(counts.map(|counts| counts.pending))) }
                td.n { (number(run.requests)) }
                td.n { (quota.unwrap_or_else(|| "–".to_owned())) }
                td.n { (run.seconds.map_or_else(|| "–".to_owned(), duration)) }
            }
        }
    };
    table(&format!("Runs that began in {year}, latest first"), &columns, &rows)
}

/// Pages of runs that the ledger no longer knows.
fn former(history: &History) -> Markup {
    let list = html! {
        p.note {
            "The job's ledger no longer knows these runs: their time in it is over, or the job has another ledger. Their \
            pages stay as they were written last."
        }
        ul.former {
            @for (began, page) in &history.former { li { a href=(page) { (time(*began, &history.timezone)) } } }
        }
    };
    let summary = counted(history.former.len() as u64, "former run", "former runs");
    details(&summary, false, &list)
}
