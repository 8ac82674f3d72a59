//! Ledgers that are lost, old, copied or another's: noticed before anything is written, and made anew by `adopt`.

mod crash;
mod failover;
mod ledger;

use std::path::PathBuf;

use serde_json::Value;

use crate::support::nights::{NIGHT, Nights, Place, copy, ids};
use crate::support::postgres::{PgUrl, database};

/// A job of either sink, after so many nights.
async fn both(nights: i64) -> [Nights; 2] {
    let made = [Nights::new(Place::Parquet), Nights::new(Place::Postgres(database().await))];
    for job in &made {
        for night in 0..nights {
            job.fall(night);
            assert_eq!(job.run()["references"]["archived"], NIGHT);
        }
    }
    made
}

/// What `files` lists, in its order.
fn listed(nights: &Nights) -> Vec<String> {
    match nights.place {
        Place::Parquet => nights.well(&["files", "nightly", "--json"]).lines().map(str::to_owned).collect(),
        Place::Postgres(_) => Vec::new(),
    }
}

/// The job is taken over, says that it found these nights, and goes on with the next: only that is asked for.
async fn taken_over(nights: &Nights, found: i64, commit: i64) -> Value {
    let adopted = nights.adopt();
    assert_eq!((&adopted["messages"], &adopted["ids"]), (&(found * NIGHT).into(), &(found * NIGHT).into()));
    assert_eq!((&adopted["twice"], &adopted["pending"], &adopted["commit"]), (&0.into(), &0.into(), &commit.into()));
    nights.service.reset_stats();
    nights.fall(found);
    let summary = nights.run();
    assert_eq!(summary["references"]["archived"], NIGHT);
    let stats = nights.service.stats();
    let mut asked: Vec<i64> = stats.asks.keys().copied().collect();
    asked.sort_unstable();
    assert_eq!(asked, ids(found..found + 1).collect::<Vec<_>>(), "only what is not archived");
    assert_eq!(stats.references, NIGHT as u64);
    nights.holds(0..found + 1).await;
    let again = nights.run();
    assert_eq!((&again["references"]["accepted"], &again["requests"]["sent"]), (&0.into(), &0.into()));
    adopted
}

#[tokio::test]
async fn a_lost_ledger_is_noticed_and_made_anew_from_the_archive() {
    for nights in both(2).await {
        let files = listed(&nights);
        std::fs::remove_file(nights.ledger()).unwrap();
        let said = nights.refused(&["run"]).await;
        assert!(said.contains("belongs to"), "{said}");
        let adopted = taken_over(&nights, 2, 2).await;
        assert_eq!(adopted["former_ledger"]["state"], "none", "the refused run left no ledger");
        assert_eq!(adopted["former_owner"]["job"], "nightly");
        assert_eq!(adopted["cursor"], "none");
        assert_eq!(listed(&nights)[..files.len()], files[..], "the same files in the same order");
        let runs: Value = serde_json::from_str(&nights.well(&["status", "nightly", "--json"])).unwrap();
        assert_eq!(runs["jobs"][0]["last_commit"], 3);
    }
}

#[tokio::test]
async fn a_state_that_is_gone_altogether_is_made_anew() {
    for nights in both(2).await {
        std::fs::remove_dir_all(nights.path("state")).unwrap();
        let adopted = taken_over(&nights, 2, 2).await;
        assert_eq!(adopted["former_ledger"], serde_json::json!({ "state": "none", "why": null, "kept": null }));
    }
}

#[tokio::test]
async fn an_old_ledger_is_noticed_and_brought_up_to_date_with_its_history_and_cursor() {
    for nights in both(1).await {
        copy(&nights.path("state"), &nights.path("backup"));
        nights.fall(1);
        nights.run();
        let files = listed(&nights);
        copy(&nights.path("backup"), &nights.path("state"));
        let said = nights.refused(&["run"]).await;
        assert!(said.contains("old copy"), "{said}");
        let former: Vec<u8> = std::fs::read(nights.ledger()).unwrap();
        let adopted = taken_over(&nights, 2, 2).await;
        assert_eq!((&adopted["former_ledger"]["state"], &adopted["cursor"]), (&"read".into(), &"kept".into()));
        let kept = PathBuf::from(adopted["former_ledger"]["kept"].as_str().unwrap());
        assert_eq!(std::fs::read(nights.path("jobs.yaml").with_file_name(kept)).unwrap().len(), former.len());
        assert_eq!(listed(&nights)[..files.len()], files[..]);
        let status: Value = serde_json::from_str(&nights.well(&["status", "nightly", "--json"])).unwrap();
        let runs = status["jobs"][0]["runs"].as_array().unwrap();
        assert!(runs.len() >= 5, "the first night, the refused run, the adoption, two runs: {runs:#?}");
    }
}

