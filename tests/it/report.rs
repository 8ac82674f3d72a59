//! The report page: what it tells is what the summary tells, whatever became of the run, and it is text alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tempfile::TempDir;
use yunxin_archiver::model::failure::Class;
use yunxin_archiver::model::summary::{Bytes, FileSummary, References, Refetched, Requests, ThreadExtras};
use yunxin_archiver::model::timeline::{Messages, Sample, Timeline};
use yunxin_archiver::report::{Ending, FailureKind, FailureLine, Report, Since};
use yunxin_archiver::simulator::{APP_KEY, APP_SECRET, DemoWorld, Fault, Faults, Handle, Rule, Settings, start_with};

use crate::support::page::{Read, is_self_contained};

/// A simulated API, and a job that archives a part of the demo's references from it.
struct House {
    directory: TempDir,
    service: Handle,
}

impl House {
    fn new(rows: usize, faults: Faults, secret: &str) -> Self {
        let world = DemoWorld::new(7, 1_793_491_200_000);
        let settings = Settings { rate_limit: 0, faults, ..Settings::default() };
        let service = start_with(settings, world.world()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let house = Self { directory, service };
        let mut references = Vec::new();
        world.write_references(&mut references).unwrap();
        let references = String::from_utf8(references).unwrap();
        let mut part = String::new();
        for line in references.lines().take(rows + 1) {
            writeln!(part, "{line}").unwrap();
        }
        std::fs::write(house.path("refs.csv"), part).unwrap();
        std::fs::write(house.path("secret"), secret).unwrap();
        let config = format!(
            "version: 1\napps:\n  main:\n    app_key: {APP_KEY}\n    app_secret: file:secret\n    rate_limit: 500\n    \
             endpoints: [\"{}\"]\njobs:\n  nightly:\n    app: main\n    source:\n      csv: {{ path: refs.csv }}\n    \
             sink:\n      parquet: {{ path: archive, timezone: Asia/Shanghai, commit_interval: 1s }}\n",
            house.service.url()
        );
        std::fs::write(house.path("jobs.yaml"), config).unwrap();
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
        command.current_dir(self.directory.path()).args(arguments).stdin(Stdio::null());
        command
    }

    fn do_(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the job; its exit code and its part of the summary.
    fn run(&self) -> (i32, Value) {
        let output = self.do_(&["run", "--json"]);
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), summary["jobs"][0].clone())
    }

