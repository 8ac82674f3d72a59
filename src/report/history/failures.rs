//! All failures of a job, to search.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{Failure, History, STYLE, kind_name};
use crate::model::failure::Class;
use crate::page::blocks::{self, Heading, none, shortened, table};
use crate::page::figures::{count, counted, time, zone};
use crate::page::{Document, is_hidden, search_field};
use crate::report::Since;

const SCRIPT: &str = include_str!("search.js");

impl History {
    /// `failures.html`.
    pub fn failures(&self) -> String {
        let open: u64 = self.kinds.iter().map(|kind| kind.open).sum();
        let all: u64 = self.kinds.iter().map(|kind| kind.all).sum();
        let sentence = match (all, open) {
            (0, _) => "Nothing has failed.".to_owned(),
            (all, 0) => format!("{}, none of them open.", counted(all, "failure", "failures")),
            (all, open) if all == open => format!("{}, all of them open.", counted(all, "failure", "failures")),
            (all, open) => format!("{}, {} of them open.", counted(all, "failure", "failures"), count(open)),
        };
        let heading = Heading {
            links: &[("index.html", "History of the job")],
            kind: "failures of a job",
            name: &self.job,
            when: html! { "Times in " (zone(&self.timezone)) },
            tone: if open > 0 { "warn" } else { "good" },
            badge: if open > 0 { "open failures" } else { "none open" },
            sentence: &sentence,
            error: None,
        };
        let body = html! {
            main {
                (heading)
                section #list aria-label="Failures" {
                    @if self.failures.is_empty() { (none("There are no failures to list.")) } @else { (self.list(all)) }
                }
            }
            (blocks::footer(&self.version, None, &self.timezone))
        };
        let title = format!("{}: failures", self.job);
        Document { title: &title, style: STYLE, script: Some(SCRIPT), made_from: None, is_shown: is_hidden }.with(&body)
    }

    fn list(&self, all: u64) -> Markup {
        let listed = self.failures.len() as u64;
        let columns = [("message", false), ("failure", false), ("state", false), ("last seen", false)];
        let caption = "Failures: those that are not resolved first, and the last seen first";
        html! {
            div #search role="search" hidden="hidden" {
                label { "Search " (search_field("words")) }
                label {
                    "Kind "
                    select #kind {
                        option value="" { "all" }
                        @for kind in &self.kinds {
                            @let name = kind_name(kind.class, kind.code);
                            option value=(name) { (name) }
                        }
                    }
                }
                label {
                    "State "
                    select #state {
                        option value="" { "all" }
                        @for state in [Since::Open, Since::Pending, Since::Dismissed, Since::Closed] {
                            option value=(id(state)) { (name(state)) }
                        }
                    }
                }
                div.found {
                    p #shown role="status" {}
                    button #more type="button" { "Show all" }
                }
            }
            @if self.failures.iter().any(|failure| failure.line.source.is_some()) {
                p.note { "A line may stand for many rows of a file that are invalid in the same way." }
            }
            @if listed >= u64::from(super::FAILURES) && all > listed {
                p.note {
                    "The first " (count(listed)) " are listed and searched. All that are open: "
                    code { (self.invocation) " failures " (self.job) " --format csv" }
                }
            }
            (table(caption, &columns, &html! { @for failure in &self.failures { (self.row(failure)) } }))
        }
    }

    fn row(&self, failure: &Failure) -> Markup {
        let line = &failure.line;
        let at = |millis| Timestamp::from_millisecond(millis).ok().map(|at| time(at, &self.timezone));
        let seen = (time(failure.first_seen, &self.timezone), time(failure.last_seen, &self.timezone));
        html! {
            tr data-kind=(kind_name(failure.class, failure.code)) data-state=(id(line.since)) {
                th scope="row" {
                    @if let Some(id) = line.message_server_id { (id) } @else { "–" }
                    @for place in [&line.conversation_id, &line.source].into_iter().flatten() {
                        span.beneath { bdi { (shortened(place, 200)) } }
                    }
                    @if let Some(created) = line.create_time.and_then(at) { span.beneath { "created " (created) } }
                }
                td {
                    (kind_name(failure.class, failure.code))
                    span.beneath { bdi { (shortened(&line.message, 400)) } }
                }
                td {
                    (name(line.since))
                    span.beneath {
                        @if line.since == Since::Open && failure.class != Class::Invalid {
                            @if line.retryable { "will be asked again, " } @else { "final, " }
                        }
                        (counted(line.attempts, "attempt", "attempts"))
                    }
                    @if let Some(note) = &failure.note { span.beneath { bdi { (shortened(note, 300)) } } }
                }
                td {
                    @if let Some(page) = &failure.page { a href=(page) { (seen.1) } } @else { (seen.1) }
                    @if seen.0 != seen.1 { span.beneath { "first " (seen.0) } }
                }
            }
        }
    }
}

fn id(state: Since) -> &'static str {
    match state {
        Since::Open => "open",
        Since::Pending => "pending",
        Since::Dismissed => "dismissed",
        Since::Closed => "resolved",
    }
}

fn name(state: Since) -> &'static str {
    match state {
        Since::Pending => "being asked again",
        state => id(state),
    }
}
