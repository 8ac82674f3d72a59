//! Queries on SQLite files.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tempfile::TempDir;
use yunxin_archiver::source::{Begin, Checkpoint, CursorValue, Format, Overlap, Query, Settings, SourceError};

use super::{TIME, of_sqlite, query, rows_of, with_cursor};
use crate::support::refs::{read, read_from, unusable};

async fn database(sql: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.sqlite");
    execute(&path, sql).await;
    (directory, path)
}

pub(super) async fn execute(path: &Path, sql: &str) {
    let mut connection = SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap();
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
    connection.close().await.unwrap();
}

fn sqlite(path: &Path, query: Query) -> Settings {
    of_sqlite(path, query)
}

const REFS: &str =
    "create table refs (id integer primary key, conversation_id text, message_server_id, create_time, at text);";
const ALL: &str = "select * from refs where id > :after order by id";

#[tokio::test]
async fn every_kind_of_value_is_taken_for_what_it_is() {
    let (_directory, path) = database(&format!(
        "{REFS} insert into refs (conversation_id, message_server_id, create_time) values
            ('a|1|b', 9223372036854775807, {TIME}), ('a|1|b', '5', '2025-07-31 08:50:05.248'),
            ('a|1|b', 1.5e17, {TIME}), ('a|1|b', x'35', {TIME}), ('a|1|b', null, {TIME}), (7, 6, {TIME}),
            ('a|1|b', 8, 1753951805.0), ('a|1|b', 9.0, {TIME}.0), ('a|1|b', 9007199254740992.0, {TIME});"
    ))
    .await;
    let found = read(&sqlite(&path, query("select * from refs order by id;"))).await;
    let expected = [i64::MAX, 5, 9].map(|id| format!("a|1|b {id} {TIME}"));
    assert_eq!(found.references, expected);
    let complaints = found.complaints();
    for expected in [
        "query: row 3: message_server_id 1.5e17 is a floating-point number: it may have lost digits beyond 2^53",
        "query: row 4: message_server_id a blob is no integer",
        "query: row 5: message_server_id is null",
        "query: row 6: conversation ID \"7\" is not of the form owner|type|other",
        "query: row 7: create_time 1753951805 is no time in milliseconds",
        "query: row 9: message_server_id 9007199254740992.0 is a floating-point number",
    ] {
        assert!(complaints.contains(expected), "{complaints}");
    }
}

#[tokio::test]
async fn the_next_run_reads_what_is_new_and_the_overlap() {
    let insert = |ids: std::ops::RangeInclusive<i64>| {
        let (first, last) = ids.into_inner();
        format!(
            "with recursive ids(id) as (values ({first}) union all select id + 1 from ids where id < {last})
             insert into refs select id, 'a|1|b', id, {TIME}, null from ids;"
        )
    };
    let (_directory, path) = database(&format!("{REFS}{}", insert(1..=20))).await;
    let settings = sqlite(&path, with_cursor(ALL, "id", Some(Overlap::Number(3))));
    let first = read(&settings).await;
    assert_eq!(first.ids(), (1..=20).collect::<Vec<_>>());
    assert_eq!(first.checkpoint(), Some(Checkpoint::Value(CursorValue::Integer(20))));
    execute(&path, &insert(21..=22)).await;
    let second = read_from(&settings, first.checkpoint()).await;
    assert_eq!(second.ids(), [18, 19, 20, 21, 22]);
    execute(&path, "delete from refs where id > 5").await;
    let third = read_from(&settings, second.checkpoint()).await;
    assert_eq!((third.ids().len(), third.checkpoint()), (0, Some(Checkpoint::Value(CursorValue::Integer(22)))));
    let mut from = settings.clone();
    from.from = Some(Begin::Value("3".to_owned()));
    let fourth = read_from(&from, third.checkpoint()).await;
    assert_eq!((fourth.ids(), fourth.checkpoint()), (vec![4, 5], third.checkpoint()));
}

