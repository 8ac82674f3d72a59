//! Where the files of an archive are: what every storage promises, on a local disk and on a store that speaks S3.

use std::sync::{Arc, OnceLock};

use tempfile::TempDir;
use uuid::Uuid;
use yunxin_archiver::model::manifest::{BESIDE, DataFile, StagedFile};
use yunxin_archiver::storage::{
    Conditions, Created, Listed, ObjectSettings, Place, Published, Replaced, Storage, StorageError,
};

use crate::support::bucket::{Bucket, Store, bucket};

const LEDGER: Uuid = Uuid::from_u128(7);

fn object(settings: ObjectSettings) -> Arc<dyn Storage> {
    Place::Bucket(settings).open(LEDGER).unwrap()
}

/// A local disk and MiniStack, each with a second handle on the same place, as another process has it.
fn on_both(work: impl Fn(&dyn Storage, &dyn Storage)) {
    on(&[bucket()], work);
}

/// The same, with moto, and with Azurite if it is installed. moto completes no empty part, and Azure gives up no upload.
fn on_every(work: impl Fn(&dyn Storage, &dyn Storage)) {
    static OTHERS: OnceLock<Vec<Store>> = OnceLock::new();
    let others = OTHERS.get_or_init(|| Store::azurite().into_iter().chain([Store::moto()]).collect());
    on(&others.iter().map(Store::bucket).chain([bucket()]).collect::<Vec<_>>(), work);
}

