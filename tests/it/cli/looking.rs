//! `plan`, `status`, `failures`, `files`: they look, and leave no trace.

use rustix::process::Signal;
use serde_json::{Value, json};
use yunxin_archiver::simulator::{DemoWorld, Fate, Fault};

use crate::support::site::{HASTY, NIGHTLY, Site, csv, dialogue, dialogues, message, reference};

/// Uninteresting differences between two runs of a test.
fn plain(site: &Site, text: &str) -> String {
    text.replace(site.path("").to_str().unwrap(), "DIR/")
}

/// A table whose columns are as wide as this machine's temporary directory has it.
fn narrow(table: &str) -> String {
    let words =
        |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ");
    table.lines().map(|line| words(line) + "\n").collect()
}

macro_rules! snapshot {
    ($text:expr, @$expected:literal) => {
        insta::with_settings!({ filters => vec![
            (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "RUN"),
            (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+Z)?", "TIME"),
            (r"\b[0-9a-f]{64}\b", "HASH"),
        ]}, { insta::assert_snapshot!($text, @$expected) })
    };
}

#[test]
fn a_plan_is_what_the_run_then_does_and_leaves_no_trace() {
    let demo = DemoWorld::new(3, 1_793_491_200_000);
    let mut text = Vec::new();
    demo.write_references(&mut text).unwrap();
    let site = Site::new(demo.world());
    site.write("refs.csv", &text);
    let plan = || {
        let before = site.everything();
        let plan = site.run(&["plan", "--json"]).exits(0).summary["jobs"][0].clone();
        assert!(site.everything() == before, "a plan leaves no trace");
        plan
    };
    let first = plan();
    assert_eq!(site.api.stats().requests, 0);
    let expected = demo.expected();
    for (name, count) in [
        ("read", expected.read),
        ("invalid", expected.invalid),
        ("duplicate", expected.duplicate),
        ("references", expected.accepted),
        ("conversations", expected.conversations),
        ("requests", expected.minimum_requests),
        ("pending", 0),
        ("due", 0),
    ] {
        assert_eq!(first[name], count, "{name}");
    }
    // A third of it, then a run that dies, then the rest.
    let some = site.run(&["run", "--json", "--limit", "7000"]);
    assert_eq!(some.refs("accepted"), 7000);
    let second = plan();
    assert_eq!(second["references"], expected.accepted - 7000);
    site.answers(30, Fault::Stall);
    let more = site.api.stats().requests + 31;
    let running = site.start(&["run"]);
    site.wait_for_requests(more);
    running.signal(Signal::KILL);
    running.end();
    site.answers_all();
    let third = plan();
    assert!(third["pending"].as_u64() > Some(0), "{third}");
    let ended = site.night();
    assert_eq!(third["references"], ended.refs("resumed") + ended.refs("accepted"));
    assert_eq!(third["requests"], ended.requests("minimum"));
    let requests = site.api.stats().requests;
    assert_eq!((&plan()["requests"], site.api.stats().requests), (&json!(0), requests));
}

