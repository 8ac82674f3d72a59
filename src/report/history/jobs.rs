//! The overview of several jobs.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::index::{SCRIPT, patience, stale};
use super::nights::gravest;
use super::{Counts, History, Mark, STYLE, mark};
use crate::page::blocks::{self, Heading, none, section, shortened, table};
use crate::page::figures::{count, counted, time, zone};
use crate::page::{Document, is_hidden};

/// The days that the overview shows of each job.
const DAYS: i64 = 14;

/// The overview.
#[derive(Debug, Clone)]
pub struct Jobs {
    /// This program's version.
    pub version: String,
    /// When it is made.
    pub made_at: Timestamp,
    /// The zone of the time at which it is made. Each job has a zone of its own.
    pub timezone: TimeZone,
    /// The jobs, in the order of the configuration.
    pub jobs: Vec<JobLine>,
}

/// A job in the overview.
#[derive(Debug, Clone)]
pub struct JobLine {
    /// The job.
    pub job: String,
    /// The zone of its days.
    pub timezone: TimeZone,
    /// Its last run, or why there is nothing to show.
    pub latest: Result<LatestRun, String>,
}

/// The last run of a job, and what is left.
#[derive(Debug, Clone)]
pub struct LatestRun {
    mark: Mark,
    started_at: Timestamp,
    references: Option<Counts>,
    /// How the last days ended; none for a day without a run.
    days: Vec<(Date, Option<Mark>)>,
    pending: u64,
    open: u64,
    /// How many days the pages may be old.
    patience: i64,
}

impl History {
    /// The job's line in the overview; `None` if it has no run.
    pub fn latest(&self) -> Option<LatestRun> {
        let run = self.runs.iter().find(|run| run.is_of_references())?;
        let runs = self.days();
        let today = self.today();
        let days = today.saturating_sub(jiff::Span::new().days(DAYS - 1)).series(jiff::Span::new().days(1));
        let of_day = |day: Date| (day, runs.get(&day).and_then(|runs| gravest(runs)).map(|run| run.mark));
        let first = runs.keys().next().copied().unwrap_or(today);
        // Today's run may be yet to come.
        let counts = |(day, mark): &(Date, Option<Mark>)| mark.is_some() || (*day >= first && *day < today);
        Some(LatestRun {
            mark: run.mark,
            started_at: run.started_at,
            references: run.references,
            days: days.take_while(|day| *day <= today).map(of_day).filter(counts).collect(),
            pending: self.pending,
            open: self.kinds.iter().map(|kind| kind.open).sum(),
            patience: patience(&runs),
        })
    }
}

impl Jobs {
    /// `index.html`.
    pub fn page(&self) -> String {
        let known = || self.jobs.iter().filter_map(|job| job.latest.as_ref().ok());
        let good = known().filter(|latest| latest.mark == Mark::Complete).count();
        let unread = self.jobs.iter().filter(|job| job.latest.is_err()).count() as u64;
        let gravest = known().map(|latest| latest.mark).min();
        let mut sentence =
            format!("The last run of {good} of {} was complete.", counted(self.jobs.len() as u64, "job", "jobs"));
        if unread > 0 {
            sentence.push_str(&format!(" There is nothing to show of {}.", counted(unread, "job", "jobs")));
        }
        let heading = Heading {
            links: &[],
            kind: "history of all jobs",
            name: "All jobs",
            when: html! {
                "Made on " time.made datetime=(self.made_at) { (time(self.made_at, &self.timezone)) } " "
                (zone(&self.timezone))
            },
            tone: gravest.map_or("neutral", Mark::tone),
            badge: gravest.map_or("no run yet", Mark::words),
            sentence: &sentence,
            error: None,
        };
        let body = html! {
            (mark::forms())
            main {
                (heading)
                (stale(known().map(|latest| latest.patience).min().unwrap_or(2)))
                (section("jobs", "Jobs", &self.list()))
            }
            (blocks::footer(&self.version, Some(self.made_at), &self.timezone))
        };
        Document {
            title: "All jobs: history",
            style: STYLE,
            script: Some(SCRIPT),
            made_from: None,
            is_shown: is_hidden,
        }
        .with(&body)
    }

    fn list(&self) -> Markup {
        if self.jobs.is_empty() {
            return none("There are no jobs.");
        }
        let columns = [
            ("job", false),
            ("last run", false),
            ("the last 14 days", false),
            ("archived", true),
            ("failed", true),
            ("pending now", true),
            ("open failures", true),
        ];
        let rows = html! { @for job in &self.jobs { tr { (row(job)) } } };
        html! {
            (mark::legend())
            (table("Every job with its last run", &columns, &rows))
        }
    }
}

fn row(job: &JobLine) -> Markup {
    let latest = match &job.latest {
        Ok(latest) => latest,
        Err(why) => {
            return html! {
                th scope="row" { (job.job) }
                td colspan="6" { bdi { (shortened(why, 400)) } }
            };
        }
    };
    let number = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), count);
    let endings = latest.days.iter().map(|(day, mark)| format!("{day}: {}", mark.map_or("no run", Mark::words)));
    let endings: Vec<String> = endings.collect();
    html! {
        th scope="row" { a href={ (job.job) "/index.html" } { (job.job) } }
        td.ended {
            (latest.mark.draw()) (latest.mark.words())
            span.beneath { (time(latest.started_at, &job.timezone)) " " (zone(&job.timezone)) }
        }
        td.strip {
            span title=(endings.join("\n")) {
                @for (_, mark) in &latest.days { (mark.map_or_else(mark::no_run, Mark::draw)) }
            }
            span.unseen { (endings.join("; ")) }
        }
        td.n { (number(latest.references.map(|counts| counts.archived))) }
        td.n { (number(latest.references.map(|counts| counts.failed))) }
        td.n { (count(latest.pending)) }
        td.n { (count(latest.open)) }
    }
}
