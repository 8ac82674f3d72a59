//! Parquet archives, read back by readers that are not ours, and what a crash leaves of them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use yunxin_archiver::manifest::{Manifest, ManifestFile};
use yunxin_archiver::message::{MessageRows, Row, TextColumn};
use yunxin_archiver::sink::parquet::{Compression, Encodings, ParquetSink, PartitionColumn, schema};
use yunxin_archiver::sink::{Claim, Sink, SinkError, SinkFile};

use crate::support::parquet::{Archive, push_message, texts};

const DAY: i64 = 86_400_000;

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// A message with a value in every column, of the kind that is hard to keep.
fn full(rows: &mut MessageRows) {
    let mut row = Row::new(i64::MAX, at("2026-11-22T10:00:00.123Z"), 2, at("2026-11-23T00:00:00.001Z"));
    row.revision = 3;
    row.team_id = Some(i64::MAX - 1);
    row.message_type = Some(100);
    row.sub_type = Some(i32::MIN);
    row.sender_client_type = Some(65);
    row.modify_time = Some(at("2026-11-22T10:00:01Z"));
    row.inclusive = Some(true);
    row.new_member_visible = Some(false);
    row.thread_root_create_time = Some(at("2026-11-20T00:00:00Z"));
    row.thread_root_message_server_id = Some(158_844_553_334_358_018);
    row.thread_reply_create_time = Some(at("2026-11-21T00:00:00Z"));
    row.thread_reply_message_server_id = Some(-1);
    row.substituted = true;
    row.requested = false;
    row.text = texts(
        rows,
        &[
            (TextColumn::ConversationKey, "2|77"),
            (TextColumn::ConversationId, "Anna|2|77"),
            (TextColumn::MessageClientId, "c-1"),
            (TextColumn::SenderId, "anna"),
            (TextColumn::ReceiverId, "bob"),
            (TextColumn::Text, "nul \0, emoji 😀, 中文, \u{fffd}"),
            (TextColumn::Attachment, r#"{"b":1, "a":[1.0,2]}"#),
            (TextColumn::Extension, ""),
            (TextColumn::ModifyAccountId, "carol"),
            (TextColumn::ReceiverAccountIds, r#"["x","\"y\"",""]"#),
            (TextColumn::ThreadRootSenderId, "dan"),
            (TextColumn::ThreadRootReceiverId, "77"),
            (TextColumn::ThreadRootMessageClientId, "c-root"),
            (TextColumn::ThreadReplySenderId, "eve"),
            (TextColumn::ThreadReplyReceiverId, "77"),
            (TextColumn::ThreadReplyMessageClientId, "c-reply"),
            (TextColumn::Extra, r#"{"new_field":true}"#),
            (TextColumn::Raw, "{ \"message_server_id\": 9223372036854775807 }"),
        ],
    );
    rows.push(row);
}

/// A message with nothing that may be absent, and one with an empty list of receivers.
fn sparse(rows: &mut MessageRows) {
    push_message(rows, 1, at("1969-12-31T23:59:59.999Z"), "");
    rows.rows_mut().last_mut().unwrap().text[TextColumn::Text as usize] = yunxin_archiver::message::Span::NULL;
    push_message(rows, 2, at("1970-01-01T00:00:00Z"), "b");
    let empty = rows.intern("[]");
    rows.rows_mut().last_mut().unwrap().text[TextColumn::ReceiverAccountIds as usize] = empty;
}

#[tokio::test]
async fn every_column_comes_back_as_it_went_in() {
    let mut archive = Archive::new();
    archive.settings.raw = true;
    let mut rows = MessageRows::default();
    full(&mut rows);
    sparse(&mut rows);
    let files = archive.commit(1, rows).await;
    let run_id = &files[0].path.split("part-").nth(1).unwrap()[..36];

    let seen = archive.rows();
    let mut empty = serde_json::Map::new();
    for name in schema::names(true).chain(["date"]) {
        empty.insert(name.to_owned(), Value::Null);
    }
    let with = |values: Value| {
        let mut row = empty.clone();
        row.extend(values.as_object().unwrap().clone());
        row.insert("app_key".into(), "app/key".into());
        row.insert("run_id".into(), run_id.into());
        Value::from(row)
    };
    let expected = json!([
        with(json!({
            "conversation_key": "1|a|b", "conversation_id": "b|1|a", "conversation_type": 1, "message_server_id": 1,
            "revision": 0, "create_time": -1, "substituted": false, "requested": true,
            "fetched_at": 1_700_000_000_000_i64, "date": "1969-12-31",
        })),
        with(json!({
            "conversation_key": "1|a|b", "conversation_id": "b|1|a", "conversation_type": 1, "message_server_id": 2,
            "revision": 0, "create_time": 0, "substituted": false, "requested": true, "text": "b",
            "receiver_account_ids": [], "fetched_at": 1_700_000_000_000_i64, "date": "1970-01-01",
        })),
        with(json!({
            "conversation_key": "2|77", "conversation_id": "Anna|2|77", "conversation_type": 2,
            "message_server_id": i64::MAX, "revision": 3, "message_client_id": "c-1", "sender_id": "anna",
            "receiver_id": "bob", "team_id": i64::MAX - 1, "create_time": at("2026-11-22T10:00:00.123Z"),
            "message_type": 100, "sub_type": i32::MIN, "sender_client_type": 65,
            "text": "nul \0, emoji 😀, 中文, \u{fffd}", "attachment": r#"{"b":1, "a":[1.0,2]}"#, "extension": "",
            "modify_account_id": "carol", "modify_time": at("2026-11-22T10:00:01Z"),
            "receiver_account_ids": ["x", "\"y\"", ""], "inclusive": true, "new_member_visible": false,
            "thread_root_sender_id": "dan", "thread_root_receiver_id": "77",
            "thread_root_create_time": at("2026-11-20T00:00:00Z"),
            "thread_root_message_server_id": 158_844_553_334_358_018_i64, "thread_root_message_client_id": "c-root",
            "thread_reply_sender_id": "eve", "thread_reply_receiver_id": "77",
            "thread_reply_create_time": at("2026-11-21T00:00:00Z"), "thread_reply_message_server_id": -1,
            "thread_reply_message_client_id": "c-reply", "extra": r#"{"new_field":true}"#, "substituted": true,
            "requested": false, "fetched_at": at("2026-11-23T00:00:00.001Z"),
            "raw": "{ \"message_server_id\": 9223372036854775807 }", "date": "2026-11-22",
        })),
    ]);
    assert_eq!(seen["pyarrow"]["rows"], expected);
    assert_eq!(seen["duckdb"]["rows"], expected);

    let names: Vec<&str> = schema::names(true).chain(["date"]).collect();
    for reader in ["pyarrow", "duckdb"] {
        let seen: Vec<&str> =
            seen[reader]["types"].as_array().unwrap().iter().map(|kind| kind[0].as_str().unwrap()).collect();
        assert_eq!(seen, names, "{reader}");
    }
}

#[tokio::test]
async fn readers_see_the_promised_types_and_metadata() {
    let archive = Archive::new();
    let mut rows = MessageRows::default();
    full(&mut rows);
    archive.commit(1, rows).await;
    let files = archive.files();
    let (path, file) = files.as_object().unwrap().iter().next().unwrap();
    let schema: Vec<&str> = file["schema"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    insta::assert_snapshot!(schema.join("\n"), @r"
    app_key: string!
    conversation_key: string!
    conversation_id: string!
    conversation_type: int32!
    message_server_id: int64!
    revision: int32!
    message_client_id: string
    sender_id: string
    receiver_id: string
    team_id: int64
    create_time: timestamp[ms, tz=UTC]!
    message_type: int32
    sub_type: int32
    sender_client_type: int32
    text: string
    attachment: string
    extension: string
    modify_account_id: string
    modify_time: timestamp[ms, tz=UTC]
    receiver_account_ids: list<element: string>
    inclusive: bool
    new_member_visible: bool
    thread_root_sender_id: string
    thread_root_receiver_id: string
    thread_root_create_time: timestamp[ms, tz=UTC]
    thread_root_message_server_id: int64
    thread_root_message_client_id: string
    thread_reply_sender_id: string
    thread_reply_receiver_id: string
    thread_reply_create_time: timestamp[ms, tz=UTC]
    thread_reply_message_server_id: int64
    thread_reply_message_client_id: string
    extra: string
    substituted: bool!
    requested: bool!
    run_id: string!
    fetched_at: timestamp[ms, tz=UTC]!
    ");
    assert_eq!(
        file["metadata"],
        json!({
            "schema_version": "1", "job": "nightly", "run_id": path.split("part-").nth(1).unwrap()[..36],
            "timezone": "UTC",
        })
    );
    assert_eq!(file["format"], "1.0");
}

#[tokio::test]
async fn compatible_files_use_plain_and_dictionary_alone() {
    let archive = Archive::new();
    let mut rows = MessageRows::default();
    full(&mut rows);
    archive.commit(1, rows).await;
    let few = [
        "app_key",
        "conversation_key",
        "conversation_id",
        "conversation_type",
        "revision",
        "sender_id",
        "receiver_id",
        "team_id",
        "message_type",
        "sub_type",
        "sender_client_type",
        "modify_account_id",
        "thread_root_sender_id",
        "thread_root_receiver_id",
        "thread_reply_sender_id",
        "thread_reply_receiver_id",
        "run_id",
        "fetched_at",
    ];
    for (name, column) in only_file(&archive)["columns"].as_object().unwrap() {
        for encoding in column["encodings"].as_array().unwrap() {
            let encoding = encoding.as_str().unwrap();
            assert!(["PLAIN", "RLE", "RLE_DICTIONARY"].contains(&encoding), "{name}: {encoding}");
        }
        assert_eq!(column["dictionary"], few.contains(&name.as_str()), "{name}");
        assert_eq!(column["compression"], "ZSTD", "{name}");
        assert_eq!(column["statistics"], true, "{name}");
        assert_eq!(column["page_index"], true, "{name}");
    }
}

#[tokio::test]
async fn compact_files_use_delta_and_come_back_the_same() {
    let mut archive = Archive::new();
    archive.settings.encodings = Encodings::Compact;
    archive.settings.compression = Compression::Snappy;
    let mut rows = MessageRows::default();
    full(&mut rows);
    sparse(&mut rows);
    for id in 10..500 {
        push_message(&mut rows, id, at("2026-11-22T00:00:00Z") + id, &format!("text {id}"));
    }
    archive.commit(1, rows).await;
    let files = archive.files();
    let (_, file) = files.as_object().unwrap().iter().find(|(path, _)| path.contains("2026-11-22")).unwrap();
    let uses = |column: &str, encoding: &str| {
        file["columns"][column]["encodings"].as_array().unwrap().iter().any(|found| found == encoding)
    };
    for column in ["message_server_id", "create_time", "modify_time", "thread_root_message_server_id"] {
        assert!(uses(column, "DELTA_BINARY_PACKED"), "{column}");
    }
    for column in ["text", "attachment", "extra", "message_client_id", "receiver_account_ids.list.element"] {
        assert!(uses(column, "DELTA_LENGTH_BYTE_ARRAY"), "{column}");
    }
    assert!(uses("conversation_key", "RLE_DICTIONARY"));
    assert_eq!(file["columns"]["text"]["compression"], "SNAPPY");
    let seen = archive.rows();
    assert_eq!(seen["duckdb"]["rows"], seen["pyarrow"]["rows"]);
    let rows = seen["duckdb"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 493);
    assert_eq!(rows[9]["text"], "text 17");
    assert_eq!(rows[492]["message_server_id"], i64::MAX);
}

#[tokio::test]
async fn every_compression_can_be_read_and_may_change_from_run_to_run() {
    let mut archive = Archive::new();
    let kinds = [
        (Compression::None, "UNCOMPRESSED"),
        (Compression::Lz4, "LZ4"),
        (Compression::Gzip(99), "GZIP"),
        (Compression::Brotli(1), "BROTLI"),
        (Compression::Zstd(-5), "ZSTD"),
    ];
    for (id, (compression, _)) in kinds.into_iter().enumerate() {
        archive.settings.compression = compression;
        let mut rows = MessageRows::default();
        push_message(&mut rows, id as i64, id as i64 * DAY, "text");
        archive.commit(id as u64 + 1, rows).await;
    }
    let files = archive.files();
    let seen: Vec<&Value> =
        files.as_object().unwrap().values().map(|file| &file["columns"]["text"]["compression"]).collect();
    assert_eq!(seen, kinds.map(|(_, name)| name));
    let rows = archive.rows();
    let texts: Vec<&Value> = rows["duckdb"]["rows"].as_array().unwrap().iter().map(|row| &row["text"]).collect();
    assert_eq!(texts, ["text"; 5]);
}

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
    assert!(!files[0].path.contains('/'), "{files:?}");
    assert!(archive.root.join(&files[0].path).exists());
}

#[tokio::test]
async fn a_time_beyond_every_calendar_is_kept() {
    let archive = Archive::new();
    let mut rows = MessageRows::default();
    push_message(&mut rows, 1, i64::MAX, "");
    let files = archive.commit(1, rows).await;
    assert!(files[0].path.starts_with("date=__HIVE_DEFAULT_PARTITION__/"), "{files:?}");
    assert_eq!(archive.files()[&files[0].path]["rows"], 1);
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
    assert!(prepared.files.is_sorted_by(|a, b| a.path < b.path));
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
        assert!(file.bytes < 60_000 + 60_000, "{file:?}");
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
            let content = std::fs::read(archive.root.join(&file.path)).unwrap();
            assert_eq!(content.len() as u64, file.bytes);
            assert_eq!(hex::encode(Sha256::digest(&content)), file.sha256);
            names.push(file.path.rsplit_once('-').unwrap().1.to_owned());
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
    let file = archive.root.join(&files[0].path);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&archive.root), 0o700);
    assert_eq!(mode(&archive.root.join("_archive.json")), 0o600);
}

async fn prepared(archive: &Archive, recorded: u64) -> (ParquetSink, Vec<SinkFile>) {
    let mut sink = archive.open(recorded).await;
    let mut rows = MessageRows::default();
    for id in 0..4 {
        push_message(&mut rows, recorded as i64 * 10 + id, id * DAY, "text");
    }
    sink.write(Arc::new(rows)).await.unwrap();
    let files = sink.prepare(recorded + 1).await.unwrap().files;
    assert_eq!(files.len(), 4);
    (sink, files)
}

fn published(archive: &Archive) -> Vec<String> {
    archive.tree().into_iter().filter(|path| path.ends_with(".parquet")).collect()
}

fn paths(files: &[SinkFile]) -> Vec<String> {
    files.iter().map(|file| file.path.clone()).collect()
}

#[tokio::test]
async fn what_was_prepared_and_never_recorded_is_removed() {
    let archive = Archive::new();
    let (sink, files) = prepared(&archive, 0).await;
    drop(sink);
    assert!(files.iter().all(|file| archive.root.join(&file.temporary).exists()));
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
    let target = archive.root.join(&files[0].path);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::hard_link(archive.root.join(&files[0].temporary), &target).unwrap();
    let opened = archive.sink().open(&archive.claim(1, &files)).await.unwrap();
    assert_eq!((opened.commit, opened.missing), (1, vec![]));
    assert_eq!(published(&archive), paths(&files));
}

#[tokio::test]
async fn a_commit_of_which_a_recorded_file_is_nowhere_is_taken_back_as_a_whole() {
    let archive = Archive::new();
    let (sink, files) = prepared(&archive, 0).await;
    drop(sink);
    std::fs::remove_file(archive.root.join(&files[1].temporary)).unwrap();
    std::fs::write(archive.root.join(&files[2].temporary), "cut short").unwrap();
    let opened = archive.sink().open(&archive.claim(1, &files)).await.unwrap();
    assert_eq!(opened.missing, files[1..3]);
    assert_eq!(opened.commit, 0, "so that all of it is fetched again");
    assert!(opened.warnings[0].contains("has 9 bytes"), "{:?}", opened.warnings);
    assert_eq!(published(&archive), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_in_the_way_is_never_replaced() {
    let archive = Archive::new();
    let (mut sink, files) = prepared(&archive, 0).await;
    let target = archive.root.join(&files[0].path);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::write(&target, "in the way").unwrap();
    let error = sink.publish(1, &files).await.unwrap_err();
    assert!(matches!(error, SinkError::Failed { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "in the way");
    drop(sink);
    let opened = archive.sink().open(&archive.claim(1, &files)).await.unwrap();
    assert_eq!(opened.missing, files[..1]);
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

async fn refusal(archive: &Archive, recorded: u64) -> String {
    let before = if archive.root.exists() { archive.tree() } else { Vec::new() };
    let error = archive.sink().open(&archive.claim(recorded, &[])).await.unwrap_err();
    let after = if archive.root.exists() { archive.tree() } else { Vec::new() };
    assert_eq!(before, after, "a refusal writes nothing");
    assert!(matches!(error, SinkError::NotOurs(_)), "{error:?}");
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
    assert!(opened.warnings[0].contains("holds commits up to 1, the ledger recorded 3"), "{opened:?}");
}

#[tokio::test]
async fn a_path_that_cannot_be_an_archive_is_unusable() {
    let archive = Archive::new();
    std::fs::write(&archive.root, "a file").unwrap();
    let error = archive.sink().open(&archive.claim(0, &[])).await.unwrap_err();
    assert!(matches!(&error, SinkError::Unusable(text) if text.contains("is no directory")), "{error:?}");
    let mut below = Archive::new();
    below.settings.path = archive.root.join("below");
    let error = below.sink().open(&below.claim(0, &[])).await.unwrap_err();
    assert!(matches!(error, SinkError::Unusable(_)), "{error:?}");
}

#[tokio::test]
async fn a_damaged_deed_is_unusable_and_a_recorded_path_never_leaves_the_archive() {
    let archive = Archive::new();
    archive.open(0).await;
    let mut file = SinkFile {
        path: "../outside.parquet".to_owned(),
        temporary: "_tmp/x".to_owned(),
        rows: 1,
        bytes: 1,
        sha256: String::new(),
    };
    for _ in 0..2 {
        let error = archive.sink().open(&archive.claim(1, std::slice::from_ref(&file))).await.unwrap_err();
        assert!(matches!(&error, SinkError::Unusable(text) if text.contains("leads out of the archive")), "{error:?}");
        std::mem::swap(&mut file.path, &mut file.temporary);
    }
    std::fs::write(archive.root.join("_archive.json"), "{").unwrap();
    let error = archive.sink().open(&archive.claim(0, &[])).await.unwrap_err();
    assert!(matches!(&error, SinkError::Unusable(text) if text.contains("_archive.json cannot be read")), "{error:?}");
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
    assert!(matches!(&error, SinkError::Failed { context, .. } if context.contains("_tmp/")), "{error:?}");
    let error = sink.write(rows).await.unwrap_err();
    assert!(matches!(error, SinkError::Failed { .. }), "{error:?}");
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
    assert!(matches!(&error, SinkError::Failed { source, .. } if source.to_string().contains("cut off")), "{error:?}");
}

#[tokio::test]
async fn a_sink_is_opened_before_it_is_used() {
    let archive = Archive::new();
    let mut sink = archive.sink();
    for _ in 0..2 {
        let error = sink.write(Arc::new(MessageRows::default())).await.unwrap_err();
        assert!(
            matches!(&error, SinkError::Failed { source, .. } if source.to_string().contains("was not opened")),
            "{error:?}"
        );
    }
    sink.open(&archive.claim(0, &[])).await.unwrap();
    sink.write(Arc::new(MessageRows::default())).await.unwrap();
}

fn manifest(archive: &Archive, files: &[SinkFile]) -> Manifest {
    let files: Vec<ManifestFile> = files
        .iter()
        .map(|file| ManifestFile {
            path: file.path.clone(),
            rows: file.rows,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
        })
        .collect();
    Manifest {
        version: 1,
        sequence: 1,
        job: "nightly".to_owned(),
        run_id: "0192f1d2-0000-7000-8000-000000000000".to_owned(),
        ledger_id: archive.ledger_id.to_string(),
        app_key: "app/key".to_owned(),
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH,
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
        vanished: Vec::new(),
    }
}

#[tokio::test]
async fn a_manifest_is_written_once_and_never_changes() {
    let archive = Archive::new();
    let (mut sink, files) = prepared(&archive, 0).await;
    sink.publish(1, &files).await.unwrap();
    let mut manifest = manifest(&archive, &files);
    for _ in 0..2 {
        sink.seal(&manifest).await.unwrap();
    }
    let path = archive.root.join("_manifests/00000001-0192f1d2-0000-7000-8000-000000000000.json");
    let written: Manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(written, manifest);
    manifest.rows += 1;
    let error = sink.seal(&manifest).await.unwrap_err();
    assert!(matches!(error, SinkError::Failed { .. }), "{error:?}");
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
    assert!(files[0].path.contains(run), "the run that made the last commit");
    let ledger = archive.ledger_id.to_string();
    assert_eq!(deed, json!({"version": 1, "ledger_id": ledger, "job": "nightly", "commit": 1, "run_id": run}));
}

#[tokio::test]
async fn two_processes_never_write_one_archive_at_once() {
    let archive = Archive::new();
    let sink = archive.open(0).await;
    let error = archive.sink().open(&archive.claim(0, &[])).await.unwrap_err();
    assert!(matches!(&error, SinkError::Busy(text) if text.contains("another process")), "{error:?}");
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
    assert!(matches!(&error, SinkError::NotOurs(text) if text.contains("changed hands")), "{error:?}");
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
    assert!(matches!(&error, SinkError::NotOurs(text) if text.contains("adopt nightly")), "{error:?}");
    assert_eq!(archive.tree(), before);
}

#[test]
fn the_documentation_names_every_column() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema.md")).unwrap();
    let (columns, _) = page.split_once("## The Parquet archive").unwrap();
    let named: Vec<&str> = columns
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(name, _)| name)
        .filter(|name| schema::names(true).any(|column| column == *name))
        .collect();
    assert_eq!(named, schema::names(true).collect::<Vec<_>>(), "in order, each once");
}

/// The metadata of the archive's one file.
fn only_file(archive: &Archive) -> Value {
    let files = archive.files();
    let files = files.as_object().unwrap();
    assert_eq!(files.len(), 1);
    files.values().next().unwrap().clone()
}

/// Descriptors that this process holds of files below a directory, scratch files without a name included.
fn descriptors(root: &Path) -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(root) && target != root)
        .count()
}
