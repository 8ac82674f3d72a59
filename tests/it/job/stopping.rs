//! Runs that end early, and the runs that go on.

use std::process::Stdio;

use rustix::process::Signal;
use yunxin_archiver::simulator::{Fault, Hook};

use crate::support::site::{NIGHTLY, Running, Site, csv, dialogue, dialogues, ids_of};

/// A job of which two requests are under way at a time, and which commits often.
const SLOW: &str = "nightly: { app: main, source: { csv: { path: refs.csv } }, fetch: { concurrency: 2 }, \
                    sink: { parquet: { path: archive, commit_interval: 30ms } } }";

/// An API that takes its time.
fn slow(site: &Site) {
    site.jobs(SLOW);
    site.api.faults(|faults| faults.latency_ms = 60);
}

#[test]
fn a_run_that_is_told_to_stop_commits_and_the_next_goes_on() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let (refs, world) = dialogues(60, 3);
        let site = Site::nightly((refs.clone(), world));
        slow(&site);
        let running = site.start(&["run", "--json"]);
        site.wait_for_requests(8);
        running.signal(signal);
        let ended = running.end().exits(5);
        assert_eq!(ended.job()["outcome"], "stopped");
        let error = ended.job()["error"].as_str().unwrap();
        assert!(error.starts_with("stopped by SIG"), "{error}");
        let (archived, pending) = (ended.refs("archived"), ended.refs("pending"));
        assert!(archived >= 6 * 3 && pending > 0, "{archived} archived, {pending} pending");
        assert_eq!(archived + pending, 180);
        assert_eq!(site.ids("archive").len() as u64, archived);
        // What was in flight was finished, so nothing is asked twice.
        site.api.faults(|faults| faults.latency_ms = 0);
        let ended = site.night().exits(0);
        assert_eq!((ended.refs("resumed"), ended.refs("archived")), (pending, pending));
        assert_eq!(site.ids("archive"), ids_of(&refs));
        assert!(site.api.stats().asks.values().all(|asks| *asks == 1));
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let (refs, world) = dialogues(4, 3);
    let site = Site::nightly((refs.clone(), world));
    site.api.faults(|faults| faults.hook = Some(Hook::new(|_| Some(Fault::Stall))));
    for deadline in [&[][..], &["--deadline", "300ms"]] {
        let mut running = site.start(&[&["run", "--json"], deadline].concat());
        if deadline.is_empty() {
            site.wait_for_requests(1);
        } else {
            running.wait_for_line("the deadline: finishing what is in flight");
        }
        running.signal(Signal::TERM);
        running.wait_for_line("once more stops at once");
        running.signal(Signal::TERM);
        let ended = running.end().exits(5);
        assert_eq!(ended.stdout, "", "nobody waited for what was in flight");
    }
    site.api.faults(|faults| faults.hook = None);
    assert_eq!(site.night().exits(0).refs("pending"), 0);
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn a_killed_run_loses_nothing_and_repeats_nothing() {
    let (refs, world) = dialogues(60, 3);
    let site = Site::nightly((refs.clone(), world));
    slow(&site);
    // Stopped, then killed at two moments, then left alone.
    let running = site.start(&["run"]);
    site.wait_for_requests(6);
    running.signal(Signal::TERM);
    running.end().exits(5);
    for requests in [20, 36] {
        let running = site.start(&["run"]);
        site.wait_for_requests(requests);
        running.signal(Signal::KILL);
        assert_eq!(running.end().code, None);
    }
    let before = site.ids("archive").len() as u64;
    site.api.faults(|faults| faults.latency_ms = 0);
    let ended = site.night().exits(0);
    assert_eq!(site.ids("archive"), ids_of(&refs));
    assert!(ended.refs("archived") <= 180 - before);
    assert_eq!(ended.refs("pending"), 0);
    assert_eq!(site.files("archive/_tmp").len(), 0, "nothing unfinished is left");
    let status = site.run(&["status", "--json"]).exits(0);
    let outcomes: Vec<&str> = status.summary["jobs"][0]["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["complete", "died", "died", "stopped"]);
    // Every file is in exactly one manifest.
    let listed = site.run(&["files", "nightly"]).exits(0);
    let manifests: String = site
        .files("archive/_manifests")
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for path in listed.stdout.lines() {
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(manifests.matches(name).count(), 1, "{name}");
    }
    assert_eq!(site.night().exits(0).requests("sent"), 0);
}

#[test]
fn a_deadline_stops_in_time_and_the_next_run_goes_on() {
    let (refs, world) = dialogues(60, 3);
    let site = Site::nightly((refs.clone(), world));
    slow(&site);
    let ended = site.run(&["run", "--json", "--deadline", "400ms"]).exits(5);
    assert_eq!(ended.job()["error"], "stopped by the deadline");
    assert!(ended.refs("pending") > 0);
    site.api.faults(|faults| faults.latency_ms = 0);
    site.night().exits(0);
    assert_eq!(site.ids("archive"), ids_of(&refs));
    // Jobs after the deadline do not begin, and say so.
    site.jobs(&format!("{NIGHTLY}\n{}", NIGHTLY.replace("nightly", "second").replace("archive", "archive-2")));
    let ended = site.run(&["run", "--json", "--deadline", "0s"]).exits(5);
    assert_eq!(ended.summary["jobs"][1]["run_id"], serde_json::Value::Null);
    assert!(site.run(&["run", "--deadline", "soon"]).exits(2).stderr.contains("neither a duration like 2h nor a time"));
}

#[test]
fn a_source_that_keeps_silent_does_not_keep_a_run_from_stopping() {
    use std::io::Write as _;
    let (refs, world) = dialogue("alice|1|bob", 0..3);
    let site = Site::new(world);
    site.jobs(&NIGHTLY.replace("refs.csv", "'-'"));
    let mut running = Running::start(site.command(&["run", "--json"]).stdin(Stdio::piped()));
    let mut stdin = running.stdin();
    stdin.write_all(csv(&refs).as_bytes()).unwrap();
    stdin.flush().unwrap();
    // The ledger is there as soon as the run has begun.
    crate::support::site::wait_until("the run began", || {
        site.run(&["status", "--json"]).summary["jobs"][0]["runs"].as_array().is_some_and(|runs| !runs.is_empty())
    });
    running.signal(Signal::TERM);
    let ended = running.end().exits(5);
    assert_eq!(ended.job()["outcome"], "stopped");
    drop(stdin);
}

#[test]
fn a_limit_plans_so_many_new_references_each_time() {
    let (refs, world) = dialogues(3, 10);
    let site = Site::nightly((refs.clone(), world));
    let mut archived = Vec::new();
    for _ in 0..4 {
        let ended = site.run(&["run", "--json", "--limit", "12"]).exits(0);
        archived.push(ended.refs("archived"));
    }
    assert_eq!(archived, [12, 12, 6, 0]);
    assert_eq!(site.ids("archive"), ids_of(&refs));
    assert!(site.api.stats().asks.values().all(|asks| *asks == 1));
    assert_eq!(site.run(&["run", "--json", "--limit", "0"]).exits(0).refs("read"), 0);
}
