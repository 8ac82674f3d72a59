//! Archives in object stores: whole, read by others, fenced, and clear where the store is not what it should be.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::bucket::{Bucket, SECRET_KEY, Store, bucket};
use crate::support::faulty_store::{Asked, Fault, FaultyStore};
use crate::support::nights;
use crate::support::storm::{Ran, Site, To, ran};

fn in_bucket(references: i64) -> (Site, Bucket) {
    let bucket = bucket();
    (Site::of(To::Bucket(bucket.clone()), references), bucket)
}

fn url(bucket: &Bucket) -> String {
    format!("s3://{}/nightly/archive", bucket.name)
}

/// The binary with credentials and endpoint in its environment, and without a configuration.
fn by_environment(site: &Site, bucket: &Bucket, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
    command.args(["-c", "none.yaml", "--progress", "none"]).args(arguments).current_dir(site.directory.path());
    command.env("AWS_ACCESS_KEY_ID", "yunxin-it").env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    ran(command.env("AWS_ENDPOINT_URL_S3", bucket.endpoint()).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9"))
}

#[test]
fn an_archive_in_a_bucket_is_read_there() {
    let (mut site, bucket) = in_bucket(120);
    site.run(&["check", "--connect"]).exits(0);
    assert_eq!(bucket.storage().list("", false).unwrap(), [], "check leaves nothing behind");
    site.completes();
    site.night(60);
    site.completes();
    let rows = site.found().len() as u64;

    let verified = by_environment(&site, &bucket, &["verify", &url(&bucket), "--json"]).exits(0);
    let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((&verified["ok"], &verified["rows"]), (&Value::from(true), &Value::from(rows)));
    let export = ["export", "--archive", &url(&bucket), "--all", "--format", "jsonl", "--output", "export"];
    by_environment(&site, &bucket, &export).exits(0);
    let exported: usize = std::fs::read_dir(site.path("export"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .map(|path| std::fs::read_to_string(path).unwrap().lines().count())
        .sum();
    assert_eq!(exported as u64, rows);

    let files = site.run(&["files", "nightly"]).exits(0).stdout;
    assert!(files.lines().count() > 2 && files.lines().all(|line| line.starts_with(&url(&bucket))), "{files}");
    site.run(&["run", "--refetch", "all", "--json"]).exits(0);
    site.run(&["verify", "nightly"]).exits(0);
}

#[test]
fn a_lost_ledger_is_made_anew_from_the_bucket_and_what_a_dead_run_staged_goes() {
    let (mut site, bucket) = in_bucket(60);
    site.completes();
    site.night(60);
    site.dies_at("prepare.after");
    assert!(bucket.uploads() > 1);
    std::fs::remove_dir_all(site.path("state")).unwrap();
    let refused = site.plain().exits(2);
    assert!(refused.error().contains("`yunxin-archiver adopt nightly` takes it over"), "{refused:?}");
    site.run(&["adopt", "nightly"]).exits(0);
    assert_eq!(bucket.uploads(), 0, "uploads of the former ledger are given up");
    site.plain().exits(0);
    site.run(&["verify", "nightly"]).exits(0);
    let before = site.api.stats().requests;
    site.plain().exits(0);
    assert_eq!(site.api.stats().requests, before, "a further run has nothing to ask");
}

#[test]
fn an_upload_that_the_store_gave_up_takes_its_commit_back_as_a_whole() {
    let (mut site, bucket) = in_bucket(60);
    site.completes();
    site.night(60);
    site.dies_at("complete.before#2");
    let uploads = bucket.curl(&[], "?uploads");
    let (key, upload) = (within(&uploads, "Key"), within(&uploads, "UploadId"));
    let given_up = bucket.curl(&["-X", "DELETE"], &format!("/{key}?uploadId={upload}"));
    assert!(given_up.ends_with("204"), "{given_up}");
    let ran = site.plain().exits(0);
    assert!(ran.stderr.contains("fetched again"), "{}", ran.stderr);
    site.is_whole();
    assert_eq!(bucket.uploads(), 0);
}

fn within<'a>(xml: &'a str, tag: &str) -> &'a str {
    xml.split_once(&format!("<{tag}>")).unwrap().1.split_once('<').unwrap().0
}

#[test]
fn of_two_copies_of_a_ledger_one_is_refused_and_shows_nothing() {
    let (mut site, bucket) = in_bucket(60);
    site.completes();
    let directory = site.directory.path().to_owned();
    let copy = |from: &str, to: &str| nights::copy(&directory.join(from), &directory.join(to));
    copy("state", "other");
    site.night(60);
    site.dies_at("deed.before");
    // What died had recorded a commit, and the archive does not name it. Its copy goes on without it.
    copy("state", "dead");
    copy("other", "state");
    site.plain().exits(0);
    let before = bucket.storage().list("", false).unwrap();
    copy("state", "other");
    copy("dead", "state");
    let refused = site.plain().exits(2);
    assert!(refused.error().contains("two copies of the ledger were used"), "{refused:?}");
    assert_eq!(bucket.storage().list("", false).unwrap(), before, "a refusal writes nothing");
    copy("other", "state");
    site.completes();
}

#[test]
fn a_writer_whose_archive_changes_hands_is_refused_at_its_next_commit() {
    let (mut site, bucket) = in_bucket(60);
    site.completes();
    site.night(240);
    site.fetch = "batch_size: 12, concurrency: 1".to_owned();
    site.sink = ", commit_interval: 1ms".to_owned();
    site.configure();
    site.api.faults(|faults| faults.latency_ms = 20);
    let commits = site.commits();
    let slow = site.command(&["run", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    site.until("the slow run commits", |site| site.commits() > commits);
    // The next answers come when the archive has another owner.
    site.api.faults(|faults| faults.latency_ms = 8_000);
    // As another machine does it, with a ledger of its own.
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    std::fs::write(site.path("elsewhere.yaml"), text.replace("version: 1", "version: 1\nstate: elsewhere")).unwrap();
    let mut adopt = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
    adopt.args(["-c", "elsewhere.yaml", "adopt", "nightly"]).current_dir(site.directory.path());
    let mut adopted = ran(&mut adopt);
    // The slow run may commit while the archive is looked at. Then the one that takes over is refused, and tries again.
    while adopted.status.code() == Some(75) {
        adopted = ran(&mut adopt);
    }
    adopted.exits(0);
    let slow = slow.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&slow.stdout).into_owned();
    assert_eq!(slow.status.code(), Some(2), "{said}");
    assert!(said.contains("changed hands while this process was writing it"), "{said}");
    site.api.faults(|faults| faults.latency_ms = 0);
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
    elsewhere.args(["-c", "elsewhere.yaml", "run", "--json"]).current_dir(site.directory.path());
    ran(&mut elsewhere).exits(0);
    let verified = by_environment(&site, &bucket, &["verify", &url(&bucket), "--json"]);
    let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((&verified["rows"], &verified["twice"]), (&Value::from(site.found().len()), &Value::from(0)));
}

#[test]
fn a_store_without_conditions_needs_the_operators_word() {
    let store = Store::rclone();
    let site = Site::of(To::Bucket(store.bucket()), 60);
    for command in [&["check", "--connect"][..], &["run", "--json"]] {
        let refused = site.run(command).exits(2);
        let said = refused.stdout + &refused.stderr;
        assert!(said.contains("ignores conditions") && said.contains("`conditional_writes: off`"), "{said}");
        assert!(!said.contains(SECRET_KEY), "{said}");
    }
    assert_eq!(site.api.stats().requests, 1, "only check asked for a message");
    let To::Bucket(bucket) = &site.to else { unreachable!() };
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    let with_word = bucket.sink(", conditional_writes: off", "");
    std::fs::write(site.path("jobs.yaml"), text.replace(&bucket.sink("", ""), &with_word)).unwrap();
    site.completes();
    let checked = site.run(&["check", "--connect"]).exits(0);
    assert!(checked.stdout.contains("nothing but your word keeps a second writer out"), "{}", checked.stdout);
}

#[test]
fn an_archive_that_was_written_without_conditions_or_copied_is_tried_before_conditions_are_counted_on() {
    let store = Store::rclone();
    let site = Site::of(To::Bucket(store.bucket()), 60);
    let To::Bucket(bucket) = &site.to else { unreachable!() };
    let with_conditions = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    let with_word = bucket.sink(", conditional_writes: off", "");
    std::fs::write(site.path("jobs.yaml"), with_conditions.replace(&bucket.sink("", ""), &with_word)).unwrap();
    site.plain().exits(0);
    std::fs::write(site.path("jobs.yaml"), with_conditions).unwrap();
    for command in [&["run", "--json"][..], &["adopt", "nightly"], &["run", "--adopt-if-missing", "--json"]] {
        let refused = site.run(command).exits(2);
        assert!((refused.stdout.clone() + &refused.stderr).contains("ignores conditions"), "{refused:?}");
        if command[0] == "adopt" {
            std::fs::remove_dir_all(site.path("state")).unwrap();
        }
    }
}

#[test]
fn a_store_that_heeds_only_one_of_the_two_conditions_is_found_out() {
    for (ignored, said) in
        [("if-match", "replaced only if unchanged"), ("if-none-match", "created only if there was none")]
    {
        let bucket = bucket();
        let store = FaultyStore::before(&bucket.endpoint());
        store.fails(move |asked| (!asked.header(ignored).is_empty()).then_some(Fault::Ignored(ignored)));
        let site = Site::of(To::Bucket(bucket.by(store.address())), 60);
        for command in [&["check", "--connect"][..], &["run"]] {
            let refused = site.run(command).exits(2);
            assert!((refused.stdout.clone() + &refused.stderr).contains(said), "{refused:?}");
        }
    }
}

#[test]
fn a_bucket_that_is_not_there_or_a_key_that_is_wrong_is_told_without_a_secret() {
    let (site, bucket) = in_bucket(12);
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    std::fs::write(site.path("jobs.yaml"), text.replace(&bucket.name, "missing")).unwrap();
    let refused = site.plain().exits(2);
    let said = refused.error();
    assert!(said.contains("s3://missing/nightly/archive") && said.contains("there is no such bucket"), "{said}");
    assert!(!format!("{refused:?}").contains(SECRET_KEY));
    assert_eq!(site.api.stats().requests, 0, "nothing is fetched that cannot be kept");

    let store = Store::rclone();
    let site = Site::of(To::Bucket(store.bucket()), 12);
    site.write_secret("bucket-secret", "wrong-hunter2");
    let refused = site.plain().exits(4);
    assert!(!format!("{refused:?}").contains("wrong-hunter2"), "{refused:?}");
    assert!(!Path::new(&site.path("state/nightly.sqlite")).exists(), "a refused run begins no ledger");
}

#[test]
fn a_store_that_fails_now_and_then_loses_nothing_and_gets_nothing_twice() {
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    let mut site = Site::of(To::Bucket(bucket.by(store.address())), 60);
    let faults = [
        Fault::Refused(500, "InternalError"),
        Fault::Done(500, "InternalError"),
        Fault::Refused(503, "SlowDown"),
        Fault::Cut,
        Fault::DoneAndCut,
    ];
    for every in [3, 4, 7] {
        store.fails(move |asked| {
            (asked.number % every == 0).then(|| faults[(asked.number / every) as usize % faults.len()])
        });
        site.night(60);
        site.plain().exits(0);
        store.fails(|_| None);
        site.is_whole();
    }
    assert!(store.faults() > 10, "{} faults", store.faults());
}

#[test]
fn a_completion_that_is_not_believed_is_looked_up() {
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    let mut site = Site::of(To::Bucket(bucket.by(store.address())), 60);
    let is_completion = |asked: &Asked| asked.method == "POST" && asked.path.contains("uploadId=");
    // Done and answered as if there were no such upload, as after an answer that was lost.
    store.fails(move |asked| is_completion(asked).then_some(Fault::Done(404, "NoSuchUpload")));
    site.plain().exits(0);
    store.fails(|_| None);
    site.is_whole();
    // Not done, and answered in the same way: then the upload is lost indeed.
    site.night(60);
    store.fails(move |asked| is_completion(asked).then_some(Fault::Refused(404, "NoSuchUpload")));
    let ran = site.plain().exits(1);
    assert!(ran.error().contains("the staged file is gone"), "{ran:?}");
    store.fails(|_| None);
    site.completes();
}

#[test]
fn a_permission_that_is_taken_away_during_a_run_stops_it_and_the_next_run_completes() {
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    let mut site = Site::of(To::Bucket(bucket.by(store.address())), 60);
    site.completes();
    for refused in ["partNumber=", "uploads", "_archive.json", "_manifests/"] {
        site.night(60);
        store.fails(move |asked| {
            (asked.method != "GET" && asked.path.contains(refused)).then_some(Fault::Refused(403, "AccessDenied"))
        });
        let ran = site.plain().exits(4);
        assert!(ran.error().contains("s3://") && ran.error().contains("AccessDenied"), "{refused}: {ran:?}");
        store.fails(|_| None);
        site.completes();
    }
}
