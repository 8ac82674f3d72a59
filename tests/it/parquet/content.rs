//! What is in a file: columns, types, encodings, compression.

use yunxin_archiver::archive::postgres::type_name;
use yunxin_archiver::model::columns::Habit;
use yunxin_archiver::model::{Column, ColumnType};

use super::*;

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
    rows.rows_mut().last_mut().unwrap().text[TextColumn::Text as usize] = yunxin_archiver::model::message::Span::NULL;
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
    let run_id = &files[0].file.path.split("part-").nth(1).unwrap()[..36];

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
    let promised = Column::all(false).iter().map(|column| {
        let kind = match column.kind {
            ColumnType::Text | ColumnType::Account | ColumnType::Receiver | ColumnType::Json => "string",
            ColumnType::TextList => "list<element: string>",
            ColumnType::Int64 => "int64",
            ColumnType::Int32 => "int32",
            ColumnType::Time => "timestamp[ms, tz=UTC]",
            ColumnType::Boolean => "bool",
        };
        format!("{}: {kind}{}", column.name, if column.nullable { "" } else { "!" })
    });
    assert_eq!(schema, promised.collect::<Vec<_>>());
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
    let few: Vec<&str> =
        Column::all(false).iter().filter(|column| column.habit == Habit::Few).map(|column| column.name).collect();
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
        (Compression::Gzip, "GZIP"),
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
    assert_eq!(texts, ["text"; 4]);
}

/// The table of columns in docs/schema.md follows the model; with `UPDATE_DOCS=1` the test rewrites it.
#[test]
fn the_documentation_has_the_table_of_columns() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let head = "| column | Parquet | Postgres | meaning |\n|---|---|---|---|\n";
    let (before, rest) = page.split_once(head).unwrap();
    let (table, after) = rest.split_once("\n\n").unwrap();
    let right: Vec<String> = Column::all(true)
        .iter()
        .map(|column| {
            let never_null = if column.nullable { "" } else { " !" };
            let parquet = schema::type_name(column.kind).replace('<', "&lt;").replace('>', "&gt;");
            let postgres = type_name(column.kind).replace("timestamp with time zone", "timestamptz");
            let meaning = column.description.replace('|', "\\|");
            format!("| `{}` | {parquet}{never_null} | {postgres}{never_null} | {meaning} |", column.name)
        })
        .collect();
    let right = right.join("\n");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{head}{right}\n\n{after}")).unwrap();
    } else {
        assert_eq!(table, right, "docs/schema.md is not what UPDATE_DOCS=1 makes of it");
    }
}