#[tokio::test]
async fn a_cursor_of_timestamps_as_text_keeps_its_precision() {
    let (_directory, path) = database(&format!(
        "{REFS} insert into refs values
            (1, 'a|1|b', 1, {TIME}, '2025-07-31 08:50:05.248001'), (2, 'a|1|b', 2, {TIME}, '2025-07-31 08:50:05.248002'),
            (3, 'a|1|b', 3, {TIME}, null), (4, 'a|1|b', 4, {TIME}, '9999-12-31 00:00:00.000000');"
    ))
    .await;
    let sql = "select * from refs where at > :after or (:after = 0 and at is null) order by id";
    let settings = sqlite(&path, with_cursor(sql, "at", Some(Overlap::Duration(std::time::Duration::from_micros(1)))));
    let first = read(&settings).await;
    assert_eq!(first.ids(), [1, 2, 3, 4]);
    let reached = CursorValue::Text("2025-07-31 08:50:05.248002".to_owned());
    assert_eq!(first.checkpoint(), Some(Checkpoint::Value(reached)));
    assert_eq!(read_from(&settings, first.checkpoint()).await.ids(), [2, 4]);
}

#[tokio::test]
async fn a_query_that_cannot_be_asked_is_unusable() {
    let (directory, path) = database(REFS).await;
    for (sql, expected) in [
        ("select absent", "no such column: absent"),
        ("selec 1", "syntax error"),
        ("select 1 as x", "query: missing conversation_id"),
        ("insert into refs (id) values (1)", "no query that gives rows"),
        (
            "insert into refs (id) values (1) returning id, '' conversation_id, 1 message_server_id, 1 create_time",
            "only read",
        ),
        ("select id as message_server_id, * from refs", "more than one column \"message_server_id\""),
    ] {
        let message = unusable(&sqlite(&path, query(sql))).await;
        assert!(message.contains(expected), "{message}");
    }
    let no_column =
        with_cursor("select conversation_id, message_server_id, create_time from refs where id > :after", "id", None);
    assert!(unusable(&sqlite(&path, no_column)).await.contains("the cursor's column \"id\" is not among its columns"));
    // One of the two would be compared, and the other remembered.
    let two = with_cursor("select 9 as id, refs.* from refs where id > :after", "ID", None);
    assert!(unusable(&sqlite(&path, two)).await.contains("more than one column \"ID\""));
    let missing = directory.path().join("none.sqlite");
    assert!(unusable(&sqlite(&missing, query("select 1"))).await.ends_with("there is no such file"));
    assert!(!missing.exists());
    std::fs::write(&missing, "this is no database at all, just text".repeat(100)).unwrap();
    assert!(unusable(&sqlite(&missing, query("select 1"))).await.contains("is no SQLite file"));
    let mut settings = sqlite(&path, query("select * from refs"));
    settings.from = Some(Begin::Value("5".to_owned()));
    assert!(unusable(&settings).await.contains("the query has no cursor"));
    let mut duration = with_cursor(ALL, "id", Some(Overlap::Duration(std::time::Duration::from_secs(1))));
    duration.cursor.as_mut().unwrap().start = Some("5".to_owned());
    let checkpoint = Some(Checkpoint::Value(CursorValue::Integer(5)));
    let Err(SourceError::Unusable(message)) = read_from(&sqlite(&path, duration), checkpoint).await.ended else {
        panic!()
    };
    assert!(message.contains("its overlap is a number"));
}

#[tokio::test]
async fn a_limit_that_ends_within_the_overlap_is_refused_where_it_hides_new_rows() {
    let rows: Vec<String> = (1..=30).map(|id| format!("('a|1|b', {id}, {TIME})")).collect();
    let (_directory, path) = database(&format!(
        "{REFS} insert into refs (conversation_id, message_server_id, create_time) values {}",
        rows.join(", ")
    ))
    .await;
    let limited = |limit: u64| with_cursor(&format!("{ALL} limit {limit}"), "id", Some(Overlap::Number(10)));
    let first = read(&sqlite(&path, limited(8))).await;
    assert_eq!(first.ids(), (1..=8).collect::<Vec<_>>());
    let stuck = read_from(&sqlite(&path, limited(8)), first.checkpoint()).await;
    let Err(SourceError::Unusable(message)) = stuck.ended else { panic!() };
    assert!(message.contains("its limit of 8 rows"), "{message}");
    let mut checkpoint = None;
    for reached in [12, 14, 16] {
        let night = read_from(&sqlite(&path, limited(12)), checkpoint).await;
        assert_eq!(night.ids().last(), Some(&reached));
        checkpoint = night.checkpoint();
    }
    // A quiet night stays below the limit.
    let all = read(&sqlite(&path, limited(100))).await;
    assert_eq!(read_from(&sqlite(&path, limited(100)), all.checkpoint()).await.ids().len(), 10);
}

