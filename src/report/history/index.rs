//! The first page of a job.

use jiff::civil::Date;
use maud::{Markup, html};

use super::nights::Days;
use super::{History, Kind, STYLE, kind_name, mark, nights, runs, trends};
use crate::page::blocks::{self, Heading, facts, none, section, table};
use crate::page::figures::{count, counted, duration, share, time, zone};
use crate::page::trend::days_between;
use crate::page::{Document, is_hidden};

/// Says when the pages are old.
pub(super) const SCRIPT: &str = include_str!("stale.js");

impl History {
    /// `index.html`.
    pub fn index(&self) -> String {
        let days = self.days();
        let latest = self.runs.iter().find(|run| run.is_of_references()).or(self.runs.first());
        let links = [self.is_among_jobs.then_some(("../index.html", "All jobs")), Some(("failures.html", "Failures"))];
        let links: Vec<_> = links.into_iter().flatten().collect();
        let badge = latest.map_or_else(|| "no run yet".to_owned(), |run| format!("last run: {}", run.mark.words()));
        let heading = Heading {
            links: &links,
            kind: "history of a job",
            name: &self.job,
            when: html! {
                "Made on " time.made datetime=(self.made_at) { (time(self.made_at, &self.timezone)) } " "
                (zone(&self.timezone))
            },
            tone: latest.map_or("neutral", |run| run.mark.tone()),
            badge: &badge,
            sentence: &sentence(&days),
            error: latest.and_then(|run| run.error.as_deref()),
        };
        let body = html! {
            (mark::forms())
            main {
                (heading)
                (stale(patience(&days)))
                (blocks::tiles(&self.tiles(&days)))
                (section("nights", "Nights", &nights::section(self, &days)))
                (section("trends", "Over time", &trends::section(self, &days)))
                (section("failures", "Failures", &failures(self)))
                (section("runs", "Runs", &runs::section(self)))
                (section("about", "About these pages", &facts(&self.about())))
            }
            (blocks::footer(&self.version, Some(self.made_at), &self.timezone))
        };
        let title = format!("{}: history", self.job);
        Document { title: &title, style: STYLE, script: Some(SCRIPT), made_from: None, is_shown: is_hidden }.with(&body)
    }

    fn tiles(&self, days: &Days<'_>) -> [(&'static str, String, String); 6] {
        let open: u64 = self.kinds.iter().map(|kind| kind.open).sum();
        let all: u64 = self.kinds.iter().map(|kind| kind.all).sum();
        let archived = self.runs.iter().filter_map(|run| run.references).map(|counts| counts.archived).sum();
        let of_references = || self.runs.iter().filter(|run| run.is_of_references());
        let latest = of_references().next();
        let unknown = || "–".to_owned();
        let today = self.today();
        let first = days.keys().next().copied().unwrap_or(today);
        let from = first.max(today.saturating_sub(jiff::Span::new().days(30)));
        let (mut missed, mut passed) = (0_u64, 0_u64);
        for day in from.series(jiff::Span::new().days(1)).take_while(|day| *day < today) {
            passed += 1;
            missed += u64::from(!days.contains_key(&day));
        }
        [
            ("archived", count(archived), format!("in {}", counted(of_references().count() as u64, "run", "runs"))),
            ("open failures", count(open), format!("of {} in all", count(all))),
            ("pending", count(self.pending), "left for the next run".to_owned()),
            (
                "days without a run",
                count(missed),
                match passed {
                    0 => "this is the first day".to_owned(),
                    passed => format!("of the last {}", counted(passed, "day", "days")),
                },
            ),
            (
                "quota used",
                latest.and_then(|run| run.quota_used).map_or_else(unknown, |used| share((used * 1e5) as u64, 100_000)),
                "by the last run".to_owned(),
            ),
            (
                "duration",
                latest.and_then(|run| run.seconds).map_or_else(unknown, duration),
                "of the last run".to_owned(),
            ),
        ]
    }

    fn about(&self) -> Vec<(&'static str, String)> {
        vec![
            ("archive", self.archive.clone()),
            ("AppKey", self.app_key.clone()),
            ("written by", format!("{} report {} --all", self.invocation, self.job)),
            (
                "source",
                "the job's ledger, which keeps runs and closed failures for as long as the job's setting history says. \
                 The evidence is in the archive: its manifests"
                    .to_owned(),
            ),
        ]
    }
}

/// How many runs ended how.
fn sentence(days: &Days<'_>) -> String {
    let Some((first, _)) = days.first_key_value() else { return "The job has not run yet.".to_owned() };
    let runs = || days.values().flatten();
    let endings: Vec<String> = mark::Mark::ALL
        .into_iter()
        .filter_map(|mark| {
            let n = runs().filter(|run| run.mark == mark).count();
            (n > 0).then(|| format!("{} {}", count(n as u64), mark.words().replace("complete, ", "complete ")))
        })
        .collect();
    let whole = counted(runs().count() as u64, "run", "runs");
    format!("{whole} since {first}: {}.", endings.join(", "))
}

/// How many days the pages may be old: twice as many as there usually are between runs, and at least two.
pub(super) fn patience(days: &Days<'_>) -> i64 {
    let latest: Vec<Date> = days.keys().rev().take(10).copied().collect();
    let mut gaps: Vec<i64> = latest.windows(2).map(|pair| days_between(pair[1], pair[0])).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).map_or(2, |gap| 2 * gap)
}

/// The text that the script shows if the page is so many days old.
pub(super) fn stale(days: i64) -> Markup {
    html! {
        p #stale .error role="status" hidden="hidden" data-days=(days) {
            "These pages were written " span {} " days ago. Look whether the job still runs, and whether "
            code { "report --all" } " still follows each run."
        }
    }
}

fn failures(history: &History) -> Markup {
    let open: Vec<&Kind> = history.kinds.iter().filter(|kind| kind.open > 0).collect();
    let all: u64 = history.kinds.iter().map(|kind| kind.all).sum();
    let rows = html! {
        @for kind in &open {
            tr {
                @let name = kind_name(kind.class, kind.code).replace(' ', "+");
                td { a href={ "failures.html#kind=" (name) "&state=open" } { (kind.class.as_str()) } }
                td.n { (kind.code.map_or_else(|| "–".to_owned(), |code| code.to_string())) }
                td.n { (count(kind.open)) }
                td { (kind.class.meaning()) }
            }
        }
    };
    let columns = [("class", false), ("code", true), ("open", true), ("meaning", false)];
    html! {
        @if open.is_empty() { (none("No failure is open.")) } @else {
            (table("Open failures by class and code", &columns, &rows))
        }
        @if all > 0 {
            p.note {
                a href="failures.html" { "Search " (counted(all, "failure", "failures")) }
                ", those that are resolved or dismissed included."
            }
        }
    }
}
