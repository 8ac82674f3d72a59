//! Queries on MariaDB, by MySQL's protocol.

use std::time::Duration;

use jiff::tz::TimeZone;
use yunxin_archiver::source::{Checkpoint, CursorValue, Format, Overlap, Query, Settings, SourceError};

use super::{TIME, of_mysql, query, rows_of, with_cursor};
use crate::support::mariadb::{self, MariaUrl};
use crate::support::refs::{read, read_from, unusable};

fn source(url: &MariaUrl, query: Query) -> Settings {
    of_mysql(url.url(), query)
}

/// A table of one column with one value.
async fn column(url: &MariaUrl, kind: &str, value: &str) {
    url.execute(&format!("drop table if exists x; create table x (x {kind}); insert into x values ({value})")).await;
}

fn with_id() -> Query {
    query(&format!("select 'a|1|b' as conversation_id, x as message_server_id, {TIME} as create_time from x"))
}

fn with_time() -> Query {
    query("select 'a|1|b' as conversation_id, 5 as message_server_id, x as create_time from x")
}

#[tokio::test]
async fn every_type_is_taken_for_what_it_is() {
    let url = mariadb::database().await;
    for (kind, value, expected) in [
        ("tinyint", "5", 5),
        ("tinyint(1)", "1", 1),
        ("tinyint unsigned", "255", 255),
        ("smallint unsigned", "65535", 65_535),
        ("mediumint", "-1 + 6", 5),
        ("mediumint unsigned", "16777215", 16_777_215),
        ("int unsigned", "4294967295", 4_294_967_295),
        ("bigint", "9223372036854775807", i64::MAX),
        ("bigint unsigned", "9223372036854775807", i64::MAX),
        ("decimal(30,0)", "158844553334358018", 158_844_553_334_358_018),
        ("decimal(30,3)", "9223372036854775807", i64::MAX),
        ("decimal(38,18)", "158844553334358018", 158_844_553_334_358_018),
        ("varchar(20)", "'5'", 5),
        ("varchar(20) collate utf8mb4_bin", "'5'", 5),
        ("char(20)", "'5'", 5),
        ("text", "'5'", 5),
        ("varbinary(20)", "'5'", 5),
        ("enum('4', '5')", "'5'", 5),
    ] {
        column(&url, kind, value).await;
        assert_eq!(read(&source(&url, with_id())).await.clean(), [format!("a|1|b {expected} {TIME}")], "{kind}");
    }
    for (kind, value, expected) in [
        ("bigint unsigned", "18446744073709551615", "18446744073709551615 is above 2^63 - 1"),
        ("decimal(10,1)", "1.5", "1.5 is no integer"),
        ("decimal(38,18)", "5.000000000000000001", "5.000000000000000001 is no integer"),
        ("decimal(30,0)", "99999999999999999999", "99999999999999999999 is no integer"),
        ("float", "5", "5.0 is a floating-point number"),
        ("double", "1.5e17", "1.5e17 is a floating-point number: it may have lost digits beyond 2^53"),
        ("int", "null", "is null"),
        ("int", "-5", "-5 is not positive"),
        ("varchar(5)", "''", "is empty"),
        ("datetime", "now()", "is no integer"),
    ] {
        column(&url, kind, value).await;
        let found = read(&source(&url, with_id())).await;
        let complaints = found.complaints();
        assert!(
            complaints.starts_with("query: row 1: message_server_id ") && complaints.contains(expected),
            "{complaints}"
        );
        found.ended.unwrap();
    }
    for (kind, value, name) in [("bit(8)", "5", "BIT"), ("time", "'05:00'", "TIME"), ("year", "2025", "YEAR")] {
        column(&url, kind, value).await;
        let message = unusable(&source(&url, with_id())).await;
        assert!(message.contains(&format!("is of type {name}, which a field cannot be")), "{message}");
    }
}

#[tokio::test]
async fn every_form_of_time_is_read() {
    let url = mariadb::database().await;
    for (kind, value) in [
        ("bigint", "1753951805248"),
        ("varchar(40)", "'2025-07-31T08:50:05.248Z'"),
        ("datetime(3)", "'2025-07-31 16:50:05.248'"),
        ("datetime(6)", "'2025-07-31 16:50:05.248999'"),
        ("timestamp(3)", "'2025-07-31 08:50:05.248'"),
        ("decimal(20,3)", "1753951805248"),
    ] {
        column(&url, kind, value).await;
        let mut settings = source(&url, with_time());
        rows_of(&mut settings).timezone = TimeZone::get("Asia/Shanghai").unwrap();
        assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {TIME}")], "{kind}");
    }
    for (kind, value, expected) in [
        ("date", "'2025-07-31'", "2025-07-31 is a date without a time of day"),
        ("datetime", "null", "is null"),
        ("double", "1753951805248", "floating-point"),
        ("int", "1753951805", "`time_unit: s`"),
    ] {
        column(&url, kind, value).await;
        let complaints = read(&source(&url, with_time())).await.complaints();
        assert!(complaints.contains(expected), "{complaints}");
    }
}

