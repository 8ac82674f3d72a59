//! `--metrics FILE` and `metrics.file`.

use std::os::unix::fs::PermissionsExt as _;

use yunxin_archiver::simulator::{Fault, Hook};

use super::{samples, seconds, site, spoil, tell};
use crate::support::site::{NIGHTLY, Site, csv, dialogues, message, names, reference};

const RUN: [&str; 4] = ["run", "--json", "--metrics", "night.prom"];

#[test]
fn the_file_says_what_the_summary_says_and_node_exporter_may_read_it() {
    let site = site();
    spoil(&site);
    let ended = site.run(&["run", "--json", "--metrics", "night.prom"]).exits(3);
    let job = ended.job();
    let found = samples(&site.read("night.prom"), "nightly");
    for (name, expected) in [
        ("last_run_exit_code", 3.0),
        ("last_run_timestamp_seconds", seconds(job, "finished_at")),
        ("last_run_references outcome=\"archived\"", 1.0),
        ("last_run_references outcome=\"failed\"", 1.0),
        ("last_run_references outcome=\"pending\"", 0.0),
        ("last_run_requests result=\"ok\"", job["requests"]["ok"].as_f64().unwrap()),
        ("last_run_requests result=\"throttled\"", 0.0),
        ("last_run_bytes kind=\"received\"", job["bytes"]["received"].as_f64().unwrap()),
        ("last_run_bytes kind=\"written\"", job["bytes"]["written"].as_f64().unwrap()),
        ("pending_references", 0.0),
        ("open_failures class=\"unavailable\"", 1.0),
        ("open_failures class=\"invalid\"", 0.0),
        (concat!("build_info version=\"", env!("CARGO_PKG_VERSION"), "\""), 1.0),
    ] {
        assert_eq!(found.get(name), Some(&expected), "{name}: {found:#?}");
    }
    assert!((0.0..=1.0).contains(&found["last_run_quota_used_ratio"]) && found["last_run_duration_seconds"] > 0.0);
    assert!(!found.contains_key("last_success_timestamp_seconds"), "no run has succeeded: {found:#?}");
    assert!(!found.contains_key("cursor_lag_seconds"), "the cursor of files is no time: {found:#?}");
    let mode = site.path("night.prom").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(names(&site.path("")).iter().filter(|name| name.contains("prom")).count(), 1, "no temporary is left");
}

#[test]
fn the_last_success_moves_with_exit_0_alone_and_survives_every_other_end() {
    let site = site();
    let last_success =
        || samples(&site.read("night.prom"), "nightly").get("last_success_timestamp_seconds").copied().unwrap();
    let exit_code = || samples(&site.read("night.prom"), "nightly")["last_run_exit_code"];
    let first = seconds(site.run(&RUN).exits(0).job(), "finished_at");
    assert_eq!(last_success(), first);

    spoil(&site);
    site.run(&RUN).exits(3);
    assert_eq!((last_success(), exit_code()), (first, 3.0), "new failures");
    // A retry reads no source: it says nothing about the night.
    site.api.world(|world| world.insert(message("alice|1|bob", 1)));
    site.run(&["retry", "nightly", "--all", "--metrics", "night.prom"]).exits(0);
    assert_eq!((last_success(), exit_code()), (first, 0.0), "a retry");

    site.write("refs.csv", csv(&[reference("alice|1|bob", 5)]));
    site.write_secret("secret", "not-the-secret");
    site.run(&RUN).exits(4);
    assert_eq!((last_success(), exit_code()), (first, 4.0), "credentials");
    assert_eq!(samples(&site.read("night.prom"), "nightly")["pending_references"], 1.0);

    std::fs::remove_file(site.path("secret")).unwrap();
    site.run(&RUN).exits(2);
    assert_eq!((last_success(), exit_code()), (first, 2.0), "configuration");
    assert_eq!(samples(&site.read("night.prom"), "nightly")["pending_references"], 1.0, "the ledger still knows");

    // The ledger that knew the success is gone; the file still knows it.
    site.write_secret("secret", yunxin_archiver::simulator::APP_SECRET);
    std::fs::remove_dir_all(site.path("state")).unwrap();
    site.run(&RUN).exits(2);
    assert_eq!((last_success(), exit_code()), (first, 2.0), "a lost ledger");

    std::fs::remove_dir_all(site.path("archive")).unwrap();
    site.write("refs.csv", csv(&[reference("alice|1|bob", 0)]));
    let again = seconds(site.run(&RUN).exits(0).job(), "finished_at");
    assert_eq!(last_success(), again);
}

