//! Archives and what lies in their places beside them: other archives, foreign objects, files that are gone.

use serde_json::Value;

use crate::support::bucket::{Bucket, bucket};
use crate::support::storm::{Ran, Site, To, files_below};

fn everywhere() -> [To; 2] {
    [To::Parquet, To::Bucket(bucket())]
}

/// Runs a command with another path and another state.
fn at(site: &Site, path: &str, arguments: &[&str]) -> Ran {
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    let here = if matches!(site.to, To::Parquet) { "path: archive" } else { "nightly/archive\"" };
    assert!(text.contains(here));
    let there = here.replace("archive", path);
    let other = text.replace(here, &there).replacen(
        "version: 1",
        &format!("version: 1\nstate: of-{}", path.replace('/', "-")),
        1,
    );
    std::fs::write(site.path("jobs.yaml"), other).unwrap();
    let ran = site.run(arguments);
    std::fs::write(site.path("jobs.yaml"), text).unwrap();
    ran
}

/// Every file below `a`, or every object.
fn files(site: &Site) -> Vec<String> {
    let To::Bucket(bucket) = &site.to else {
        return files_below(&site.path("a")).iter().map(|path| path.display().to_string()).collect();
    };
    let listed = bucket.curl(&[], "?list-type=2");
    listed.split("<Key>").skip(1).map(|key| key.split('<').next().unwrap().to_owned()).collect()
}

#[test]
fn an_archive_is_not_begun_within_another_one_nor_beside_it_where_what_vanished_goes() {
    for to in everywhere() {
        let site = Site::of(to, 60);
        at(&site, "a/two", &["run", "--json"]).exits(0);
        let before = files(&site);
        for path in ["a/two/sub", "a/two/deep/sub", "a", "a/two-vanished", "a/two-vanished/sub", "a/two/sub-vanished"] {
            for arguments in [&["run", "--json"][..], &["adopt", "nightly"], &["run", "--adopt-if-missing", "--json"]] {
                let refused = at(&site, path, arguments).exits(2);
                let said = refused.stdout + &refused.stderr;
                assert!(said.contains("two/_archive.json is the owner record of another one"), "{path}: {said}");
            }
        }
        assert_eq!(files(&site), before, "a refusal writes nothing");
        for path in ["a/two-old", "b/two/sub", "b"] {
            let ran = at(&site, path, &["run", "--json"]);
            let is_above = path == "b";
            assert_eq!(ran.code(), if is_above { 2 } else { 0 }, "{path}: {ran:?}");
        }
        // The other way round: what is to be beside this one is another's.
        at(&site, "c/x-vanished", &["run", "--json"]).exits(0);
        let refused = at(&site, "c/x", &["run", "--json"]).exits(2);
        assert!(refused.error().contains("c/x-vanished/_archive.json"), "{refused:?}");
    }
}

#[test]
fn a_file_that_is_gone_is_noticed_by_asking_again_and_named_with_the_remedy() {
    for to in everywhere() {
        let mut site = Site::of(to, 60);
        site.plain().exits(0);
        site.run(&["run", "--refetch", "all", "--json"]).exits(0);
        let listed = site.run(&["files", "nightly", "--json"]).exits(0).stdout;
        let listed: Value = listed.lines().next().map(|line| serde_json::from_str(line).unwrap()).unwrap();
        let path = first_path(&listed);
        match &site.to {
            To::Bucket(bucket) => bucket.storage().remove(&path).unwrap(),
            _ => std::fs::remove_file(site.path("archive").join(&path)).unwrap(),
        }
        site.night(12);
        let refused = site.run(&["run", "--refetch", "all", "--json"]).exits(2);
        let error = refused.error();
        assert!(error.contains(&path) && error.contains("`yunxin-archiver adopt nightly`"), "{error}");
        assert_eq!(refused.summary()["references"]["accepted"], 12);
        assert_eq!(refused.summary()["references"]["pending"], 0, "what is new is archived all the same");
        site.plain().exits(0);
        site.run(&["adopt", "nightly"]).exits(0);
        site.run(&["run", "--refetch", "all", "--json"]).exits(0);
    }
}

/// The path of the first file of a list, relative to the archive.
fn first_path(listed: &Value) -> String {
    let text = listed.to_string();
    let at = text.find("date=").unwrap();
    text[at..].split('"').next().unwrap().to_owned()
}

fn put(bucket: &Bucket, key: &str) {
    let made = bucket.curl(&["-X", "PUT", "-d", "x", "--path-as-is"], &format!("/{key}"));
    assert!(made.ends_with("200"), "{made}");
}

#[test]
fn a_foreign_object_that_no_path_can_name_is_named_and_nothing_else_comes_of_it() {
    let bucket = bucket();
    let mut site = Site::of(To::Bucket(bucket.clone()), 60);
    site.plain().exits(0);
    let keys = ["a//x", "b//y.parquet", "_manifests//z.json", "_tmp//t"];
    for key in keys {
        put(&bucket, &format!("nightly/archive/{key}"));
    }
    put(&bucket, "nightly/archive-vanished//v");
    let said = site.run(&["verify", "nightly"]).exits(0).stdout;
    for key in keys {
        assert!(said.contains(&format!("{key} is no data and no part of the archive")), "{key}: {said}");
    }
    site.run(&["export", "nightly", "--all", "--format", "jsonl", "--output", "export"]).exits(0);
    site.night(60);
    site.run(&["run", "--refetch", "all", "--json"]).exits(0);
    site.run(&["adopt", "nightly"]).exits(0);
    site.night(12);
    site.plain().exits(0);
    let verified: Value = serde_json::from_str(&site.run(&["verify", "nightly", "--json"]).exits(0).stdout).unwrap();
    assert_eq!((&verified["rows"], &verified["twice"]), (&site.found().len().into(), &0.into()));
}

#[test]
fn a_note_that_is_none_is_named_and_removed_and_touches_nothing() {
    let bucket = bucket();
    let mut site = Site::of(To::Bucket(bucket.clone()), 60);
    site.completes();
    let storage = bucket.storage();
    let record: Value = serde_json::from_slice(&storage.read("_archive.json").unwrap().unwrap().0).unwrap();
    let ledger = record["ledger_id"].as_str().unwrap();
    let data = storage.list("date=", false).unwrap_or_default();
    let data = data.first().map_or_else(
        || {
            storage
                .list("", false)
                .unwrap()
                .into_iter()
                .map(|found| found.name)
                .find(|name| name.ends_with(".parquet"))
                .unwrap()
        },
        |found| found.name.clone(),
    );
    let own = format!("{{\"name\":\"{data}\",\"upload\":\"\"}}");
    let notes = [
        ("text", "no JSON at all", true),
        ("other", "{\"file\":1}", true),
        ("outside", "{\"name\":\"../../x\",\"upload\":\"u\"}", true),
        ("empty", "", true),
        ("without", own.as_str(), false),
        ("unknown", "{\"name\":\"date=2012-01-01/x.parquet\",\"upload\":\"none\"}", false),
    ];
    for (name, content, _) in notes {
        storage.create(&format!("_tmp/{ledger}/{name}.upload"), content.as_bytes()).unwrap();
    }
    site.night(60);
    let ran = site.plain().exits(0);
    for (name, _, is_warned) in notes {
        let note = format!("_tmp/{ledger}/{name}.upload is no note of an upload");
        assert_eq!(ran.stderr.contains(&note), is_warned, "{name}: {}", ran.stderr);
    }
    assert_eq!(storage.list("_tmp/", false).unwrap(), []);
    site.is_whole();
}
