//! Commits: what a crash leaves, and what the next start makes of it.

use super::*;

#[tokio::test]
async fn what_was_prepared_and_never_recorded_is_removed() {
    let archive = Archive::new();
    let (sink, files) = prepared(&archive, 0).await;
    drop(sink);
    assert!(files.iter().all(|file| archive.root.join(&file.staged).exists()));
    assert_eq!(published(&archive), Vec::<String>::new(), "nothing ends in .parquet before it is committed");
    archive.open(0).await;
    assert_eq!(archive.tree(), ["_archive.json"]);
}

#[tokio::test]
async fn what_was_recorded_and_never_published_is_finished() {
    for done in 0..=4 {
        let archive = Archive::new();
        let (mut sink, files) = prepared(&archive, 0).await;
        // Died after so many renames, by publishing but these and forgetting that it happened.
        sink.publish(0, &files[..done]).await.unwrap();
        drop(sink);
        let opened = archive.sink().open(&archive.claim(1, &files)).await.unwrap();
        assert_eq!((opened.commit, opened.missing, opened.warnings), (1, vec![], vec![]), "{done}");
        assert_eq!(published(&archive), paths(&files));
        archive.open(1).await;
    }
}

#[tokio::test]
async fn publishing_may_be_repeated() {
    let archive = Archive::new();
    let (mut sink, files) = prepared(&archive, 0).await;
    for _ in 0..2 {
        sink.publish(1, &files).await.unwrap();
        assert_eq!(published(&archive), paths(&files));
    }
}

#[tokio::test]
async fn a_link_left_by_a_crash_is_no_second_file() {
    let archive = Archive::new();
    let (sink, files) = prepared(&archive, 0).await;
    drop(sink);
    let target = archive.root.join(&files[0].file.path);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::hard_link(archive.root.join(&files[0].staged), &target).unwrap();
    let opened = archive.sink().open(&archive.claim(1, &files)).await.unwrap();
    assert_eq!((opened.commit, opened.missing), (1, vec![]));
    assert_eq!(published(&archive), paths(&files));
}

#[tokio::test]
async fn a_commit_of_which_a_recorded_file_is_nowhere_is_taken_back_as_a_whole() {
    let archive = Archive::new();
    let (sink, files) = prepared(&archive, 0).await;
    drop(sink);
    std::fs::remove_file(archive.root.join(&files[1].staged)).unwrap();
    std::fs::write(archive.root.join(&files[2].staged), "cut short").unwrap();
    let opened = archive.sink().open(&archive.claim(1, &files)).await.unwrap();
    assert_eq!(opened.missing, files_of(&files[1..3]));
    assert_eq!(opened.commit, 0, "so that all of it is fetched again");
    assert!(opened.warnings[0].contains("has 9 bytes"), "{:?}", opened.warnings);
    assert_eq!(published(&archive), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_in_the_way_is_never_replaced() {
    let archive = Archive::new();
    let (mut sink, files) = prepared(&archive, 0).await;
    let target = archive.root.join(&files[0].file.path);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::write(&target, "in the way").unwrap();
    let error = sink.publish(1, &files).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Failed { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "in the way");
    drop(sink);
    let opened = archive.sink().open(&archive.claim(1, &files)).await.unwrap();
    assert_eq!(opened.missing, files_of(&files[..1]));
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "in the way");
}

#[tokio::test]
async fn temporaries_of_another_ledger_are_left_alone() {
    let archive = Archive::new();
    let other = archive.root.join("_tmp/other");
    archive.open(0).await;
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("part.inprogress"), "").unwrap();
    let opened = archive.sink().open(&archive.claim(0, &[])).await.unwrap();
    assert!(opened.warnings[0].contains("_tmp/other holds temporary files of another ledger"), "{opened:?}");
    assert!(other.join("part.inprogress").exists());
}

#[tokio::test]
async fn a_sink_that_lost_rows_accepts_no_more() {
    let archive = Archive::new();
    let mut sink = archive.open(0).await;
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, 0, "");
    let rows = Arc::new(rows);
    sink.write(Arc::clone(&rows)).await.unwrap();
    std::fs::remove_dir_all(archive.root.join("_tmp")).unwrap();
    let error = sink.prepare(1).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Failed { context, .. } if context.contains("_tmp/")), "{error:?}");
    let error = sink.write(rows).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Failed { .. }), "{error:?}");
    assert!(sink.prepare(1).await.is_err());
}

#[tokio::test]
async fn a_sink_whose_write_was_cut_off_commits_nothing() {
    let mut archive = Archive::new();
    archive.settings.memory = 16 << 10;
    let mut sink = archive.open(0).await;
    let mut rows = MessageRows::default();
    for id in 0..5_000 {
        push_message(&mut rows, id, id % 3 * DAY, "text");
    }
    assert!(sink.write(Arc::new(rows)).now_or_never().is_none());
    let error = sink.prepare(1).await.unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Failed { source, .. } if source.to_string().contains("cut off")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_sink_is_opened_before_it_is_used() {
    let archive = Archive::new();
    let mut sink = archive.sink();
    for _ in 0..2 {
        let error = sink.write(Arc::new(MessageRows::default())).await.unwrap_err();
        assert!(
            matches!(&error, ArchiveError::Failed { source, .. } if source.to_string().contains("was not opened")),
            "{error:?}"
        );
    }
    sink.open(&archive.claim(0, &[])).await.unwrap();
    sink.write(Arc::new(MessageRows::default())).await.unwrap();
}
