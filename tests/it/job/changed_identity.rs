//! A job whose app, archive or partitioning changed: nothing of its ledger is lost by a run that did not take over.

use std::fs;
use std::path::PathBuf;

use crate::support::postgres::database;
use crate::support::site::{Ended, NIGHTLY, Site, dialogue, dialogues, ids_of, message, reference};

/// Steps at which a new ledger is on its way into its place.
pub(crate) const STEPS: [&str; 4] = ["beginning.prepared", "beginning.accepted", "ledger.kept", "beginning.placed"];

/// The job with an archive at this path, and with these settings of the archive.
fn to(path: &str, settings: &str) -> String {
    NIGHTLY.replace("path: archive }", &format!("path: {path}{settings} }}"))
}

/// A job with archived messages, one open failure, and a cursor.
fn with_a_failure() -> Site {
    let (mut refs, world) = dialogue("alice|1|bob", 0..4);
    refs.push(reference("alice|1|bob", 4));
    let site = Site::nightly((refs, world));
    site.night().exits(3);
    site
}

/// What the former ledger has that a run must not lose.
fn has_its_failure(site: &Site) {
    let status = site.run(&["status", "--json"]).exits(0);
    let job = &status.summary["jobs"][0];
    assert_eq!((&job["open_failures"]["unavailable"], &job["last_commit"]), (&1.into(), &1.into()), "{job:#}");
    assert_eq!(site.read("state/failures-nightly.jsonl").lines().count(), 1);
}

fn refused(site: &Site, code: i32) -> Ended {
    let before = fs::read(site.path("state/nightly.sqlite")).unwrap();
    let ended = site.night().exits(code);
    assert!(fs::read(site.path("state/nightly.sqlite")).unwrap() == before, "{ended:?}");
    has_its_failure(site);
    ended
}

#[test]
fn a_refused_run_of_a_job_that_changed_leaves_the_former_ledger_as_it_is() {
    let site = with_a_failure();
    // Another partitioning of the same archive, which is the former ledger's.
    site.jobs(&to("archive", ", partition_by: [month]"));
    let ended = refused(&site, 2);
    let error = ended.job()["error"].as_str().unwrap();
    assert!(error.contains("belongs to ledger") && error.contains("changed its partitioning from"), "{error}");
    // A new archive, and a source that cannot be read.
    let moved = to("archive-2", "");
    site.jobs(&moved.replace("refs.csv", "no-such.csv"));
    refused(&site, 2);
    site.jobs(&moved.replace("refs.csv }", "refs.csv, columns: { message_server_id: nobody } }"));
    refused(&site, 2);
    // A key that is no key.
    site.write_secret("key", "no key");
    site.jobs(&moved.replace("app: main,", "app: main, sign: 'file:key',"));
    refused(&site, 2);
    // An archive that cannot be made.
    site.write("file", "");
    site.jobs(&to("file/archive", ""));
    let ended = site.night();
    assert_ne!(ended.code, Some(0));
    has_its_failure(&site);
    // A database that nobody answers for.
    site.write_secret("url", "postgres://nobody@127.0.0.1:1/nothing");
    site.jobs(&NIGHTLY.replace("parquet: { path: archive }", "postgres: { url: 'file:url' }"));
    let ended = site.run(&["run", "--json", "--deadline", "3s"]);
    assert!([Some(1), Some(5)].contains(&ended.code), "{ended:?}");
    has_its_failure(&site);
    assert!(!site.path("archive-2").exists());

    // With its own settings it goes on as if nothing had happened, and no half-made ledger stays behind.
    assert!(site.path("state/nightly.sqlite.beginning").exists());
    site.jobs(NIGHTLY);
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("duplicate"), ended.refs("accepted")), (5, 0));
    has_its_failure(&site);
    assert!(!site.path("state/nightly.sqlite.beginning").exists());
}

