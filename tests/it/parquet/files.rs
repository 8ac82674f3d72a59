//! Which files there are: directories, sizes, names, memory.

use super::*;

#[tokio::test]
async fn partitions_are_hive_directories_in_the_configured_zone() {
    let mut archive = Archive::new();
    archive.settings.timezone = TimeZone::get("America/New_York").unwrap();
    archive.settings.partition_by =
        vec![PartitionColumn::Month, PartitionColumn::AppKey, PartitionColumn::ConversationType, PartitionColumn::Date];
    let mut rows = MessageRows::default();
    // Around the hour that does not exist, and around midnight in summer and in winter time.
    let times = [
        "2026-03-08T06:59:59.999Z",
        "2026-03-08T07:00:00Z",
        "2026-03-09T03:59:59.999Z",
        "2026-03-09T04:00:00Z",
        "2026-11-02T04:59:59.999Z",
        "2026-11-02T05:00:00Z",
    ];
    for (id, time) in times.into_iter().enumerate() {
        push_message(&mut rows, id as i64, at(time), "");
    }
    archive.commit(1, rows).await;
    let directories: BTreeSet<String> = archive
        .tree()
        .into_iter()
        .filter(|path| path.ends_with(".parquet"))
        .map(|path| path.rsplit_once('/').unwrap().0.to_owned())
        .collect();
    let inner = "app_key=app%2Fkey/conversation_type=1";
    assert_eq!(
        directories.into_iter().collect::<Vec<_>>(),
        [
            format!("month=2026-03/{inner}/date=2026-03-08"),
            format!("month=2026-03/{inner}/date=2026-03-09"),
            format!("month=2026-11/{inner}/date=2026-11-01"),
            format!("month=2026-11/{inner}/date=2026-11-02"),
        ]
    );
    let seen = archive.rows();
    for reader in ["duckdb", "pyarrow"] {
        let dates: Vec<&str> =
            seen[reader]["rows"].as_array().unwrap().iter().map(|row| row["date"].as_str().unwrap()).collect();
        let expected = ["2026-03-08", "2026-03-08", "2026-03-08", "2026-03-09", "2026-11-01", "2026-11-02"];
        assert_eq!(dates, expected, "{reader}");
        assert!(seen[reader]["rows"].as_array().unwrap().iter().all(|row| row["app_key"] == "app/key"));
    }
}

#[tokio::test]
async fn without_partitions_files_lie_in_the_archive_itself() {
    let mut archive = Archive::new();
    archive.settings.partition_by.clear();
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, 0, "");
    let files = archive.commit(1, rows).await;
    assert!(!files[0].file.path.contains('/'), "{files:?}");
    assert!(archive.root.join(&files[0].file.path).exists());
}

#[tokio::test]
async fn a_time_beyond_every_calendar_is_kept() {
    let archive = Archive::new();
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, i64::MAX, "");
    let files = archive.commit(1, rows).await;
    assert!(files[0].file.path.starts_with("date=__HIVE_DEFAULT_PARTITION__/"), "{files:?}");
    assert_eq!(archive.files()[&files[0].file.path]["rows"], 1);
}

#[tokio::test]
async fn little_memory_makes_more_row_groups_and_not_more_files() {
    let mut archive = Archive::new();
    archive.settings.memory = 64 << 10;
    let mut sink = archive.open(0).await;
    for chunk in 0..10 {
        let mut rows = MessageRows::default();
        for id in 0..10 {
            push_message(&mut rows, chunk * 10 + id, DAY, &"x".repeat(150));
        }
        sink.write(Arc::new(rows)).await.unwrap();
    }
    let prepared = sink.prepare(1).await.unwrap();
    sink.publish(1, &prepared.files).await.unwrap();
    let file = only_file(&archive);
    let groups: Vec<i64> = file["groups"].as_array().unwrap().iter().map(|rows| rows.as_i64().unwrap()).collect();
    assert!(groups.len() >= 3, "{groups:?}");
    assert_eq!(groups.iter().sum::<i64>(), 100);
    assert_eq!(file["ids"], json!((0..100).collect::<Vec<i64>>()), "rows keep their order");
}

