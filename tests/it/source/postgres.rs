//! Queries on Postgres.

use std::time::Duration;

use jiff::tz::TimeZone;
use yunxin_archiver::source::{
    Begin, Checkpoint, CursorValue, Format, Overlap, Query, Settings, SourceError, open, sample,
};

use super::{TIME, of_postgres, query, rows_of, with_cursor};
use crate::support::postgres::{self, PgUrl};
use crate::support::refs::{drain, read, read_from, unusable};

fn source(url: &PgUrl, query: Query) -> Settings {
    of_postgres(url.url(), query)
}

/// A query of one row with this ID and time.
fn one(id: &str, time: &str) -> Query {
    query(&format!("select 'a|1|b' as conversation_id, {id} as message_server_id, {time} as create_time"))
}

#[tokio::test]
async fn every_type_is_taken_for_what_it_is() {
    let url = postgres::database().await;
    url.execute("create type label as enum ('5'); create domain big as bigint").await;
    let time = TIME.to_string();
    for (id, expected) in [
        ("5::int2", 5),
        ("5::int4", 5),
        ("9223372036854775807::int8", i64::MAX),
        ("5::big", 5),
        ("158844553334358018::numeric", 158_844_553_334_358_018),
        ("9223372036854775807.000::numeric(30,3)", i64::MAX),
        ("158844553334358018::numeric(38,18)", 158_844_553_334_358_018),
        ("10000::numeric", 10_000),
        ("'5'::text", 5),
        ("'5'::varchar(9)", 5),
        ("' 5 '::char(9)", 5),
        ("'5'::name", 5),
        ("'5'::label", 5),
        ("'5'", 5),
    ] {
        assert_eq!(read(&source(&url, one(id, &time))).await.clean(), [format!("a|1|b {expected} {TIME}")], "{id}");
    }
    for (id, expected) in [
        ("1.5::numeric", "1.5 is no integer"),
        ("5.000000000000000001::numeric(38,18)", "5.000000000000000001 is no integer"),
        ("'NaN'::numeric", "not a number is no integer"),
        ("9223372036854775808::numeric", "9223372036854775808 is above 2^63 - 1"),
        ("1e30::numeric", "is no integer"),
        ("1e60::numeric", "a number of too many digits is no integer"),
        ("5::float4", "5.0 is a floating-point number"),
        ("1.5e17::float8", "1.5e17 is a floating-point number: it may have lost digits beyond 2^53"),
        ("null::int8", "is null"),
        ("''", "is empty"),
        ("0", "0 is not positive"),
        ("now()", "is no integer"),
    ] {
        let found = read(&source(&url, one(id, &time))).await;
        let complaints = found.complaints();
        assert!(
            complaints.starts_with("query: row 1: message_server_id ") && complaints.contains(expected),
            "{id}: {complaints}"
        );
        found.ended.unwrap();
    }
    for (id, name) in
        [("'\\x35'::bytea", "BYTEA"), ("true", "BOOL"), ("array[5]", "INT4[]"), ("'1 s'::interval", "INTERVAL")]
    {
        let message = unusable(&source(&url, one(id, &time))).await;
        assert!(
            message.contains(&format!("column \"message_server_id\" is of type {name}, which a field cannot be")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn every_form_of_time_is_read() {
    let url = postgres::database().await;
    for time in [
        "1753951805248",
        "1753951805248::numeric",
        "'1753951805248'::text",
        "'2025-07-31 16:50:05.248999'::timestamp",
        "'2025-07-31 08:50:05.248999Z'::timestamptz",
        "'2025-07-31 08:50:05.248Z'::timestamptz::text",
        "'2025-07-31 16:50:05.248'",
    ] {
        let mut settings = source(&url, one("5", time));
        rows_of(&mut settings).timezone = TimeZone::get("Asia/Shanghai").unwrap();
        assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {TIME}")], "{time}");
    }
    let mut settings = source(&url, one("5", "extract(epoch from '2025-07-31 08:50:05.248Z'::timestamptz)"));
    rows_of(&mut settings).time_unit = yunxin_archiver::source::TimeUnit::Seconds;
    assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {TIME}")]);
    for (time, expected) in [
        ("'2025-07-31'::date", "2025-07-31 is a date without a time of day"),
        ("'infinity'::timestamptz", "is infinity"),
        ("'1960-01-01'::timestamptz", "is before 2010"),
        ("1753951805", "`time_unit: s`"),
        ("null::timestamp", "is null"),
        ("1753951805248::float8", "floating-point"),
    ] {
        let complaints = read(&source(&url, one("5", time))).await.complaints();
        assert!(complaints.contains(expected), "{complaints}");
    }
}

#[tokio::test]
async fn a_cursor_runs_on_columns_of_every_type_that_has_an_order() {
    let url = postgres::database().await;
    url.execute(
        "create table refs (n int, i2 int2, i4 int4, i8 int8, num numeric(20,0), ts timestamp, tz timestamptz, d date);
         insert into refs select n, n, n, n, n, '2025-01-01'::timestamp + n * '36 hours'::interval + '1 microsecond'::interval,
            '2025-01-01Z'::timestamptz + n * '36 hours'::interval + '1 microsecond'::interval, '2025-01-01'::date + n * 2
            from generate_series(1, 20) n",
    )
    .await;
    for (column, overlap) in [
        ("i2", Some(Overlap::Number(2))),
        ("i4", Some(Overlap::Number(2))),
        ("i8", Some(Overlap::Number(2))),
        ("num", Some(Overlap::Number(2))),
        ("ts", Some(Overlap::Duration(Duration::from_hours(72)))),
        ("tz", Some(Overlap::Duration(Duration::from_hours(72)))),
        ("d", Some(Overlap::Duration(Duration::from_hours(96)))),
    ] {
        let sql = format!(
            "select 'a|1|b' as conversation_id, n as message_server_id, {TIME} as create_time, {column} from refs
             where {column} > :after and n <= (select current_setting('x.limit')::int) and {column} >= :after -- :after
             order by n"
        );
        let settings = |limit: i32| {
            let sql = sql.replace("(select current_setting('x.limit')::int)", &limit.to_string());
            source(&url, with_cursor(&sql, column, overlap))
        };
        let first = read(&settings(10)).await;
        assert_eq!(first.ids(), (1..=10).collect::<Vec<_>>(), "{column}");
        let second = read_from(&settings(12), first.checkpoint()).await;
        assert_eq!(second.ids(), [9, 10, 11, 12], "{column}");
        let mut from_start = settings(12);
        from_start.from = Some(Begin::Start);
        assert_eq!(read_from(&from_start, second.checkpoint()).await.ids().len(), 12, "{column}");
    }
}

#[tokio::test]
async fn a_cursor_of_microseconds_loses_none_of_them() {
    let url = postgres::database().await;
    url.execute("create table refs (n int, at timestamptz, local timestamp); insert into refs values (1, '2025-07-31 08:50:05.248001Z', '2025-07-31 08:50:05.248001'), (2, '2025-07-31 08:50:05.248002Z', '2025-07-31 08:50:05.248002')")
        .await;
    for (column, zoned) in [("at", true), ("local", false)] {
        let sql = format!(
            "select 'a|1|b' as conversation_id, n as message_server_id, {TIME} as create_time, {column} from refs where {column} > :after order by n"
        );
        let settings = source(&url, with_cursor(&sql, column, Some(Overlap::Duration(Duration::ZERO))));
        let first = read(&settings).await;
        let micros = 1_753_951_805_248_002;
        assert_eq!(first.checkpoint(), Some(Checkpoint::Value(CursorValue::Timestamp { micros, zoned })));
        assert_eq!(read_from(&settings, first.checkpoint()).await.ids(), [0_i64; 0]);
        let one_less = Some(Checkpoint::Value(CursorValue::Timestamp { micros: micros - 1, zoned }));
        assert_eq!(read_from(&settings, one_less).await.ids(), [2]);
    }
}

#[tokio::test]
async fn null_and_the_future_never_move_the_cursor_and_late_rows_are_found() {
    let url = postgres::database().await;
    url.execute(
        "create table refs (n int, at timestamptz);
         insert into refs values (1, now() - '2 days'::interval), (2, now() - '1 hour'::interval), (3, now() + '1 year'::interval), (4, null), (5, 'infinity')",
    )
    .await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, n as message_server_id, {TIME} as create_time, at from refs where at > :after or at is null order by n"
    );
    let settings = source(&url, with_cursor(&sql, "at", None));
    let first = read(&settings).await;
    assert_eq!(first.ids(), [1, 2, 3, 4, 5]);
    // A row that was committed late has a time before the cursor.
    url.execute("insert into refs values (6, now() - '5 hours'::interval)").await;
    let second = read_from(&settings, first.checkpoint()).await;
    assert_eq!(second.ids(), [2, 3, 4, 5, 6]);
    assert_eq!(second.checkpoint(), first.checkpoint());
}

#[tokio::test]
async fn a_placeholder_whose_type_only_its_column_tells_can_be_computed_with() {
    let url = postgres::database().await;
    url.execute("create table refs (n int, at timestamptz); insert into refs values (1, '2025-07-31 08:50:05Z')").await;
    for condition in ["at > :after - interval '1 hour'", "at > :after::timestamptz", "at > coalesce(:after, now())"] {
        let sql = format!(
            "select 'a|1|b' as conversation_id, n as message_server_id, {TIME} as create_time, at from refs where {condition}"
        );
        assert_eq!(read(&source(&url, with_cursor(&sql, "at", None))).await.ids(), [1], "{condition}");
    }
}

#[tokio::test]
async fn copy_events_are_read_from_columns_or_json() {
    let url = postgres::database().await;
    let event = r#"{"eventType":"1","convType":"PERSON","fromAccount":"a","to":"b","msgidServer":"5","msgTimestamp":"1753951805248"}"#;
    for kind in ["json", "jsonb", "text"] {
        let mut settings = source(&url, query(&format!("select 1 as id, '{event}'::{kind} as payload")));
        rows_of(&mut settings).format = Format::CopyEvent;
        assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {TIME}")], "{kind}");
    }
    let sql = format!(
        "select 1::int8 as event_type, 'TEAM' as conv_type, 'a' as from_account, 99::int8 as to, 5 as msgid_server, {TIME} as msg_timestamp"
    );
    let mut settings = source(&url, query(&sql));
    rows_of(&mut settings).format = Format::CopyEvent;
    assert_eq!(read(&settings).await.clean(), [format!("a|2|99 5 {TIME}")]);
}

#[tokio::test]
async fn many_rows_are_read_without_waiting_for_their_reader() {
    let url = postgres::database().await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, n as message_server_id, {TIME} as create_time from generate_series(1, 50000) n"
    );
    let mut source = open(source(&url, query(&sql)), None).await.unwrap();
    let first = source.next().await.unwrap().unwrap();
    assert_eq!(first.len(), 8192);
    let rest = drain(source.as_mut()).await;
    assert_eq!(rest.ids(), (8193..=50_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_server_refuses_is_told_apart_and_the_password_never_told() {
    let url = postgres::database().await;
    url.execute(
        "create table refs (id int); create role clerk login password 'hunter2-clerk'; grant connect on database postgres to clerk",
    )
    .await;
    let refused = |url: String, sql: &str| {
        let settings = of_postgres(url, query(sql));
        assert!(!format!("{settings:?}").contains("hunter2"));
        async move {
            let error = read(&settings).await.ended.unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
            error
        }
    };
    let refs = "select 'a|1|b' as conversation_id, id as message_server_id, 5 as create_time from refs";
    let denied = |error: SourceError| matches!(error, SourceError::Denied(_));
    assert!(denied(refused(url.url_as("postgres", "hunter2-wrong"), "select 1").await));
    assert!(denied(refused(url.url_as("nobody", "hunter2-wrong"), "select 1").await));
    assert!(denied(refused(url.url_as("clerk", "hunter2-clerk"), refs).await));
    for (sql, expected) in [
        ("select * from nowhere", "relation \"nowhere\" does not exist"),
        ("select nothing from refs", "column \"nothing\" does not exist"),
        ("selec 1", "syntax error"),
        ("select * from refs; select 1", "more than one statement"),
        ("delete from refs", "no query that gives rows"),
        ("select 1 as x where $1", "a `$1` in it is no parameter"),
    ] {
        let error = refused(url.url(), sql).await;
        let SourceError::Unusable(message) = error else { panic!("{sql}: {error:?}") };
        assert!(message.contains(expected), "{message}");
    }
    let writing = "with gone as (delete from refs returning 1) select 'a|1|b' as conversation_id, 5 as message_server_id, 5 as create_time";
    let SourceError::Unusable(message) = refused(url.url(), writing).await else { panic!() };
    assert!(message.contains("it must only read"), "{message}");
    let nowhere = url.url().replace(url.database(), "nowhere");
    assert!(matches!(refused(nowhere, "select 1").await, SourceError::Unusable(_)));
    assert!(matches!(refused("postgres://u:hunter2@h:x/".to_owned(), "select 1").await, SourceError::Unusable(_)));
    let unheard = "postgres://u:hunter2@127.0.0.1:1/x".to_owned();
    assert!(matches!(refused(unheard, "select 1").await, SourceError::Failed { .. }));
}

#[tokio::test]
async fn an_error_in_the_middle_comes_after_the_rows_before_it() {
    let url = postgres::database().await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, n + 0 * 1 / (20000 - n) as message_server_id, {TIME} as create_time from generate_series(1, 30000) n"
    );
    let found = read(&source(&url, query(&sql))).await;
    assert!(found.references.len() > 8192 && found.references.len() < 20_000, "{}", found.references.len());
    let Err(SourceError::Failed { source, .. }) = found.ended else { panic!() };
    assert!(source.to_string().contains("division by zero"));
}

#[tokio::test]
async fn a_sample_of_a_query_shows_its_first_rows() {
    let url = postgres::database().await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, n as message_server_id, {TIME} as create_time from generate_series(1, 5000000) n"
    );
    let found = sample(source(&url, query(&sql)), 3).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[2].position, "query: row 3");
    assert_eq!(found[2].raw[1], ("message_server_id".to_owned(), "3".to_owned()));
}

#[test]
fn a_cluster_survives_its_crash() {
    let mut cluster = postgres::Cluster::start(postgres::Fsync::On);
    cluster.crash();
    assert!(cluster.resume());
}