#[test]
fn an_archive_is_not_taken_over_with_another_partitioning_than_its_own() {
    let site = with_a_failure();
    for partitioning in [", partition_by: [month]", ", timezone: Asia/Tokyo"] {
        site.jobs(&to("archive", partitioning));
        let before = fs::read(site.path("archive/_archive.json")).unwrap();
        let adopt = site.run(&["adopt", "nightly"]).exits(2);
        assert!(adopt.stderr.contains("partitioned otherwise"), "{adopt:?}");
        assert!(fs::read(site.path("archive/_archive.json")).unwrap() == before);
        has_its_failure(&site);
    }
    site.jobs(NIGHTLY);
    site.run(&["adopt", "nightly"]).exits(0);
}

#[test]
fn a_retry_of_a_job_that_changed_or_never_ran_is_refused() {
    let site = with_a_failure();
    site.jobs(&to("archive-2", ""));
    let ended = site.run(&["retry", "nightly", "--all", "--json"]).exits(2);
    let error = ended.job()["error"].as_str().unwrap();
    assert!(error.contains("archive-2") && error.contains("former settings"), "{error}");
    has_its_failure(&site);
    let site = Site::nightly(dialogue("alice|1|bob", 0..5));
    let ended = site.run(&["retry", "nightly", "--all", "--json"]).exits(2);
    assert!(ended.job()["error"].as_str().unwrap().contains("has not run yet"), "{ended:?}");
}

#[test]
fn whoever_looks_at_a_job_that_changed_is_told_so() {
    let site = with_a_failure();
    assert_eq!(site.run(&["plan", "--json"]).exits(0).summary["jobs"][0]["references"], 0);
    site.jobs(&to("archive-2", ""));
    assert_eq!(site.run(&["plan", "--json"]).exits(0).summary["jobs"][0]["references"], 5, "as the next run does");
    for command in [["status"].as_slice(), &["plan"], &["failures", "nightly"], &["report", "nightly", "-o", "-"]] {
        let told = site.run(command).exits(0).stderr;
        assert!(told.contains("the job changed its sink from") && told.contains("archive-2"), "{command:?} {told}");
        assert!(told.contains("its next run begins a new ledger"), "{command:?} {told}");
    }
    let checked = site.run(&["check", "--connect"]).exits(0).stdout;
    assert!(checked.contains("warning: the job changed its sink from"), "{checked}");
    let files = site.run(&["files", "nightly"]).exits(2);
    assert!(files.stderr.contains("files of the former settings"), "{files:?}");
    // The settings that a kept ledger belongs to: the next run goes on with it.
    site.night().exits(3);
    site.jobs(NIGHTLY);
    assert_eq!(site.run(&["plan", "--json"]).exits(0).summary["jobs"][0]["references"], 0, "as the next run does");
    let status = site.run(&["status"]).exits(0);
    assert!(
        status.stderr.contains(&format!("goes on with the ledger kept in {}", kept(&site).display())),
        "{status:?}"
    );
    site.jobs(&to("archive-2", ""));
    let status = site.run(&["status"]).exits(0);
    assert!(!status.stderr.contains("changed"), "{status:?}");
}

#[test]
fn an_empty_place_is_not_taken_over_in_the_name_of_another_archives_ledger() {
    let site = with_a_failure();
    site.jobs(&to("archve", ""));
    let refused = site.run(&["adopt", "nightly"]).exits(2);
    assert!(refused.stderr.contains("this place is empty") && refused.stderr.contains("archive"), "{refused:?}");
    assert!(!site.path("archve").exists());
    has_its_failure(&site);
    site.jobs(NIGHTLY);
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("duplicate"), ended.refs("accepted")), (5, 0));
}

/// The ledger that was kept beside the job's own.
fn kept(site: &Site) -> PathBuf {
    let state = fs::read_dir(site.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let is_kept = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("nightly.") && name.ends_with(".sqlite") && name != "nightly.sqlite"
    };
    let kept: Vec<PathBuf> = state.filter(is_kept).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept[0].clone()
}