#[tokio::test]
async fn a_cursor_runs_on_columns_of_every_type_that_has_an_order() {
    let url = mariadb::database().await;
    url.execute(
        "create table refs (n int, u bigint unsigned, num decimal(20,0), dt datetime(6), ts timestamp(6), d date);
         insert into refs select seq, seq, seq, date_add('2025-01-01 00:00:00.000001', interval seq * 36 hour),
            date_add('2025-01-01 00:00:00.000001', interval seq * 36 hour), date_add('2025-01-01', interval seq * 2 day)
            from seq_1_to_20",
    )
    .await;
    for (column, overlap) in [
        ("n", Some(Overlap::Number(2))),
        ("u", Some(Overlap::Number(2))),
        ("num", Some(Overlap::Number(2))),
        ("dt", Some(Overlap::Duration(Duration::from_hours(72)))),
        ("ts", Some(Overlap::Duration(Duration::from_hours(72)))),
        ("d", Some(Overlap::Duration(Duration::from_hours(96)))),
    ] {
        let settings = |limit: i32| {
            let sql = format!(
                "select 'a|1|b' as conversation_id, n as message_server_id, {TIME} as create_time, refs.* from refs
                 where `{column}` > :after and ':after' <> '' and n <= {limit} and `{column}` >= :after # :after
                 order by refs.n"
            );
            source(&url, with_cursor(&sql, column, overlap))
        };
        let first = read(&settings(10)).await;
        assert_eq!(first.ids(), (1..=10).collect::<Vec<_>>(), "{column}");
        let second = read_from(&settings(12), first.checkpoint()).await;
        assert_eq!(second.ids(), [9, 10, 11, 12], "{column}");
    }
}

#[tokio::test]
async fn a_cursor_of_microseconds_loses_none_of_them() {
    let url = mariadb::database().await;
    url.execute(
        "create table refs (n int, at datetime(6)); insert into refs values (1, '2025-07-31 08:50:05.248001'), (2, '2025-07-31 08:50:05.248002')",
    )
    .await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, n as message_server_id, {TIME} as create_time, at from refs where at > :after"
    );
    let settings = source(&url, with_cursor(&sql, "at", Some(Overlap::Duration(Duration::from_micros(1)))));
    let first = read(&settings).await;
    let reached = CursorValue::Timestamp { micros: 1_753_951_805_248_002, zoned: false };
    assert_eq!(first.checkpoint(), Some(Checkpoint::Value(reached)));
    assert_eq!(read_from(&settings, first.checkpoint()).await.ids(), [2]);
}

#[tokio::test]
async fn copy_events_are_read_from_columns_or_json() {
    let url = mariadb::database().await;
    let event = r#"{"eventType":"1","convType":"PERSON","fromAccount":"a","to":"b","msgidServer":"5","msgTimestamp":"1753951805248"}"#;
    url.execute(&format!("create table events (id int, body json); insert into events values (1, '{event}')")).await;
    let mut settings = source(&url, query("select * from events"));
    rows_of(&mut settings).format = Format::CopyEvent;
    assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {TIME}")]);
    let mut settings = source(
        &url,
        query("select json_value(body, '$.convType') convType, json_value(body, '$.fromAccount') fromAccount, json_value(body, '$.to') `to`,
            cast(5 as unsigned) msgidServer, 1753951805248 msgTimestamp, 1 eventType from events"),
    );
    rows_of(&mut settings).format = Format::CopyEvent;
    assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {TIME}")]);
}

#[tokio::test]
async fn what_the_server_refuses_is_told_apart_and_the_password_never_told() {
    let url = mariadb::database().await;
    url.execute("create table refs (id int); create user clerk@'%' identified by 'hunter2-clerk'").await;
    let refused = |url: String, sql: &str| {
        let settings = of_mysql(url, query(sql));
        async move {
            let error = read(&settings).await.ended.unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
            error
        }
    };
    assert!(matches!(refused(url.url_as("clerk", "hunter2-wrong"), "select 1").await, SourceError::Denied(_)));
    assert!(matches!(refused(url.url_as("clerk", "hunter2-clerk"), "select 1").await, SourceError::Denied(_)));
    for (sql, expected) in [
        ("select * from nowhere", "nowhere' doesn't exist"),
        ("select nothing from refs", "Unknown column 'nothing'"),
        ("selec 1", "SQL syntax"),
        ("delete from refs", "no query that gives rows"),
        ("insert into refs (id) values (1) returning id", "no query that gives rows"),
        ("select 'a|1|b' as conversation_id, ? as message_server_id, 5 as create_time", "a `?` in it is no parameter"),
    ] {
        let error = refused(url.url(), sql).await;
        let SourceError::Unusable(message) = error else { panic!("{sql}: {error:?}") };
        assert!(message.contains(expected), "{message}");
    }
    let unheard = "mysql://u:hunter2@127.0.0.1:1/x".to_owned();
    assert!(matches!(refused(unheard, "select 1").await, SourceError::Failed { .. }));
}

#[tokio::test]
async fn many_rows_are_read() {
    let url = mariadb::database().await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, seq as message_server_id, {TIME} as create_time from seq_1_to_20000"
    );
    assert_eq!(read(&source(&url, query(&sql))).await.ids(), (1..=20_000).collect::<Vec<_>>());
}
