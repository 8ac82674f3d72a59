//! The second night: late rows, cursors, consumed files, another beginning.

use crate::support::mariadb;
use crate::support::postgres;
use crate::support::site::{NIGHTLY, Ref, Site, csv, dialogue, dialogues, ids_of, reference};

#[test]
fn a_second_run_over_the_same_references_sends_nothing() {
    let (refs, world) = dialogues(7, 9);
    let site = Site::nightly((refs, world));
    assert_eq!(site.night().exits(0).requests("sent"), 7);
    let files = site.files("archive").len();
    let again = site.night().exits(0);
    assert_eq!((again.requests("sent"), again.requests("minimum"), again.refs("duplicate")), (0, 0, 63));
    assert_eq!(again.job()["files"], serde_json::json!([]));
    assert_eq!(site.api.stats().requests, 7);
    // Nothing was added but a manifest that names no file.
    assert_eq!(site.files("archive").len(), files + 1);
}

#[test]
fn consumed_files_are_skipped_and_new_ones_are_read() {
    let (refs, world) = dialogue("alice|1|bob", 0..30);
    let site = Site::new(world);
    site.jobs(&NIGHTLY.replace("{ path: refs.csv }", "{ path: 'refs/*.csv', cursor: files }"));
    site.write("refs/day1.csv", csv(&refs[..10]));
    assert_eq!(site.night().exits(0).refs("archived"), 10);
    assert_eq!(site.night().exits(0).refs("read"), 0);
    site.write("refs/day2.csv", csv(&refs[8..20]));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("read"), ended.refs("duplicate"), ended.refs("archived")), (12, 2, 10));
    // A file that was read and has grown is read again.
    site.write("refs/day1.csv", csv(&[&refs[..10], &refs[20..]].concat()));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("read"), ended.refs("duplicate"), ended.refs("archived")), (20, 10, 10));
    let ended = site.run(&["run", "--json", "--from", "start"]).exits(0);
    assert_eq!((ended.refs("read"), ended.requests("sent")), (32, 0));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

/// Rows of a table `refs` whose `id` is `from` and upwards, as an SQL insert.
fn insert(refs: &[Ref], from: i64) -> String {
    let rows: Vec<String> = refs
        .iter()
        .zip(from..)
        .map(|((conversation, id, time), row)| format!("({row}, '{conversation}', {id}, {time})"))
        .collect();
    format!("insert into refs values {}", rows.join(", "))
}

const TABLE: &str = "create table refs (id bigint primary key, conversation_id varchar(80), message_server_id bigint, create_time bigint)";

fn job(source: &str) -> String {
    format!(
        "nightly: {{ app: main, source: {{ {source}, query: 'select id, conversation_id, message_server_id, \
         create_time from refs where id > :after order by id', cursor: {{ column: id, overlap: 20 }} }} }}, \
         sink: {{ parquet: {{ path: archive }} }} }}"
    )
}

/// Three nights over a table, the second with rows that came late.
async fn three_nights(source: &str, site: Site, refs: &[Ref], execute: impl AsyncFn(&str)) {
    site.jobs(&job(source));
    execute(TABLE).await;
    // Rows 1 to 40 and 44 to 50 are there in time, 41 to 43 come late.
    execute(&insert(&refs[..40], 1)).await;
    execute(&insert(&refs[43..50], 44)).await;
    let first = site.night().exits(0);
    assert_eq!((first.refs("read"), first.refs("archived")), (47, 47));
    execute(&insert(&refs[40..43], 41)).await;
    execute(&insert(&refs[50..55], 51)).await;
    let second = site.night().exits(0);
    // From row 31 on: twenty that were there, of which three came late, and five new ones.
    assert_eq!((second.refs("read"), second.refs("duplicate"), second.refs("archived")), (25, 17, 8));
    assert_eq!(second.requests("sent"), second.requests("minimum"));
    let third = site.night().exits(0);
    assert_eq!((third.refs("read"), third.requests("sent")), (20, 0));
    let again = site.run(&["run", "--json", "--from", "10"]).exits(0);
    assert_eq!((again.refs("read"), again.requests("sent")), (45, 0));
    let wrong = site.run(&["run", "--json", "--from", "yesterday"]).exits(2);
    assert!(wrong.job()["error"].as_str().unwrap().contains("yesterday"), "{wrong:?}");
    assert_eq!(site.ids("archive"), ids_of(refs));
    assert!(site.api.stats().asks.values().all(|asks| *asks == 1));
}

#[tokio::test]
async fn late_rows_of_sqlite_are_found_by_the_overlap() {
    let (refs, world) = dialogue("alice|1|bob", 0..55);
    let site = Site::new(world);
    let path = site.path("refs.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let execute = async |sql: &str| {
        use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
        let mut connection = options.clone().connect().await.unwrap();
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))).await.unwrap();
        connection.close().await.unwrap();
    };
    three_nights("sqlite: { path: refs.db", site, &refs, execute).await;
}

#[tokio::test]
async fn late_rows_of_postgres_are_found_by_the_overlap() {
    let (refs, world) = dialogue("alice|1|bob", 0..55);
    let site = Site::new(world);
    let database = postgres::database().await;
    site.write_secret("refs-url", &database.url());
    three_nights("postgres: { url: 'file:refs-url'", site, &refs, async |sql: &str| database.execute(sql).await).await;
}

#[tokio::test]
async fn late_rows_of_mariadb_are_found_by_the_overlap() {
    let (refs, world) = dialogue("alice|1|bob", 0..55);
    let site = Site::new(world);
    let database = mariadb::database().await;
    site.write_secret("refs-url", &database.url());
    three_nights("mysql: { url: 'file:refs-url'", site, &refs, async |sql: &str| database.execute(sql).await).await;
}

#[test]
fn references_of_several_days_share_files_by_date_and_the_partitions_say_which() {
    let mut refs: Vec<Ref> = (0..20).map(|n| reference("alice|1|bob", n)).collect();
    for (n, reference) in refs.iter_mut().enumerate() {
        reference.2 += (n as i64 % 4) * 86_400_000;
    }
    let mut world = yunxin_archiver::simulator::World::explicit();
    world.extend(refs.iter().map(|(c, id, time)| yunxin_archiver::simulator::Message::text(c, *id, *time, "x")));
    let site = Site::nightly((refs.clone(), world));
    let ended = site.night().exits(0);
    assert_eq!(ended.requests("sent"), 1);
    let paths: Vec<&str> =
        ended.job()["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    let dates: Vec<&str> = paths.iter().map(|path| path.split('/').next().unwrap()).collect();
    assert_eq!(dates, ["date=2026-10-02", "date=2026-10-03", "date=2026-10-04", "date=2026-10-05"]);
    assert_eq!(site.ids("archive"), ids_of(&refs));
}
