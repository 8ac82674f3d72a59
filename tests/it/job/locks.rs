//! One process a job, and one process an app.

use rustix::process::Signal;
use yunxin_archiver::simulator::{Fault, Hook};

use crate::support::site::{NIGHTLY, Running, Site, dialogues, wait_until};

/// A site with two jobs of one app, of which `nightly` runs and waits for an answer.
fn busy() -> (Site, Running) {
    let site = Site::nightly(dialogues(3, 3));
    site.jobs(&format!("{NIGHTLY}\n{}", NIGHTLY.replace("nightly", "second").replace("archive", "archive-2")));
    site.api.faults(|faults| faults.hook = Some(Hook::new(|_| Some(Fault::Stall))));
    let running = site.start(&["run", "nightly", "--json"]);
    site.wait_for_requests(1);
    (site, running)
}

/// Lets requests be answered from now on, and stops the run that waits for one.
fn release(site: &Site, mut running: Running) {
    site.api.faults(|faults| faults.hook = None);
    running.signal(Signal::TERM);
    running.wait_for_line("a second signal stops at once");
    running.signal(Signal::TERM);
    running.end();
}

#[test]
fn a_job_and_an_app_are_used_by_one_process_at_a_time() {
    let (site, running) = busy();
    let same = site.run(&["run", "nightly", "--json"]).exits(75);
    let error = same.job()["error"].as_str().unwrap();
    assert!(
        error.starts_with("job nightly is running: process ") && error.ends_with("; wait, or `--wait 30m`"),
        "{error}"
    );
    let other = site.run(&["run", "second", "--json"]).exits(75);
    let error = other.job()["error"].as_str().unwrap();
    assert!(error.starts_with("the quota of app main is in use: process "), "{error}");
    site.run(&["retry", "nightly", "--all"]).exits(75);
    // Whoever only looks needs no lock.
    let status = site.run(&["status", "--json"]).exits(0);
    assert_eq!(status.summary["jobs"][0]["runs"][0]["outcome"], "running");
    for look in [&["plan"][..], &["failures", "nightly"], &["files", "nightly"], &["check"]] {
        site.run(look).exits(0);
    }
    release(&site, running);
    site.run(&["run"]).exits(0);
}

#[test]
fn whoever_waits_for_a_lock_gets_it() {
    let (site, running) = busy();
    let waiting = site.start(&["run", "second", "--json", "--wait", "1m"]);
    // It holds its own job's lock while it waits for the app's.
    wait_until("the second run waits", || site.path("state/second.job.lock").exists());
    release(&site, running);
    waiting.end().exits(0);
}

#[test]
fn whoever_waits_for_a_lock_can_be_told_to_stop() {
    let (site, running) = busy();
    let mut waiting = site.start(&["run", "second", "--json", "--wait", "1h"]);
    wait_until("the second run waits", || site.path("state/second.job.lock").exists());
    waiting.signal(Signal::TERM);
    waiting.wait_for_line("SIGTERM");
    let ended = waiting.end().exits(5);
    assert_eq!(ended.job()["run_id"], serde_json::Value::Null);
    let ended = site.run(&["run", "second", "--json", "--wait", "1h", "--deadline", "50ms"]).exits(5);
    assert_eq!(ended.job()["error"], "stopped by the deadline");
    release(&site, running);
}

#[test]
fn a_dead_process_holds_no_lock() {
    let (site, running) = busy();
    running.signal(Signal::KILL);
    running.end();
    site.api.faults(|faults| faults.hook = None);
    site.run(&["run"]).exits(0);
}
