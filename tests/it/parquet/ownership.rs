//! Whose an archive is, and who is refused.

use super::*;

async fn refusal(archive: &Archive, recorded: u64) -> String {
    let before = if archive.root.exists() { archive.tree() } else { Vec::new() };
    let error = archive.sink().open(&archive.claim(recorded, &[])).await.unwrap_err();
    let after = if archive.root.exists() { archive.tree() } else { Vec::new() };
    assert_eq!(before, after, "a refusal writes nothing");
    assert!(matches!(error, ArchiveError::NotOurs(_)), "{error:?}");
    assert!(error.to_string().contains("`yunxin-archiver adopt nightly`"), "{error}");
    error.to_string()
}

#[tokio::test]
async fn the_archive_of_another_ledger_is_refused() {
    let mut archive = Archive::new();
    archive.open(0).await;
    let owner = archive.ledger_id;
    archive.ledger_id = uuid::Uuid::now_v7();
    let text = refusal(&archive, 0).await;
    assert!(text.contains(&format!("belongs to ledger {owner} of job nightly")), "{text}");
}

#[tokio::test]
async fn an_archive_ahead_of_its_ledger_is_refused() {
    let archive = Archive::new();
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, 0, "");
    archive.commit(1, rows).await;
    assert!(refusal(&archive, 0).await.contains("is ahead of this ledger"));
}

#[tokio::test]
async fn data_without_a_deed_is_refused() {
    for trace in ["date=2026-11-22/part-0.parquet", "_manifests/00000001-run.json"] {
        let archive = Archive::new();
        let path = archive.root.join(trace);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        let text = refusal(&archive, 0).await;
        assert!(text.contains(trace), "{text}");
    }
}

#[tokio::test]
async fn an_archive_that_vanished_is_refused() {
    let archive = Archive::new();
    assert!(refusal(&archive, 7).await.contains("is gone or empty"));
    assert!(!archive.root.exists());
    std::fs::create_dir(&archive.root).unwrap();
    assert!(refusal(&archive, 7).await.contains("recorded 7 commits"));
}

#[tokio::test]
async fn an_archive_that_lost_commits_says_so() {
    let archive = Archive::new();
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, 0, "");
    archive.commit(1, rows).await;
    let opened = archive.sink().open(&archive.claim(3, &[])).await.unwrap();
    assert_eq!(opened.commit, 1);
    assert!(opened.warnings[0].contains("has commits up to 1, but the ledger recorded 3"), "{opened:?}");
}

#[tokio::test]
async fn a_path_that_cannot_be_an_archive_is_unusable() {
    let archive = Archive::new();
    std::fs::write(&archive.root, "a file").unwrap();
    let error = archive.sink().open(&archive.claim(0, &[])).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Unusable(text) if text.contains("is no directory")), "{error:?}");
    let mut below = Archive::new();
    below.settings.place = yunxin_archiver::storage::Place::Directory(archive.root.join("below"));
    let error = below.sink().open(&below.claim(0, &[])).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Unusable(_)), "{error:?}");
}

#[tokio::test]
async fn a_damaged_deed_is_unusable_and_a_recorded_path_never_leaves_the_archive() {
    let archive = Archive::new();
    archive.open(0).await;
    let file = DataFile { path: "../outside.parquet".to_owned(), rows: 1, bytes: 1, ..DataFile::default() };
    let mut file = StagedFile { file, staged: "_tmp/x".to_owned() };
    for _ in 0..2 {
        let error = archive.sink().open(&archive.claim(1, std::slice::from_ref(&file))).await.unwrap_err();
        assert!(
            matches!(&error, ArchiveError::Unusable(text) if text.contains("leads out of the archive")),
            "{error:?}"
        );
        std::mem::swap(&mut file.file.path, &mut file.staged);
    }
    std::fs::write(archive.root.join("_archive.json"), "{").unwrap();
    let error = archive.sink().open(&archive.claim(0, &[])).await.unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Unusable(text) if text.contains("_archive.json cannot be read")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_manifest_is_written_once_and_never_changes() {
    let archive = Archive::new();
    let (mut sink, files) = prepared(&archive, 0).await;
    sink.publish(1, &files).await.unwrap();
    let mut manifest = manifest(&archive, &files);
    for _ in 0..2 {
        sink.write_manifest(&Sealed::new(manifest.clone(), None)).await.unwrap();
    }
    let path = archive.root.join("_manifests/00000001-0192f1d2-0000-7000-8000-000000000000.json");
    let written: Manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(written, manifest);
    manifest.rows += 1;
    let error = sink.write_manifest(&Sealed::new(manifest, None)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Failed { .. }), "{error:?}");
    let kept: Manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(kept, written);
    assert!(archive.tree().iter().all(|path| !path.starts_with("_tmp/")), "{:?}", archive.tree());
}

#[tokio::test]
async fn the_archive_says_whose_it_is() {
    let archive = Archive::new();
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, 0, "");
    let files = archive.commit(1, rows).await;
    let deed: Value = serde_json::from_slice(&std::fs::read(archive.root.join("_archive.json")).unwrap()).unwrap();
    let run = deed["run_id"].as_str().unwrap();
    assert!(files[0].file.path.contains(run), "the run that made the last commit");
    let ledger = archive.ledger_id.to_string();
    assert_eq!(deed, json!({"version": 1, "ledger_id": ledger, "job": "nightly", "commit": 1, "run_id": run}));
}

#[tokio::test]
async fn two_processes_never_write_one_archive_at_once() {
    let archive = Archive::new();
    let sink = archive.open(0).await;
    let error = archive.sink().open(&archive.claim(0, &[])).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Busy(text) if text.contains("another process")), "{error:?}");
    drop(sink);
    archive.open(0).await;
}

#[tokio::test]
async fn an_archive_that_changes_hands_under_way_gets_no_further_commit() {
    let archive = Archive::new();
    let (sink, _) = prepared(&archive, 0).await;
    drop(sink);
    let mut sink = archive.open(0).await;
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, 0, "");
    sink.write(Arc::new(rows)).await.unwrap();
    // As by a process of another host, which knows nothing of this one's lock.
    let deed = archive.root.join("_archive.json");
    let text = std::fs::read_to_string(&deed).unwrap().replace("\"commit\": 0", "\"commit\": 1");
    std::fs::write(&deed, text).unwrap();
    let error = sink.prepare(1).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::NotOurs(text) if text.contains("changed hands")), "{error:?}");
    assert_eq!(published(&archive), Vec::<String>::new());
}

#[tokio::test]
async fn copies_of_a_ledger_that_went_on_apart_are_told_apart() {
    let archive = Archive::new();
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, 0, "");
    archive.commit(1, rows).await;
    let before = archive.tree();
    let claim = Claim { runs: vec![(1, uuid::Uuid::now_v7())], ..archive.claim(1, &[]) };
    let error = archive.sink().open(&claim).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::NotOurs(text) if text.contains("adopt nightly")), "{error:?}");
    assert_eq!(archive.tree(), before);
}
