//! The certificate: what was found as a page to hand over.
//!
//! Pure: an [`Examined`] and [`Findings`] go in, text comes out. As of a run's report, whatever stands in them is text
//! to the page, never markup; the page runs nothing and loads nothing.

mod tables;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Findings, verdict};
use crate::export::archive::Origin;
use crate::report::document::{closing, facts, opening, section, tiles};
use crate::report::figures::{count, share, time, zone};
use crate::report::markup::escape;

/// Added to the style of all pages.
const STYLE: &str = include_str!("certificate.css");

/// Where failures and pending references were looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownFailures {
    /// In the job's ledger.
    Ledger,
    /// In a file, by its name: failures alone.
    File(String),
    /// Nowhere.
    Nowhere,
}

impl KnownFailures {
    /// Whether a message that failed can be told from one that is absent.
    pub fn is_known(&self) -> bool {
        *self != Self::Nowhere
    }
}

/// What is known of the archive's own integrity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// It was not examined together with completeness.
    Unexamined,
    /// It was, just before, and nothing was found.
    Sound,
    /// It was, just before, and something was found.
    Broken,
}

/// What was examined, beside what was found.
#[derive(Debug, Clone)]
pub struct Examined {
    /// This program's version.
    pub version: String,
    /// When the examination began.
    pub started_at: Timestamp,
    /// When the page was made.
    pub made_at: Timestamp,
    /// The zone of days and times.
    pub timezone: TimeZone,
    /// The job whose archive it is, when it was named by one.
    pub job: Option<String>,
    /// The archive.
    pub archive: Origin,
    /// The `AppKey`.
    pub app_key: String,
    /// Where the references were read.
    pub references: String,
    /// References from this time on, in milliseconds since the epoch.
    pub from: Option<i64>,
    /// References before this time.
    pub to: Option<i64>,
    /// Where failures were looked up.
    pub failures: KnownFailures,
    /// What is known of the archive's own integrity.
    pub integrity: Integrity,
    /// Who did it.
    pub operator: Option<String>,
    /// What for.
    pub purpose: Option<String>,
    /// The file that lists every absent reference.
    pub absent_file: Option<String>,
}

impl Examined {
    /// The archive in a line.
    pub fn place(&self) -> String {
        match &self.archive {
            Origin::Parquet { path, .. } => path.clone(),
            Origin::Postgres { place, table, .. } => format!("{place}, {table}"),
        }
    }

    /// The range of time in words.
    pub fn range(&self) -> String {
        let at = |millis: i64| match Timestamp::from_millisecond(millis) {
            Ok(at) => time(at, &self.timezone),
            Err(_) => format!("{millis} ms"),
        };
        let zone = zone(&self.timezone);
        match (self.from, self.to) {
            (None, None) => "all times".to_owned(),
            (Some(from), None) => format!("created from {} {zone} on", at(from)),
            (None, Some(to)) => format!("created before {} {zone}", at(to)),
            (Some(from), Some(to)) => format!("created from {} on and before {} {zone}", at(from), at(to)),
        }
    }
}

/// The page, as HTML that is XML as well.
pub fn page(examined: &Examined, findings: &Findings) -> String {
    let said = verdict(findings, examined.failures.is_known());
    let name = examined.job.clone().unwrap_or_else(|| examined.place());
    let mut out = opening(&format!("{name}: completeness"), &examined.version, STYLE);
    out.push_str(&format!(
        "<header><p class=\"over\">yunxin-archiver · certificate of completeness</p><h1><bdi>{}</bdi> <span class=\"badge {}\">{}</span></h1>\
         <p class=\"when\">References {} · examined <time>{}</time> {}</p><p class=\"verdict {}\">{}</p></header>",
        escape(&name),
        said.tone,
        said.badge,
        escape(&examined.range()),
        time(examined.started_at, &examined.timezone),
        escape(zone(&examined.timezone)),
        said.tone,
        escape(&said.sentence),
    ));
    out.push_str(&totals(findings, examined));
    section(&mut out, "examined", "What was examined", &subject(examined, findings));
    if !findings.problems.is_empty() {
        section(&mut out, "problems", "Files that cannot be read", &tables::problems(findings));
    }
    if findings.total.absent > 0 {
        let title = if examined.failures.is_known() { "Absent" } else { "Absent or failed" };
        section(&mut out, "absent", title, &tables::absent(examined, findings));
    }
    section(&mut out, "failures", "Failed, by class and code", &tables::failures(examined, findings));
    section(&mut out, "days", "By day", &tables::days(examined, findings));
    section(&mut out, "accounts", "By account", &tables::accounts(examined, findings));
    if findings.read.invalid > 0 {
        section(&mut out, "invalid", "Rows that are no reference", &tables::invalid(findings));
    }
    section(&mut out, "how", "How this was established", &how(examined, findings));
    section(&mut out, "means", "What complete means", MEANS);
    out.push_str(&signature(examined));
    out.push_str(&closing(&examined.version, examined.made_at, &examined.timezone));
    out
}

/// What absent messages are called.
fn missing(examined: &Examined) -> &'static str {
    if examined.failures.is_known() { "absent" } else { "absent or failed" }
}

fn totals(findings: &Findings, examined: &Examined) -> String {
    let total = &findings.total;
    let of = |n: u64| format!("{} of those referenced", share(n, total.referenced));
    let beside = |n: u64, words: &str| if n == 0 { "none".to_owned() } else { words.to_owned() };
    tiles(&[
        ("referenced", count(total.referenced), "messages, each counted once".to_owned()),
        ("archived", count(total.archived), of(total.archived)),
        ("failed", count(total.failed), beside(total.failed, "recorded with the reason")),
        ("dismissed", count(total.dismissed), beside(total.dismissed, "failed, closed by an operator")),
        ("pending", count(total.pending), beside(total.pending, "still to be fetched")),
        (missing(examined), count(total.absent), beside(total.absent, "listed below")),
        ("invalid rows", count(findings.read.invalid), beside(findings.read.invalid, "no references")),
    ])
}

