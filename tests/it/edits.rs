//! Archived messages asked for again: edits become versions, what vanished is noted beside the messages, each once.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use yunxin_archiver::simulator::{Fate, World};

use crate::support::parquet::read;
use crate::support::postgres::{self, PgUrl};
use crate::support::threads::{Archived, Night, message, time};

mod database;
mod trouble;
mod verified;

const FETCH: &str = "batch_size: 5";

/// Steps that only a run reaches which asks again. A test dies at each.
pub(crate) const STEPS: [&str; 4] = ["refetch.begun", "refetch.stored", "refetch.planned", "vanished.fsync"];

/// When the messages of these tests are edited for the n-th time.
fn edited_at(n: i64) -> i64 {
    time(1_000_000 + n)
}

/// `1..=count` of one conversation.
fn dialogue(conversation: &str, count: i64) -> World {
    let mut world = World::explicit();
    world.extend((1..=count).map(|id| message(conversation, id, None, None)));
    world
}

/// A job that has archived `1..=count` of one conversation.
fn archived(conversation: &str, count: i64) -> Night {
    let night = Night::new(dialogue(conversation, count), FETCH);
    night.references((1..=count).map(|id| (conversation, id)));
    assert_eq!(night.run(&["run"]).0, 0);
    night
}

fn version(id: i64, revision: i32, text: &str) -> Archived {
    Archived { id, revision, requested: true, text: text.to_owned() }
}

/// The first versions of these messages.
fn first(ids: impl IntoIterator<Item = i64>) -> Vec<Archived> {
    ids.into_iter().map(|id| version(id, 0, &format!("message {id}"))).collect()
}

/// What the dataset beside the archive says, as DuckDB and PyArrow see it: ID, code, and the run that noticed.
fn vanished(night: &Night) -> Vec<(i64, i64, String)> {
    let root = night.path("archive-vanished");
    if !root.is_dir() {
        return Vec::new();
    }
    let seen = read(&root, "rows");
    let rows = |reader: &str| -> Vec<(i64, i64, String)> {
        let row = |row: &Value| {
            let integer = |name: &str| row[name].as_i64().unwrap();
            let (id, created, noticed) = (integer("message_server_id"), integer("create_time"), integer("noticed_at"));
            assert!(created == time(id) && noticed > 1_700_000_000_000, "{row}");
            assert!(row["date"].is_string() && row["app_key"].is_string() && row["conversation_key"].is_string());
            (id, integer("code"), row["run_id"].as_str().unwrap().to_owned())
        };
        seen[reader]["rows"].as_array().unwrap().iter().map(row).collect()
    };
    assert_eq!(rows("duckdb"), rows("pyarrow"));
    rows("duckdb")
}

fn vanished_ids(night: &Night) -> Vec<i64> {
    vanished(night).into_iter().map(|(id, ..)| id).collect()
}

/// The numbers of `refetched`: planned, unchanged, edited, vanished, failed, pending.
fn again(job: &Value) -> [u64; 6] {
    ["planned", "unchanged", "edited", "vanished", "failed", "pending"]
        .map(|name| job["refetched"][name].as_u64().unwrap_or_else(|| panic!("{name}: {job}")))
}

