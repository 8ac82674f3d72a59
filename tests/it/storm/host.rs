//! A strange clock and a strange host.

use std::cell::{Cell, RefCell};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use yunxin_archiver::simulator::{Fault, Rule, Settings};

use crate::support::host::Clock;
use crate::support::storm::{Site, To, files_below, ran};

fn site(references: i64) -> Site {
    Site::of(To::Parquet, references)
}

/// A site whose run lasts until it is told to stop: its answers never come, but for a few.
fn slow() -> Site {
    let mut site = site(200);
    site.fetch = "batch_size: 20, concurrency: 2, timeout: 60s".to_owned();
    site.configure();
    site.api.faults(|faults| {
        faults.script.extend(std::iter::repeat_n(Fault::Ok, 16));
        faults.rules.push(Rule::chance("delay 2s".parse().unwrap(), 1.0));
    });
    site
}

fn signal(child: &Child, name: &str) {
    let told = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(told.success());
}

/// Waits for a line on stderr that holds this.
fn hears(child: &mut Child, word: &str) {
    let stderr = child.stderr.as_mut().unwrap();
    let (mut heard, mut piece) = (String::new(), [0; 512]);
    while !heard.contains(word) {
        let length = stderr.read(&mut piece).unwrap();
        assert_ne!(length, 0, "it ended without saying {word}: {heard}");
        heard.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

#[test]
fn a_clock_that_is_off_by_twenty_minutes_either_way_is_corrected() {
    for skew in [1_200, -1_200] {
        let mut site = site(100);
        site.api.faults(|faults| faults.clock_skew_s = skew);
        site.completes();
        // It jumps during a run.
        site.night(100);
        site.api.faults(|faults| faults.latency_ms = 20);
        let before = site.api.stats().answered;
        let mut child = site.start();
        site.until("answers", |site| site.api.stats().answered > before + 2);
        site.api.faults(|faults| faults.clock_skew_s = -skew);
        assert!(child.wait().unwrap().success());
        site.completes();
    }
}

#[test]
fn a_signal_stops_sending_commits_and_is_exit_5() {
    for name in ["TERM", "INT", "HUP"] {
        let site = slow();
        let mut child = site.command(&["run", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        site.until("messages", |site| site.api.stats().messages > 0);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(5), "{name}");
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let job = &summary["jobs"][0];
        assert_eq!(job["error"], format!("stopped by SIG{name}"));
        assert!(job["references"]["archived"].as_u64().unwrap() > 0, "{job}");
        site.api.faults(|faults| faults.rules.clear());
        site.completes();
    }
}

/// A run whose answers never come, and that has asked: with a deadline, if any. Nothing if it ended before it asked.
fn stalled(deadline: Option<Duration>) -> Option<(Site, Child)> {
    let site = slow();
    site.api.faults(|faults| {
        faults.script.clear();
        faults.rules = vec![Rule::chance("stall".parse().unwrap(), 1.0)];
    });
    let mut arguments = vec!["run".to_owned()];
    arguments.extend(deadline.map(|time| format!("--deadline={}ms", time.as_millis())));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = site.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let ended = Cell::new(None);
    {
        let child = RefCell::new(&mut child);
        site.until("a request", |site| {
            ended.set(child.borrow_mut().try_wait().unwrap());
            ended.get().is_some() || site.api.stats().requests > 0
        });
    }
    match ended.get() {
        Some(status) if site.api.stats().requests == 0 => {
            assert_eq!((deadline.is_some(), status.code()), (true, Some(5)));
            None
        }
        ended => {
            assert_eq!(ended, None, "it waits for an answer");
            Some((site, child))
        }
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once_also_after_a_deadline() {
    for deadline in [None, Some(Duration::from_millis(200))] {
        // On a busy host the deadline may pass before anything is asked: then it gets more time.
        let mut deadlines = std::iter::successors(Some(deadline), |last| last.map(|time| Some(time * 2)));
        let (site, mut child) = deadlines.by_ref().take(8).find_map(stalled).expect("a request before the deadline");
        if deadline.is_some() {
            // Its own ten seconds of grace have begun.
            hears(&mut child, "deadline: finishing");
        }
        signal(&child, "INT");
        hears(&mut child, "a second signal");
        signal(&child, "INT");
        assert_eq!(child.wait().unwrap().code(), Some(5));
        site.api.faults(|faults| faults.rules.clear());
        site.completes();
    }
}

#[test]
fn a_deadline_stops_in_time_and_the_next_run_goes_on() {
    let site = slow();
    let stopped = site.run(&["run", "--json", "--deadline", "1s"]).exits(5);
    assert_eq!(stopped.summary()["outcome"], "stopped");
    site.api.faults(|faults| faults.rules.clear());
    site.completes();
}

#[test]
fn a_stop_while_the_source_is_read_is_no_completion() {
    let site = site(0);
    std::fs::remove_file(site.path("refs.csv")).unwrap();
    let pipe = Command::new("mkfifo").arg(site.path("refs.csv")).status().unwrap();
    assert!(pipe.success());
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    std::fs::write(site.path("jobs.yaml"), text.replace("refs.csv, cursor: files", "refs.csv")).unwrap();
    let mut child = site.command(&["run"]).stderr(Stdio::null()).spawn().unwrap();
    let mut source = std::fs::OpenOptions::new().write(true).open(site.path("refs.csv")).unwrap();
    source.write_all(b"conversation_id,message_server_id,create_time\n").unwrap();
    signal(&child, "TERM");
    // The source goes on for as long as somebody reads.
    while source.write_all(&b"not a conversation,1,2\n".repeat(1_000)).is_ok() {}
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn a_reader_that_goes_away_does_not_change_how_a_run_ends() {
    let mut site = site(60);
    let script = "\"$@\" | true; exit ${PIPESTATUS[0]}";
    ran(&mut site.wrapped(&["bash", "-c", script, "bash"], &["run", "--json"])).exits(0);
    site.is_whole();
    site.night(30);
    let config = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    std::fs::write(site.path("jobs.yaml"), config.replace("[107404]", "[]")).unwrap();
    ran(&mut site.wrapped(&["bash", "-c", script, "bash"], &["run", "--json"])).exits(3);
    site.is_whole();
    for closed in ["\"$@\" >&-", "\"$@\" 2>&-", "\"$@\" >&- 2>&- <&-", "\"$@\" 2>/dev/full"] {
        site.night(30);
        ran(&mut site.wrapped(&["bash", "-c", closed, "bash"], &["run"])).exits(0);
        site.is_whole();
    }
    for command in ["status", "failures nightly", "files nightly", "failures nightly --format csv"] {
        let piped = format!("\"$@\" {command} | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}");
        let ended = ran(&mut site.wrapped(&["bash", "-c", &piped, "bash"], &[])).exits(0);
        assert_eq!(ended.stderr, "", "{command}");
    }
}

#[test]
fn a_host_without_home_locale_or_terminal_is_as_good_as_any() {
    let mut site = site(60);
    let mut command = site.command(&["run", "--json"]);
    command.env_clear().env("PATH", "/nonexistent");
    ran(&mut command).exits(0);
    site.is_whole();
    site.night(60);
    let mut command = site.command(&["run", "--json"]);
    command.env_remove("HOME").env("LANG", "C").env("LC_ALL", "C").env("TZ", "Nowhere/Nothing").env("TERM", "dumb");
    ran(&mut command).exits(0);
    site.is_whole();
    let failures = site.command(&["failures", "nightly"]).env("LC_ALL", "C").output().unwrap();
    assert!(String::from_utf8(failures.stdout).unwrap().contains("用户"));
}

#[test]
fn a_thousand_partitions_need_no_thousand_descriptors() {
    let mut site = site(0);
    site.fetch = "batch_size: 12".to_owned();
    let day = 86_400_000;
    site.add((0..1_000).map(|n| ("a|1|b".to_owned(), 5_000_000 + n, 1_600_000_000_000 + n * day)));
    ran(&mut site.wrapped(&["prlimit", "--nofile=256"], &["run", "--json"])).exits(0);
    site.is_whole();
    let files = files_below(&site.path("archive"));
    assert_eq!(files.iter().filter(|path| path.extension().is_some_and(|e| e == "parquet")).count(), 1_000);
}

#[test]
fn no_more_requests_are_under_way_than_descriptors_are_left() {
    // A service so slow that the quota would take 400 requests at once.
    let mut site = Site::with(To::Parquet, Settings { rate_limit: 1_000, ..Settings::default() });
    site.fetch = "batch_size: 100".to_owned();
    site.add((0..400).map(|n| (format!("a{n}|1|b{n}"), 8_000_000 + n, 1_792_800_000_000 + n)));
    site.api.faults(|faults| faults.latency_ms = 400);
    let first = ran(&mut site.wrapped(&["prlimit", "--nofile=160"], &["run", "--json"])).exits(0);
    assert_eq!(first.summary()["requests"]["retried"], 0, "{first:?}");
    let stats = site.api.stats();
    assert!(stats.most_in_flight <= 64, "{stats:?}");
    // A soft limit is raised as far as the hard one allows. So slow that many are under way on a busy machine as well.
    site.api.faults(|faults| faults.latency_ms = 2_000);
    site.add((400..800).map(|n| (format!("a{n}|1|b{n}"), 8_000_000 + n, 1_792_800_000_000 + n)));
    let again = ran(&mut site.wrapped(&["prlimit", "--nofile=160:1024"], &["run", "--json"])).exits(0);
    assert_eq!(again.summary()["requests"]["retried"], 0, "{again:?}");
    let stats = site.api.stats();
    assert!(stats.most_in_flight > 64, "{stats:?}");
    site.is_whole();
}

#[test]
fn what_is_written_is_for_its_owner_alone_whatever_the_umask() {
    for umask in ["000", "077"] {
        let mut site = site(60);
        let script = format!("umask {umask}; exec \"$@\"");
        let arguments = ["run", "--json", "--summary", "summary.json"];
        ran(&mut site.wrapped(&["sh", "-c", &script, "sh"], &arguments)).exits(0);
        // Files that SQLite keeps beside a ledger that is open are looked at as well.
        site.night(60);
        site.api.faults(|faults| faults.rules.push(Rule::chance("stall".parse().unwrap(), 1.0)));
        let mut child = site
            .wrapped(&["sh", "-c", &script, "sh"], &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        site.until("a log", |site| site.path("state/nightly.sqlite-wal").exists());
        private(&site);
        child.kill().unwrap();
        child.wait().unwrap();
        site.api.faults(|faults| faults.rules.clear());
        ran(&mut site.wrapped(&["sh", "-c", &script, "sh"], &arguments)).exits(0);
        private(&site);
        site.is_whole();
    }
}

fn private(site: &Site) {
    for path in ["state", "archive"].iter().flat_map(|name| files_below(&site.path(name))) {
        for above in path.ancestors().take_while(|above| *above != site.directory.path()) {
            let Ok(found) = std::fs::symlink_metadata(above) else { continue };
            let mode = found.permissions().mode() & 0o777;
            let right = if found.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, right, "{} has mode {mode:o}", above.display());
        }
    }
    let Ok(summary) = std::fs::metadata(site.path("summary.json")) else { return };
    assert_eq!(summary.permissions().mode() & 0o777, 0o600);
}

#[test]
fn of_two_runs_at_once_one_waits_or_is_told_who_runs() {
    let site = slow();
    let mut first = site.start();
    site.until("a request", |site| site.api.stats().requests > 0);
    let second = site.plain().exits(75);
    assert!(second.error().contains("process"), "{second:?}");
    signal(&first, "TERM");
    site.api.faults(|faults| faults.rules.clear());
    // It waits for as long as the first one takes to end.
    site.run(&["run", "--json", "--wait", "1m"]).exits(0);
    first.wait().unwrap();
    site.is_whole();
}

#[test]
fn a_host_whose_clock_is_wrong_or_jumps_both_ways_loses_nothing() {
    let mut site = site(60);
    let clock = Clock::new(site.directory.path());
    // A night of tomorrow, one of yesterday, one of today: what came last is not what the clock calls the latest.
    for day in [86_400, -86_400, 0] {
        clock.set(day);
        ran(clock.under(&mut site.command(&["run", "--json"]))).exits(0);
        site.is_whole();
        site.night(40);
    }
    let runs = site.run(&["files", "nightly", "--json"]).exits(0).stdout;
    assert_eq!(runs.matches("part-").count(), runs.matches(".parquet").count());
    // It jumps while requests are under way: ahead, back behind where it was, and home.
    site.api.faults(|faults| faults.latency_ms = 30);
    site.night(200);
    let mut child =
        clock.under(&mut site.command(&["run"])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for seconds in [1_200, -1_200, 86_400 * 400, 0] {
        let before = site.api.stats().requests;
        clock.set(seconds);
        site.until("more requests", |site| site.api.stats().requests > before + 2 || site.api.stats().in_flight == 0);
    }
    assert!(child.wait().unwrap().success());
    site.completes();
}