fn subject(examined: &Examined, findings: &Findings) -> String {
    let read = &findings.read;
    let mut lines = vec![("archive", examined.place())];
    if let Some(job) = &examined.job {
        lines.push(("job", job.clone()));
    }
    lines.push(("AppKey", examined.app_key.clone()));
    match &examined.archive {
        Origin::Parquet { manifests, head, .. } => {
            lines.push(("manifests", count(*manifests)));
            if let Some(head) = head {
                lines.push(("last manifest", head.file.clone()));
                lines.push(("its SHA-256", head.sha256.clone()));
            }
        }
        Origin::Postgres { ledger_id, commit, .. } => {
            if let Some(commit) = commit {
                lines.push(("last commit", count((*commit).max(0) as u64)));
            }
            lines.extend(ledger_id.clone().map(|id| ("ledger", id)));
        }
    }
    lines.push(("references", examined.references.clone()));
    lines.push(("range", examined.range()));
    let rows = format!(
        "{} read: {} to different messages, {} to messages already named, {} of other times, {} no references, {} of other things",
        count(read.rows),
        count(findings.total.referenced),
        count(read.duplicates),
        count(read.outside),
        count(read.invalid),
        count(read.skipped)
    );
    lines.push(("rows", rows));
    lines.push(("SHA-256 of these", findings.references_sha256.clone()));
    lines.push((
        "failures from",
        match &examined.failures {
            KnownFailures::Ledger => "the job's ledger".to_owned(),
            KnownFailures::File(file) => format!("{file}, which knows nothing of pending references"),
            KnownFailures::Nowhere => "nowhere: what failed counts as absent".to_owned(),
        },
    ));
    lines.extend(examined.operator.clone().map(|operator| ("operator", operator)));
    lines.extend(examined.purpose.clone().map(|purpose| ("purpose", purpose)));
    lines.push(("program", format!("yunxin-archiver {}", examined.version)));
    facts(&lines)
}

fn how(examined: &Examined, findings: &Findings) -> String {
    let failures = match &examined.failures {
        KnownFailures::Ledger => {
            "A message that is not there is <b>failed</b> when the job's ledger holds an open failure of it, with the class and code that the service's answer had, \
             <b>dismissed</b> when an operator closed that failure, and <b>pending</b> when it is still to be fetched or its file awaits its manifest. Otherwise it is <b>absent</b>."
        }
        KnownFailures::File(_) => {
            "A message that is not there is <b>failed</b> when the file of failures names it, with the class and code that the service's answer had, or <b>dismissed</b> \
             when the file says that an operator closed that failure. \
             Otherwise it is <b>absent</b>; what was still pending cannot be told from it."
        }
        KnownFailures::Nowhere => {
            "A message that is not there is <b>absent or failed</b>: neither a ledger nor a file of failures was at hand to tell one from the other."
        }
    };
    let archive = match &examined.archive {
        Origin::Parquet { .. } => {
            "From the archive, the message IDs of every file that its manifests name were read; a file that no manifest names is no data."
        }
        Origin::Postgres { .. } => "From the archive, the message IDs were read in one transaction.",
    };
    let integrity = match examined.integrity {
        Integrity::Unexamined => {
            "Whether the archive's files are as they were written is not the subject of this page: <code>verify</code> of the archive examines that."
        }
        Integrity::Sound => {
            "Just before, <code>verify</code> examined the archive itself, its hashes and its chain of manifests, and found nothing amiss."
        }
        Integrity::Broken => {
            "<b>Just before, <code>verify</code> examined the archive itself and found it damaged</b>: see what it printed."
        }
    };
    format!(
        "<p>Every reference was read from its source, from the start and whatever a run had read before. Two references to one message count once, \
         under the one that comes first by time, then by conversation. A message is <b>archived</b> when the archive holds its ID, of the same AppKey.</p>\
         <p>{archive} {failures}</p><p>{integrity}</p>\
         <p>Every row is accounted for: {} = {} + {} + {} + {} + {}; and every message: {} = {} + {} + {} + {} + {}. \
         The SHA-256 of the references is that of one line <code>ID,time,conversation</code> for each message, in order of ID.</p>",
        count(findings.read.rows),
        count(findings.total.referenced),
        count(findings.read.duplicates),
        count(findings.read.outside),
        count(findings.read.invalid),
        count(findings.read.skipped),
        count(findings.total.referenced),
        count(findings.total.archived),
        count(findings.total.failed),
        count(findings.total.dismissed),
        count(findings.total.pending),
        count(findings.total.absent)
    )
}

const MEANS: &str = "<p>Complete means: <b>of the references given</b>, none is unaccounted for. Whether the references name every message that \
    there was is the responsibility of whoever gave them. In particular this page does not speak of</p>\
    <ul class=\"plain\"><li>messages, replies among them, that no reference names;</li><li>messages that the service never stored, or had removed before they were asked for \
    (those that were asked for are among the failed);</li><li>the files that messages attach: the archive holds their links, not the files.</li></ul>";

fn signature(examined: &Examined) -> String {
    let name = examined.operator.as_deref().map(escape).unwrap_or_default();
    format!(
        "<section id=\"signature\" aria-label=\"Signature\"><div class=\"sign\"><p><span class=\"line\"></span>place</p>\
         <p><span class=\"line\"></span>date</p><p><span class=\"line\"><bdi>{name}</bdi></span>name</p>\
         <p><span class=\"line\"></span>signature</p></div></section>"
    )
}