#[test]
fn the_former_ledger_of_a_job_that_changed_is_kept_and_takes_its_place_again_with_its_settings() {
    let site = with_a_failure();
    site.jobs(&to("archive-2", ""));
    let ended = site.night().exits(3);
    let first = kept(&site);
    let name = first.file_name().unwrap().to_str().unwrap();
    assert!(ended.stderr.contains(name) && ended.stderr.contains("open_failures=1"), "{}", ended.stderr);
    assert_eq!((ended.refs("archived"), ended.refs("failed")), (4, 1));
    // Back and forth, as often as the user likes. A retry returns to it as well.
    for (path, command) in
        [("archive", ["run", "--json"].as_slice()), ("archive-2", &["retry", "nightly", "--all", "--json"])]
    {
        let before = kept(&site);
        site.jobs(&to(path, ""));
        let ended = site.run(command).exits(0);
        assert!(ended.stderr.contains("takes its place again, with its failures and its cursor"), "{}", ended.stderr);
        assert_eq!((ended.refs("accepted"), ended.refs("archived")), (0, 0));
        assert!(!before.exists() && kept(&site) != before);
        has_its_failure(&site);
        assert!(!site.night().exits(0).stderr.contains("takes its place"));
    }
    for archive in ["archive", "archive-2"] {
        assert_eq!(site.ids(archive).len(), 4, "{archive}");
    }
}

#[test]
fn a_kept_ledger_that_its_archive_does_not_accept_stays_where_it_is() {
    let site = with_a_failure();
    let backup = fs::read(site.path("state/nightly.sqlite")).unwrap();
    site.api.world(|world| world.insert(message("alice|1|bob", 4)));
    site.run(&["retry", "nightly", "--all"]).exits(0);
    site.jobs(&to("archive-2", ""));
    site.night().exits(0);
    // An old copy.
    let kept_ledger = kept(&site);
    fs::write(&kept_ledger, backup).unwrap();
    site.jobs(NIGHTLY);
    let refused = site.night().exits(2);
    let error = refused.job()["error"].as_str().unwrap();
    assert!(error.contains("is ahead of this ledger") && error.contains("adopt nightly"), "{error}");
    assert!(error.contains(&format!("That ledger is kept in {}", kept_ledger.display())), "{error}");
    assert_eq!(kept(&site), kept_ledger);
    // The archive is its, but with another partitioning.
    site.jobs(&to("archive", ", partition_by: [month]"));
    let refused = site.night().exits(2);
    let error = refused.job()["error"].as_str().unwrap();
    assert!(error.contains("with the former settings, that ledger takes its place again"), "{error}");
    // Where the archive is gone, the job begins anew, as it does in any other empty place.
    fs::rename(site.path("archive"), site.path("elsewhere")).unwrap();
    site.jobs(NIGHTLY);
    assert_eq!(site.night().exits(0).refs("archived"), 5);
}

#[test]
fn adopt_reads_the_kept_ledger_that_owns_the_archive_and_keeps_that_of_other_settings() {
    let site = with_a_failure();
    site.jobs(&to("archive-2", ""));
    site.night().exits(3);
    site.jobs(NIGHTLY);
    let adopted = site.run(&["adopt", "nightly", "--json"]).exits(0);
    let former = &adopted.summary["former_ledger"];
    assert_eq!((&former["state"], &adopted.summary["open_failures"]), (&"read".into(), &1.into()), "{former}");
    let put_away = former["kept"].as_str().unwrap();
    assert!(put_away.contains(".sqlite.before-adopt-") && PathBuf::from(put_away).exists(), "{former}");
    assert!(adopted.stderr.contains(kept(&site).to_str().unwrap()), "{}", adopted.stderr);
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("duplicate"), ended.refs("accepted")), (5, 0));
    site.jobs(&to("archive-2", ""));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("duplicate"), ended.refs("accepted")), (5, 0));
    // A ledger that cannot be read is put away too, and neither takes the name of the other.
    fs::write(site.path("state/nightly.sqlite"), "no ledger").unwrap();
    site.jobs(NIGHTLY);
    let adopted = site.run(&["adopt", "nightly", "--json"]).exits(0);
    assert_eq!(adopted.summary["former_ledger"]["state"], "read");
    let files = fs::read_dir(site.path("state")).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    assert!(files.into_iter().any(|content| content == b"no ledger"));
    assert!(PathBuf::from(adopted.summary["former_ledger"]["kept"].as_str().unwrap()).exists());
}

