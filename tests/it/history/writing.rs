//! The command: what it writes and what it leaves alone.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use yunxin_archiver::ledger::JobLock;
use yunxin_archiver::model::failure::Class;
use yunxin_archiver::report::history::{Counts, Failure, History, JobLine, Jobs, Kind, Mark, RUNS, Run};
use yunxin_archiver::report::{FailureLine, Since};
use yunxin_archiver::simulator::APP_SECRET;

use crate::support::nights::files_below;
use crate::support::page::Read;
use crate::support::past::{Night, Past};
use crate::support::site::{Site, dialogues};

/// The targets of a page's links.
fn links(html: &str) -> Vec<&str> {
    let targets = html.split(" href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    targets.filter(|target| !target.starts_with('#')).collect()
}

/// Reads a page; every link must lead to a file in the directory of all pages, and nothing elsewhere be asked for.
fn read(directory: &Path, name: &str) -> (String, Read) {
    let path = directory.join(name);
    let html = std::fs::read_to_string(&path).unwrap();
    for target in links(&html) {
        let file = target.split('#').next().unwrap();
        assert!(!file.contains(':') && !file.starts_with('/'), "{target}");
        assert!(path.parent().unwrap().join(file).is_file(), "{name}: {target}");
    }
    let read = Read::of(&html);
    for strange in ["img", "link", "iframe", "object", "form", "base"] {
        assert!(!read.list("tags").contains(&strange), "{name}: {strange}");
    }
    let attributes = read.list("attributes");
    assert!(!attributes.iter().any(|name| name.starts_with("on") || ["src", "style", "srcset"].contains(name)));
    let policy = read.0["policy"].as_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    (html, read)
}

/// Every file below a directory with its inode: one that is replaced has another.
fn inodes(directory: &Path) -> BTreeMap<String, u64> {
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let name = |path: &Path| path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
    files_below(directory).keys().map(|path| (name(path), inode(path))).collect()
}

/// The files that differ.
fn changed(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    after.iter().filter(|(name, inode)| before.get(*name) != Some(inode)).map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn pages_tell_what_the_ledger_knows_and_only_what_changed_is_written() {
    let mut past = Past::of(50).await;
    assert!(past.pages().contains("job nightly: 51 runs, 53 pages written: pages/index.html"), "two runs on one day");
    let pages = past.path("pages");
    let (_, index) = read(&pages, "index.html");
    let text = index.text();
    assert!(text.contains("51 runs since ") && index.badge() == "last run: complete", "{}", index.badge());
    let counted = "44 complete, 3 complete with failures, 1 complete but looks wrong, 1 failed, 2 stopped";
    for words in [
        counted,
        "the source cannot be read: connection refused (db.example:5432)",
        "the times may lack their milliseconds",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let runs = past.ledger.runs(100).await.unwrap();
    for run in &runs {
        let (html, page) = read(&pages, &format!("runs/{}.html", run.run_id));
        assert!(page.list("sums").iter().all(|sum| sum.ends_with(" agrees")), "{:?}", page.list("sums"));
        assert!(!html.contains("<script") && !html.contains("a-secret-of-the-app"));
    }
    let (html, failures) = read(&pages, "failures.html");
    let all = past.ledger.latest_failures(5_000, None).await.unwrap();
    assert!(all.len() > 100 && html.matches("<tr data-kind=").count() == all.len());
    for failure in &all {
        assert!(failures.text().contains(&failure.message_server_id.unwrap().to_string()));
    }

    // Nothing happened: only the time on the first page is another.
    let first = inodes(&pages);
    assert!(past.pages().contains("1 page written"));
    let second = inodes(&pages);
    assert_eq!(changed(&first, &second), ["index.html"]);

    // Failures are dismissed: pages of the runs that met them change, and no others.
    past.dismiss(Class::Refused).await;
    past.pages();
    let third = inodes(&pages);
    let met: Vec<_> = all.iter().filter(|failure| failure.class == Class::Refused).collect();
    let mut expected: Vec<String> = met.iter().map(|failure| format!("runs/{}.html", failure.run_id)).collect();
    expected.sort();
    expected.dedup();
    assert!(expected.len() < runs.len() / 2);
    let mut expected_all = vec!["failures.html".to_owned(), "index.html".to_owned()];
    expected_all.extend(expected);
    assert_eq!(changed(&second, &third), expected_all);
    assert!(read(&pages, "failures.html").1.text().contains("by mei: deleted at the vendor"));

    // One more night: its page, and the one before, which now leads to it.
    let latest = runs[0].run_id;
    let tonight = past.night(50, Timestamp::now(), Night::Complete).await.unwrap();
    past.pages();
    let fourth = inodes(&pages);
    let mut expected = vec!["index.html".to_owned(), format!("runs/{latest}.html"), format!("runs/{tonight}.html")];
    expected.sort();
    assert_eq!(changed(&third, &fourth), expected);

    // A page that was lost or cut is made again.
    std::fs::write(pages.join(format!("runs/{latest}.html")), "").unwrap();
    past.pages();
    read(&pages, &format!("runs/{latest}.html"));
}

#[tokio::test]
async fn a_run_under_way_and_runs_that_died_are_told_apart() {
    let mut past = Past::new().await;
    let now = Timestamp::now();
    past.night(1, now - SignedDuration::from_hours(48), Night::Died).await;
    past.night(2, now - SignedDuration::from_hours(24), Night::Died).await;
    let badge = |past: &Past| {
        past.pages();
        read(&past.path("pages"), "index.html").1.badge().to_owned()
    };
    let lock = JobLock::acquire(&past.path("state"), "nightly", Duration::ZERO).await.unwrap();
    assert_eq!(badge(&past), "last run: running");
    drop(lock);
    assert_eq!(badge(&past), "last run: died");
    let text = read(&past.path("pages"), "index.html").1.text().to_owned();
    assert!(text.contains("2 runs since") && text.contains("2 died."), "{text}");
}

#[tokio::test]
async fn pages_of_forgotten_runs_stay_and_are_linked() {
    let mut past = Past::new().await;
    let now = Timestamp::now();
    let old = past.night(1, now - SignedDuration::from_hours(24 * 500), Night::Complete).await.unwrap();
    past.night(2, now - SignedDuration::from_hours(24 * 14), Night::WithFailures).await;
    past.night(3, now - SignedDuration::from_hours(24 * 7), Night::Complete).await;
    past.night(4, now, Night::Complete).await;
    past.pages();
    let due = past.ledger.manifest_due(None).await.unwrap();
    past.ledger.set_manifest(due[0].run_id, due[0].sequence, "00", None).await.unwrap();
    past.ledger.expire(Duration::from_hours(24 * 400), now).await.unwrap();
    assert!(past.pages().contains("job nightly: 3 runs, "));
    let (html, index) = read(&past.path("pages"), "index.html");
    assert!(html.contains(" data-days=\"14\""), "a weekly job");
    assert!(links(&html).contains(&format!("runs/{old}.html").as_str()));
    assert!(index.text().contains("1 former run The job's ledger no longer knows these runs"), "{}", index.text());
}

#[tokio::test]
async fn a_directory_of_something_else_is_refused_and_files_of_others_stay() {
    let past = Past::of(3).await;
    std::fs::create_dir(past.path("mine")).unwrap();
    std::fs::write(past.path("mine/index.html"), "mine").unwrap();
    let refused = |arguments: &[&str], words: &str| {
        let output = past.go(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    };
    refused(
        &["report", "nightly", "--all", "-o", "mine"],
        "mine holds other things, such as index.html: name a directory",
    );
    refused(&["report", "nightly", "--all", "-o", "jobs.yaml"], "jobs.yaml is not a directory");
    refused(&["report", "nightly", "--all", "-o", "-"], "-o must name it");
    refused(&["report", "weekly", "--all", "-o", "new"], "job weekly has not run yet");
    refused(&["report", "--all", "--run", "01a206c5-3a1b-71ff-ad37-15c799509513"], "cannot be used with");
    refused(&["report"], "<JOB>");
    assert!(!past.path("new").exists());
    assert_eq!(std::fs::read(past.path("mine/index.html")).unwrap(), b"mine");

    // Whoever may read the directory may read the pages.
    std::fs::create_dir(past.path("pages")).unwrap();
    std::fs::write(past.path("pages/_pages.json.1.tmp"), "of a call that died").unwrap();
    std::fs::set_permissions(past.path("pages"), std::fs::Permissions::from_mode(0o750)).unwrap();
    past.pages();
    let mode = |name: &str| std::fs::metadata(past.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        ["pages/index.html", "pages/failures.html", "pages/runs", "pages"].map(mode),
        [0o640, 0o640, 0o750, 0o750]
    );
    std::fs::write(past.path("pages/notes.txt"), "mine").unwrap();
    std::fs::write(past.path("pages/runs/notes.html"), "mine").unwrap();
    past.pages();
    for name in ["pages/notes.txt", "pages/runs/notes.html"] {
        assert_eq!(std::fs::read(past.path(name)).unwrap(), b"mine");
    }
    refused(&["report", "--all", "-o", "pages"], "pages holds the pages of job nightly alone");
    assert_eq!(past.go(&["report", "--all", "-o", "every"]).status.code(), Some(0));
    assert_eq!(mode("every"), 0o700);
    refused(&["report", "nightly", "--all", "-o", "every"], "every holds the pages of all jobs");
    std::fs::write(past.path("every/_pages.json"), "{\"version\": 9}").unwrap();
    refused(&["report", "--all", "-o", "every"], "every has a _pages.json that this version does not know");
}

#[tokio::test]
async fn all_jobs_have_an_overview_and_one_that_cannot_be_read_stops_no_other() {
    let past = Past::of(3).await;
    assert_eq!(past.go(&["report", "--all", "-o", "every"]).status.code(), Some(0));
    let every = past.path("every");
    let (html, overview) = read(&every, "index.html");
    assert_eq!(links(&html), ["nightly/index.html"]);
    assert!(overview.text().contains("weekly has not run yet"), "{}", overview.text());
    let (html, _) = read(&every, "nightly/index.html");
    assert!(links(&html).contains(&"../index.html"));
    std::fs::write(past.path("state/weekly.sqlite"), "this is no ledger").unwrap();
    std::fs::remove_file(every.join("nightly/index.html")).unwrap();
    let output = past.go(&["report", "--all", "-o", "every"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("job weekly: "));
    let (_, overview) = read(&every, "index.html");
    assert!(overview.text().contains("weekly its pages cannot be written, or its ledger cannot be read"));
    read(&every, "nightly/index.html");
}

#[test]
fn real_runs_have_their_marks_and_the_pages_that_report_writes() {
    let (refs, world) = dialogues(6, 40);
    let site = Site::new(world);
    let mut text = crate::support::site::csv(&refs);
    text.push_str("owner0|1|other0,1,1790899200007\nnonsense,2,3\n");
    site.write("refs.csv", text);
    let run = site.run(&["run", "--json"]).exits(3).summary["jobs"][0].clone();
    site.write_secret("secret", "another-secret");
    site.run(&["retry", "nightly", "--all", "--json"]).exits(4);
    site.run(&["report", "nightly", "--all", "-o", "pages"]).exits(0);
    site.run(&["report", "nightly", "--run", run["run_id"].as_str().unwrap(), "-o", "one.html"]).exits(0);
    let pages = site.path("pages");
    let (_, index) = read(&pages, "index.html");
    assert_eq!(index.badge(), "last run: failed");
    assert!(index.text().contains("1 complete with failures, 1 failed."), "{}", index.text());
    let (_, night) = read(&pages, &format!("runs/{}.html", run["run_id"].as_str().unwrap()));
    let one = Read::of(&std::fs::read_to_string(site.path("one.html")).unwrap());
    for part in ["sums", "tiles"] {
        assert_eq!(night.list(part), one.list(part));
    }
    assert_eq!(night.badge(), one.badge());
    let failures = read(&pages, "failures.html").1;
    assert!(failures.text().contains("refs.csv") && failures.text().contains("unavailable"), "{}", failures.text());
    for (path, content) in files_below(&pages) {
        let content = String::from_utf8(content).unwrap();
        for never in ["another-secret", APP_SECRET, "hello"] {
            assert!(!content.contains(never), "{}: {never}", path.display());
        }
    }

    // Adopting the archive is among the runs, and is no night.
    site.write_secret("secret", APP_SECRET);
    site.run(&["adopt", "nightly"]).exits(0);
    site.run(&["report", "nightly", "--all", "-o", "pages"]).exits(0);
    let (_, index) = read(&pages, "index.html");
    assert_eq!(index.badge(), "last run: failed");
    assert!(index.text().contains(" adopt complete "), "{}", index.text());
    site.run(&["report", "nightly", "-o", "one.html"]).exits(0);
    assert_eq!(Read::of(&std::fs::read_to_string(site.path("one.html")).unwrap()).badge(), "complete");
}

const HOSTILE: &str = "</style></script><script>alert(1)</script><img src=x onerror='alert(2)'>\" onload=\"x &amp; ]]> \u{0}\u{1b}[2J\u{202e}\u{feff}\u{ffff}";

pub(super) fn history(runs: usize, failures: usize) -> History {
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let run = |index: usize| Run {
        page: format!("runs/{index}.html"),
        command: HOSTILE.to_owned(),
        mark: [Mark::Complete, Mark::LooksWrong, Mark::Died, Mark::Stopped][index % 4],
        exit_code: Some(3),
        error: index.is_multiple_of(10).then(|| HOSTILE.repeat(20)),
        started_at: now - SignedDuration::from_hours(24) * index as i32,
        seconds: Some(f64::MAX),
        references: (!index.is_multiple_of(3)).then_some(Counts {
            archived: 1 << 40,
            failed: index as u64,
            pending: 7,
        }),
        requests: Some(u64::MAX),
        quota_used: Some([0.5, f64::NAN, f64::INFINITY][index % 3]),
    };
    let line = FailureLine {
        message_server_id: Some(i64::MAX),
        conversation_id: Some(HOSTILE.to_owned()),
        create_time: Some(i64::MAX),
        source: Some(HOSTILE.to_owned()),
        message: HOSTILE.repeat(100),
        attempts: u64::MAX,
        retryable: true,
        since: Since::Dismissed,
    };
    let failure = Failure {
        class: Class::Unavailable,
        code: Some(i64::MIN),
        line,
        first_seen: Timestamp::MIN,
        last_seen: Timestamp::MAX,
        note: Some(HOSTILE.to_owned()),
        page: Some("runs/0.html".to_owned()),
    };
    History {
        version: HOSTILE.to_owned(),
        made_at: now,
        timezone: TimeZone::UTC,
        job: HOSTILE.to_owned(),
        archive: HOSTILE.to_owned(),
        app_key: HOSTILE.to_owned(),
        runs: (0..runs).map(run).collect(),
        has_more_runs: true,
        former: vec![(Timestamp::MAX, HOSTILE.to_owned())],
        pending: u64::MAX,
        kinds: vec![Kind { class: Class::Unavailable, code: Some(i64::MIN), open: 1, all: u64::from(u32::MAX) }],
        failures: vec![failure; failures],
        is_among_jobs: true,
        invocation: HOSTILE.to_owned(),
    }
}

#[test]
fn no_text_becomes_markup_and_no_number_breaks_a_page() {
    let history = history(50, 2);
    let line = |latest| JobLine { job: HOSTILE.to_owned(), timezone: TimeZone::UTC, latest };
    let jobs = Jobs {
        version: HOSTILE.to_owned(),
        made_at: Timestamp::MAX,
        timezone: TimeZone::UTC,
        jobs: vec![line(Ok(history.latest().unwrap())), line(Err(HOSTILE.to_owned()))],
    };
    for html in [history.index(), history.failures(), jobs.page()] {
        let read = Read::of(&html);
        assert!(read.text().contains("<script>alert(1)</script>"), "shown as text");
        assert_eq!((html.matches("<script").count(), html.matches("<img").count()), (1, 0));
        assert!(!html.contains(['\u{0}', '\u{1b}', '\u{202e}', '\u{feff}', '\u{ffff}']));
        assert!(!html.contains("\"NaN") && !html.contains("inf\""), "a coordinate is no number");
    }
}

#[test]
fn five_thousand_nights_and_failures_make_pages_of_a_few_megabytes() {
    let mut history = history(RUNS, 5_000);
    for run in &mut history.runs {
        run.command = "run".to_owned();
        run.error = None;
    }
    for failure in &mut history.failures {
        failure.line.message = "message is not exist".to_owned();
        failure.line.source = None;
    }
    let (index, failures) = (history.index(), history.failures());
    assert!(index.len() < 4_000_000, "{}", index.len());
    assert!(failures.len() < 6_000_000, "{}", failures.len());
    let text = Read::of(&index).text().to_owned();
    assert!(text.contains("Only the latest 5,000 runs are listed."));
    let first = history.made_at.to_zoned(TimeZone::UTC).date().saturating_sub((RUNS as i64 - 1).days());
    assert!(text.contains(&format!("since {first}")));
    assert!(Read::of(&failures).text().contains("The first 5,000 are listed and searched."));
}