#[test]
fn a_run_whose_failures_cannot_be_written_is_no_success_here_or_in_the_ledger() {
    let site = site();
    let first = seconds(site.run(&RUN).exits(0).job(), "finished_at");
    let failures = site.path("state/failures-nightly.jsonl");
    std::fs::remove_file(&failures).ok();
    std::fs::create_dir(&failures).unwrap();
    site.run(&RUN).exits(1);
    // The next one fails before it begins, so that the ledger alone says when the job succeeded.
    std::fs::remove_file(site.path("refs.csv")).unwrap();
    std::fs::remove_file(site.path("night.prom")).unwrap();
    site.run(&RUN).exits(2);
    let found = samples(&site.read("night.prom"), "nightly");
    assert_eq!((found["last_success_timestamp_seconds"], found["last_run_exit_code"]), (first, 2.0));
    let status = site.run(&["status", "--json"]).exits(0).summary;
    assert_eq!(status["jobs"][0]["runs"][0]["outcome"], "failed", "{status}");
}

#[test]
fn a_run_that_dies_leaves_the_file_and_one_that_fails_replaces_it() {
    let site = Site::nightly(dialogues(1, 3));
    site.run(&RUN).exits(0);
    let before = site.read("night.prom");
    site.write("refs.csv", csv(&[reference("alice|1|bob", 9)]));
    let mut command = site.command(&RUN);
    command.env("YUNXIN_ARCHIVER_DIE_AT", "dispatch.before");
    assert_eq!(command.output().unwrap().status.code(), None, "killed");
    assert_eq!(site.read("night.prom"), before);

    site.jobs(&NIGHTLY.replace("{ app: main,", "{ app: main, fetch: { give_up_after: 100ms },"));
    site.api.faults(|faults| faults.hook = Some(Hook::new(|_| Some(Fault::Close))));
    site.run(&RUN).exits(1);
    let found = samples(&site.read("night.prom"), "nightly");
    assert_eq!((found["last_run_exit_code"], found["pending_references"]), (1.0, 1.0));
}

#[test]
fn jobs_share_a_file_and_those_that_did_not_run_keep_their_lines() {
    let site = Site::nightly(dialogues(2, 3));
    let other = NIGHTLY.replace("nightly", "other").replace("path: archive", "path: other");
    site.config("jobs.yaml", "", &format!("{NIGHTLY}\n{other}"));
    tell(&site, "metrics: { file: metrics/all.prom }");
    site.write("metrics/.keep", "");
    site.run(&["run"]).exits(0);
    let [first, second] = ["nightly", "other"].map(|job| samples(&site.read("metrics/all.prom"), job));
    assert_eq!(first.len(), second.len());
    site.run(&["run", "other"]).exits(0);
    let after = ["nightly", "other"].map(|job| samples(&site.read("metrics/all.prom"), job));
    assert_eq!(after[0], first);
    assert_eq!(after[1]["last_run_references outcome=\"duplicate\""], 6.0);
    // The command line names another file.
    site.run(&["run", "nightly", "--metrics", "one.prom"]).exits(0);
    assert_eq!(samples(&site.read("metrics/all.prom"), "nightly"), first);
    assert_eq!(samples(&site.read("one.prom"), "other").len(), 0);

    site.write("jobs.yaml", site.read("jobs.yaml").replace(&format!("  {NIGHTLY}\n"), ""));
    site.run(&["run"]).exits(0);
    assert!(samples(&site.read("metrics/all.prom"), "nightly").is_empty(), "the job is gone");
}

