//! Death at every named step, and power loss at those where something is not yet durable.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::STEPS;
use crate::support::bucket::bucket;
use crate::support::storm::{ELSEWHERE, Site, To, block_on, database, files_below};

/// Further steps of a run, whatever the sink.
const FURTHER: [&str; 10] = [
    "command.before",
    "source.read",
    "dispatch.before",
    "request.before",
    "tick.before",
    "seal.after",
    "manifest.noted",
    "replace.rename",
    "recover.opened",
    "recover.published",
];
const PARQUET: [&str; 18] = [
    "publish.after",
    "published.after",
    "file.close",
    "file.fsync",
    "file.fsynced",
    "names.fsync",
    "rename.before",
    "rename.after",
    "renames.fsync",
    "deed.before",
    "deed.rename",
    "deed.fsync",
    "signature.rename",
    "signature.fsync",
    "manifest.rename",
    "manifest.fsync",
    "sums.rename",
    "sums.fsync",
];
/// Steps of a run that writes to an object store.
const BUCKET: [&str; 20] = [
    "publish.after",
    "published.after",
    "file.close",
    "upload.begun",
    "upload.noted",
    "part.sent",
    "file.fsync",
    "file.fsynced",
    "complete.before",
    "complete.after",
    "deed.before",
    "deed.rename",
    "deed.fsync",
    "signature.rename",
    "signature.fsync",
    "manifest.rename",
    "manifest.fsync",
    "sums.rename",
    "sums.fsync",
    "record.after",
];
const TWICE_BUCKET: [(&str, &str); 6] = [
    ("record.after", "complete.before"),
    ("record.after", "complete.after"),
    ("deed.rename", "complete.after"),
    ("complete.after#2", "recover.opened"),
    ("file.fsynced", "upload.noted"),
    ("manifest.fsync", "sums.rename"),
];
const POSTGRES: [&str; 8] = [
    "intent.after",
    "postgres.fenced",
    "postgres.copied",
    "postgres.merged",
    "postgres.commit",
    "postgres.committed",
    "manifest.insert",
    "manifest.inserted",
];
/// A death, and a second one while the next run mends it.
const TWICE_PARQUET: [(&str, &str); 12] = [
    ("record.after", "rename.before"),
    ("record.after", "rename.after"),
    ("record.after", "deed.rename"),
    ("record.after", "deed.fsync"),
    ("rename.after#2", "recover.opened"),
    ("deed.before", "recover.published"),
    ("published.after", "manifest.rename"),
    ("published.after", "manifest.fsync"),
    ("publish.after", "seal.after"),
    ("manifest.fsync", "manifest.noted"),
    ("manifest.fsync", "sums.rename"),
    ("signature.fsync", "signature.rename"),
];
const TWICE_POSTGRES: [(&str, &str); 4] = [
    ("postgres.committed", "recover.opened"),
    ("postgres.committed", "recover.recorded"),
    ("prepare.after", "record.before"),
    ("postgres.commit", "recover.discarded"),
];

/// A site in the middle of its nights.
fn site(to: To) -> Site {
    let site = Site::begun(to, 60, 96);
    if let To::Postgres(url) = &site.to {
        // Another writer has put earlier versions of some of the coming messages there: copying alone is not enough.
        let mut sql = format!(
            "create temp table t as select * from messages limit 1; update t set modify_time = null, {ELSEWHERE};"
        );
        for id in site.edited(3) {
            write!(sql, "update t set message_server_id = {id}; insert into messages select * from t;").unwrap();
        }
        block_on(url.execute(&sql));
    }
    site
}

fn mends(site: &Site) {
    let ran = site.plain().exits(0);
    assert_eq!(ran.summary()["references"]["pending"], 0);
    site.is_whole();
    let before = site.api.stats().requests;
    site.plain().exits(0);
    assert_eq!(site.api.stats().requests, before, "a further run has nothing to ask");
    site.is_whole();
}

fn each(to: impl Fn() -> To, steps: &[&str]) {
    for step in steps {
        let site = site(to());
        site.dies_at(step);
        mends(&site);
    }
}

fn each_twice(to: impl Fn() -> To, steps: &[(&str, &str)]) {
    for (first, second) in steps {
        let site = site(to());
        site.dies_at(first);
        site.dies_at(second);
        mends(&site);
    }
}