    /// The page of a run, as it stands in the file.
    fn page(&self, arguments: &[&str]) -> String {
        let arguments: Vec<&str> =
            ["report", "nightly", "-o", "page.html"].into_iter().chain(arguments.to_vec()).collect();
        let output = self.do_(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(self.path("page.html")).unwrap()
    }
}

fn number(value: &Value) -> String {
    let digits = value.as_u64().unwrap().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The sums that a page must show for a job's summary.
fn sums(summary: &Value) -> [String; 2] {
    let n = |name: &str| format!("{name} {}", number(&summary["references"][name]));
    [
        format!("{} = {} + {} + {} + {} agrees", n("read"), n("skipped"), n("invalid"), n("duplicate"), n("accepted")),
        format!(
            "{} + {} + {} = {} + {} + {} agrees",
            n("accepted"),
            n("resumed"),
            n("retried"),
            n("archived"),
            n("failed"),
            n("pending")
        ),
    ]
}

#[test]
fn a_page_tells_what_the_summary_tells() {
    let house = House::new(2_500, Faults::default(), APP_SECRET);
    let (code, summary) = house.run();
    assert_eq!(code, 3);
    let html = house.page(&[]);
    is_self_contained(&html);
    let read = Read::of(&html);
    assert_eq!(read.badge(), "complete, with failures");
    assert_eq!(read.list("sums"), sums(&summary));
    let tiles = read.list("tiles");
    for (tile, value) in tiles.iter().zip([
        &summary["references"]["archived"],
        &summary["references"]["failed"],
        &summary["references"]["pending"],
        &summary["requests"]["sent"],
    ]) {
        assert!(tile.contains(&number(value)), "{tile}: {value}");
    }
    let text = read.text();
    for (class, count) in summary["failures"].as_object().unwrap() {
        assert!(text.contains(&format!("{} {class}", number(count))), "{class}: {count}");
    }
    for (code, count) in summary["codes"].as_object().unwrap() {
        assert!(text.contains(&format!("unavailable {code} {}", number(count))), "{code}: {count}");
    }
    let files = summary["files"].as_array().unwrap();
    assert!(files.len() > 1);
    for file in files {
        for value in [&file["path"], &file["sha256"]] {
            assert!(text.contains(value.as_str().unwrap()), "{value}");
        }
    }
    // Messages by day and type add up to what is archived.
    assert!(!text.contains("more messages were archived"), "{text}");
    let days = text.split("Messages by day day messages ").nth(1).unwrap().split_whitespace();
    let counts: Vec<&str> = days.take_while(|word| word.starts_with("2026-") || word.parse::<u64>().is_ok()).collect();
    let total: u64 = counts.iter().filter_map(|word| word.parse::<u64>().ok()).sum();
    assert_eq!(Some(total), summary["references"]["archived"].as_u64(), "{counts:?}");
    assert!(text.contains("messages per day (Asia/Shanghai)") && text.contains("requests per second"));
    assert!(!html.contains(APP_SECRET));
    let config = house.path("jobs.yaml");
    assert!(read.list("commands").contains(&format!("yunxin-archiver -c {} run nightly", config.display()).as_str()));
}

#[test]
fn a_run_with_nothing_to_do_and_runs_before_it_have_their_pages() {
    let house = House::new(300, Faults::default(), APP_SECRET);
    let (_, first) = house.run();
    let (code, second) = house.run();
    assert_eq!(code, 0);
    let html = house.page(&[]);
    is_self_contained(&html);
    let read = Read::of(&html);
    assert_eq!((read.badge(), read.list("sums")), ("complete", sums(&second).iter().map(String::as_str).collect()));
    for words in
        ["No request was sent.", "No answer arrived.", "There are no messages to show.", "This run committed no files."]
    {
        assert!(read.text().contains(words), "{words}");
    }
    let html = house.page(&["--run", first["run_id"].as_str().unwrap()]);
    let read = Read::of(&html);
    assert_eq!(read.list("sums"), sums(&first));
    assert!(read.text().contains("There were later runs"), "{}", read.text());
}

#[test]
fn what_cannot_be_reported_is_said() {
    let house = House::new(1, Faults::default(), APP_SECRET);
    let fails = |arguments: &[&str], words: &str| {
        let output = house.do_(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    };
    fails(&["report", "nightly"], "job nightly has not run yet");
    house.run();
    fails(&["report", "nightly", "--run", "01a206c5-3a1b-71ff-ad37-15c799509513"], "has no run 01a206c5");
    fails(&["report", "nihgtly"], "has no job \"nihgtly\"");
    assert!(!house.path("report.html").exists());
    let printed = house.do_(&["report", "nightly", "-o", "-"]);
    assert!(printed.stdout.starts_with(b"<!DOCTYPE html>"));
}

#[test]
fn a_refused_run_says_why_and_never_the_secret() {
    let house = House::new(500, Faults::default(), "not-the-simulated-secret");
    let (code, summary) = house.run();
    assert_eq!(code, 4);
    let html = house.page(&[]);
    is_self_contained(&html);
    let read = Read::of(&html);
    assert_eq!((read.badge(), read.list("sums")), ("failed", sums(&summary).iter().map(String::as_str).collect()));
    assert!(read.text().contains("Correct them before you run again"), "{}", read.text());
    assert!(read.text().contains(summary["error"].as_str().unwrap()));
    assert!(!html.contains("not-the-simulated-secret"));
}

/// Ends a child however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_run_that_died_leaves_its_page() {
    // Some answers, then silence: the run commits what it has and waits, until it is killed.
    let faults = Faults {
        script: std::iter::repeat_n(Fault::Ok, 8).collect(),
        rules: vec![Rule::chance(Fault::Stall, 1.0)],
        ..Faults::default()
    };
    let house = House::new(2_500, faults, APP_SECRET);
    let child = house.command(&["run"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let mut child = Killed(child);
    let begun = Instant::now();
    loop {
        let output = house.do_(&["report", "nightly", "-o", "-"]);
        let html = String::from_utf8(output.stdout).unwrap();
        // Noted after the first commit, messages by day and all.
        if output.status.success() && html.contains("Messages by day") {
            let read = Read::of(&html);
            assert_eq!(read.badge(), "running");
            assert!(read.list("sums").iter().all(|sum| sum.ends_with(" agrees")), "{:?}", read.list("sums"));
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "no commit came");
        assert!(child.0.try_wait().unwrap().is_none(), "the run ended");
        std::thread::sleep(Duration::from_millis(100));
    }
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let html = house.page(&[]);
    is_self_contained(&html);
    let read = Read::of(&html);
    assert_eq!(read.badge(), "died");
    assert!(read.list("sums").iter().all(|sum| sum.ends_with(" agrees")), "{:?}", read.list("sums"));
    let archived = read.list("tiles")[0];
    assert!(archived.starts_with("archived") && !archived.contains("archived0"), "{archived}");
    assert!(read.text().contains("What was committed is safe"), "{}", read.text());
    assert!(read.list("commands")[0].ends_with(" run nightly"));
}

const HOSTILE: &str = "</style></title><script>alert(1)</script><img src=x onerror='alert(2)'>\" onload=\"x &amp; ]]> \u{0}\u{1b}[2J\u{202e}\u{feff}\u{ffff}";

fn hostile() -> Report {
    let line = FailureLine {
        message_server_id: Some(i64::MAX),
        conversation_id: Some(HOSTILE.to_owned()),
        create_time: Some(i64::MAX),
        source: Some(HOSTILE.to_owned()),
        message: HOSTILE.repeat(100),
        attempts: u64::MAX,
        retryable: true,
        since: Since::Open,
    };
    let kind =
        |class| FailureKind { class, code: Some(i64::MIN), count: u64::from(u32::MAX), listed: vec![line.clone()] };
    let mut timeline = Timeline { version: 1, quota: 0, ..Timeline::default() };
    timeline.samples.push(Sample { at: 0, sent: 5, ..Sample::default() });
    timeline.samples.push(Sample { at: 0, sent: 3, throttled: 1, ..Sample::default() });
    timeline.requests.sent = u64::MAX;
    timeline.requests.throttled = 1;
    timeline.latency = vec![0, 1, u64::from(u32::MAX)];
    timeline.messages = Messages {
        timezone: HOSTILE.to_owned(),
        types: vec![Some(i32::MIN), None],
        days: vec![("-009999-01-01".parse().unwrap(), vec![1]), ("9999-12-31".parse().unwrap(), vec![1, 2, 3])],
        elsewhere: 1,
    };
    Report {
        version: HOSTILE.to_owned(),
        made_at: Timestamp::MAX,
        timezone: TimeZone::UTC,
        job: HOSTILE.to_owned(),
        run_id: HOSTILE.to_owned(),
        command: HOSTILE.to_owned(),
        ending: Ending::Failed,
        exit_code: Some(1),
        error: Some(HOSTILE.to_owned()),
        started_at: Timestamp::MAX,
        known_until: Timestamp::MIN,
        archive: HOSTILE.to_owned(),
        app_key: HOSTILE.to_owned(),
        references: References { read: 1, archived: u64::from(u32::MAX), ..References::default() },
        thread_extras: ThreadExtras { planned: 1, ..ThreadExtras::default() },
        refetched: Refetched::default(),
        requests: Requests::default(),
        bytes: Bytes { received: u64::MAX, written: u64::MAX },
        new_failures: vec![(HOSTILE.to_owned(), 1)],
        failures: vec![kind(Class::Invalid), kind(Class::Unavailable)],
        files: vec![FileSummary { path: HOSTILE.to_owned(), rows: 1, bytes: 1, sha256: HOSTILE.to_owned() }],
        timeline: Some(timeline),
        is_latest: false,
        pending_now: 1,
        open_now: 1,
        invocation: HOSTILE.to_owned(),
        among: None,
    }
}

#[test]
fn no_text_becomes_markup_and_no_number_breaks_a_page() {
    let html = hostile().page();
    is_self_contained(&html);
    let read = Read::of(&html);
    assert!(read.text().contains("<script>alert(1)</script>"), "shown as text");
    assert!(html.matches("<script").count() + html.matches("<img").count() == 0);
    assert!(!html.contains(['\u{0}', '\u{1b}', '\u{202e}', '\u{feff}', '\u{ffff}']));
    assert!(!html.contains("NaN") && !html.contains("inf\""), "a coordinate is no number");
    assert!(html.len() < 200_000, "long texts are shortened: {}", html.len());
    // Sums that disagree are shown as they are.
    assert!(
        read.list("sums").iter().all(|sum| sum.ends_with("disagrees") && sum.contains('≠')),
        "{:?}",
        read.list("sums")
    );
}

#[test]
fn a_page_of_four_hundred_days_and_a_thousand_failures_stays_small() {
    let mut report = hostile();
    let mut date = jiff::civil::date(2025, 1, 1);
    let days: Vec<_> = std::iter::from_fn(|| {
        date = date.tomorrow().ok()?;
        Some((date, vec![3, 4]))
    })
    .take(400)
    .collect();
    let timeline = report.timeline.as_mut().unwrap();
    timeline.messages = Messages { timezone: "UTC".to_owned(), types: vec![Some(0), Some(1)], days, elsewhere: 0 };
    for at in 1..=600 {
        timeline.samples.push(Sample { at: at * 1000, sent: at * 90, fetched: at * 9000, ..Sample::default() });
    }
    let kind = report.failures.remove(1);
    let line = FailureLine { message: "message is not exist".to_owned(), ..kind.listed[0].clone() };
    report.failures = vec![FailureKind { count: 1_000, listed: vec![line; 100], ..kind }];
    let html = report.page();
    is_self_contained(&html);
    assert!(html.contains("the first 100 of 1,000"));
    assert!(html.len() < 700_000, "{}", html.len());
}

#[test]
fn the_picture_of_the_demo_is_no_larger_than_a_picture_should_be() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    for (name, most) in [("demo.svg", 40_000), ("report.png", 400_000)] {
        let size = std::fs::metadata(images.join(name)).unwrap().len();
        assert!(size > 1_000 && size < most, "{name}: {size}");
    }
}
