//! What was written is what is read.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use sqlx::Row as _;

use super::*;
use crate::support::postgres::database;

const TEXTS: [(TextColumn, &str); 14] = [
    (TextColumn::ConversationKey, "conversation_key"),
    (TextColumn::ConversationId, "conversation_id"),
    (TextColumn::MessageClientId, "message_client_id"),
    (TextColumn::SenderId, "sender_id"),
    (TextColumn::ReceiverId, "receiver_id"),
    (TextColumn::Text, "text"),
    (TextColumn::Extension, "extension"),
    (TextColumn::ModifyAccountId, "modify_account_id"),
    (TextColumn::ThreadRootSenderId, "thread_root_sender_id"),
    (TextColumn::ThreadRootMessageClientId, "thread_root_message_client_id"),
    (TextColumn::ThreadReplySenderId, "thread_reply_sender_id"),
    (TextColumn::ThreadReplyReceiverId, "thread_reply_receiver_id"),
    (TextColumn::ThreadReplyMessageClientId, "thread_reply_message_client_id"),
    (TextColumn::Raw, "raw"),
];

#[derive(Debug, Clone)]
struct Sample {
    integers: [Option<i64>; 3],
    small: [Option<i32>; 3],
    times: [Option<i64>; 3],
    flags: [Option<bool>; 2],
    create_time: i64,
    texts: Vec<Option<String>>,
    json: [Option<Value>; 2],
    receivers: Option<Vec<String>>,
}

fn text() -> impl Strategy<Value = String> {
    let special =
        prop::sample::select(vec!['\0', '\u{1}', '"', '\\', '\'', '\t', '\n', '\u{fffd}', '😀', '中', '\u{ffff}']);
    prop::collection::vec(prop_oneof![3 => any::<char>(), 2 => special], 0..24)
        .prop_map(|chars| chars.into_iter().collect())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![any::<i64>(), Just(i64::MAX), Just(i64::MIN)].prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    let integer = prop_oneof![any::<i64>(), Just(i64::MAX), Just(i64::MIN)];
    // From 4713 BC to AD 294276.
    let time = prop_oneof![-210_866_803_200_000..9_224_318_016_000_000_i64, NOON..NOON + 1000];
    (
        prop::array::uniform3(prop::option::of(integer)),
        prop::array::uniform3(prop::option::of(any::<i32>())),
        prop::array::uniform3(prop::option::of(time.clone())),
        prop::array::uniform2(prop::option::of(any::<bool>())),
        time,
        prop::collection::vec(prop::option::of(text()), TEXTS.len()),
        prop::array::uniform2(prop::option::of(json())),
        prop::option::of(prop::collection::vec(text(), 0..4)),
    )
        .prop_map(|(integers, small, times, flags, create_time, texts, json, receivers)| Sample {
            integers,
            small,
            times,
            flags,
            create_time,
            texts,
            json,
            receivers,
        })
}

