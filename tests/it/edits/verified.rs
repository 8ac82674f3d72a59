//! `verify` and the list of hashes also cover the files, and rows, that say which messages vanished.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{FETCH, again, archived, archived_in_database, dialogue};
use crate::support::threads::{Night, data_files};

const LIST: &str = "_manifests/SHA256SUMS";

/// An archive of eight messages, of which two runs noted that two and one vanished.
fn noted() -> Night {
    let night = archived("a|1|b", 8);
    for gone in [&[2, 5][..], &[7]] {
        night.service.world(|world| gone.iter().for_each(|id| world.recall(*id)));
        let (code, job) = night.run(&["run", "--refetch", "7d"]);
        assert_eq!((code, again(&job)[3]), (0, gone.len() as u64), "{job}");
    }
    night
}

/// The files that say so, in the order of their manifests.
fn notes(night: &Night) -> Vec<PathBuf> {
    let mut files = data_files(&night.path("archive-vanished"));
    files.sort_by_key(|path| path.file_name().unwrap().to_owned());
    assert_eq!(files.len(), 2);
    files
}

/// How `verify` and the list call such a file.
fn told(night: &Night, path: &Path) -> String {
    format!("../archive-vanished/{}", path.strip_prefix(night.path("archive-vanished")).unwrap().display())
}

fn verify(night: &Night, archive: &str) -> (i32, Value) {
    let output = night.output(&["verify", archive, "--json"]);
    let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), found)
}

/// What must be found: kinds and subjects.
fn finds(night: &Night, expected: &[(&str, String)]) -> Value {
    let (code, found) = verify(night, "night");
    let problems = found["problems"].as_array().unwrap().iter();
    let problems: Vec<(&str, String)> =
        problems.map(|one| (one["kind"].as_str().unwrap(), one["subject"].as_str().unwrap().to_owned())).collect();
    assert_eq!((problems.as_slice(), code), (expected, i32::from(!expected.is_empty())), "{found}");
    found
}

fn sha256sum(archive: &Path) -> Output {
    Command::new("sha256sum").args(["--strict", "-c", LIST]).current_dir(archive).output().unwrap()
}

#[test]
fn sha256sum_accepts_the_list_with_what_vanished_also_under_another_name() {
    let night = noted();
    let checked = sha256sum(&night.path("archive"));
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success(), "{said}");
    for path in notes(&night) {
        assert!(said.contains(&told(&night, &path)), "{said}");
    }
    let found = finds(&night, &[]);
    assert_eq!((&found["rows"], &found["vanished"], &found["twice"]), (&json!(8), &json!(3), &json!(0)), "{found}");
    assert_eq!((&found["files"], &found["notes"]), (&json!(data_files(&night.path("archive")).len() + 2), &json!([])));
    let said = String::from_utf8(night.output(&["verify", "night"]).stdout).unwrap();
    assert!(said.lines().any(|line| line == "vanished    3 noted"), "{said}");
    let within = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"))
        .args(["verify", ".", "--json"])
        .current_dir(night.path("archive"))
        .output()
        .unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&within.stdout).unwrap()["vanished"], 3, "{within:?}");

    // Both directories get another name: that is told, and the next run corrects the list.
    for name in ["", "-vanished"] {
        fs::rename(night.path(&format!("archive{name}")), night.path(&format!("moved{name}"))).unwrap();
    }
    let moved = night.path("moved").to_str().unwrap().to_owned();
    let (code, found) = verify(&night, &moved);
    let note = found["notes"][0].as_str().unwrap();
    assert!(code == 0 && note.contains("../archive-vanished") && note.contains("moved-vanished"), "{found}");
    assert!(!sha256sum(&night.path("moved")).status.success());

    let config = fs::read_to_string(night.path("jobs.yaml")).unwrap().replace("path: archive", "path: moved");
    fs::write(night.path("jobs.yaml"), config).unwrap();
    fs::remove_dir_all(night.path("state")).unwrap();
    assert!(night.output(&["adopt", "night"]).status.success());
    let checked = sha256sum(&night.path("moved"));
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(finds(&night, &[])["notes"], json!([]));
    let list = fs::read_to_string(night.path("moved").join(LIST)).unwrap();
    assert_eq!(list.matches("  ../moved-vanished/date=").count(), 2, "{list}");
}

#[test]
fn sha256sum_finds_what_vanished_beside_a_link_that_leads_to_the_archive() {
    let night = Night::new(dialogue("a|1|b", 3), FETCH);
    fs::create_dir_all(night.path("elsewhere/real")).unwrap();
    std::os::unix::fs::symlink("elsewhere/real", night.path("archive")).unwrap();
    night.references((1..=3).map(|id| ("a|1|b", id)));
    assert_eq!(night.run(&["run"]).0, 0);
    night.service.world(|world| world.recall(2));
    assert_eq!(night.run(&["run", "--refetch", "7d"]).0, 0);
    assert_eq!(finds(&night, &[])["vanished"], 1);
    let checked = sha256sum(&night.path("archive"));
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && said.contains("/archive-vanished/date="), "{said}");
}