#[tokio::test]
async fn a_death_while_a_ledger_begins_is_mended_by_the_next_run() {
    let postgres = database().await;
    for step in STEPS {
        let (refs, world) = dialogues(4, 5);
        let site = Site::nightly((refs.clone(), world));
        site.write_secret("url", &postgres.url());
        let table = step.replace('.', "_");
        let to_postgres = format!("postgres: {{ url: 'file:url', schema: {table} }}");
        for (number, sink) in
            ["parquet: { path: archive }", "parquet: { path: archive-2 }", &to_postgres].iter().enumerate()
        {
            site.jobs(&NIGHTLY.replace("parquet: { path: archive }", sink));
            let died = site.command(&["run"]).env("YUNXIN_ARCHIVER_DIE_AT", step).output().unwrap();
            assert!(!died.status.success(), "{step}");
            assert_eq!(site.night().exits(0).refs("archived"), 20, "{step} {number}");
            assert_eq!(site.night().exits(0).refs("duplicate"), 20, "{step} {number}");
        }
        // And while one that was kept takes its place again.
        site.jobs(NIGHTLY);
        let ended = site.command(&["run"]).env("YUNXIN_ARCHIVER_DIE_AT", step).output().unwrap();
        assert_eq!(ended.status.success(), step == "beginning.prepared", "{step}");
        assert_eq!(site.night().exits(0).refs("duplicate"), 20, "{step}");
        assert_eq!(site.ids("archive"), ids_of(&refs));
        assert_eq!(site.ids("archive-2"), ids_of(&refs));
        let names = fs::read_dir(site.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
        let kept = names.filter(|name| name.to_str().unwrap().ends_with(".sqlite")).count();
        assert_eq!(kept, 3, "{step}: one ledger for each place, and no second name");
    }
}

#[test]
fn a_ledger_that_its_archive_accepted_is_not_lost_when_the_job_returns_to_its_former_settings() {
    for step in ["beginning.prepared", "beginning.accepted", "ledger.kept"] {
        let (refs, world) = dialogues(4, 5);
        let site = Site::nightly((refs.clone(), world));
        site.night().exits(0);
        let paths = ["archive-2", "archive-3"];
        for path in paths {
            site.jobs(&to(path, ""));
            let died = site.command(&["run"]).env("YUNXIN_ARCHIVER_DIE_AT", step).output().unwrap();
            assert!(!died.status.success(), "{step}");
        }
        site.jobs(NIGHTLY);
        assert_eq!(site.night().exits(0).refs("duplicate"), 20, "{step}");
        for path in paths {
            site.jobs(&to(path, ""));
            assert_eq!(site.night().exits(0).refs("archived"), 20, "{step} {path}");
            assert_eq!(site.ids(path), ids_of(&refs));
        }
    }
}

#[test]
fn the_first_run_of_a_job_leaves_no_ledger_if_it_is_refused() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..5));
    site.night().exits(0);
    fs::remove_file(site.path("state/nightly.sqlite")).unwrap();
    site.night().exits(2);
    assert!(!site.path("state/nightly.sqlite").exists());
    let adopted = site.run(&["adopt", "nightly", "--json"]).exits(0);
    assert_eq!(adopted.summary["former_ledger"]["state"], "none");
    assert!(!site.path("state/nightly.sqlite.beginning").exists());
    assert_eq!(site.night().exits(0).refs("archived"), 0);
}