fn postgres() -> To {
    To::Postgres(database())
}

#[test]
fn a_run_that_dies_at_any_step_is_mended_by_the_next_in_parquet() {
    each(|| To::Parquet, &[&STEPS[..], &FURTHER].concat());
}

/// While the ledger records one commit, the messages of the next are on their way.
#[test]
fn a_run_that_dies_between_commits_that_overlap_is_mended_by_the_next_in_postgres() {
    for step in [
        "intent.after#3",
        "postgres.fenced#3",
        "postgres.copied#3",
        "postgres.commit#3",
        "postgres.committed#3",
        "record.before#4",
        "record.after#3",
    ] {
        // Many answers: on a busy machine several of them share a commit.
        let mut site = Site::begun(postgres(), 60, 300);
        site.fetch = "batch_size: 12, concurrency: 1".to_owned();
        site.sink = ", commit_interval: 1ms".to_owned();
        site.configure();
        // One answer after the other, and a commit for each.
        site.api.faults(|faults| faults.latency_ms = 20);
        site.dies_at(step);
        site.api.faults(|faults| faults.latency_ms = 0);
        mends(&site);
    }
}

#[test]
fn a_run_that_dies_while_it_writes_files_is_mended_by_the_next() {
    each(|| To::Parquet, &PARQUET);
    each(|| To::Parquet, &["file.fsync#3", "rename.after#2", "rename.before#3", "split.after#3", "record.before#2"]);
}

#[test]
fn a_run_that_dies_while_it_writes_to_a_bucket_is_mended_by_the_next() {
    for step in BUCKET.into_iter().chain(["file.fsync#3", "complete.before#2", "complete.after#3"]) {
        let site = site(To::Bucket(bucket()));
        site.dies_at(step);
        mends(&site);
        // Between its beginning and its note nobody knows of an upload: the bucket's own rule removes it. Files are written
        // by several threads, so while they are written an upload may be there at whatever step.
        let To::Bucket(bucket) = &site.to else { unreachable!() };
        if !["upload.", "part.", "file."].iter().any(|writing| step.starts_with(writing)) {
            assert_eq!(bucket.uploads(), 0, "{step}");
        }
    }
    each_twice(|| To::Bucket(bucket()), &TWICE_BUCKET);
}

#[test]
fn a_run_that_dies_at_any_step_is_mended_by_the_next_in_postgres() {
    each(postgres, &[&STEPS[..], &FURTHER].concat());
}

#[test]
fn a_run_that_dies_while_it_commits_to_postgres_is_mended_by_the_next() {
    each(postgres, &POSTGRES);
    each_twice(postgres, &TWICE_POSTGRES);
}

/// The ledger is replaced before the run that died has a manifest, or lost with what it knew.
#[test]
fn what_a_dead_run_committed_to_postgres_has_a_manifest_after_an_adoption() {
    for (step, is_lost) in [("postgres.committed", false), ("record.after", false), ("postgres.committed", true)] {
        let site = site(postgres());
        site.dies_at(step);
        if is_lost {
            std::fs::remove_dir_all(site.path("state")).unwrap();
        }
        site.run(&["adopt", "nightly"]).exits(0);
        site.run(&["verify", "nightly"]).exits(0);
        site.plain().exits(0);
        site.run(&["verify", "nightly"]).exits(0);
    }
}

#[test]
fn a_run_that_dies_while_it_mends_a_dead_one_is_mended_as_well() {
    each_twice(|| To::Parquet, &TWICE_PARQUET);
}

/// What a machine loses with its power when the process was at a step: what was not yet made durable.
type Loss = fn(&Path);

fn halve(path: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn below(root: &Path, is: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    files_below(root).into_iter().filter(|path| is(path)).collect()
}

fn ends(path: &Path, with: &str) -> bool {
    path.to_str().unwrap().ends_with(with)
}

/// The newest run's files, whose renames were not durable, are back under their temporary names.
fn undo_renames(root: &Path) {
    let temporary = std::fs::read_dir(root.join("_tmp")).unwrap().next().unwrap().unwrap().path();
    let files = below(root, |path| ends(path, ".parquet"));
    let run = |path: &Path| path.file_name().unwrap().to_str().unwrap()[..41].to_owned();
    let newest = files.iter().map(|path| run(path)).max().unwrap();
    for path in files.iter().filter(|path| run(path) == newest) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        std::fs::rename(path, temporary.join(format!("{name}.inprogress"))).unwrap();
    }
}

