//! A query on MySQL means what it means in the server's own client.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use yunxin_archiver::source::{Checkpoint, CursorValue, Overlap, Query, Settings, sample};

use super::{TIME, of_mysql, query, with_cursor};
use crate::support::mariadb::{self, MariaUrl, PASSWORD, Server, USER};
use crate::support::refs::{read, read_from, unusable};

fn source(url: &MariaUrl, query: Query) -> Settings {
    of_mysql(url.url(), query)
}

/// The settings of a session as a query sees them. They are hashed because a sample shows only part of a long value.
const SETTINGS: &str = "select concat(variable_name, '=', left(md5(variable_value), 8)) as conversation_id, 1 as message_server_id, \
                        1 as create_time from information_schema.session_variables order by 1";

/// The settings that differ between any two sessions, and the one that keeps a slow reader from being disconnected.
const OWN: [&str; 9] = [
    "INSERT_ID",
    "LAST_INSERT_ID",
    "NET_WRITE_TIMEOUT",
    "PSEUDO_THREAD_ID",
    "RAND_SEED1",
    "RAND_SEED2",
    "TIMESTAMP",
    "IN_TRANSACTION",
    "TX_READ_ONLY",
];

fn settings(lines: impl Iterator<Item = String>) -> BTreeMap<String, String> {
    let pairs = lines.map(|line| {
        let (name, value) = line.trim_matches('"').split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    pairs.filter(|(name, _)| !OWN.contains(&name.as_str()) && !name.starts_with("LAST_GTID")).collect()
}

async fn assert_session_is_the_clients(server: &Server) {
    let url = server.database().await;
    url.execute("create user if not exists clerk@'%' identified by 'clerk'; grant select on *.* to clerk@'%'").await;
    for (user, password) in [(USER, PASSWORD), ("clerk", "clerk")] {
        let ours = of_mysql(url.url_as(user, password), query(SETTINGS));
        let ours = sample(ours, 5000).await.unwrap();
        let ours = settings(ours.iter().map(|row| row.raw[0].1.clone()));
        let printed = url.client(user, password, SETTINGS);
        let theirs = settings(printed.lines().map(|line| line.split('\t').next().unwrap().to_owned()));
        assert!(theirs.contains_key("SQL_MODE") && theirs.len() > 300);
        let differing: Vec<&String> = theirs.keys().filter(|name| ours.get(*name) != theirs.get(*name)).collect();
        assert!(differing.is_empty() && ours.len() == theirs.len(), "{user}: {differing:?}");
    }
}

#[tokio::test]
async fn the_session_is_that_of_the_servers_own_client() {
    for settings in [
        &["--default-time-zone=+08:00"][..],
        &[
            "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE",
            "--default-time-zone=-03:30",
            "--collation-server=utf8mb4_bin",
            "--init-connect=set collation_connection = utf8mb4_bin, sql_select_limit = 100000",
            "--lc-messages=en_US",
            "--lc-time-names=de_DE",
        ],
        &["--sql-mode=ORACLE", "--init-connect=set sql_mode = concat(@@sql_mode, ',ANSI')"],
    ] {
        let server = tokio::task::spawn_blocking(|| Server::start(&[], settings)).await.unwrap();
        assert_session_is_the_clients(&server).await;
    }
}

#[tokio::test]
async fn operators_and_functions_of_local_time_mean_what_they_mean_in_the_client() {
    let server = tokio::task::spawn_blocking(|| Server::start(&[], &["--default-time-zone=+08:00"])).await.unwrap();
    let url = server.database().await;
    url.execute("create table refs (id int, kind int, created datetime(3)); insert into refs values (5, 1, '2025-07-31 16:50:05.248')")
        .await;
    let sql = "select 'a|1|b' as conversation_id, id as message_server_id,
               cast(round(unix_timestamp(created) * 1000) as signed) as create_time from refs where kind = 2 || kind = 1";
    assert_eq!(read(&source(&url, query(sql))).await.clean(), [format!("a|1|b 5 {TIME}")]);
    // A URL may ask for another zone, as in other clients.
    let other = format!("{}?time-zone=%2B00:00", url.url());
    let asked = of_mysql(other, query(sql));
    assert_eq!(read(&asked).await.clean(), [format!("a|1|b 5 {}", TIME + 8 * 3_600_000)]);
    let asked = of_mysql(format!("{}?time-zone=Mars", url.url()), query(sql));
    assert!(unusable(&asked).await.contains("time zone"));
}

#[tokio::test]
async fn quotes_are_read_as_the_server_reads_them() {
    let modes = "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES";
    let server = tokio::task::spawn_blocking(move || Server::start(&[], &[modes])).await.unwrap();
    let strict = server.database().await;
    let usual = mariadb::database().await;
    for (url, condition) in [
        (&usual, "'\\' :after' <> 'x' and \"\\\" :after\" <> 'x' and id > :after"),
        (&usual, "id > :after -- \n and /*! id >= :after and */ 5--3 = 8 # :after"),
        (&strict, "'\\' <> ':after' and \"i\" = \"i\" and id > :after"),
        (&strict, "'\\' <> '' and \"a\\\" = 0 and id > :after and `:after` = 0"),
    ] {
        url.execute("create or replace table refs (id int, i int, `a\\` int, `:after` int); insert into refs values (5, 0, 0, 0)")
            .await;
        let sql = format!(
            "select 'a|1|b' as conversation_id, id as message_server_id, {TIME} as create_time, id from refs where {condition}"
        );
        let found = read(&source(url, with_cursor(&sql, "id", None))).await;
        assert_eq!(found.ids(), [5], "{condition}");
        assert_eq!(found.checkpoint(), Some(Checkpoint::Value(CursorValue::Integer(5))));
    }
}

/// The instants around the night in which the clocks of Berlin go back, at 01:00 UTC.
const FOLD: [&str; 6] = [
    "2025-10-25T20:00:00Z",
    "2025-10-26T00:10:00.25Z",
    "2025-10-26T00:50:00Z",
    "2025-10-26T01:05:00.000001Z",
    "2025-10-26T01:45:00Z",
    "2025-10-26T02:15:00Z",
];

#[tokio::test]
async fn a_timestamp_is_its_instant_in_a_zone_whose_clocks_change() {
    let zone = &["TZ=CET-1CEST,M3.5.0,M10.5.0/3"];
    let server = tokio::task::spawn_blocking(|| Server::start(zone, &[])).await.unwrap();
    let url = server.database().await;
    url.execute("create table refs (id int, at timestamp(6) null, other timestamp(6) null)").await;
    let mut expected = Vec::new();
    for (n, instant) in FOLD.iter().enumerate() {
        let instant: Timestamp = instant.parse().unwrap();
        // The connection of the tests is in UTC.
        let literal = instant.strftime("%Y-%m-%d %H:%M:%S%.6f");
        url.execute(&format!("insert into refs values ({}, '{literal}', '{literal}')", n + 1)).await;
        expected.push(format!("a|1|b {} {}", n + 1, instant.as_millisecond()));
    }
    url.execute("insert into refs values (7, null, null)").await;
    let plain = "select 'a|1|b' as conversation_id, id as message_server_id, at as create_time";
    for sql in [
        format!("{plain} from refs where at is not null"),
        // The same name twice, a comment at the end, a limit, an order, a query that does not begin with `select`.
        format!("{plain}, id, refs.* from refs where at is not null order by refs.id limit 100 -- all"),
        format!("with r as (select * from refs) {plain} from r where at is not null; "),
        format!("{plain} from refs where id < 4 union all {plain} from refs where id > 3 and at is not null"),
    ] {
        let mut found = read(&source(&url, query(&sql))).await.clean();
        found.sort();
        assert_eq!(found, expected, "{sql}");
    }
    assert!(read(&source(&url, query(&format!("{plain} from refs")))).await.complaints().contains("is null"));
    // Wherever the cursor stands, nothing after it is lost, and nothing long before it is read again.
    let sql = format!(
        "select 'a|1|b' as conversation_id, id as message_server_id, {TIME} as create_time, at from refs where at > :after"
    );
    let settings = source(&url, with_cursor(&sql, "at", Some(Overlap::Duration(Duration::ZERO))));
    for (n, instant) in FOLD.iter().enumerate() {
        let micros = instant.parse::<Timestamp>().unwrap().as_microsecond();
        let reached = Checkpoint::Value(CursorValue::Timestamp { micros, zoned: true });
        let found = read_from(&settings, Some(reached)).await;
        let ids = found.ids();
        for id in n as i64 + 2..=6 {
            assert!(ids.contains(&id), "{instant}: {ids:?}");
        }
        assert!(!ids.contains(&1), "{instant}: {ids:?}");
        let last =
            CursorValue::Timestamp { micros: FOLD[5].parse::<Timestamp>().unwrap().as_microsecond(), zoned: true };
        assert_eq!(found.checkpoint(), Some(Checkpoint::Value(last)));
    }
}

#[tokio::test]
async fn a_cursor_of_instants_begins_at_the_epoch_west_of_it_as_well() {
    let server = tokio::task::spawn_blocking(|| Server::start(&[], &["--default-time-zone=-05:00"])).await.unwrap();
    let url = server.database().await;
    url.execute(
        "create table refs (id int, at timestamp null);
         insert into refs values (1, '1970-01-01 00:00:01'), (2, '2025-07-31 08:50:05'), (3, null)",
    )
    .await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, id as message_server_id, {TIME} as create_time, at from refs where at > :after"
    );
    let found = read(&source(&url, with_cursor(&sql, "at", None))).await;
    assert_eq!(found.ids(), [1, 2]);
    let reached = CursorValue::Timestamp { micros: TIME / 1000 * 1_000_000, zoned: true };
    assert_eq!(found.checkpoint(), Some(Checkpoint::Value(reached)));
}

#[tokio::test]
async fn text_and_whatever_else_has_an_order_of_its_own_is_no_cursor() {
    let url = mariadb::database().await;
    for kind in
        ["varchar(20)", "varchar(20) collate utf8mb4_bin", "enum('b', 'a')", "varbinary(20)", "uuid", "double", "json"]
    {
        url.execute(&format!("create or replace table refs (k {kind})")).await;
        let sql = format!(
            "select 'a|1|b' as conversation_id, 5 as message_server_id, {TIME} as create_time, k from refs where k > :after"
        );
        let message = unusable(&source(&url, with_cursor(&sql, "k", None))).await;
        assert!(message.contains("the cursor's column \"k\" is of type"), "{message}");
        assert!(message.contains("whose order is the database's own") && message.contains("--from start"), "{message}");
    }
}