#[tokio::test]
async fn many_partitions_make_a_file_each_within_memory_and_descriptors() {
    const DATES: i64 = 600;
    const ROUNDS: i64 = 20;
    let mut archive = Archive::new();
    // A quarter of it is buffered: about four rounds of the twenty.
    archive.settings.memory = 4 << 20;
    let mut sink = archive.open(0).await;
    let mut most = 0;
    for round in 0..ROUNDS {
        let mut rows = MessageRows::default();
        for date in 0..DATES {
            push_message(&mut rows, round * DATES + date, date * DAY + round, &"x".repeat(260));
        }
        sink.write(Arc::new(rows)).await.unwrap();
        most = most.max(descriptors(&archive.root));
    }
    assert!(most <= 2, "{most} descriptors are open between writes: more than the lock and the scratch file");
    assert!(!sink.is_due());
    let prepared = sink.prepare(1).await.unwrap();
    assert!(descriptors(&archive.root) <= 1, "at most the lock");
    assert_eq!(prepared.files.len() as i64, DATES);
    assert_eq!(prepared.rows as i64, DATES * ROUNDS);
    assert!(prepared.files.is_sorted_by(|a, b| a.file.path < b.file.path));
    sink.publish(1, &prepared.files).await.unwrap();
    let files = archive.files();
    let mut ids: Vec<i64> = Vec::new();
    for (path, file) in files.as_object().unwrap() {
        assert_eq!(file["groups"], json!([ROUNDS]), "{path}");
        ids.extend(file["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()));
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..DATES * ROUNDS).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_busy_partition_among_many_quiet_ones_loses_nothing() {
    let mut archive = Archive::new();
    archive.settings.memory = 256 << 10;
    let mut sink = archive.open(0).await;
    let mut expected = 0;
    for round in 0..40_i64 {
        let mut rows = MessageRows::default();
        for id in 0..50 {
            let date = if id % 2 == 0 { 0 } else { (round * 50 + id) % 97 };
            push_message(&mut rows, round * 50 + id, date * DAY, &"y".repeat((id * 7 % 300) as usize));
            expected += 1;
        }
        sink.write(Arc::new(rows)).await.unwrap();
    }
    let prepared = sink.prepare(1).await.unwrap();
    sink.publish(1, &prepared.files).await.unwrap();
    assert_eq!(prepared.rows, expected);
    let files = archive.files();
    let mut ids: Vec<i64> = files
        .as_object()
        .unwrap()
        .values()
        .flat_map(|file| file["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()))
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..expected as i64).collect::<Vec<_>>());
    assert_eq!(files.as_object().unwrap().len(), 97);
}

#[tokio::test]
async fn a_full_file_is_closed_and_makes_a_commit_due() {
    let mut archive = Archive::new();
    archive.settings.memory = 64 << 10;
    archive.settings.compression = Compression::None;
    archive.settings.max_file_size = 60_000;
    let mut sink = archive.open(0).await;
    assert!(!sink.is_due());
    for chunk in 0..40 {
        let mut rows = MessageRows::default();
        for id in 0..10 {
            push_message(&mut rows, chunk * 10 + id, DAY, &"x".repeat(200));
        }
        sink.write(Arc::new(rows)).await.unwrap();
    }
    assert!(sink.is_due());
    let prepared = sink.prepare(1).await.unwrap();
    assert!(!sink.is_due());
    assert!(prepared.files.len() > 1);
    for file in &prepared.files {
        // The footer comes on top.
        assert!(file.file.bytes < 60_000 + 60_000, "{file:?}");
    }
    sink.publish(1, &prepared.files).await.unwrap();
    let mut ids: Vec<Value> = Vec::new();
    for file in archive.files().as_object().unwrap().values() {
        ids.extend(file["ids"].as_array().unwrap().iter().cloned());
    }
    assert_eq!(ids, (0..400).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn names_count_over_the_run_and_hashes_are_those_of_the_files() {
    let archive = Archive::new();
    let mut sink = archive.open(0).await;
    let mut names = Vec::new();
    for commit in 1..=3 {
        let mut rows = MessageRows::default();
        push_message(&mut rows, commit as i64, 0, "same day");
        push_message(&mut rows, commit as i64, DAY * commit as i64, "another");
        sink.write(Arc::new(rows)).await.unwrap();
        let prepared = sink.prepare(commit).await.unwrap();
        assert_eq!((prepared.rows, prepared.files.len()), (2, 2));
        sink.publish(commit, &prepared.files).await.unwrap();
        for file in prepared.files {
            let content = std::fs::read(archive.root.join(&file.file.path)).unwrap();
            assert_eq!(content.len() as u64, file.file.bytes);
            assert_eq!(hex::encode(Sha256::digest(&content)), file.file.sha256);
            names.push(file.file.path.rsplit_once('-').unwrap().1.to_owned());
        }
    }
    assert_eq!(
        names,
        ["00000.parquet", "00001.parquet", "00002.parquet", "00003.parquet", "00004.parquet", "00005.parquet"]
    );
}

#[tokio::test]
async fn nothing_accepted_is_an_empty_commit() {
    let archive = Archive::new();
    let mut sink = archive.open(0).await;
    sink.write(Arc::new(MessageRows::default())).await.unwrap();
    let prepared = sink.prepare(1).await.unwrap();
    assert_eq!((prepared.rows, prepared.bytes, prepared.files.len()), (0, 0, 0));
    sink.publish(1, &prepared.files).await.unwrap();
    assert_eq!(archive.tree(), ["_archive.json"]);
    drop(sink);
    archive.open(1).await;
}

#[tokio::test]
async fn only_its_owner_can_read_what_the_archive_creates() {
    let archive = Archive::new();
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, 0, "secret");
    let files = archive.commit(1, rows).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = archive.root.join(&files[0].file.path);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&archive.root), 0o700);
    assert_eq!(mode(&archive.root.join("_archive.json")), 0o600);
}
