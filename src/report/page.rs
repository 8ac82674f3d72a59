//! The page as a whole.

use maud::{Markup, html};

use super::advice::Advice;
use super::{Ending, Report, days, failures, latency, pace, reconciliation, workers};
use crate::page::blocks::{self, Heading, details, none, section, table};
use crate::page::figures::{count, counted, duration, rate, share, size, time, zone};
use crate::page::{Document, is_hidden};

/// The most files that are listed.
const FILES: usize = 1_000;
/// Up to this many files are shown unfolded.
const FEW_FILES: usize = 12;

impl Report {
    /// The page.
    pub fn page(&self) -> String {
        let advice = Advice::of(self);
        let started_at = time(self.started_at, &self.timezone);
        let links = self.links();
        let heading = Heading {
            links: &links,
            kind: "report of a run",
            name: &self.job,
            when: html! {
                time { (started_at) } " to " time { (time(self.known_until, &self.timezone)) } " " (zone(&self.timezone))
                " · " (duration(self.seconds()))
                @if self.is_unfinished() { ", as far as recorded" }
            },
            tone: advice.tone,
            badge: advice.badge,
            sentence: &advice.sentence,
            error: self.error.as_deref(),
        };
        let body = html! {
            main {
                (heading)
                (blocks::tiles(&tiles(self)))
                (section("next", "What to do next", &commands(&advice.commands)))
                (section("reconciliation", "Where every reference went", &reconciliation::section(self)))
                (section("messages", "Messages", &days::section(self)))
                (section("pace", "Over time", &pace::section(self)))
                @if let Some(timeline) = self.timeline.as_ref().filter(|timeline| timeline.fleet.is_some()) {
                    (section("workers", "Workers", &workers::section(timeline)))
                }
                (section("latency", "How long answers took", &latency::section(self)))
                (section("failures", "Failures", &failures::section(self)))
                (section("files", "Files", &files(self)))
                (section("run", "The run", &blocks::facts(&facts(self))))
            }
            (blocks::footer(&self.version, self.among.is_none().then_some(self.made_at), &self.timezone))
        };
        let title = format!("{}: run of {started_at}", self.job);
        let made_from = self.among.as_ref().and_then(|among| among.made_from.as_deref());
        Document { title: &title, style: blocks::STYLE, script: None, made_from, is_shown: is_hidden }.with(&body)
    }

    fn links(&self) -> Vec<(&str, &str)> {
        let Some(among) = &self.among else { return Vec::new() };
        let mut links = vec![("../index.html", "History of the job")];
        links.extend(among.earlier.as_deref().map(|page| (page, "Previous run")));
        links.extend(among.later.as_deref().map(|page| (page, "Next run")));
        links
    }

    /// Whether it has no summary, so that some figures are only as recent as the last record.
    fn is_unfinished(&self) -> bool {
        matches!(self.ending, Ending::Died | Ending::Running)
    }
}

fn tiles(report: &Report) -> [(&'static str, String, String); 6] {
    let r = &report.references;
    let seconds = report.seconds().max(0.001);
    let per_second = report.requests.sent as f64 / seconds;
    let quota = report.timeline.as_ref().map(|timeline| timeline.quota).filter(|quota| *quota > 0);
    let new: u64 = report.new_failures.iter().map(|(_, count)| count).sum();
    let invalid = counted(r.invalid, "invalid row", "invalid rows");
    [
        (
            "archived",
            count(r.archived),
            format!("{} of {} to fetch", share(r.archived, report.to_fetch()), count(report.to_fetch())),
        ),
        (
            "failed",
            count(r.failed),
            if report.is_unfinished() {
                format!("and {invalid}")
            } else {
                format!("and {invalid} · {} new", count(new))
            },
        ),
        ("pending", count(r.pending), "left for the next run".to_owned()),
        (
            "requests",
            count(report.requests.sent),
            match report.requests.minimum {
                0 => "none needed".to_owned(),
                minimum => format!("at least {} needed", count(minimum)),
            },
        ),
        (
            "requests/s",
            rate(per_second),
            quota.map_or_else(
                || "mean of the whole run".to_owned(),
                |quota| format!("{} of {quota} allowed", share((per_second * 1000.0) as u64, u64::from(quota) * 1000)),
            ),
        ),
        ("messages/s", rate(r.archived as f64 / seconds), "mean of the whole run".to_owned()),
    ]
}

fn commands(commands: &[(String, String)]) -> Markup {
    html! {
        ol.commands {
            @for (purpose, command) in commands {
                li { p { (purpose) } pre { code { (command) } } }
            }
        }
    }
}

fn files(report: &Report) -> Markup {
    let files = &report.files;
    if files.is_empty() {
        return none("This run committed no files.");
    }
    let summary = format!(
        "{} with {} messages, {}",
        counted(files.len() as u64, "file", "files"),
        count(files.iter().map(|file| file.rows).sum()),
        size(files.iter().map(|file| file.bytes).sum())
    );
    let columns = [("file", false), ("messages", true), ("size", true), ("SHA-256", false)];
    let rows = html! {
        @for file in files.iter().take(FILES) {
            tr {
                td { bdi { (file.path) } }
                td.n { (count(file.rows)) }
                td.n { (size(file.bytes)) }
                td { code.hash { (file.sha256) } }
            }
        }
    };
    let listed = table("Files in the order in which they were committed", &columns, &rows);
    html! {
        (details(&summary, files.len() <= FEW_FILES, &listed))
        @if files.len() > FILES {
            p.note {
                "The first " (count(FILES as u64)) " are listed. All of them: "
                code { (report.invocation) " files " (report.job) }
            }
        }
    }
}

fn facts(report: &Report) -> [(&'static str, String); 8] {
    let requests = &report.requests;
    let new: Vec<String> = report.new_failures.iter().map(|(class, n)| format!("{} {class}", count(*n))).collect();
    [
        ("run", report.run_id.clone()),
        ("command", report.command.clone()),
        ("exit code", report.exit_code.map_or_else(|| "none".to_owned(), |code| code.to_string())),
        ("archive", report.archive.clone()),
        ("AppKey", report.app_key.clone()),
        (
            "requests",
            format!(
                "{} sent, {} succeeded, {} sent again, {} refused for exceeding the rate, {} batches split, {} asked under another owner",
                count(requests.sent),
                count(requests.ok),
                count(requests.retried),
                count(requests.throttled),
                count(requests.split),
                count(requests.other_owner)
            ),
        ),
        (
            "bytes",
            format!("{} received (decompressed), {} written", size(report.bytes.received), size(report.bytes.written)),
        ),
        ("new failures", if new.is_empty() { "none".to_owned() } else { new.join(", ") }),
    ]
}
