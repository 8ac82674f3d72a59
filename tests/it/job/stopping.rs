//! Runs that end early, and the runs that go on.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use yunxin_archiver::simulator::{Fate, Fault, World};

use crate::support::site::{NIGHTLY, Running, Site, csv, dialogue, dialogues, ids_of, message, reference, wait_until};

/// A job of which two requests are under way at a time, and which commits often.
const SLOW: &str = "nightly: { app: main, source: { csv: { path: refs.csv } }, fetch: { concurrency: 2 }, \
                    sink: { parquet: { path: archive, commit_interval: 30ms } } }";

/// Answers so many more requests, and those after them only late.
fn slow(site: &Site, more: u64) {
    site.jobs(SLOW);
    site.answers(more, Fault::Delay(Duration::from_secs(1)));
}

#[test]
fn a_run_that_is_told_to_stop_commits_and_the_next_goes_on() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let (refs, world) = dialogues(60, 3);
        let site = Site::nightly((refs.clone(), world));
        slow(&site, 8);
        let running = site.start(&["run", "--json"]);
        site.wait_for_requests(10);
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
        site.answers_all();
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
    site.answers(0, Fault::Stall);
    let mut running = site.start(&["run", "--json"]);
    site.wait_for_requests(1);
    running.signal(Signal::TERM);
    running.wait_for_line("a second signal stops at once");
    running.signal(Signal::TERM);
    let ended = running.end().exits(5);
    assert_eq!(ended.stdout, "", "nobody waited for what was in flight");
    site.answers_all();
    assert_eq!(site.night().exits(0).refs("pending"), 0);
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn a_killed_run_loses_nothing_and_repeats_nothing() {
    let (refs, world) = dialogues(60, 3);
    let site = Site::nightly((refs.clone(), world));
    // Stopped, then killed at two moments, then left alone.
    slow(&site, 6);
    let running = site.start(&["run"]);
    site.wait_for_requests(8);
    running.signal(Signal::TERM);
    running.end().exits(5);
    for _ in 0..2 {
        slow(&site, 14);
        let more = site.api.stats().requests + 16;
        let running = site.start(&["run"]);
        site.wait_for_requests(more);
        running.signal(Signal::KILL);
        assert_eq!(running.end().code, None);
    }
    let before = site.ids("archive").len() as u64;
    site.answers_all();
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
    // On a busy machine the deadline may pass before the run has begun: then it gets more time.
    let mut deadlines = std::iter::successors(Some(Duration::from_millis(400)), |last| Some(*last * 2));
    let stopped = deadlines.by_ref().take(8).find(|deadline| {
        slow(&site, 8);
        let ended = site.run(&["run", "--json", "--deadline", &format!("{}ms", deadline.as_millis())]).exits(5);
        assert_eq!(ended.job()["error"], "stopped by the deadline");
        ended.refs("pending") > 0
    });
    assert!(stopped.is_some(), "no run began");
    site.answers_all();
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
    wait_until("the run began", || {
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

#[test]
fn a_limit_reads_no_row_behind_its_last_reference() {
    let (refs, world) = dialogue("alice|1|bob", 0..6);
    let site = Site::new(world);
    let line = |n: usize| csv(&refs[n..=n]).lines().nth(1).unwrap().to_owned();
    let mut text = csv(&[]);
    for n in 0..6 {
        text += &format!("nobody,{n},no time\n{}\n", line(n));
    }
    site.write("refs.csv", text + "nobody,7,no time\n");
    for (read, invalid, archived) in [(4, 2, 2), (8, 4, 2), (12, 6, 2), (13, 7, 0)] {
        let ended = site.run(&["run", "--json", "--limit", "2"]);
        let found = (ended.refs("read"), ended.refs("invalid"), ended.refs("archived"));
        assert_eq!(found, (read, invalid, archived), "{ended:?}");
    }
}

#[test]
fn a_signal_stops_a_run_that_still_reads_its_configuration() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..3));
    let config = site.read("jobs.yaml");
    let pipe = site.path("pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for arguments in
        [&["-c", "pipe.yaml", "run", "--json"][..], &["-c", "pipe.yaml", "retry", "nightly", "--all", "--json"]]
    {
        let mut running = site.start(arguments);
        let status = format!("/proc/{}/status", running.id());
        wait_until("signals are watched", || {
            let status = std::fs::read_to_string(&status).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
            u64::from_str_radix(caught, 16).unwrap() & (1 << 14) != 0
        });
        running.signal(Signal::TERM);
        running.wait_for_line("SIGTERM");
        std::fs::write(&pipe, &config).unwrap();
        let ended = running.end().exits(5);
        assert_eq!((&ended.job()["outcome"], &ended.job()["error"]), (&json!("stopped"), &json!("stopped by SIGTERM")));
    }
    assert_eq!(site.api.stats().requests, 0);
}

/// A site whose job tolerates this, with so many references to messages that are gone.
fn gone(count: i64, tolerate: &str) -> Site {
    let mut world = World::explicit();
    world.extend((0..count).map(|n| message("alice|1|bob", n).fate(Fate::Missing)));
    let site = Site::nightly(((0..count).map(|n| reference("alice|1|bob", n)).collect(), world));
    site.jobs(&NIGHTLY.replace(" sink:", &format!(" tolerate: {tolerate}, sink:")));
    site
}

/// Runs until everything is recorded, and is then killed.
fn killed_at_its_end(site: &Site, arguments: &[&str]) {
    let died = site.command(arguments).env("YUNXIN_ARCHIVER_DIE_AT", "finish.before").output().unwrap();
    assert_eq!(died.status.code(), None, "{}", String::from_utf8_lossy(&died.stderr));
}

#[test]
fn failures_of_a_run_that_died_are_told_by_the_next_one_that_comes_to_its_end() {
    let site = gone(3, "[]");
    killed_at_its_end(&site, &["run"]);
    killed_at_its_end(&site, &["run"]);
    let ended = site.night().exits(3);
    assert_eq!(
        (ended.refs("failed"), &ended.job()["failures"], &ended.job()["outcome"]),
        (0, &json!({}), &json!("partial"))
    );
    let error = "open failures from earlier runs that were stopped, failed or died: 3";
    assert_eq!(ended.job()["error"], error);
    site.night().exits(0);
    // What the job tolerates is no news, and neither is what is archived since.
    let site = gone(3, "[107404]");
    killed_at_its_end(&site, &["run"]);
    site.night().exits(0);
    let site = gone(3, "[]");
    site.api.world(|world| world.extend((0..3).map(|n| message("alice|1|bob", n).fate(Fate::Unanswered))));
    killed_at_its_end(&site, &["run"]);
    site.api.world(|world| world.extend((0..3).map(|n| message("alice|1|bob", n))));
    let ended = site.run(&["retry", "nightly", "--all", "--json"]).exits(0);
    assert_eq!(ended.refs("archived"), 3);
}

#[test]
fn failures_of_a_run_that_was_stopped_are_told_by_the_next_one_that_comes_to_its_end() {
    let (mut refs, mut world) = dialogues(60, 3);
    refs.insert(0, reference("carol|1|dave", 900));
    world.insert(message("carol|1|dave", 900).fate(Fate::Failed(403)));
    let site = Site::nightly((refs, world));
    slow(&site, 40);
    let running = site.start(&["run", "--json"]);
    site.wait_for_requests(42);
    running.signal(Signal::TERM);
    let stopped = running.end().exits(5);
    assert!(stopped.refs("pending") > 0);
    site.answers_all();
    // Wherever it failed: the run that comes to its end says so.
    let ended = site.night().exits(3);
    assert_eq!(stopped.refs("failed") + ended.refs("failed"), 1);
    site.night().exits(0);
}

#[test]
fn a_night_of_several_runs_in_which_nothing_exists_looks_wrong() {
    let site = gone(120, "[107404]");
    killed_at_its_end(&site, &["run", "--limit", "60"]);
    let found = site.night().exits(3).job()["looks_wrong"][0].as_str().unwrap().to_owned();
    assert!(found.starts_with("120 of 120 new references do not exist"), "{found}");
    assert_eq!(site.night().exits(0).job()["looks_wrong"], json!([]));
}