#[tokio::test]
async fn of_two_copies_of_a_ledger_the_one_that_is_behind_is_refused() {
    for nights in both(1).await {
        nights.configure("copy.yaml", "copy", "nightly");
        copy(&nights.path("state"), &nights.path("copy"));
        nights.fall(1);
        assert_eq!(nights.run()["references"]["archived"], NIGHT);
        let said = nights.refused(&["run", "-c", "copy.yaml"]).await;
        assert!(said.contains("old copy"), "{said}");
        nights.well(&["adopt", "nightly", "-c", "copy.yaml"]);
        nights.well(&["run", "-c", "copy.yaml"]);
        nights.refused(&["run"]).await;
        nights.holds(0..2).await;
        // Whoever adopts last has it.
        taken_over(&nights, 2, 2).await;
        nights.refused(&["run", "-c", "copy.yaml"]).await;
    }
}

#[tokio::test]
async fn of_two_copies_the_one_behind_by_a_run_is_refused_though_that_run_archived_nothing() {
    for nights in both(1).await {
        nights.configure("copy.yaml", "copy", "nightly");
        copy(&nights.path("state"), &nights.path("copy"));
        nights.well(&["run"]);
        // An archive has a manifest of every run.
        nights.refused(&["run", "-c", "copy.yaml"]).await;
    }
}

/// The archive as it is now, to be put back.
async fn keep(nights: &Nights) {
    match &nights.place {
        Place::Parquet => copy(&nights.path("archive"), &nights.path("archive.kept")),
        Place::Postgres(database) => {
            replace(database, &format!("{}_kept", database.database()), database.database()).await;
        }
    }
}

async fn put_back(nights: &Nights) {
    match &nights.place {
        Place::Parquet => copy(&nights.path("archive.kept"), &nights.path("archive")),
        Place::Postgres(database) => {
            replace(database, database.database(), &format!("{}_kept", database.database())).await;
        }
    }
}

async fn replace(of: &PgUrl, name: &str, by: &str) {
    let administration = of.administration();
    administration.execute(&format!("drop database if exists {name} with (force)")).await;
    administration.execute(&format!("create database {name} template {by}")).await;
}

#[tokio::test]
async fn two_copies_with_as_many_commits_are_told_apart_by_the_runs_that_made_them() {
    for nights in both(1).await {
        copy(&nights.path("state"), &nights.path("backup"));
        keep(&nights).await;
        nights.fall(1);
        nights.run();
        copy(&nights.path("state"), &nights.path("other"));
        // Elsewhere both went on from the same moment.
        copy(&nights.path("backup"), &nights.path("state"));
        put_back(&nights).await;
        nights.run();
        copy(&nights.path("other"), &nights.path("state"));
        let said = nights.refused(&["run"]).await;
        assert!(said.contains("two copies of the ledger"), "{said}");
        taken_over(&nights, 2, 2).await;
    }
}

#[tokio::test]
async fn the_ledger_or_the_archive_of_another_job_is_refused() {
    for nights in both(2).await {
        nights.configure("weekly.yaml", "elsewhere", "weekly");
        let said = nights.refused(&["run", "-c", "weekly.yaml"]).await;
        assert!(said.contains("nightly"), "{said}");
        std::fs::copy(nights.ledger(), nights.path("elsewhere/weekly.sqlite")).unwrap();
        let said = nights.refused(&["run", "-c", "weekly.yaml"]).await;
        assert!(said.contains("belongs to job \"nightly\""), "{said}");
        let said = nights.well(&["adopt", "weekly", "-c", "weekly.yaml"]);
        assert!(said.contains("nothing was taken from the former one: it is of job nightly"), "{said}");
        nights.refused(&["run"]).await;
        taken_over(&nights, 2, 2).await;
    }
}

#[tokio::test]
async fn a_damaged_ledger_is_set_aside() {
    for nights in both(2).await {
        let mut content = std::fs::read(nights.ledger()).unwrap();
        let from = content.len() / 3;
        content[from..].fill(0x5a);
        std::fs::write(nights.ledger(), &content).unwrap();
        let adopted = taken_over(&nights, 2, 2).await;
        assert_eq!(adopted["former_ledger"]["state"], "unreadable");
        let kept = nights.path(adopted["former_ledger"]["kept"].as_str().unwrap());
        assert!(std::fs::read(kept).unwrap() == content, "as it was");
        std::fs::write(nights.ledger(), "no database at all, but long enough to be taken for one".repeat(99)).unwrap();
        nights.adopt();
        assert_eq!(nights.run()["requests"]["sent"], 0);
    }
}

