//! The page, section by section.

use maud::{Markup, html};

use super::{Examined, Integrity, KnownFailures, tables};
use crate::archive::read::Origin;
use crate::completeness::findings::Findings;
use crate::completeness::verdict::verdict;
use crate::page::blocks::{self, Heading, section};
use crate::page::figures::{count, share, time, zone};
use crate::page::{document, is_hidden};

const STYLE: &str = concat!(include_str!("../../page/sheet.css"), include_str!("../certificate.css"));

impl Examined {
    /// The page for what was found.
    pub fn page(&self, findings: &Findings) -> String {
        let verdict = verdict(findings, self.failures.is_known());
        let name = self.job.clone().unwrap_or_else(|| self.place());
        let heading = Heading {
            links: &[],
            kind: "certificate of completeness",
            name: &name,
            when: html! {
                "References " (self.range()) " · examined "
                time { (time(self.started_at, &self.timezone)) } " " (zone(&self.timezone))
            },
            tone: verdict.tone,
            badge: verdict.badge,
            sentence: &verdict.sentence,
            error: None,
        };
        let absent = if self.failures.is_known() { "Absent" } else { "Absent or failed" };
        let body = html! {
            main {
                (heading)
                (blocks::tiles(&totals(self, findings)))
                (section("examined", "What was examined", &blocks::facts(&subject(self, findings))))
                @if !findings.problems.is_empty() {
                    (section("problems", "Files that cannot be read", &tables::problems(findings)))
                }
                @if findings.total.absent > 0 {
                    (section("absent", absent, &tables::absent(self, findings)))
                }
                (section("failures", "Failed, by class and code", &tables::failures(self, findings)))
                (section("days", "By day", &tables::days(self, findings)))
                (section("accounts", "By account", &tables::accounts(self, findings)))
                @if findings.read.invalid > 0 {
                    (section("invalid", "Rows that are not valid references", &tables::invalid(findings)))
                }
                (section("how", "How this was established", &how(self, findings)))
                (section("means", "What complete means", &means()))
                (signature(self))
            }
            (blocks::footer(&self.version, Some(self.made_at), &self.timezone))
        };
        document(&format!("{name}: completeness"), STYLE, is_hidden, &body)
    }
}

