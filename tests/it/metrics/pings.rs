//! `ping`, against an endpoint that answers as healthchecks.io does.

use rustix::process::Signal;
use yunxin_archiver::simulator::Fault;

use super::{site, spoil, tell};
use crate::support::endpoint::{Endpoint, Received};
use crate::support::server::free_port;
use crate::support::site::{NIGHTLY, Site, dialogues, message, wait_until};

/// A site whose runs ping this monitor, with these settings of `on`.
fn pinging(site: Site, monitor: &Endpoint, on: &str) -> Site {
    site.write_secret("ping", &format!("{}/hunter2?create=1\n", monitor.url()));
    tell(&site, &format!("ping: {{ url: 'file:ping', on: {{ {on} }} }}"));
    site
}

/// What the monitor was told since the last look: the end of the path.
fn told(monitor: &Endpoint, before: &mut usize) -> Vec<String> {
    let lines = monitor.lines();
    let new = lines[*before..].iter().map(|line| {
        let path = line.strip_prefix("POST /hunter2").and_then(|rest| rest.strip_suffix("?create=1"));
        path.unwrap_or_else(|| panic!("{line}")).to_owned()
    });
    let new = new.collect();
    *before = lines.len();
    new
}

#[test]
fn a_monitor_hears_of_the_beginning_and_of_the_end_with_the_figures() {
    let monitor = Endpoint::answering("200 OK", "OK");
    let (site, mut seen) = (pinging(site(), &monitor, ""), 0);
    site.night().exits(0);
    assert_eq!(told(&monitor, &mut seen), ["/start", ""]);
    let figures = monitor.received()[1].text();
    for line in [
        "nightly: complete, exit 0, ",
        "rows: read 1, ",
        "references: archived 1, failed 0, pending 0",
        "requests: sent 1, ",
    ] {
        assert!(figures.contains(line), "{line}: {figures}");
    }
    spoil(&site);
    site.night().exits(3);
    assert_eq!(told(&monitor, &mut seen), ["/start", "/fail"]);
    let figures = monitor.received().last().unwrap().text();
    assert!(
        figures.contains("nightly: partial, exit 3, ") && figures.contains("new failures: unavailable 1"),
        "{figures}"
    );
    // A retry reads no source: it says nothing about the night.
    site.api.world(|world| world.insert(message("alice|1|bob", 1)));
    site.run(&["retry", "nightly", "--all"]).exits(0);
    assert_eq!(told(&monitor, &mut seen), [""; 0]);
    std::fs::remove_file(site.path("refs.csv")).unwrap();
    site.night().exits(2);
    assert_eq!(told(&monitor, &mut seen), ["/start", "/fail"]);
    for text in monitor.received().iter().map(Received::text) {
        assert!(!text.contains("alice") && !text.contains("refs.csv") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_exits_3_and_5_and_75_count_as_is_the_operators_choice() {
    for (on, [partial, stopped, busy]) in
        [("", ["/fail", "/fail", "/log"]), ("partial: log, stopped: success, busy: fail", ["/log", "", "/fail"])]
    {
        let monitor = Endpoint::answering("200 OK", "OK");
        let (site, mut seen) = (pinging(site(), &monitor, on), 0);
        spoil(&site);
        site.night().exits(3);
        assert_eq!(told(&monitor, &mut seen), ["/start", partial], "{on}");
        let (refs, world) = dialogues(1, 2);
        site.api.world(|old| *old = world);
        site.write("refs.csv", crate::support::site::csv(&refs));
        site.answers(0, Fault::Stall);
        let requests = site.api.stats().requests;
        let running = site.start(&["run", "--json"]);
        site.wait_for_requests(requests + 1);
        wait_until("the beginning is told", || monitor.lines().len() == seen + 1);
        assert_eq!(told(&monitor, &mut seen), ["/start"], "{on}");
        site.run(&["run", "--json", "--metrics", "metrics.prom"]).exits(75);
        assert!(!site.path("metrics.prom").exists(), "the run under way has the word");
        assert_eq!(told(&monitor, &mut seen), ["/start", busy], "{on}");
        running.signal(Signal::TERM);
        running.end().exits(5);
        assert_eq!(told(&monitor, &mut seen), [stopped], "{on}");
    }
}

#[test]
fn a_job_has_a_monitor_of_its_own_and_the_command_hears_of_the_gravest() {
    let (whole, own) = (Endpoint::answering("200 OK", "OK"), Endpoint::answering("200 OK", "OK"));
    let site = Site::nightly(dialogues(1, 3));
    let other = "other: { app: main, source: { csv: { path: none.csv } }, sink: { parquet: { path: other } } }";
    let nightly = NIGHTLY.replace("{ app: main,", "{ app: main, ping: { url: 'env:OWN' },");
    site.config("jobs.yaml", "", &format!("{other}\n{nightly}"));
    let site = pinging(site, &whole, "");
    let run = |arguments: &[&str]| {
        let output = site.command(arguments).env("OWN", format!("{}/hunter2", own.url())).output().unwrap();
        output.status.code().unwrap()
    };
    assert_eq!(run(&["run"]), 2);
    let mut seen = 0;
    assert_eq!(told(&whole, &mut seen), ["/start", "/fail"]);
    let figures = whole.received()[1].text();
    assert!(figures.contains("other: failed, exit 2") && figures.contains("nightly: complete, exit 0"), "{figures}");
    assert_eq!(own.lines(), ["POST /hunter2/start", "POST /hunter2"]);
    assert!(!own.received()[1].text().contains("other"));
    assert_eq!(run(&["run", "nightly"]), 0);
    assert_eq!(told(&whole, &mut seen), ["/start", ""]);
}

#[test]
fn a_monitor_that_refuses_or_is_away_is_a_warning_without_its_url() {
    let monitor = Endpoint::answering("404 Not Found", "Cannot POST /hunter2/start");
    let site = pinging(Site::nightly(dialogues(1, 3)), &monitor, "");
    let night = || {
        let ended = site.run(&["run", "--json", "-vv"]).exits(0);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
        ended.stderr
    };
    let stderr = night();
    assert!(stderr.contains("the monitor could not be told") && stderr.contains("404 Not Found"), "{stderr}");
    assert_eq!(monitor.lines().len(), 2, "what is refused for good is not sent again");
    site.write_secret("ping", &format!("http://127.0.0.1:{}/hunter2", free_port()));
    assert!(night().contains("Connection refused"));
    site.write_secret("ping", "ftp://hunter2");
    assert!(night().contains("ping.url: is no http:// or https:// URL"));
    std::fs::remove_file(site.path("ping")).unwrap();
    assert!(night().contains("cannot be read"));
    let wrong = site.run(&["check", "--connect"]).exits(2).stdout;
    assert!(wrong.contains("ping.url: the file ") && wrong.contains("cannot be read"), "{wrong}");
    site.write("jobs.yaml", site.read("jobs.yaml").replace("file:ping", "https://hc-ping.com/hunter2"));
    let refused = site.run(&["check"]).exits(2).stderr;
    assert!(refused.contains("ping.url: a ping's URL is a secret") && !refused.contains("hunter2"), "{refused}");
}