#[test]
fn two_processes_do_not_lose_each_others_lines() {
    let site = Site::nightly(dialogues(1, 3));
    let app = "second: { app_key: key2, app_secret: 'file:secret', endpoints: ['http://127.0.0.1:9'] }";
    let other = "other: { app: second, source: { csv: { path: none.csv } }, sink: { parquet: { path: other } } }";
    site.config("jobs.yaml", app, &format!("{NIGHTLY}\n{other}"));
    for _ in 0..5 {
        site.write("both.prom", "");
        let both = [
            site.start(&["run", "nightly", "--metrics", "both.prom"]),
            site.start(&["run", "other", "--metrics", "both.prom"]),
        ];
        assert_eq!(both.map(|running| running.end().code), [Some(0), Some(2)]);
        let codes = ["nightly", "other"].map(|job| samples(&site.read("both.prom"), job)["last_run_exit_code"]);
        assert_eq!(codes, [0.0, 2.0]);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_the_run_or_changes_nothing() {
    let site = Site::nightly(dialogues(1, 3));
    let nowhere = site.run(&["run", "--metrics", "no/such/place.prom"]).exits(2);
    assert!(nowhere.stderr.contains("--metrics no/such/place.prom cannot be written"), "{}", nowhere.stderr);
    assert_eq!(site.api.stats().requests, 0);
    let text =
        site.read("jobs.yaml").replace("state: state\n", "state: state\nmetrics: { file: no/such/place.prom }\n");
    site.write("jobs.yaml", text);
    let ended = site.night().exits(0);
    assert!(ended.stderr.contains("no/such/place.prom could not be told"), "{}", ended.stderr);
    assert_eq!(ended.refs("archived"), 3);
}

#[test]
fn the_cursor_lags_behind_by_the_age_of_the_newest_reference() {
    let site = Site::nightly(dialogues(1, 3));
    let script = "create table refs (c text, m integer, t integer);
        insert into refs values ('owner0|1|other0', 158844553334358000, 1790899200007);";
    assert!(
        std::process::Command::new("python3")
            .args(["-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"])
            .arg(site.path("refs.db"))
            .arg(script)
            .status()
            .unwrap()
            .success()
    );
    site.jobs(
        "nightly: { app: main, source: { sqlite: { path: refs.db, columns: { conversation_id: c, message_server_id: m, \
         create_time: t }, query: 'select c, m, t from refs where t > :after', cursor: { column: t } } }, \
         sink: { parquet: { path: archive } } }",
    );
    let ended = site.run(&RUN).exits(0);
    let lag = samples(&site.read("night.prom"), "nightly")["cursor_lag_seconds"];
    let expected = seconds(ended.job(), "finished_at") - 1_790_899_200.007;
    assert!((lag - expected).abs() < 0.01, "{lag} {expected}");
}

#[test]
fn a_pipe_or_device_is_neither_read_nor_replaced_and_a_damaged_file_keeps_what_can_be_read() {
    let site = Site::nightly(dialogues(1, 3));
    site.jobs(&format!("{NIGHTLY}\n{}", NIGHTLY.replace("nightly:", "other:").replace("archive", "elsewhere")));
    tell(&site, "metrics: { file: m.prom }");
    let made = std::process::Command::new("mkfifo").arg(site.path("m.prom")).status().unwrap();
    assert!(made.success());
    let ended = site.run(&["run", "other", "--json"]).exits(0);
    assert!(ended.stderr.contains("could not be told") && ended.stderr.contains("no regular file"), "{}", ended.stderr);
    let refused = site.run(&["run", "other", "--summary", "m.prom"]).exits(2).stderr;
    assert!(refused.contains("--summary m.prom is no regular file"), "{refused}");
    std::fs::remove_file(site.path("m.prom")).unwrap();
    site.run(&["run", "other"]).exits(0);
    let mut text = site.read("m.prom").into_bytes();
    text.extend(b"# \xff\n");
    std::fs::write(site.path("m.prom"), text).unwrap();
    site.run(&["run", "nightly"]).exits(0);
    assert!(samples(&site.read("m.prom"), "other").contains_key("last_success_timestamp_seconds"));
}