#[test]
fn an_edit_becomes_the_next_version_and_what_is_unchanged_is_not_written() {
    let night = archived("a|1|b", 12);
    night.service.world(|world| {
        world.edit(3, "third, edited", edited_at(1));
        world.edit(12, "twelfth, edited", edited_at(1));
    });
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!((code, again(&job)), (0, [12, 10, 2, 0, 0, 0]), "{job}");
    // Twelve of one dialogue, five a request; and the source's rows are known.
    assert_eq!((&job["requests"]["sent"], &job["requests"]["minimum"]), (&json!(3), &json!(3)));
    assert_eq!((&job["references"]["duplicate"], &job["references"]["archived"]), (&json!(12), &json!(0)));
    let mut expected = first(1..=12);
    expected.extend([version(3, 1, "third, edited"), version(12, 1, "twelfth, edited")]);
    expected.sort();
    assert_eq!(night.archived(), expected);

    // Again without an edit: nothing is written. With one more: the next version of that message.
    let (_, job) = night.run(&["run", "--refetch", "all"]);
    assert_eq!((again(&job), &job["files"]), ([12, 12, 0, 0, 0, 0], &json!([])));
    night.service.world(|world| world.edit(3, "third, edited twice", edited_at(2)));
    let (_, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!(again(&job), [12, 11, 1, 0, 0, 0]);
    expected.push(version(3, 2, "third, edited twice"));
    expected.sort();
    assert_eq!(night.archived(), expected);
    assert!(!night.path("archive-vanished").exists());
}

#[test]
fn the_time_of_the_edit_decides_and_not_the_text() {
    let mut world = dialogue("a|1|b", 3);
    world.edit(2, "edited before it was archived", edited_at(5));
    let night = Night::new(world, FETCH);
    night.references((1..=3).map(|id| ("a|1|b", id)));
    assert_eq!(night.run(&["run"]).0, 0);
    night.service.world(|world| {
        world.insert(message("a|1|b", 1, None, None).field("text", "\"other words, no time\""));
        world.edit(2, "other words, the same time", edited_at(5));
        world.edit(3, "other words, and a time", edited_at(1));
    });
    let (_, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!(again(&job), [3, 2, 1, 0, 0, 0]);
    night.service.world(|world| world.edit(2, "an earlier edit", edited_at(4)));
    assert_eq!(again(&night.run(&["run", "--refetch", "7d"]).1), [3, 3, 0, 0, 0, 0]);
    night.service.world(|world| world.edit(2, "a later edit", edited_at(6)));
    assert_eq!(again(&night.run(&["run", "--refetch", "7d"]).1), [3, 2, 1, 0, 0, 0]);
    let texts: Vec<(i64, i32, String)> =
        night.archived().into_iter().map(|row| (row.id, row.revision, row.text)).collect();
    let text = |id, revision, text: &str| (id, revision, text.to_owned());
    assert_eq!(
        texts,
        [
            text(1, 0, "message 1"),
            text(2, 0, "edited before it was archived"),
            text(2, 1, "a later edit"),
            text(3, 0, "message 3"),
            text(3, 1, "other words, and a time"),
        ]
    );
}

#[test]
fn what_vanished_is_noted_once_beside_the_messages_and_not_asked_for_again() {
    let night = archived("a|1|b", 7);
    night.service.world(|world| [2, 5].into_iter().for_each(|id| world.recall(id)));
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!((code, again(&job)), (0, [7, 5, 0, 2, 0, 0]), "{job}");
    assert_eq!((&job["outcome"], &job["failures"], &job["files"]), (&json!("complete"), &json!({}), &json!([])));
    let run = job["run_id"].as_str().unwrap().to_owned();
    assert_eq!(vanished(&night), [(2, 107_404, run.clone()), (5, 107_404, run)]);
    assert_eq!(night.archived(), first(1..=7));

    let asked = night.asks()[&2];
    let (_, job) = night.run(&["run", "--refetch", "all"]);
    assert_eq!(again(&job), [5, 5, 0, 0, 0, 0]);
    assert_eq!((night.asks()[&2], vanished_ids(&night)), (asked, vec![2, 5]));
    // What vanished later is noted by its own run, and what comes back is left as it is.
    night.service.world(|world| {
        world.insert(message("a|1|b", 2, None, None));
        world.recall(7);
    });
    let (_, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!(again(&job), [5, 4, 0, 1, 0, 0]);
    assert_eq!((vanished_ids(&night), night.archived()), (vec![2, 5, 7], first(1..=7)));
    assert!(night.output(&["failures", "night", "--format", "jsonl"]).stdout.is_empty());
}

#[test]
fn manifests_name_what_vanished_apart_and_loaders_are_not_told_of_it() {
    let night = archived("a|1|b", 4);
    night.service.world(|world| {
        world.recall(1);
        world.edit(2, "edited", edited_at(1));
    });
    let (_, job) = night.run(&["run", "--refetch", "7d"]);
    let run = job["run_id"].as_str().unwrap();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(night.path(&format!("archive/_manifests/00000002-{run}.json"))).unwrap())
            .unwrap();
    assert_eq!((&manifest["rows"], manifest["files"].as_array().unwrap().len()), (&json!(1), 1));
    let noted = &manifest["vanished"][0];
    let path = night.path("archive-vanished").join(noted["path"].as_str().unwrap());
    let bytes = std::fs::read(path).unwrap();
    assert_eq!((&noted["rows"], &noted["bytes"]), (&json!(1), &json!(bytes.len())));
    assert_eq!(noted["sha256"], hex::encode(Sha256::digest(&bytes)));

    let listed = night.output(&["files", "night", "--json"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("vanished"), "{listed:?}");
    assert_eq!(job["files"].as_array().unwrap().len(), 1);
    let first: Value = serde_json::from_slice(&std::fs::read(first_manifest(&night)).unwrap()).unwrap();
    assert_eq!(first.get("vanished"), None);
}

fn first_manifest(night: &Night) -> std::path::PathBuf {
    let mut paths: Vec<_> =
        std::fs::read_dir(night.path("archive/_manifests")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.remove(0)
}

#[test]
fn only_a_message_that_does_not_exist_has_vanished() {
    let night = archived("m|2|77", 6);
    night.configure("batch_size: 5, attempts: 2");
    night.service.world(|world| {
        for (id, fate) in [(1, Fate::Failed(109_404)), (2, Fate::Unanswered), (3, Fate::Failed(398))] {
            world.insert(message("m|2|77", id, None, None).fate(fate));
        }
        world.insert(message("m|2|77", 4, None, None).fate(Fate::Failed(403)));
        world.recall(5);
    });
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!((code, again(&job)), (0, [6, 1, 0, 1, 4, 0]), "{job}");
    assert_eq!((&job["outcome"], &job["references"]["failed"]), (&json!("complete"), &json!(0)));
    assert_eq!(vanished_ids(&night), [5]);
    assert!(night.output(&["failures", "night", "--format", "jsonl"]).stdout.is_empty());

    // They are asked for again the next time.
    night.service.world(|world| {
        world.extend((1..=4).map(|id| message("m|2|77", id, None, None)));
        world.edit(2, "seen at last", edited_at(1));
    });
    assert_eq!(again(&night.run(&["run", "--refetch", "7d"]).1), [5, 4, 1, 0, 0, 0]);

    // And a conversation that may not be asked at all is no reason to say that its messages vanished.
    night.service.world(|world| world.refuse("m|2|77", 109_404));
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!((code, again(&job), vanished_ids(&night)), (0, [5, 0, 0, 0, 5, 0], vec![5]));
}

#[test]
fn a_message_vanished_only_if_no_side_of_the_dialogue_sees_it() {
    let night = archived("a|1|b", 4);
    night.service.world(|world| {
        // One side deleted it; both did; one side denies it and the other says nothing; and the other way round.
        world.insert(message("a|1|b", 1, None, None).seen_by(["b"], Fate::Missing));
        world.recall(2);
        world.insert(message("a|1|b", 3, None, None).seen_by(["a"], Fate::Unanswered).fate(Fate::Missing));
        world.insert(message("a|1|b", 4, None, None).fate(Fate::Missing).seen_by(["b"], Fate::Unanswered));
    });
    let (_, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!((again(&job), vanished_ids(&night)), ([4, 1, 0, 1, 2, 0], vec![2]), "{job}");
    assert_eq!(job["requests"]["other_owner"], 2);
}

#[test]
fn the_window_is_of_what_was_archived_in_it() {
    let night = archived("a|1|b", 5);
    night.service.world(|world| world.edit(1, "edited", edited_at(1)));
    assert_eq!(again(&night.run(&["run", "--refetch", "1ms"]).1), [0; 6]);
    assert_eq!(again(&night.run(&["run", "--refetch", "7d"]).1), [5, 4, 1, 0, 0, 0]);
    // What a run has just fetched it does not ask for again.
    night.service.world(|world| world.insert(message("a|1|b", 6, None, None)));
    night.references((1..=6).map(|id| ("a|1|b", id)));
    let (_, job) = night.run(&["run", "--refetch", "all"]);
    assert_eq!((again(&job), &job["references"]["archived"]), ([5, 5, 0, 0, 0, 0], &json!(1)));

    for wrong in ["0s", "soon", "-1d", "7"] {
        let output = night.output(&["run", &format!("--refetch={wrong}")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("a time such as 7d, or all"), "{wrong}: {said}");
    }
}

#[test]
fn what_a_thread_needed_stays_what_no_reference_asked_for() {
    let mut world = World::explicit();
    world.extend([message("a|1|b", 1, None, None), message("a|1|b", 2, None, Some(1))]);
    let night = Night::new(world, "batch_size: 5, threads: complete");
    night.references([("a|1|b", 2)]);
    assert_eq!(night.run(&["run"]).0, 0);
    night.service.world(|world| {
        world.edit(1, "edited", edited_at(1));
        world.edit(2, "edited", edited_at(1));
    });
    let (_, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!((again(&job), &job["requests"]["sent"]), ([2, 0, 2, 0, 0, 0], &json!(1)));
    assert_eq!(job["thread_extras"]["planned"], 0);
    let flags: Vec<(i64, i32, bool)> =
        night.archived().into_iter().map(|row| (row.id, row.revision, row.requested)).collect();
    assert_eq!(flags, [(1, 0, false), (1, 1, false), (2, 0, true), (2, 1, true)]);
}

#[test]
fn an_archive_with_versions_and_notes_can_be_taken_over() {
    let night = archived("a|1|b", 8);
    night.service.world(|world| {
        world.edit(3, "edited", edited_at(1));
        world.recall(4);
    });
    assert_eq!(night.run(&["run", "--refetch", "7d"]).0, 0);
    std::fs::remove_dir_all(night.path("state")).unwrap();
    let adopted = night.output(&["adopt", "night", "--json"]);
    let said: Value = serde_json::from_slice(&adopted.stdout).unwrap_or_else(|_| panic!("{adopted:?}"));
    assert_eq!((&said["messages"], &said["ids"], &said["twice"]), (&json!(9), &json!(8), &json!(0)), "{said}");

    // The new ledger's next version is the next one, and what vanished is known.
    night.service.world(|world| world.edit(3, "edited twice", edited_at(2)));
    let (code, job) = night.run(&["run", "--refetch", "all"]);
    assert_eq!((code, again(&job), vanished_ids(&night)), (0, [7, 6, 1, 0, 0, 0], vec![4]));
    assert!(night.archived().contains(&version(3, 2, "edited twice")));
}

#[test]
fn an_export_marks_what_was_edited_and_what_vanished() {
    let night = archived("a|1|b", 3);
    night.service.world(|world| {
        world.edit(1, "edited words", edited_at(1));
        world.recall(2);
    });
    assert_eq!(night.run(&["run", "--refetch", "7d"]).0, 0);
    let into = night.path("export");
    let exported = night.output(&["export", "night", "--all", "--format", "jsonl", "-o", into.to_str().unwrap()]);
    assert!(exported.status.success(), "{exported:?}");
    let lines = std::fs::read_to_string(into.join("messages.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["text"], &lines[0]["earlier"][0]["text"]), (&json!("edited words"), &json!("message 1")));
    assert_eq!((&lines[1]["vanished"]["code"], &lines[2]["vanished"]), (&json!(107_404), &Value::Null));

    let into = night.path("pages");
    let exported = night.output(&["export", "night", "--all", "--format", "html", "-o", into.to_str().unwrap()]);
    assert!(exported.status.success(), "{exported:?}");
    let pages = pages(&into).join("\n");
    assert!(pages.contains("edited words") && pages.contains("vanished, noticed 20"), "{pages}");
}

fn pages(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "html") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
    found
}

/// A job with its archive in a database, which has archived `1..=count` of one conversation.
async fn archived_in_database(conversation: &str, count: i64) -> (Night, PgUrl) {
    let database = postgres::database().await;
    let night = Night::with_sink(dialogue(conversation, count), FETCH, "postgres: { url: \"file:url\" }");
    std::fs::write(night.path("url"), database.url()).unwrap();
    night.references((1..=count).map(|id| (conversation, id)));
    assert_eq!(night.run(&["run"]).0, 0);
    (night, database)
}