fn on(buckets: &[Bucket], work: impl Fn(&dyn Storage, &dyn Storage)) {
    let (root, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let buckets = buckets.iter().map(|bucket| Place::Bucket(bucket.settings(scratch.path())));
    for place in buckets.chain([Place::Directory(root.path().join("archive"))]) {
        let [one, other] = [(); 2].map(|()| place.open(LEDGER).unwrap());
        one.clear(&|_| false).unwrap();
        work(&*one, &*other);
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "something is left in the scratch directory");
}

fn staged(storage: &dyn Storage, path: &str, content: &[u8]) -> StagedFile {
    let mut file = storage.stage(path).unwrap();
    for piece in content.chunks(1_000_003) {
        file.write_all(piece).unwrap();
        file.pause();
    }
    let staged = file.finish().unwrap();
    storage.sync_staged().unwrap();
    let bytes = content.len() as u64;
    StagedFile { file: DataFile { path: path.to_owned(), rows: 1, bytes, sha256: String::new(), range: None }, staged }
}

fn publish(storage: &dyn Storage, file: &StagedFile) -> Published {
    storage.publish(std::slice::from_ref(file)).unwrap().remove(0)
}

fn content(storage: &dyn Storage, name: &str) -> Option<Vec<u8>> {
    storage.read(name).unwrap().map(|(content, _)| content)
}

fn names(storage: &dyn Storage, below: &str) -> Vec<String> {
    storage.list(below, false).unwrap().into_iter().map(|found| found.name).collect()
}

#[test]
fn a_small_file_is_created_once_whoever_asks() {
    on_every(|one, other| {
        assert_eq!(one.create("_manifests/1.json", b"first").unwrap(), Created::Yes);
        // Said again, as after an answer that was lost, its name is not taken by somebody else.
        assert_eq!(one.create("_manifests/1.json", b"first").unwrap(), Created::Yes);
        assert_eq!(other.create("_manifests/1.json", b"second").unwrap(), Created::Taken);
        assert_eq!(content(other, "_manifests/1.json").unwrap(), b"first");
    });
}

#[test]
fn a_small_file_is_replaced_only_as_it_was_read() {
    on_every(|one, other| {
        let Replaced::Yes(first) = one.replace("_archive.json", b"1", None).unwrap() else { panic!() };
        assert_eq!(other.replace("_archive.json", b"9", None).unwrap(), Replaced::Changed);
        let (read, seen) = other.read("_archive.json").unwrap().unwrap();
        assert_eq!(read, b"1");
        let Replaced::Yes(second) = one.replace("_archive.json", b"2", Some(&first)).unwrap() else { panic!() };
        assert_eq!(other.replace("_archive.json", b"3", Some(&seen)).unwrap(), Replaced::Changed);
        assert_eq!(one.read("_archive.json").unwrap().unwrap().1, second);
        one.remove("_archive.json").unwrap();
        assert_eq!(one.replace("_archive.json", b"4", Some(&second)).unwrap(), Replaced::Changed);
        assert_eq!(content(one, "_archive.json"), None);
    });
}

#[test]
fn a_staged_file_is_seen_only_when_it_is_published_and_by_whomever() {
    on_both(|one, other| {
        let beside = format!("{BESIDE}date=2026-11-22/notes.parquet");
        for (name, size) in
            [("date=2026-11-22/empty.parquet", 0), ("small.parquet", 5), ("large.parquet", 20 << 20), (&beside, 7)]
        {
            let content: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
            let file = staged(one, name, &content);
            assert_eq!(other.size(name).unwrap(), None, "{name}");
            let seen = names(other, "").into_iter().chain(names(other, BESIDE));
            assert!(seen.into_iter().all(|found| found.contains("_tmp/")), "{name}");
            // By another process, and once more.
            assert_eq!(publish(other, &file), Published::Yes, "{name}");
            assert_eq!(publish(one, &file), Published::Yes, "{name}");
            assert_eq!(self::content(one, name).unwrap(), content, "{name}");
            one.remove(name).unwrap();
            assert_eq!(publish(one, &file), Published::Lost(None), "{name}");
        }
    });
}

#[test]
fn what_is_given_up_is_gone_finished_or_not() {
    on_both(|one, other| {
        let mut half = one.stage("a.parquet").unwrap();
        half.write_all(b"half").unwrap();
        half.pause();
        drop(half);
        let whole = staged(one, "b.parquet", b"whole");
        other.discard(&whole).unwrap();
        // Once more, as after a death.
        other.discard(&whole).unwrap();
        assert_eq!(publish(one, &whole), Published::Lost(None));
        let published = staged(one, "c.parquet", b"published");
        assert_eq!(publish(one, &published), Published::Yes);
        let unrecorded = staged(one, "d.parquet", b"unrecorded");
        other.clear(&|ledger| ledger != LEDGER.to_string()).unwrap();
        assert!(names(one, "_tmp/").len() > 1, "another ledger's files are left alone");
        other.clear(&|ledger| ledger == LEDGER.to_string()).unwrap();
        assert_eq!(publish(one, &unrecorded), Published::Lost(None));
        assert_eq!(names(one, ""), ["c.parquet"]);
    });
}

#[test]
fn a_file_of_another_size_is_not_the_one_that_was_recorded() {
    on_every(|one, _| {
        let file = staged(one, "a.parquet", b"recorded");
        assert_eq!(publish(one, &file), Published::Yes);
        one.remove("a.parquet").unwrap();
        one.create("a.parquet", b"other").unwrap();
        let Published::Lost(Some(why)) = publish(one, &file) else { panic!() };
        assert!(why.ends_with("a.parquet has 5 bytes and not 8 as recorded"), "{why}");
        assert_eq!(content(one, "a.parquet").unwrap(), b"other");
    });
}

#[test]
fn files_are_listed_and_read_by_ranges() {
    on_every(|one, _| {
        for name in ["_manifests/2.json", "_manifests/1.json", "date=2026-11-22/a b+%.parquet"] {
            assert_eq!(one.create(name, name.as_bytes()).unwrap(), Created::Yes);
        }
        let listed = |name: &str| Listed { name: name.to_owned(), bytes: name.len() as u64 };
        let manifests = [listed("_manifests/1.json"), listed("_manifests/2.json")];
        assert_eq!(one.list("_manifests/", false).unwrap(), manifests);
        assert_eq!((names(one, "").len(), names(one, BESIDE).len(), names(one, "none/").len()), (3, 0, 0));
        assert_eq!(one.read_range("_manifests/1.json", 11, 6).unwrap(), b"1.json");
        assert!(one.read_range("_manifests/1.json", 11, 7).is_err());
        assert!(one.read_range("none", 0, 1).is_err());
        assert!(one.read("../other").is_err());
        assert_eq!((one.read("none").unwrap(), one.size("none").unwrap()), (None, None));
        one.remove("none").unwrap();
    });
}

#[test]
fn a_store_without_conditions_is_refused_and_the_remedy_is_named() {
    let store = Store::rclone();
    let scratch = TempDir::new().unwrap();
    let settings = store.bucket().settings(scratch.path());
    let strict = object(settings.clone());
    let lenient = object(ObjectSettings { conditions: Conditions::Off, ..settings });
    let error = strict.probe().unwrap_err();
    assert!(matches!(error, StorageError::Unusable(_)), "{error:?}");
    assert!(error.to_string().contains("`conditional_writes: off`"), "{error}");
    assert!(names(&*strict, "").is_empty());
    assert!(lenient.probe().unwrap().contains("your word"));
    // Another's file is still seen, as far as looking first can.
    assert_eq!(lenient.create("a", b"1").unwrap(), Created::Yes);
    assert_eq!(lenient.create("a", b"2").unwrap(), Created::Taken);
    let (_, read) = lenient.read("a").unwrap().unwrap();
    assert!(matches!(lenient.replace("a", b"2", Some(&read)).unwrap(), Replaced::Yes(_)));
    assert_eq!(lenient.replace("a", b"3", None).unwrap(), Replaced::Changed);
    let file = staged(&*lenient, "b.parquet", b"whole");
    assert_eq!(publish(&*lenient, &file), Published::Yes);
}

#[test]
fn a_store_that_refuses_is_named_and_no_secret_is() {
    let scratch = TempDir::new().unwrap();
    let storage = object(ObjectSettings { bucket: "none".to_owned(), ..bucket().settings(scratch.path()) });
    let errors = [
        storage.create("a", b"1").unwrap_err(),
        storage.stage("a").map(drop).unwrap_err(),
        storage.list("", false).unwrap_err(),
        storage.probe().unwrap_err(),
    ];
    assert!(errors.iter().all(|error| matches!(error, StorageError::Unusable(_))), "{errors:?}");
    let said = format!("{errors:?} {storage:?}");
    assert!(said.contains("s3://none/nightly/archive") && said.contains("NoSuchBucket"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_store_that_does_not_answer_is_tried_for_as_long_as_patience_lasts() {
    let scratch = TempDir::new().unwrap();
    let patience = std::time::Duration::from_secs(10);
    let nowhere = Some("http://127.0.0.1:9".to_owned());
    let storage = object(ObjectSettings { endpoint: nowhere, patience, ..bucket().settings(scratch.path()) });
    let began = std::time::Instant::now();
    storage.list("", false).unwrap_err();
    assert!(began.elapsed() >= patience, "given up after {:?}", began.elapsed());
}