fn drop_temporary(root: &Path) {
    for path in below(root, |path| ends(path, ".inprogress")) {
        std::fs::remove_file(path).unwrap();
    }
}

fn halve_temporary(root: &Path) {
    for path in below(root, |path| ends(path, ".inprogress")) {
        halve(&path);
    }
}

fn drop_last_manifest(root: &Path) {
    let manifests = below(&root.join("_manifests"), |path| ends(path, ".json"));
    std::fs::remove_file(manifests.last().unwrap()).unwrap();
}

fn old_deed(root: &Path) {
    let path = root.join("_archive.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut deed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let manifests = files_below(&root.join("_manifests"));
    let first = manifests.first().unwrap().file_stem().unwrap().to_str().unwrap();
    deed["commit"] = 1.into();
    deed["run_id"] = first.split_once('-').unwrap().1.into();
    std::fs::write(&path, serde_json::to_string_pretty(&deed).unwrap()).unwrap();
}

#[test]
fn a_machine_that_loses_its_power_is_mended_by_the_next_run() {
    let losses: [(&str, Loss); 9] = [
        ("file.close", halve_temporary),
        ("file.fsync#2", halve_temporary),
        ("file.fsync", drop_temporary),
        ("names.fsync", drop_temporary),
        ("rename.after#2", undo_renames),
        ("renames.fsync", undo_renames),
        ("deed.rename", halve_temporary),
        ("deed.fsync", old_deed),
        ("manifest.fsync", drop_last_manifest),
    ];
    for (step, loss) in losses {
        let site = site(To::Parquet);
        site.dies_at(step);
        loss(&site.path("archive"));
        mends(&site);
    }
}

#[test]
fn a_recorded_file_that_is_lost_after_all_is_fetched_again_loudly() {
    let cases = [
        ("record.after", None),
        ("record.after", Some("recover.reopened")),
        ("record.after", Some("recover.opened")),
        // The owner record names the commit already.
        ("rename.before", None),
        ("rename.after", None),
        ("rename.before", Some("recover.reopened")),
    ];
    for (first, second) in cases {
        let site = site(To::Parquet);
        site.dies_at(first);
        let lost = below(&site.path("archive"), |path| ends(path, ".inprogress"));
        std::fs::remove_file(&lost[0]).unwrap();
        if let Some(step) = second {
            site.dies_at(step);
        }
        let ran = site.plain().exits(0);
        if second != Some("recover.reopened") {
            assert!(ran.stderr.contains("fetched again"), "{}", ran.stderr);
        }
        site.is_whole();
    }
}

/// The names in the calls of `reach`.
fn steps_in_the_sources() -> BTreeSet<String> {
    let sources = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut steps = BTreeSet::new();
    for path in sources.iter().filter(|path| ends(path, ".rs") && !ends(path, "failpoint.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        for call in text.split("reach(\"").skip(1) {
            steps.insert(call.split('"').next().unwrap().to_owned());
        }
    }
    steps
}

#[test]
fn every_step_has_been_died_at() {
    let twice =
        TWICE_PARQUET.iter().chain(&TWICE_BUCKET).chain(&TWICE_POSTGRES).flat_map(|(first, second)| [*first, *second]);
    let died: BTreeSet<String> = STEPS
        .iter()
        .chain(&FURTHER)
        .chain(&PARQUET)
        .chain(&POSTGRES)
        .chain(&BUCKET)
        .copied()
        .chain(twice)
        .chain(["recover.reopened", "adopt.handed_over"])
        .chain(crate::edits::STEPS)
        .chain(crate::fleet::STEPS)
        .chain(crate::job::changed_identity::STEPS)
        .chain(crate::job::follow_ups::STEPS)
        .map(|step| step.split('#').next().unwrap().to_owned())
        .collect();
    assert_eq!(steps_in_the_sources(), died);
}
