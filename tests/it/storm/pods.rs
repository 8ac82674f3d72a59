//! Hosts whose state does not last: `run --adopt-if-missing` goes on from the archive, and of two at once one is refused.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::bucket::bucket;
use crate::support::faulty_store::FaultyStore;
use crate::support::storm::{Ran, Site, To, database, ran};

const RUN: [&str; 3] = ["run", "--adopt-if-missing", "--json"];

fn everywhere() -> [To; 3] {
    [To::Parquet, To::Bucket(bucket()), To::Postgres(database())]
}

/// The binary with the configuration and the state of another pod, which reaches its store at another address.
fn other_pod(site: &Site, [there, here]: [&str; 2]) -> Command {
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap().replace(there, here);
    std::fs::write(site.path("other.yaml"), text.replacen("version: 1", "version: 1\nstate: other", 1)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
    command.args(["-c", "other.yaml", "--progress", "none"]).args(RUN).current_dir(site.directory.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn loses_its_state(site: &Site) {
    std::fs::remove_dir_all(site.path("state")).unwrap();
}

/// Insists that the archive holds what was found, each message once, and nothing that no manifest names.
#[track_caller]
fn holds_each_once(site: &Site) {
    let verified: Value = serde_json::from_str(&site.run(&["verify", "nightly", "--json"]).exits(0).stdout).unwrap();
    assert_eq!((&verified["rows"], &verified["twice"]), (&site.found().len().into(), &0.into()));
}

fn is_adopted(ran: &Ran) -> bool {
    ran.stderr.contains("there was no ledger, and the archive was taken over")
}

#[test]
fn a_pod_without_a_ledger_takes_its_archive_over_and_asks_only_for_what_is_not_there() {
    for to in everywhere() {
        let mut site = Site::of(to, 66);
        let begun = site.run(&RUN).exits(0);
        assert!(!is_adopted(&begun), "there was no archive: {}", begun.stderr);
        site.is_whole();
        // A ledger that is there is used.
        site.night(60);
        assert!(!is_adopted(&site.run(&RUN).exits(0)));
        site.is_whole();
        loses_its_state(&site);
        site.night(60);
        let refused = site.plain().exits(2);
        assert!(refused.error().contains("adopt nightly`"), "{refused:?}");
        let ran = site.run(&RUN).exits(0);
        assert!(is_adopted(&ran), "{}", ran.stderr);
        let references = &ran.summary()["references"];
        // Messages that do not exist (every 23rd) are in no archive, so they are asked for again.
        assert_eq!(references["accepted"], 60 + 126 / 23, "{references}");
        holds_each_once(&site);
    }
}

#[test]
fn what_was_pending_or_failed_in_a_lost_ledger_is_read_and_asked_for_again() {
    for to in everywhere() {
        let step = if matches!(to, To::Postgres(_)) { "postgres.committed" } else { "deed.before" };
        let mut site = Site::of(to, 60);
        site.run(&RUN).exits(0);
        site.night(96);
        site.dies_at(step);
        loses_its_state(&site);
        site.night(12);
        let ran = site.run(&RUN).exits(0);
        assert_eq!(ran.summary()["references"]["pending"], 0);
        holds_each_once(&site);
    }
    // Failures count as new, and what is healed meanwhile is archived.
    let mut site = Site::of(To::Parquet, 60);
    let text = |site: &Site| std::fs::read_to_string(site.path("jobs.yaml")).unwrap().replace("107404", "unanswered");
    for _ in 0..2 {
        std::fs::write(site.path("jobs.yaml"), text(&site)).unwrap();
        let ran = site.run(&RUN).exits(3);
        assert_eq!(ran.summary()["references"]["failed"], 2);
        loses_its_state(&site);
    }
    site.heals();
    let ran = site.run(&RUN).exits(0);
    assert_eq!(ran.summary()["references"]["archived"], 2);
    holds_each_once(&site);
}

#[test]
fn a_pod_that_dies_between_its_archive_and_its_ledger_goes_on() {
    for to in everywhere() {
        let mut site = Site::of(to, 60);
        site.run(&RUN).exits(0);
        loses_its_state(&site);
        site.night(60);
        let dead = ran(site.command(&RUN).env("YUNXIN_ARCHIVER_DIE_AT", "adopt.handed_over"));
        assert!(dead.status.code().is_none() && !site.path("state/nightly.sqlite").exists(), "{dead:?}");
        assert!(is_adopted(&site.run(&RUN).exits(0)));
        holds_each_once(&site);
    }
}

#[test]
fn the_archive_of_another_job_or_app_is_not_taken_over() {
    for to in everywhere() {
        let site = Site::of(to, 60);
        site.run(&RUN).exits(0);
        loses_its_state(&site);
        let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
        let asked = site.api.stats().requests;
        std::fs::write(site.path("jobs.yaml"), text.replace("nightly:", "weekly:")).unwrap();
        let refused = site.run(&RUN).exits(2);
        assert!(refused.error().contains("adopt weekly`"), "{refused:?}");
        std::fs::write(site.path("jobs.yaml"), text.replace("app_key: ", "app_key: other")).unwrap();
        let refused = site.run(&RUN).exits(2);
        assert!(refused.error().contains("holds messages of the app"), "{refused:?}");
        assert_eq!(site.api.stats().requests, asked);
        std::fs::write(site.path("jobs.yaml"), text).unwrap();
        site.run(&RUN).exits(0);
        holds_each_once(&site);
    }
}

#[test]
fn a_pod_whose_archive_lost_a_file_says_so_whatever_else_it_archives() {
    for to in [To::Parquet, To::Bucket(bucket())] {
        let site = Site::of(to, 60);
        site.run(&RUN).exits(0);
        let listed = site.run(&["files", "nightly"]).exits(0).stdout;
        let lost = &listed[listed.find("date=").unwrap()..listed.find('\n').unwrap()];
        match &site.to {
            To::Bucket(bucket) => bucket.storage().remove(lost).unwrap(),
            _ => std::fs::remove_file(site.path("archive").join(lost)).unwrap(),
        }
        loses_its_state(&site);
        let ran = site.run(&RUN).exits(3);
        assert!(ran.error().contains("the archive lost files") && ran.error().contains(lost), "{ran:?}");
        // What it held is there again, and nothing else twice.
        let verified: Value =
            serde_json::from_str(&site.run(&["verify", "nightly", "--json"]).exits(1).stdout).unwrap();
        assert_eq!((&verified["rows"], &verified["twice"]), (&site.found().len().into(), &0.into()));
    }
}

#[test]
fn of_two_pods_that_take_an_archive_over_the_slower_is_refused_before_it_asks_for_anything() {
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    let mut site = Site::of(To::Bucket(bucket.by(store.address())), 60);
    site.run(&RUN).exits(0);
    loses_its_state(&site);
    site.night(60);
    let asked = site.api.stats().requests;
    // At the very moment at which this one writes the owner record, the other one takes the archive over and goes on.
    let mut other = Some(other_pod(&site, [store.address(), &bucket.endpoint()]));
    let (sent, done) = std::sync::mpsc::channel();
    store.fails(move |asked| {
        if asked.method == "PUT"
            && asked.path.contains("_archive.json")
            && let Some(mut other) = other.take()
        {
            sent.send(ran(&mut other)).unwrap();
        }
        None
    });
    let refused = site.run(&RUN).exits(75);
    assert!(refused.error().contains("another process wrote the archive"), "{refused:?}");
    assert!(
        !site.path("state/nightly.sqlite").exists(),
        "the next run of this pod is not refused for a ledger of no use"
    );
    let other = done.recv().unwrap().exits(0);
    let asked = site.api.stats().requests - asked;
    assert_eq!(other.summary()["requests"]["sent"], asked, "only the other one asked");
    holds_each_once(&site);
}

#[test]
fn of_two_pods_one_after_the_other_exactly_one_goes_on() {
    for to in [To::Parquet, To::Bucket(bucket())] {
        let is_bucket = matches!(to, To::Bucket(_));
        let mut site = Site::of(to, 60);
        site.run(&RUN).exits(0);
        loses_its_state(&site);
        site.night(60);
        let asked = site.api.stats().requests;
        site.api.faults(|faults| faults.latency_ms = 8_000);
        let first = site.command(&RUN).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        site.until("the first one asks", |site| site.api.stats().requests > asked);
        site.api.faults(|faults| faults.latency_ms = 0);
        let second = ran(&mut other_pod(&site, ["", ""]));
        let first = first.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&first.stdout).into_owned();
        if is_bucket {
            // A bucket has no locks: who comes later takes over, and the other one's commit is refused.
            second.exits(0);
            assert_eq!(first.status.code(), Some(2), "{said}");
            assert!(said.contains("changed hands while this process was writing it"), "{said}");
            // Its ledger knows another end of the chain.
            loses_its_state(&site);
        } else {
            assert!(second.exits(75).error().contains("is being written by another process"));
            assert_eq!(first.status.code(), Some(0), "{said}");
        }
        holds_each_once(&site);
    }
}

#[test]
fn two_pods_that_start_at_once_lose_nothing_and_write_nothing_twice() {
    for to in [To::Parquet, To::Bucket(bucket())] {
        let mut site = Site::of(to, 60);
        for is_new in [true, false] {
            site.night(60);
            std::fs::remove_dir_all(site.path("other")).ok();
            let mut other = other_pod(&site, ["", ""]).spawn().unwrap();
            let one = site.run(&RUN);
            let codes = [one.status.code().unwrap(), other.wait().unwrap().code().unwrap()];
            // Both end well if the second one came when the first one had ended.
            assert!(codes.contains(&0) && codes.iter().all(|code| [0, 2, 75].contains(code)), "{is_new}: {codes:?}");
            loses_its_state(&site);
            holds_each_once(&site);
        }
    }
}