fn totals(examined: &Examined, findings: &Findings) -> [(&'static str, String, String); 7] {
    let total = &findings.total;
    let beside = |n: u64, words: &str| if n == 0 { "none".to_owned() } else { words.to_owned() };
    [
        ("referenced", count(total.referenced), "messages, each counted once".to_owned()),
        ("archived", count(total.archived), format!("{} of those referenced", share(total.archived, total.referenced))),
        ("failed", count(total.failed), beside(total.failed, "recorded with the reason")),
        ("dismissed", count(total.dismissed), beside(total.dismissed, "failures closed by an operator")),
        ("pending", count(total.pending), beside(total.pending, "still to be fetched")),
        (examined.missing(), count(total.absent), beside(total.absent, "listed below")),
        ("invalid rows", count(findings.read.invalid), beside(findings.read.invalid, "not valid references")),
    ]
}

fn subject(examined: &Examined, findings: &Findings) -> Vec<(&'static str, String)> {
    let read = &findings.read;
    let mut facts = vec![("archive", examined.place())];
    facts.extend(examined.job.clone().map(|job| ("job", job)));
    facts.push(("AppKey", examined.app_key.clone()));
    match &examined.archive {
        Origin::Parquet { manifests, head, .. } => {
            facts.push(("manifests", count(*manifests)));
            if let Some(head) = head {
                facts.push(("last manifest", head.file.clone()));
                facts.push(("its SHA-256", head.sha256.clone()));
            }
        }
        Origin::Postgres { ledger_id, commit, .. } => {
            facts.extend(commit.map(|commit| ("last commit", count(commit.max(0) as u64))));
            facts.extend(ledger_id.clone().map(|id| ("ledger", id)));
        }
    }
    facts.push(("references", examined.references.clone()));
    facts.push(("range", examined.range()));
    let rows = format!(
        "{} read: {} name a message for the first time, {} name one again, {} are outside the range, {} are invalid, {} are about other things",
        count(read.rows),
        count(findings.total.referenced),
        count(read.duplicates),
        count(read.outside),
        count(read.invalid),
        count(read.skipped)
    );
    facts.push(("rows", rows));
    facts.push(("SHA-256 of these", findings.references_sha256.clone()));
    let failures = match &examined.failures {
        KnownFailures::Ledger => "the job's ledger".to_owned(),
        KnownFailures::File(file) => format!("{file}, which does not know pending references"),
        KnownFailures::Nowhere => "nowhere: what failed counts as absent".to_owned(),
    };
    facts.push(("failures from", failures));
    facts.extend(examined.operator.clone().map(|operator| ("operator", operator)));
    facts.extend(examined.purpose.clone().map(|purpose| ("purpose", purpose)));
    facts.push(("program", format!("yunxin-archiver {}", examined.version)));
    facts
}

fn how(examined: &Examined, findings: &Findings) -> Markup {
    let (read, total) = (&findings.read, &findings.total);
    html! {
        p {
            "Every reference was read from its source, from the start, no matter what a run had read before. References to \
            the same message count once, under the one that comes first by time, then by conversation. A message is "
            b { "archived" } " if the archive holds its ID under the same AppKey."
        }
        p {
            @match &examined.archive {
                Origin::Parquet { .. } => "The message IDs were read from every file of the archive that its manifests \
                    name; a file that no manifest names does not count.",
                Origin::Postgres { .. } => "The message IDs in the archive were read in one transaction.",
            }
            " "
            @match &examined.failures {
                KnownFailures::Ledger => {
                    "A message that is not there is " b { "failed" } " if the job's ledger holds an open failure of it, with \
                    the class and code of the service's answer, " b { "dismissed" } " if an operator closed that failure, \
                    and " b { "pending" } " if it is still to be fetched or its file is not yet in a manifest. Otherwise it \
                    is " b { "absent" } "."
                }
                KnownFailures::File(_) => {
                    "A message that is not there is " b { "failed" } " if the file of failures names it, with the class and \
                    code of the service's answer, and " b { "dismissed" } " if the file says that an operator closed that \
                    failure. Otherwise it is " b { "absent" } ", even if it was still pending."
                }
                KnownFailures::Nowhere => {
                    "A message that is not there is " b { "absent or failed" } ": without a ledger or a file of failures, \
                    one cannot be told from the other."
                }
            }
        }
        p {
            @match examined.integrity {
                Integrity::Unexamined => {
                    "This page does not say whether the archive's files are as they were written: " code { "verify" }
                    " of the archive examines that."
                }
                Integrity::Sound => {
                    "Just before, " code { "verify" } " examined the archive itself, its hashes and its chain of manifests, \
                    and found no fault."
                }
                Integrity::Broken => {
                    b { "Just before, " code { "verify" } " examined the archive itself and found it damaged" }
                    ": see what it printed."
                }
            }
        }
        p {
            "Every row is accounted for: " (count(read.rows)) " = "
            (sum(&[total.referenced, read.duplicates, read.outside, read.invalid, read.skipped]))
            "; and so is every message: " (count(total.referenced)) " = "
            (sum(&[total.archived, total.failed, total.dismissed, total.pending, total.absent]))
            ". The SHA-256 of the references is that of one line " code { "ID,time,conversation" }
            " for each message, in order of ID."
        }
    }
}

fn sum(terms: &[u64]) -> String {
    terms.iter().map(|term| count(*term)).collect::<Vec<_>>().join(" + ")
}

fn means() -> Markup {
    html! {
        p {
            "Complete means that " b { "of the references given" } ", none is unaccounted for. Whoever gave them is responsible \
            for whether they name every message that there was. In particular, this page says nothing about"
        }
        ul.plain {
            li { "messages, including replies, that no reference names;" }
            li {
                "messages that the service never stored, or removed before they were asked for (those that were asked for \
                are among the failed);"
            }
            li { "the files that messages attach: the archive holds their links, not the files." }
        }
    }
}

fn signature(examined: &Examined) -> Markup {
    html! {
        section #signature aria-label="Signature" {
            div.sign {
                p { span.line {} "place" }
                p { span.line {} "date" }
                p { span.line { bdi { (examined.operator.as_deref().unwrap_or_default()) } } "name" }
                p { span.line {} "signature" }
            }
        }
    }
}
