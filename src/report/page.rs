//! The page as a whole.

use super::advice::advice;
use super::document::{self, closing, opening, section};
use super::figures::{count, counted, duration, rate, share, size, time, zone};
use super::markup::{details, escape, table};
use super::{Ending, Report, days, failures, latency, pace, reconciliation};

/// Files that are listed.
const FILES: usize = 1_000;
/// So many files need no folding away.
const FEW_FILES: usize = 12;

/// The page, as HTML that is XML as well.
pub fn page(report: &Report) -> String {
    let advice = advice(report);
    let title = format!("{}: run of {}", report.job, time(report.started_at, &report.timezone));
    let mut out = opening(&title, &report.version, "");
    out.push_str(&format!(
        "<header><p class=\"over\">yunxin-archiver · report of a run</p><h1><bdi>{}</bdi> <span class=\"badge {}\">{}</span></h1>\
         <p class=\"when\"><time>{}</time> to <time>{}</time> {} · {}{}</p>",
        escape(&report.job),
        advice.tone,
        advice.badge,
        time(report.started_at, &report.timezone),
        time(report.known_until, &report.timezone),
        escape(zone(&report.timezone)),
        duration(report.seconds()),
        match report.ending {
            Ending::Died | Ending::Running => ", as far as it was noted",
            _ => "",
        },
    ));
    out.push_str(&format!("<p class=\"verdict {}\">{}</p>", advice.tone, escape(&advice.sentence)));
    if let Some(error) = &report.error {
        out.push_str(&format!("<p class=\"error\"><bdi>{}</bdi></p>", escape(error)));
    }
    out.push_str("</header>");
    out.push_str(&tiles(report));
    section(&mut out, "next", "To go on", &commands(&advice.commands));
    section(&mut out, "reconciliation", "Where every reference went", &reconciliation::section(report));
    section(&mut out, "messages", "Messages", &days::section(report));
    section(&mut out, "pace", "Over time", &pace::section(report));
    section(&mut out, "latency", "How long answers took", &latency::section(report));
    section(&mut out, "failures", "Failures", &failures::section(report));
    section(&mut out, "files", "Files", &files(report));
    section(&mut out, "run", "The run", &facts(report));
    out.push_str(&closing(&report.version, report.made_at, &report.timezone));
    out
}

fn tiles(report: &Report) -> String {
    let r = &report.references;
    let seconds = report.seconds().max(0.001);
    let per_second = report.requests.sent as f64 / seconds;
    let quota = report.course.as_ref().map(|course| course.quota).filter(|quota| *quota > 0);
    let new: u64 = report.new_failures.iter().map(|(_, count)| count).sum();
    let tiles = [
        (
            "archived",
            count(r.archived),
            format!("{} of {} to fetch", share(r.archived, report.to_fetch()), count(report.to_fetch())),
        ),
        (
            "failed",
            count(r.failed),
            match report.ending {
                Ending::Died | Ending::Running => format!("and {}", counted(r.invalid, "invalid row", "invalid rows")),
                _ => format!("and {} · {} new", counted(r.invalid, "invalid row", "invalid rows"), count(new)),
            },
        ),
        ("pending", count(r.pending), "left for the next run".to_owned()),
        (
            "requests",
            count(report.requests.sent),
            match report.requests.minimum {
                0 => "none is needed".to_owned(),
                minimum => format!("{} is the least possible", count(minimum)),
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
    ];
    document::tiles(&tiles)
}

fn commands(commands: &[(String, String)]) -> String {
    let items = commands
        .iter()
        .map(|(words, command)| format!("<li><p>{}</p><pre><code>{}</code></pre></li>", escape(words), escape(command)))
        .collect::<Vec<_>>()
        .concat();
    format!("<ol class=\"commands\">{items}</ol>")
}

fn files(report: &Report) -> String {
    if report.files.is_empty() {
        return "<p class=\"none\">This run committed no files.</p>".to_owned();
    }
    let rows: u64 = report.files.iter().map(|file| file.rows).sum();
    let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
    let all = report.files.len() as u64;
    let lines: Vec<Vec<String>> = report
        .files
        .iter()
        .take(FILES)
        .map(|file| {
            vec![
                format!("<bdi>{}</bdi>", escape(&file.path)),
                count(file.rows),
                size(file.bytes),
                format!("<code class=\"hash\">{}</code>", escape(&file.sha256)),
            ]
        })
        .collect();
    let header = [("file", false), ("messages", true), ("size", true), ("SHA-256", false)];
    let summary = format!("{} with {} messages, {}", counted(all, "file", "files"), count(rows), size(bytes));
    let mut out = details(
        &summary,
        report.files.len() <= FEW_FILES,
        &table("Files, in the order of their commits", &header, &lines),
    );
    if report.files.len() > FILES {
        out.push_str(&format!(
            "<p class=\"note\">The first {} are listed; all: <code>{} files {}</code></p>",
            count(FILES as u64),
            escape(&report.invocation),
            escape(&report.job)
        ));
    }
    out
}

fn facts(report: &Report) -> String {
    let requests = &report.requests;
    let new: Vec<String> = report.new_failures.iter().map(|(class, n)| format!("{} {class}", count(*n))).collect();
    let exit_code = report.exit_code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    let facts = [
        ("run", report.run_id.clone()),
        ("command", report.command.clone()),
        ("exit code", exit_code),
        ("archive", report.archive.clone()),
        ("AppKey", report.app_key.clone()),
        (
            "requests",
            format!(
                "{} sent, {} answered with success, {} sent again, {} refused as over the rate, {} batches split, {} asked under another owner",
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
    ];
    document::facts(&facts)
}
