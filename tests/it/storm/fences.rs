//! Two writers of one archive, at every moment that matters: the chain of manifests does not fork, no file is without a
//! manifest, and nothing is lost or there twice.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use crate::support::bucket::{Bucket, bucket};
use crate::support::faulty_store::{Asked, FaultyStore};
use crate::support::nights;
use crate::support::storm::{Site, To, block_on, ran};

const RUN: [&str; 2] = ["run", "--json"];
const ADOPT: [&str; 3] = ["run", "--adopt-if-missing", "--json"];

/// A site that reaches its bucket through a proxy, and has had a night.
fn behind(store: &FaultyStore, bucket: &Bucket) -> Site {
    let site = Site::of(To::Bucket(bucket.by(store.address())), 60);
    site.plain().exits(0);
    site
}

/// The binary with a state of its own, which reaches its store at another address.
fn elsewhere(site: &Site, address: [&str; 2], arguments: &[&str]) -> Command {
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap().replace(address[0], address[1]);
    std::fs::write(site.path("other.yaml"), text.replacen("version: 1", "version: 1\nstate: other", 1)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
    command.args(["-c", "other.yaml", "--progress", "none"]).args(arguments).current_dir(site.directory.path());
    command.env_remove("YUNXIN_ARCHIVER_DIE_AT");
    command
}

/// Copies the ledger to where [`elsewhere`] has its state, as if it had always been used with that address.
fn copy_ledger(site: &Site, [here, there]: [&str; 2]) {
    nights::copy(&site.path("state"), &site.path("other"));
    let host = |address: &str| address.trim_start_matches("http://").to_owned();
    let url = format!("sqlite://{}", site.path("other/nightly.sqlite").display());
    block_on(async {
        let mut ledger = SqliteConnection::connect(&url).await.unwrap();
        let sql = "update ledger set sink = replace(sink, ?, ?)";
        let moved = sqlx::query(sql).bind(host(here)).bind(host(there)).execute(&mut ledger).await.unwrap();
        assert_eq!(moved.rows_affected(), 1);
        ledger.close().await.unwrap();
    });
}

fn forget(site: &Site, state: &str) {
    std::fs::remove_dir_all(site.path(state)).unwrap();
}

/// Insists that the archive, without any ledger, holds every message once, with a chain of so many manifests.
#[track_caller]
fn holds_each_once(site: &Site, manifests: u64) {
    forget(site, "state");
    let verified = site.run(&["verify", "nightly", "--json"]).exits(0);
    let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
    let found = (&verified["rows"], &verified["twice"], &verified["manifests"]);
    assert_eq!(found, (&site.found().len().into(), &0.into(), &manifests.into()));
}

fn is_owner_record(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.path.ends_with("_archive.json")
}

fn is_completion(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path.contains("uploadId=")
}

/// Does something once, at the first request of this kind.
fn once_at(store: &FaultyStore, is_it: impl Fn(&Asked) -> bool + Send + 'static, work: impl FnOnce() + Send + 'static) {
    let mut work = Some(work);
    store.fails(move |asked| {
        if is_it(asked)
            && let Some(work) = work.take()
        {
            work();
        }
        None
    });
}

#[test]
fn of_two_copies_with_nothing_to_commit_one_writes_the_next_manifest_and_the_other_is_refused() {
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    let site = behind(&store, &bucket);
    let address = [store.address(), &bucket.endpoint()];
    copy_ledger(&site, address);
    // The only owner record that a run without a commit writes names its manifest.
    let mut other = elsewhere(&site, address, &RUN);
    once_at(&store, is_owner_record, move || drop(ran(&mut other).exits(0)));
    let refused = site.plain().exits(2);
    assert!(refused.error().contains("changed hands while this process was writing it"), "{refused:?}");
    store.fails(|_| None);
    let before = bucket.storage().list("", false).unwrap();
    let refused = site.plain().exits(2);
    assert!(refused.error().contains("which this ledger does not know"), "{refused:?}");
    assert_eq!(bucket.storage().list("", false).unwrap(), before, "a refusal writes nothing");
    ran(&mut elsewhere(&site, address, &RUN)).exits(0);
    holds_each_once(&site, 3);
}

#[test]
fn a_copy_that_dies_between_the_owner_record_and_its_manifest_writes_that_manifest_when_it_comes_back() {
    for is_lost in [false, true] {
        let bucket = bucket();
        let store = FaultyStore::before(&bucket.endpoint());
        let site = behind(&store, &bucket);
        let address = [store.address(), &bucket.endpoint()];
        copy_ledger(&site, address);
        let mut other = elsewhere(&site, address, &RUN);
        other.env("YUNXIN_ARCHIVER_DIE_AT", "manifest.rename");
        once_at(&store, is_owner_record, move || assert_eq!(ran(&mut other).status.code(), None));
        let refused = site.plain().exits(2);
        assert!(refused.error().contains("changed hands while this process was writing it"), "{refused:?}");
        store.fails(|_| None);
        let named = owner_record(&site)["manifest"].clone();
        assert_eq!(named["sequence"], 2);
        let said = ran(&mut elsewhere(&site, address, &["verify", "nightly"])).exits(0);
        assert!(said.stdout.contains("names manifest 2 of run"), "{said:?}");
        // Its own ledger writes it, and so does a new one.
        if is_lost {
            forget(&site, "other");
        }
        ran(&mut elsewhere(&site, address, &ADOPT)).exits(0);
        let name = format!("_manifests/00000002-{}.json", named["run_id"].as_str().unwrap());
        assert!(bucket.storage().size(&name).unwrap().is_some(), "{name}");
        holds_each_once(&site, if is_lost { 4 } else { 3 });
    }
}

fn owner_record(site: &Site) -> Value {
    let To::Bucket(bucket) = &site.to else {
        return serde_json::from_slice(&std::fs::read(site.path("archive/_archive.json")).unwrap()).unwrap();
    };
    serde_json::from_slice(&bucket.storage().read("_archive.json").unwrap().unwrap().0).unwrap()
}

#[test]
fn a_copy_is_refused_before_it_asks_if_the_archive_has_a_manifest_of_the_other_on_a_disk_too() {
    for to in [To::Parquet, To::Bucket(bucket())] {
        let mut site = Site::of(to, 60);
        site.plain().exits(0);
        let copy = |from: &str, to: &str| nights::copy(&site.path(from), &site.path(to));
        copy("state", "copy");
        site.plain().exits(0);
        copy("state", "newer");
        copy("copy", "state");
        site.night(60);
        let asked = site.api.stats().requests;
        let refused = site.plain().exits(2);
        assert!(refused.error().contains("which this ledger does not know"), "{refused:?}");
        assert_eq!(site.api.stats().requests, asked);
        nights::copy(&site.path("newer"), &site.path("state"));
        site.completes();
        holds_each_once(&site, 3);
    }
}

#[test]
fn a_manifest_that_is_named_and_not_written_is_written_once_whoever_comes_next() {
    for to in [To::Parquet, To::Bucket(bucket())] {
        let mut site = Site::of(to, 60);
        site.plain().exits(0);
        site.night(60);
        site.dies_at("manifest.rename");
        let run = owner_record(&site)["manifest"]["run_id"].clone();
        let state = site.path("state");
        nights::copy(&state, &site.path("copy"));
        std::fs::remove_dir_all(&state).unwrap();
        site.run(&ADOPT).exits(0);
        let files = site.run(&["files", "nightly", "--json"]).exits(0).stdout;
        assert!(files.contains(run.as_str().unwrap()), "{files}");
        site.run(&["verify", "nightly"]).exits(0);
        // The former ledger comes back too late.
        nights::copy(&site.path("copy"), &state);
        site.plain().exits(2);
        // Then it is adopted as well, and what it knew of that run comes with it.
        site.run(&["adopt", "nightly"]).exits(0);
        site.plain().exits(0);
        // The first night's, the dead run's, those of two adoptions and of two runs.
        holds_each_once(&site, 6);
    }
}

#[test]
fn a_manifest_that_somebody_else_wrote_otherwise_is_not_taken_for_ones_own() {
    let mut site = Site::of(To::Parquet, 60);
    site.plain().exits(0);
    site.night(60);
    site.dies_at("manifest.fsync");
    let run = owner_record(&site)["manifest"]["run_id"].clone();
    let path = site.path(&format!("archive/_manifests/00000002-{}.json", run.as_str().unwrap()));
    let written = std::fs::read(&path).unwrap();
    let mut other: Value = serde_json::from_slice(&written).unwrap();
    other["files"].as_array_mut().unwrap().pop();
    std::fs::write(&path, other.to_string()).unwrap();
    let refused = site.plain().exits(2);
    assert!(refused.error().contains("names other files than this ledger has"), "{refused:?}");
    std::fs::write(&path, written).unwrap();
    site.completes();
}

#[test]
fn a_slow_run_writes_neither_its_manifest_nor_the_list_of_hashes_after_another_has_taken_the_archive_over() {
    for (method, paused_at) in [("PUT", ".json.sig"), ("PUT", ".json"), ("GET", "SHA256SUMS")] {
        let bucket = bucket();
        let store = FaultyStore::before(&bucket.endpoint());
        let mut site = behind(&store, &bucket);
        site.night(60);
        let address = [store.address(), &bucket.endpoint()];
        let mut other = elsewhere(&site, address, &ADOPT);
        let is_manifest = move |asked: &Asked| {
            asked.method == method && asked.path.contains("_manifests/") && asked.path.ends_with(paused_at)
        };
        once_at(&store, is_manifest, move || drop(ran(&mut other).exits(0)));
        let refused = site.plain().exits(2);
        assert!(refused.error().contains("changed hands while this process was writing it"), "{refused:?}");
        store.fails(|_| None);
        // The slow run's by the other one, that of the adoption, and that of the run after it.
        holds_each_once(&site, 4);
    }
}

#[test]
fn an_archive_that_is_taken_over_while_a_commit_is_published_gets_no_more_files_of_that_commit() {
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    let mut site = behind(&store, &bucket);
    site.night(60);
    let address = [store.address(), &bucket.endpoint()];
    // The owner record names the commit, and none of its files is there.
    let mut other = elsewhere(&site, address, &ADOPT);
    once_at(&store, is_completion, move || drop(ran(&mut other).exits(0)));
    let refused = site.plain().exits(2);
    assert!(refused.error().contains("changed hands while this process was writing it"), "{refused:?}");
    store.fails(|_| None);
    assert_eq!(bucket.uploads(), 0);
    holds_each_once(&site, 3);
}

#[test]
fn files_that_are_published_while_an_archive_is_taken_over_are_seen_before_its_ledger_is_made() {
    let bucket = bucket();
    let [slow, taking] = [(); 2].map(|()| FaultyStore::before(&bucket.endpoint()));
    let mut site = behind(&slow, &bucket);
    site.night(60);
    // The other one has read the archive when this one publishes, and writes the owner record when it has.
    let mut adopt = elsewhere(&site, [slow.address(), taking.address()], &ADOPT);
    let (looked, has_looked) = mpsc::channel();
    let published = bucket.clone();
    once_at(&taking, is_owner_record, move || {
        looked.send(()).unwrap();
        let begun = std::time::Instant::now();
        while published.uploads() > 0 {
            assert!(begun.elapsed().as_secs() < 60, "nothing is published");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let mut other = None;
    let (done, adopted) = mpsc::channel();
    let mut ended = Some(done);
    let mut is_published = false;
    slow.fails(move |asked| {
        if is_completion(asked) && other.is_none() {
            let mut adopt = std::mem::replace(&mut adopt, Command::new("true"));
            other = Some(std::thread::spawn(move || ran(&mut adopt)));
            has_looked.recv().unwrap();
            is_published = true;
        }
        // The manifest is named when the other one has ended.
        if is_owner_record(asked)
            && is_published
            && let (Some(thread), Some(done)) = (other.take(), ended.take())
        {
            done.send(thread.join().unwrap()).unwrap();
        }
        None
    });
    let refused = site.plain().exits(2);
    assert!(refused.error().contains("changed hands while this process was writing it"), "{refused:?}");
    slow.fails(|_| None);
    let busy = adopted.recv().unwrap().exits(75);
    assert!(busy.error().contains("while it was being taken over"), "{busy:?}");
    assert!(!Path::new(&site.path("other/nightly.sqlite")).exists());
    let again = ran(&mut elsewhere(&site, [slow.address(), taking.address()], &ADOPT)).exits(0);
    // What was published is known. Messages that do not exist (every 23rd) are in no archive.
    assert_eq!(again.summary()["references"]["accepted"], 120 / 23);
    holds_each_once(&site, 3);
}