#[tokio::test]
async fn copy_events_are_read_from_columns_or_json() {
    let event = r#"{"eventType":"1","convType":"PERSON","fromAccount":"a","to":"b","msgidServer":"5","msgTimestamp":"1753951805248"}"#;
    let (_directory, path) =
        database(&format!("create table events (id integer, event text); insert into events values (1, '{event}')"))
            .await;
    let mut settings = sqlite(&path, query("select * from events"));
    rows_of(&mut settings).format = Format::CopyEvent;
    assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {TIME}")]);
    let sql =
        "select event ->> 'convType' as conv_type, event ->> 'fromAccount' as from_account, event ->> 'to' as \"to\",
        event ->> 'msgidServer' as msgid_server, event ->> 'msgTimestamp' as msg_timestamp from events";
    let mut settings = sqlite(&path, query(sql));
    rows_of(&mut settings).format = Format::CopyEvent;
    assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {TIME}")]);
}

#[tokio::test]
async fn a_parameter_that_nothing_is_bound_to_is_no_null() {
    let (_directory, path) = database(&format!("{REFS} insert into refs values (1, 'a|1|b', 1, {TIME}, null)")).await;
    for condition in ["id > ?", "id > ?2", "id > @x", "id > $x", "id > :before"] {
        let message = unusable(&sqlite(&path, query(&format!("select * from refs where {condition}")))).await;
        assert!(message.contains("a parameter other than :after"), "{message}");
        let both = format!("select * from refs where id > :after and {condition}");
        let message = unusable(&sqlite(&path, with_cursor(&both, "id", None))).await;
        assert!(message.contains("a parameter other than :after"), "{message}");
    }
}

#[tokio::test]
async fn quotes_are_read_as_sqlite_reads_them() {
    let (_directory, path) = database(&format!(
        "{REFS} insert into refs values (5, 'a|1|b', 5, {TIME}, '\\');
         alter table refs add \"it's :after\" integer default 0; alter table refs add [x :after] integer default 0"
    ))
    .await;
    for condition in [
        "'\\' <> ':after' and id > :after",
        "[x :after] = 0 and `it's :after` = 0 and \"it's :after\" = 0 and id > :after -- it's :after",
        "/* /* ' :after */ id > :after and '{\"k\": 1}' ->> '$.k' = 1 and x'35' <> ''",
    ] {
        let sql = format!("select * from refs where {condition}");
        assert_eq!(read(&sqlite(&path, with_cursor(&sql, "id", None))).await.ids(), [5], "{condition}");
    }
}

#[tokio::test]
async fn a_cursor_is_one_kind_of_value_whose_order_is_known() {
    for (values, column, expected) in [
        ("('AbQ01I'), ('Aa101F')", "k", "holds the text"),
        ("('9'), ('10')", "k", "holds the text"),
        ("(5), ('2025-07-31 08:50:05')", "k", "holds both"),
        ("('2025-07-31T08:50:05Z'), ('2025-08-01 08:50:05')", "k", "holds both"),
        ("(x'35')", "k", "holds a blob"),
        ("(1.5)", "k", "holds 1.5"),
    ] {
        let (_directory, path) = database(&format!("create table keyed (k); insert into keyed values {values}")).await;
        let sql = format!(
            "select 'a|1|b' as conversation_id, 5 as message_server_id, {TIME} as create_time, k from keyed where k > :after"
        );
        let found = read(&sqlite(&path, with_cursor(&sql, column, None))).await;
        // The rows before the wrong one are handed over, and no cursor is remembered.
        assert_eq!(found.references.len(), usize::from(expected == "holds both"), "{values}");
        let Err(SourceError::Unusable(message)) = found.ended else { panic!("{values}") };
        assert!(message.contains(expected), "{message}");
    }
    let (_directory, path) = database("create table keyed (k real); insert into keyed values (5), (7)").await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, k as message_server_id, {TIME} as create_time, k from keyed where k > :after"
    );
    let found = read(&sqlite(&path, with_cursor(&sql, "k", None))).await;
    assert_eq!((found.ids(), found.checkpoint()), (vec![5, 7], Some(Checkpoint::Value(CursorValue::Integer(7)))));
}