#[test]
fn a_plan_counts_pending_batches_and_failures_that_are_due() {
    let (mut refs, world) = dialogues(5, 4);
    let site = Site::nightly((refs.clone(), world));
    snapshot!(site.run(&["plan"]).exits(0).stdout, @r##"
    job      read  skipped  invalid  known already  to fetch  left pending  conversations  requests  requests full  time at the quota
    nightly    20        0        0              0        20             0              5         5           4.0%  1s
    "##);
    site.write_secret("secret", "not-the-secret");
    site.night().exits(4);
    refs.push(reference("alice|1|bob", 100));
    site.write("refs.csv", csv(&refs));
    let plan = site.run(&["plan", "--json"]).exits(0).summary["jobs"][0].clone();
    assert_eq!([&plan["pending"], &plan["references"], &plan["duplicate"]], [&json!(20), &json!(21), &json!(20)]);
    // The table of runs stays a table: why they failed stands below it, once.
    let ended = site.night().exits(4);
    let status = site.run(&["status"]).exits(0).stdout;
    assert_eq!(status.matches(ended.job()["error"].as_str().unwrap()).count(), 1, "{status}");
}

#[test]
fn an_export_that_matches_nothing_says_so() {
    let site = Site::nightly(dialogues(1, 3));
    site.night().exits(0);
    let export = |who: &str, to: &str| {
        site.run(&["export", "nightly", "--account", who, "--format", "jsonl", "-o", to, "--json"]).exits(0).stderr
    };
    assert!(export("nobody-at-all", "none").contains("nothing matches"));
    let all = site.run(&["export", "nightly", "--all", "--format", "jsonl", "-o", "all"]).exits(0);
    assert!(!all.stderr.contains("nothing matches"), "{}", all.stderr);
}

#[test]
fn status_shows_runs_what_is_pending_and_what_failed() {
    let (mut refs, mut world) = dialogue("alice|1|bob", 0..5);
    world.insert(message("alice|1|bob", 10).fate(Fate::Missing));
    refs.push(reference("alice|1|bob", 10));
    let site = Site::nightly((refs, world));
    snapshot!(site.run(&["status"]).exits(0).stdout, @r##"
    job       nightly
              has not run yet
    "##);
    assert!(!site.path("state").exists(), "looking creates nothing");
    site.night().exits(3);
    site.night().exits(0);
    snapshot!(plain(&site, &site.run(&["status", "nightly"]).exits(0).stdout), @r##"
    job       nightly
    archive   DIR/archive
    cursor    none
    pending   0 references
    failures  1 unavailable
    manifest  2, SHA-256 HASH
              keep this hash outside this system: with it, `verify --head` detects whatever is changed or cut off later

    run (UTC)            outcome                      exit  archived  failed  requests  id
    TIME  complete                        0         0       0         0  RUN
    TIME  complete, with new failures     3         5       1         2  RUN
    "##);
    let status = site.run(&["status", "--json"]).exits(0).summary;
    assert_eq!(status["version"], 1);
    let job = &status["jobs"][0];
    assert_eq!((&job["pending"], &job["last_commit"]), (&json!(0), &json!(1)));
    assert_eq!(job["open_failures"], json!({ "unavailable": 1 }));
    assert_eq!((&job["runs"][1]["archived"], &job["runs"][1]["outcome"]), (&json!(5), &json!("partial")));
}

#[test]
fn failures_are_listed_as_a_table_as_csv_and_as_json_lines() {
    let mut world = yunxin_archiver::simulator::World::explicit();
    for (n, fate) in [(0, Fate::Missing), (1, Fate::Unanswered), (2, Fate::Failed(398))] {
        world.insert(message("alice|1|bob", n).fate(fate));
    }
    let refs: Vec<_> = (0..3).map(|n| reference("alice|1|bob", n)).collect();
    let site = Site::nightly((refs.clone(), world));
    site.jobs(HASTY);
    site.write("refs.csv", csv(&refs) + "=cmd()|1|bob,x,1\n");
    snapshot!(site.run(&["failures", "nightly"]).exits(0).stdout, @"no failures: the job has not run yet");
    site.night().exits(3);
    snapshot!(plain(&site, &narrow(&site.run(&["failures", "nightly"]).exits(0).stdout)), @r##"
    class code message ID conversation or row attempts again why
    invalid DIR/refs.csv:5 0 no message_server_id "x" is no integer above 0; create_time 1 is no time in millise…
    unavailable 107404 158844553334358000 alice|1|bob 2 no message not exist
    unanswered 158844553334358001 alice|1|bob 2 yes the answer names the message in neither of its lists
    unavailable 398 158844553334358002 alice|1|bob 2 yes message not available

    class code open
    unavailable 398 1
    unavailable 107404 1
    unanswered 1
    invalid 1
    "##);
    snapshot!(plain(&site, &site.run(&["failures", "nightly", "--format", "csv"]).exits(0).stdout), @r##"
    job,run_id,conversation_id,message_server_id,create_time,class,code,message,attempts,retryable,first_seen,last_seen,source,requested,rows
    nightly,RUN,'=cmd()|1|bob,,,invalid,,"message_server_id ""x"" is no integer above 0; create_time 1 is no time in milliseconds: 1970-01-01T00:00:00.001Z is before 2010",0,false,TIME,TIME,DIR/refs.csv:5,true,1
    nightly,RUN,alice|1|bob,'158844553334358000,1790899200007,unavailable,107404,message not exist,2,false,TIME,TIME,,true,1
    nightly,RUN,alice|1|bob,'158844553334358001,1790899201008,unanswered,,the answer names the message in neither of its lists,2,true,TIME,TIME,,true,1
    nightly,RUN,alice|1|bob,'158844553334358002,1790899202009,unavailable,398,message not available,2,true,TIME,TIME,,true,1
    "##);
    let lines = site.run(&["failures", "nightly", "--format", "jsonl", "--class", "unanswered"]).exits(0).stdout;
    snapshot!(plain(&site, &lines), @r#"{"job":"nightly","run_id":"RUN","conversation_id":"alice|1|bob","message_server_id":"158844553334358001","create_time":1790899201008,"class":"unanswered","code":null,"message":"the answer names the message in neither of its lists","attempts":2,"retryable":true,"first_seen":"TIME","last_seen":"TIME","source":null,"requested":true}"#);
    let classes =
        site.run(&["failures", "nightly", "--format", "jsonl", "--class", "invalid", "--class", "unavailable"]);
    assert_eq!(classes.stdout.lines().count(), 3);
    assert!(site.run(&["failures", "nobody"]).exits(2).stderr.contains("it has nightly"));
}

#[test]
fn files_are_listed_in_order_once_and_after_a_run() {
    let (refs, world) = dialogue("alice|1|bob", 0..20);
    let site = Site::nightly((refs.clone(), world));
    let never = site.run(&["files", "nightly"]).exits(2);
    assert!(never.stderr.contains("has not run yet, or its ledger is lost"), "{never:?}");
    site.write("refs.csv", csv(&refs[..10]));
    let first = site.night().exits(0);
    site.write("refs.csv", csv(&refs[10..]));
    let second = site.night().exits(0);
    let listed = |options: &[&str]| -> Vec<String> {
        let ended = site.run(&[&["files", "nightly"], options].concat()).exits(0);
        ended.stdout.lines().map(str::to_owned).collect()
    };
    let all = listed(&[]);
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|path| std::path::Path::new(path).is_file()), "{all:?}");
    assert_eq!(listed(&["--after", first.job()["run_id"].as_str().unwrap()]), all[1..]);
    assert_eq!(listed(&["--after", second.job()["run_id"].as_str().unwrap()]), [""; 0]);
    let line: Value = serde_json::from_str(&listed(&["--json"])[0]).unwrap();
    assert_eq!((&line["run_id"], &line["rows"]), (&first.job()["run_id"], &json!(10)));
    assert_eq!(line["sha256"], first.job()["files"][0]["sha256"]);
    let bytes = std::fs::read(&all[0]).unwrap();
    let sum = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    assert_eq!((&line["sha256"], &line["bytes"]), (&json!(sum), &json!(bytes.len())));
    let unknown = site.run(&["files", "nightly", "--after", "0192c5f0-0000-7000-8000-000000000000"]).exits(2);
    assert!(
        unknown.stderr.contains("has no run of this ID that left a manifest")
            && unknown.stderr.contains("status nightly"),
        "{}",
        unknown.stderr
    );
    site.run(&["files", "nightly", "--after", "yesterday"]).exits(2);
}

#[test]
fn looking_works_after_a_killed_run_and_changes_nothing() {
    let site = Site::nightly(dialogues(30, 3));
    site.jobs(
        &NIGHTLY
            .replace("archive }", "archive, commit_interval: 20ms }")
            .replace(" sink", " fetch: { concurrency: 2 }, sink"),
    );
    site.api.faults(|faults| faults.latency_ms = 40);
    let running = site.start(&["run"]);
    site.wait_for_requests(10);
    running.signal(Signal::KILL);
    running.end();
    let before = site.files("");
    for command in [&["plan"][..], &["status"], &["failures", "nightly"], &["files", "nightly"], &["check"]] {
        site.run(command).exits(0);
    }
    assert_eq!(site.files(""), before);
    let status = site.run(&["status"]).exits(0).stdout;
    assert!(status.ends_with("\n  killed, or the machine failed: run again\n"), "{status}");
}

#[test]
fn exit_3_names_what_the_job_does_not_tolerate() {
    let (mut refs, mut world) = dialogue("alice|1|bob", 0..5);
    for (n, fate) in [(10, Fate::Missing), (11, Fate::Missing), (12, Fate::Unanswered)] {
        world.insert(message("alice|1|bob", n).fate(fate));
        refs.push(reference("alice|1|bob", n));
    }
    let site = Site::nightly((refs, world));
    site.jobs(&NIGHTLY.replace(" sink:", " tolerate: [unanswered], sink:"));
    let ended = site.night().exits(3);
    assert_eq!(ended.job()["not_tolerated"], json!({ "unavailable 107404": 2 }));
    let line =
        "complete, with new failures that the job does not tolerate (2 unavailable 107404): `yunxin-archiver failures";
    assert!(ended.stderr.contains(line), "{}", ended.stderr);
    assert_eq!(site.night().exits(0).job()["not_tolerated"], json!({}));
    let listed = site.run(&["failures", "nightly", "--json"]).exits(0).stdout;
    assert_eq!(listed, site.run(&["failures", "nightly", "--format", "jsonl"]).exits(0).stdout);
    assert_eq!(listed.lines().count(), 3);
    site.run(&["failures", "nightly", "--json", "--format", "csv"]).exits(2);
}

#[test]
fn status_says_adopted_and_gives_no_reasons_from_before_a_run_without_fault() {
    let site = Site::nightly(dialogues(2, 3));
    site.write_secret("secret", "not-the-secret");
    let failed = site.night().exits(4).job()["error"].as_str().unwrap().to_owned();
    assert!(site.run(&["status"]).exits(0).stdout.contains(&failed));
    site.write_secret("secret", yunxin_archiver::simulator::APP_SECRET);
    site.night().exits(0);
    let status = site.run(&["status"]).exits(0).stdout;
    assert!(!status.contains(&failed) && status.contains("failed"), "{status}");
    std::fs::remove_dir_all(site.path("state")).unwrap();
    let refused = site.night().exits(2);
    let error = refused.job()["error"].as_str().unwrap();
    assert!(error.contains("adopt nightly") && error.contains("`run nightly --adopt-if-missing`"), "{error}");
    site.run(&["adopt", "nightly"]).exits(0);
    let status = site.run(&["status"]).exits(0).stdout;
    assert!(status.contains("  adopted  "), "{status}");
    let runs = site.run(&["status", "--json"]).exits(0).summary["jobs"][0]["runs"].clone();
    assert_eq!(runs[0]["outcome"], "complete");
}