fn held(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn held_json(value: &Value) -> Value {
    match value {
        Value::String(text) => held(text).into(),
        Value::Array(items) => items.iter().map(held_json).collect(),
        Value::Object(members) => members.iter().map(|(key, value)| (held(key), held_json(value))).collect(),
        other => other.clone(),
    }
}

fn add(rows: &mut MessageRows, id: i64, sample: &Sample) {
    let mut row = Row::new(id, sample.create_time, 2, NOON);
    [row.team_id, row.thread_root_message_server_id, row.thread_reply_message_server_id] = sample.integers;
    [row.message_type, row.sub_type, row.sender_client_type] = sample.small;
    [row.modify_time, row.thread_root_create_time, row.thread_reply_create_time] = sample.times;
    [row.inclusive, row.new_member_visible] = sample.flags;
    row.requested = id % 2 == 0;
    for ((column, _), text) in TEXTS.iter().zip(&sample.texts) {
        if let Some(text) = text {
            row.text[*column as usize] = rows.intern(text);
        }
    }
    for (column, value) in [TextColumn::Attachment, TextColumn::Extra].into_iter().zip(&sample.json) {
        if let Some(value) = value {
            row.text[column as usize] = rows.intern(&value.to_string());
        }
    }
    if let Some(receivers) = &sample.receivers {
        row.text[TextColumn::ReceiverAccountIds as usize] = rows.intern(&serde_json::to_string(receivers).unwrap());
    }
    rows.push(row);
}

#[tokio::test]
async fn any_message_is_read_back_exactly() {
    let database = database().await;
    let mut settings = settings(&database.url());
    settings.sink.raw = true;
    let mut sink = writer(settings, stamp());
    sink.open(&claim(0, None)).await.unwrap();
    let mut runner = TestRunner::deterministic();
    let samples: Vec<Sample> = (0..400).map(|_| sample().new_tree(&mut runner).unwrap().current()).collect();
    let mut rows = MessageRows::default();
    for (id, sample) in samples.iter().enumerate() {
        add(&mut rows, id as i64, sample);
    }
    // The other way of writing, too: half of them are there already, in an earlier version.
    committed(&mut sink, 1, messages((0..400).step_by(2))).await;
    database.execute("update messages set modify_time = '-infinity', revision = -1").await;
    let timed: Vec<i64> =
        samples.iter().enumerate().filter(|(_, s)| s.times[0].is_none()).map(|(id, _)| id as i64).collect();
    let mut connection = database.connect().await;
    sqlx::query("delete from messages where message_server_id = any ($1)")
        .bind(&timed)
        .execute(&mut connection)
        .await
        .unwrap();
    committed(&mut sink, 2, Arc::new(rows)).await;

    let found = sqlx::query(
        "select *, attachment::text as attachment_text, extra::text as extra_text, \
            (extract(epoch from create_time) * 1000)::bigint as created, \
            (extract(epoch from modify_time) * 1000)::bigint as modified, \
            (extract(epoch from thread_root_create_time) * 1000)::bigint as root_created, \
            (extract(epoch from thread_reply_create_time) * 1000)::bigint as reply_created, \
            (extract(epoch from fetched_at) * 1000)::bigint as fetched \
         from messages order by message_server_id",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(found.len(), samples.len());
    for (found, sample) in found.iter().zip(&samples) {
        let id: i64 = found.get("message_server_id");
        assert_eq!(found.get::<String, _>("app_key"), "app");
        assert_eq!(found.get::<String, _>("run_id"), RUN.to_string());
        assert_eq!(found.get::<i32, _>("conversation_type"), 2);
        assert_eq!(found.get::<i32, _>("revision"), 0);
        assert_eq!(found.get::<i64, _>("fetched"), NOON);
        assert_eq!(found.get::<bool, _>("requested"), id % 2 == 0 || found.get::<bool, _>("requested"));
        assert_eq!(found.get::<i64, _>("created"), sample.create_time);
        for (column, value) in ["team_id", "thread_root_message_server_id", "thread_reply_message_server_id"]
            .into_iter()
            .zip(sample.integers)
        {
            assert_eq!(found.get::<Option<i64>, _>(column), value, "{id} {column}");
        }
        for (column, value) in ["message_type", "sub_type", "sender_client_type"].into_iter().zip(sample.small) {
            assert_eq!(found.get::<Option<i32>, _>(column), value, "{id} {column}");
        }
        for (column, value) in ["modified", "root_created", "reply_created"].into_iter().zip(sample.times) {
            assert_eq!(found.get::<Option<i64>, _>(column), value, "{id} {column}");
        }
        for (column, value) in ["inclusive", "new_member_visible"].into_iter().zip(sample.flags) {
            assert_eq!(found.get::<Option<bool>, _>(column), value, "{id} {column}");
        }
        let mut substituted = false;
        for ((column, name), text) in TEXTS.into_iter().zip(&sample.texts) {
            let never_null = matches!(column, TextColumn::ConversationKey | TextColumn::ConversationId);
            let expected = text.as_deref().map(held).or(never_null.then(String::new));
            assert_eq!(found.get::<Option<String>, _>(name), expected, "{id} {name}");
            substituted |= text.as_ref().is_some_and(|text| text.contains('\0'));
        }
        for (column, value) in ["attachment_text", "extra_text"].into_iter().zip(&sample.json) {
            let read = found.get::<Option<String>, _>(column).map(|text| serde_json::from_str::<Value>(&text).unwrap());
            assert_eq!(read, value.as_ref().map(held_json), "{id} {column}");
            substituted |= value.as_ref().is_some_and(|value| held_json(value) != *value);
        }
        let receivers = sample.receivers.as_ref();
        let expected = receivers.map(|list| list.iter().map(|text| held(text)).collect::<Vec<_>>());
        assert_eq!(found.get::<Option<Vec<String>>, _>("receiver_account_ids"), expected);
        substituted |= receivers.is_some_and(|list| list.iter().any(|text| text.contains('\0')));
        assert_eq!(found.get::<bool, _>("substituted"), substituted, "{id}");
    }
}

#[tokio::test]
async fn what_postgres_would_refuse_never_fails_a_commit() {
    let database = database().await;
    let mut sink = open(&database).await;
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let attachments = [
        (r#"{"a":"\u0000"}"#.to_owned(), "{\"a\": \"\u{fffd}\"}".to_owned()),
        (
            r#"{"a":"\ud83d","b":"\ude00\ud83d\ude00"}"#.to_owned(),
            "{\"a\": \"\u{fffd}\", \"b\": \"\u{fffd}😀\"}".to_owned(),
        ),
        (r#"{"a":1e400000}"#.to_owned(), r#"{"a": "1e400000"}"#.to_owned()),
        ("{\"a\":".to_owned(), r#""{\"a\":""#.to_owned()),
        (nested(100_000), format!("\"{}\"", nested(100_000))),
    ];
    let mut rows = MessageRows::default();
    for (id, (attachment, _)) in attachments.iter().enumerate() {
        push(&mut rows, Row::new(id as i64, NOON, 1, NOON), "text");
        let span = rows.intern(attachment);
        rows.rows_mut()[id].text[TextColumn::Attachment as usize] = span;
    }
    committed(&mut sink, 1, Arc::new(rows)).await;
    let mut connection = database.connect().await;
    let found: Vec<(String, bool)> =
        sqlx::query_as("select attachment::text, substituted from messages order by message_server_id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let expected: Vec<(String, bool)> = attachments.into_iter().map(|(_, expected)| (expected, true)).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn deep_json_stays_json() {
    let database = database().await;
    let mut sink = open(&database).await;
    let nested = format!("{}1{}", "[".repeat(512), "]".repeat(512));
    let mut rows = MessageRows::default();
    push(&mut rows, Row::new(1, NOON, 1, NOON), "text");
    let span = rows.intern(&nested);
    rows.rows_mut()[0].text[TextColumn::Attachment as usize] = span;
    committed(&mut sink, 1, Arc::new(rows)).await;
    let mut connection = database.connect().await;
    assert_eq!(scalar::<String>(&mut connection, "select attachment::text from messages").await, nested);
}

#[tokio::test]
async fn times_beyond_all_calendars_are_kept_in_extra() {
    let database = database().await;
    let mut sink = open(&database).await;
    let mut rows = MessageRows::default();
    for (id, time) in [i64::MAX, i64::MIN, 9_224_318_016_000_000, 9_224_318_015_999_999].into_iter().enumerate() {
        push(&mut rows, Row { modify_time: Some(time), ..Row::new(id as i64, time, 1, NOON) }, "text");
    }
    committed(&mut sink, 1, Arc::new(rows)).await;
    let mut connection = database.connect().await;
    let found: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
        "select create_time::text, modify_time::text, extra::text from messages order by message_server_id",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let last = "294276-12-31 23:59:59.999+00";
    let kept = |time: i64| Some(format!("{{\"create_time\": {time}, \"modify_time\": {time}}}"));
    let expected = [
        (last.to_owned(), None, kept(i64::MAX)),
        ("4714-11-24 00:00:00+00 BC".to_owned(), None, kept(i64::MIN)),
        (last.to_owned(), None, kept(9_224_318_016_000_000)),
        (last.to_owned(), Some(last.to_owned()), None),
    ];
    assert_eq!(found, expected);
}