#[tokio::test]
async fn a_lost_archive_is_forgotten_and_its_messages_are_fetched_again() {
    for nights in both(1).await {
        match &nights.place {
            Place::Parquet => std::fs::remove_dir_all(nights.path("archive")).unwrap(),
            Place::Postgres(database) => {
                let tables = "messages, message_revisions, messages_archive, messages_commits, messages_migrations";
                database.execute(&format!("drop table {tables}")).await;
            }
        }
        let output = nights.go(&["run"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("adopt"));
        let adopted = nights.adopt();
        assert_eq!(
            (&adopted["ids"], &adopted["cursor"]),
            (&0.into(), &if adopted["lost"] == 0 { "dropped" } else { "kept" }.into())
        );
        assert_eq!(nights.run()["references"]["pending"], 0);
        nights.holds(0..1).await;
    }
}

#[tokio::test]
async fn adopt_refuses_without_changes_where_there_is_nothing_and_while_the_job_runs() {
    for place in [Place::Parquet, Place::Postgres(database().await)] {
        let nights = Nights::new(place);
        let output = nights.go(&["adopt", "nightly"]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("yunxin-archiver: there is nothing to take over") && said.contains("run"), "{said}");
        assert!(!nights.ledger().exists() && !nights.path("archive").exists());
        nights.fall(0);
        nights.run();
        let before = nights.contents().await;
        let ledger = std::fs::read(nights.ledger()).unwrap();
        let lock = std::fs::File::open(nights.path("state/nightly.job.lock")).unwrap();
        lock.lock().unwrap();
        assert_eq!(nights.go(&["adopt", "nightly"]).status.code(), Some(75));
        drop(lock);
        // Another state directory, as of another host: the archive itself is locked.
        match &nights.place {
            Place::Parquet => {
                let lock = std::fs::File::open(nights.path("archive")).unwrap();
                lock.lock().unwrap();
                assert_eq!(nights.go(&["adopt", "nightly"]).status.code(), Some(75));
                assert_eq!(nights.go(&["run"]).status.code(), Some(75));
            }
            Place::Postgres(database) => {
                let mut connection = database.connect().await;
                // The key is a hash of these names, each followed by a zero byte.
                let names = hex::encode("yunxin-archiver\0public\0messages\0");
                let hash = format!("substr(encode(sha256(decode('{names}', 'hex')), 'hex'), 1, 16)");
                let sql = format!("select count(pg_advisory_lock(('x' || {hash})::bit(64)::bigint))");
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
                assert_eq!(nights.go(&["adopt", "nightly"]).status.code(), Some(75));
            }
        }
        let now = nights.contents().await;
        assert_eq!(now, before);
        if matches!(nights.place, Place::Postgres(_)) {
            assert!(std::fs::read(nights.ledger()).unwrap() == ledger);
        }
        assert!(!nights.path("state/nightly.sqlite.adopting").exists());
    }
}

#[tokio::test]
async fn files_without_a_manifest_are_taken_over_and_those_that_are_missing_are_named() {
    let nights = Nights::new(Place::Parquet);
    for night in 0..2 {
        nights.fall(night);
        nights.run();
    }
    let files = listed(&nights);
    // A run that died between its last commit and its manifest; its ledger lost as well.
    let entries = std::fs::read_dir(nights.path("archive/_manifests")).unwrap();
    let mut manifests: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    manifests.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    manifests.sort();
    std::fs::remove_file(manifests.pop().unwrap()).unwrap();
    std::fs::remove_dir_all(nights.path("state")).unwrap();
    let leftover = nights.path("archive/_tmp/01234567-89ab-7cde-8f01-23456789abcd");
    std::fs::create_dir_all(&leftover).unwrap();
    std::fs::write(leftover.join("part-x-00000.inprogress"), "cut short").unwrap();
    let adopted = taken_over(&nights, 2, 2).await;
    assert!(!adopted["files_without_manifest"].as_array().unwrap().is_empty());
    assert_eq!((&adopted["temporary_files_removed"], &adopted["temporary_bytes"]), (&1.into(), &9.into()));
    assert!(!leftover.exists());
    let now = listed(&nights);
    let paths = |lines: &[String]| -> Vec<String> {
        lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(paths(&now)[..files.len()], paths(&files)[..]);

    let lost = paths(&now)[0].clone();
    std::fs::remove_file(&lost).unwrap();
    let adopted = nights.adopt();
    assert_eq!(adopted["files_missing"].as_array().unwrap().len(), 1);
    assert_eq!(adopted["cursor"], "dropped");
    assert!(!paths(&listed(&nights)).contains(&lost));
    nights.run();
    nights.holds(0..3).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_and_nothing_is_changed() {
    let nights = Nights::new(Place::Parquet);
    nights.fall(0);
    nights.run();
    std::fs::write(nights.path("archive/stray.parquet"), "no Parquet").unwrap();
    let before = nights.contents().await;
    let output = nights.go(&["adopt", "nightly"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("stray.parquet") && said.contains("move it away"), "{said}");
    assert_eq!(nights.contents().await, before);
    std::fs::remove_file(nights.path("archive/stray.parquet")).unwrap();
    let said = nights.well(&["adopt", "nightly"]);
    assert!(said.contains("5,000, of 5,000 IDs"), "{said}");
}

#[tokio::test]
async fn messages_that_stand_twice_are_counted() {
    let nights = Nights::new(Place::Parquet);
    nights.fall(0);
    nights.run();
    let path = serde_json::from_str::<Value>(&listed(&nights)[0]).unwrap()["path"].as_str().unwrap().to_owned();
    let rows = serde_json::from_str::<Value>(&listed(&nights)[0]).unwrap()["rows"].as_i64().unwrap();
    std::fs::copy(&path, nights.path("archive/part-copy.parquet")).unwrap();
    let adopted = nights.adopt();
    assert_eq!((&adopted["ids"], &adopted["twice"]), (&NIGHT.into(), &rows.into()));
    assert_eq!(adopted["messages"], NIGHT + rows);
}