#[test]
fn whatever_is_done_to_what_says_which_messages_vanished_is_found_and_named() {
    let night = noted();
    let first = &notes(&night)[0];
    let (kept, subject) = (fs::read(first).unwrap(), told(&night, first));

    let mut flipped = kept.clone();
    flipped[kept.len() / 2] ^= 1;
    fs::write(first, flipped).unwrap();
    finds(&night, &[("altered", subject.clone())]);
    assert!(!sha256sum(&night.path("archive")).status.success());
    fs::write(first, &kept[..kept.len() - 1]).unwrap();
    finds(&night, &[("altered", subject.clone())]);

    fs::remove_file(first).unwrap();
    finds(&night, &[("missing", subject)]);
    fs::write(first, &kept).unwrap();

    let other = first.with_file_name("part-other.parquet");
    fs::copy(first, &other).unwrap();
    finds(&night, &[("unnamed", told(&night, &other))]);
    fs::remove_file(&other).unwrap();
    fs::write(first.with_file_name("notes.txt"), "x").unwrap();
    let found = finds(&night, &[]);
    assert!(found["notes"][0].as_str().unwrap().contains("/notes.txt is no data"), "{found}");
    fs::remove_file(first.with_file_name("notes.txt")).unwrap();

    let list = fs::read_to_string(night.path("archive").join(LIST)).unwrap();
    let without: String = list.split_inclusive('\n').filter(|line| !line.contains("-vanished/")).collect();
    fs::write(night.path("archive").join(LIST), without).unwrap();
    finds(&night, &[("list", LIST.to_owned()), ("list", LIST.to_owned())]);
    fs::write(night.path("archive").join(LIST), list).unwrap();

    fs::rename(night.path("archive-vanished"), night.path("away")).unwrap();
    let (_, found) = verify(&night, "night");
    let kinds: Vec<&Value> = found["problems"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["missing", "missing"]);
}

#[test]
fn a_message_that_is_noted_twice_and_counts_that_do_not_agree_are_found() {
    let night = noted();
    // Somebody writes the last manifest anew: it names a copy of an earlier file, and miscounts.
    let manifests = || {
        let mut all: Vec<PathBuf> =
            fs::read_dir(night.path("archive/_manifests")).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        all.sort();
        all
    };
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let (first, last) = (&notes(&night)[0], manifests().pop().unwrap());
    let copy = first.with_file_name("part-again.parquet");
    fs::copy(first, &copy).unwrap();
    let mut again = read(&manifests()[1])["vanished"][0].clone();
    let subject = told(&night, &copy);
    again["path"] = subject.strip_prefix("../archive-vanished/").unwrap().into();
    again["rows"] = 3.into();
    again["message_server_id"]["max"] = 6.into();
    let mut manifest = read(&last);
    manifest["vanished"].as_array_mut().unwrap().extend([again.clone(), again.clone()]);
    again["path"] = "../archive/x.parquet".into();
    manifest["vanished"].as_array_mut().unwrap().push(again);
    fs::write(&last, serde_json::to_string(&manifest).unwrap()).unwrap();
    let archive = night.path("archive").to_str().unwrap().to_owned();
    fs::remove_file(night.path("archive").join(LIST)).unwrap();
    let (code, found) = verify(&night, &archive);
    let problems: Vec<String> = found["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["kind"].as_str().unwrap(), one["message"].as_str().unwrap()))
        .collect();
    let all = problems.join("\n");
    assert!(code == 1 && problems.len() == 7, "{all}");
    for said in [
        "manifest it names \"../archive/x.parquet\", which leads out",
        "as well",
        "says it has 3 messages, and it has 2",
        "says its IDs are 2 to 6, and they are 2 to 5",
        "message 2 of ",
        "message 5 of ",
        "is noted as vanished 2 times: in ../archive-vanished/",
        "list it is missing",
    ] {
        assert!(all.contains(said), "{said}: {all}");
    }
    // As messages they are there once each.
    assert_eq!(found["twice"], 0);
}

#[tokio::test]
async fn in_a_database_notes_are_counted_and_belong_to_a_run_and_are_there_once() {
    let (night, database) = archived_in_database("a|1|b", 6).await;
    night.service.world(|world| [2, 5].into_iter().for_each(|id| world.recall(id)));
    assert_eq!(night.run(&["run", "--refetch", "7d"]).0, 0);
    let found = finds(&night, &[]);
    assert_eq!((&found["rows"], &found["vanished"]), (&json!(6), &json!(2)), "{found}");
    database.execute("update messages_vanished set run_id = 'nobody' where message_server_id = 2").await;
    let found = finds(&night, &[("unnamed", "run nobody".to_owned())]);
    assert!(found["problems"][0]["message"].as_str().unwrap().contains("noted 1 as vanished"), "{found}");
    database
        .execute(
            "delete from messages_vanished where message_server_id = 2; \
             alter table messages_vanished drop constraint messages_vanished_pkey; \
             insert into messages_vanished select * from messages_vanished",
        )
        .await;
    let found = finds(&night, &[("twice", "message 5".to_owned())]);
    assert_eq!((&found["twice"], &found["vanished"]), (&json!(0), &json!(2)), "{found}");
    // An archive that no run of this version met has no such table.
    database.execute("drop table messages_vanished").await;
    assert_eq!(finds(&night, &[])["vanished"], 0);
}
