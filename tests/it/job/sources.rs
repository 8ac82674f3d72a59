//! Every kind of source, from its own form to the archive.

use std::io::Write as _;
use std::process::{Command, Stdio};

use yunxin_archiver::simulator::World;

use crate::support::site::{Ref, Running, Site, csv, dialogue, ids_of, jsonl};
use crate::support::{mariadb, postgres};

fn site() -> (Site, Vec<Ref>) {
    let (refs, world) = dialogue("alice|1|bob", 0..20);
    (Site::new(world), refs)
}

/// Runs a job with this source, and sees all references archived.
fn archives(site: &Site, refs: &[Ref], source: &str) {
    site.jobs(&format!("nightly: {{ app: main, source: {{ {source} }}, sink: {{ parquet: {{ path: archive }} }} }}"));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("read"), ended.refs("archived")), (refs.len() as u64, refs.len() as u64));
    assert_eq!(site.ids("archive"), ids_of(refs));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn csv_compressed_and_by_another_delimiter() {
    let (site, refs) = site();
    site.write("refs.csv.gz", gzip(&csv(&refs)));
    archives(&site, &refs, "csv: { path: refs.csv.gz }");
    let (site, refs) = self::site();
    site.write("a/refs.csv.zst", zstd::encode_all(csv(&refs[..9]).replace(',', ";").as_bytes(), 3).unwrap());
    site.write("b/refs.csv", csv(&refs[9..]).replace(',', ";"));
    archives(&site, &refs, "csv: { path: '*/refs.csv*', delimiter: ';' }");
}

#[test]
fn json_lines_plain_and_compressed() {
    let (site, refs) = site();
    site.write("a.jsonl", jsonl(&refs[..9]));
    site.write("b.jsonl.gz", gzip(&jsonl(&refs[9..])));
    archives(&site, &refs, "jsonl: { path: '?.jsonl*' }");
}

#[test]
fn copy_events_as_json_lines() {
    let (site, refs) = site();
    let mut text = String::new();
    for (_, id, time) in &refs {
        text += &format!(
            "{{\"eventType\":\"1\",\"convType\":\"PERSON\",\"fromAccount\":\"alice\",\"to\":\"bob\",\
             \"msgTimestamp\":\"{time}\",\"msgidServer\":\"{id}\",\"body\":\"hi\"}}\n"
        );
    }
    text += "{\"eventType\":\"2\"}\n{\"eventType\":\"1\",\"convType\":\"CUSTOM_PERSON\"}\n";
    site.write("events.jsonl", text);
    site.jobs(
        "nightly: { app: main, source: { jsonl: { path: events.jsonl, format: copy_event } }, \
         sink: { parquet: { path: archive } } }",
    );
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("read"), ended.refs("skipped"), ended.refs("archived")), (22, 2, 20));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn standard_input_as_csv_and_as_json_lines() {
    for (kind, text) in [("csv", csv as fn(&[Ref]) -> String), ("jsonl", jsonl)] {
        let (site, refs) = site();
        site.jobs(&format!(
            "nightly: {{ app: main, source: {{ {kind}: {{ path: '-' }} }}, sink: {{ parquet: {{ path: archive }} }} }}"
        ));
        let mut running = Running::start(site.command(&["run", "--json"]).stdin(Stdio::piped()));
        running.stdin().write_all(text(&refs).as_bytes()).unwrap();
        assert_eq!(running.end().exits(0).refs("archived"), 20);
        assert_eq!(site.ids("archive"), ids_of(&refs));
    }
}

#[test]
fn parquet_that_another_program_wrote() {
    let (site, refs) = site();
    site.write("refs.csv", csv(&refs));
    let script = "import duckdb; duckdb.sql(\"copy (from read_csv('refs.csv')) to 'refs.parquet'\")";
    let status = Command::new("python3").args(["-c", script]).current_dir(site.path("")).status().unwrap();
    assert!(status.success());
    archives(&site, &refs, "parquet: { path: refs.parquet }");
}

#[tokio::test]
async fn queries_on_three_databases() {
    let values = |refs: &[Ref]| {
        let rows: Vec<String> =
            refs.iter().map(|(_, id, time)| format!("('alice', 1, 'bob', '{id}', {time})")).collect();
        format!(
            "create table refs (account varchar(40), kind int, peer varchar(40), message varchar(30), at bigint); \
             insert into refs values {}",
            rows.join(", ")
        )
    };
    let mapped = "query: 'select * from refs', columns: { owner_id: account, conversation_type: kind, \
                  other_id: peer, message_server_id: message, create_time: at } }";
    let (site, refs) = site();
    let sqlite = sqlx::sqlite::SqliteConnectOptions::new().filename(site.path("refs.db")).create_if_missing(true);
    {
        use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
        let mut connection = sqlite.connect().await.unwrap();
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(values(&refs)))).await.unwrap();
        connection.close().await.unwrap();
    }
    archives(&site, &refs, &format!("sqlite: {{ path: refs.db, {mapped}"));
    let (site, refs) = self::site();
    let database = postgres::database().await;
    database.execute(&values(&refs)).await;
    site.write_secret("url", &database.url());
    archives(&site, &refs, &format!("postgres: {{ url: 'file:url', {mapped}"));
    let (site, refs) = self::site();
    let database = mariadb::database().await;
    database.execute(&values(&refs)).await;
    site.write_secret("url", &database.url());
    archives(&site, &refs, &format!("mysql: {{ url: 'file:url', {mapped}"));
}

#[test]
fn invalid_rows_are_recorded_with_file_and_line_and_stop_nothing() {
    let (site, refs) = site();
    let mut lines: Vec<String> = csv(&refs).lines().map(str::to_owned).collect();
    lines.insert(4, "alice|1|bob,not-a-number,1790899200000".to_owned());
    lines.push("alice|1|bob,17,".to_owned());
    site.write("refs.csv", lines.join("\n"));
    let ended = site.night().exits(3);
    assert_eq!((ended.refs("invalid"), ended.refs("archived")), (2, 20));
    let failures = site.failure_lines("nightly");
    let places: Vec<&str> = failures.iter().map(|line| line["source"].as_str().unwrap()).collect();
    assert!(places[0].ends_with("refs.csv:5") && places[1].ends_with("refs.csv:23"), "{places:?}");
    // The same rows are nothing new the next night.
    site.night().exits(0);
    assert_eq!(site.failure_lines("nightly").len(), 2);
}

#[test]
fn a_source_that_is_not_there_or_is_something_else_is_named() {
    let site = Site::new(World::explicit());
    let error = |site: &Site, source: &str, code: i32| {
        site.jobs(&format!(
            "nightly: {{ app: main, source: {{ {source} }}, sink: {{ parquet: {{ path: archive }} }} }}"
        ));
        site.night().exits(code).job()["error"].as_str().unwrap().to_owned()
    };
    let missing = error(&site, "csv: { path: no-such.csv }", 2);
    assert!(missing.contains("no-such.csv"), "{missing}");
    site.write("refs.csv", "a,b\n1,2\n");
    let columns = error(&site, "csv: { path: refs.csv }", 2);
    assert!(columns.contains("conversation_id") && columns.contains("refs.csv"), "{columns}");
    let database = error(&site, "sqlite: { path: no-such.db, query: 'select 1' }", 2);
    assert!(database.contains("no-such.db"), "{database}");
    assert_eq!(site.api.stats().requests, 0);
}

#[test]
fn a_file_in_another_form_is_read_or_refused_and_never_consumed_unread() {
    let (site, refs) = site();
    site.jobs(
        "nightly: { app: main, source: { csv: { path: 'in/*.csv', cursor: files } }, \
         sink: { parquet: { path: archive } } }",
    );
    // Carriage returns alone, as spreadsheets of old end lines.
    site.write("in/a.csv", csv(&refs[..9]).replace('\n', "\r"));
    assert_eq!(site.night().exits(0).refs("archived"), 9);
    assert_eq!(site.night().exits(0).refs("read"), 0);
    // Lines that end in no way that is known: all of it is a header, with every column that is needed.
    let table = csv(&refs[9..]).replace("create_time\n", "create_time,note\n").replace('\n', "\u{2028}");
    site.write("in/b.csv", table);
    for _ in 0..2 {
        let refused = site.night().exits(2);
        let error = refused.job()["error"].as_str().unwrap();
        assert!(error.contains("in/b.csv: is all one line, its header"), "{error}");
    }
    assert!(site.run(&["plan"]).exits(2).stderr.contains("in/b.csv: is all one line"));
    assert!(site.run(&["check", "--connect"]).exits(2).stdout.contains("in/b.csv: is all one line"));
    site.write("in/b.csv", csv(&refs[9..]));
    assert_eq!(site.night().exits(0).refs("archived"), 11);
    assert_eq!(site.ids("archive"), ids_of(&refs));
    // A night without messages is nothing to look at.
    site.write("in/c.csv", "conversation_id,message_server_id,create_time\n");
    site.write("in/d.csv", "");
    site.night().exits(0);
}

#[test]
fn json_in_an_array_is_archived_and_verified_like_lines() {
    let (site, refs) = site();
    let array = format!("[{}]", jsonl(&refs).trim().replace('\n', ",\n "));
    site.write("refs.json", array);
    archives(&site, &refs, "jsonl: { path: refs.json }");
    site.run(&["verify", "nightly", "--against", site.path("refs.json").to_str().unwrap()]).exits(0);
    site.write("refs.json", "{\"rows\":[]}");
    let refused = site.run(&["verify", "nightly", "--against", site.path("refs.json").to_str().unwrap()]).exits(2);
    assert!(refused.stderr.contains("no JSON object in it has any of the members"), "{}", refused.stderr);
}

#[test]
fn names_that_are_not_utf8_and_loops_of_links_trouble_no_command() {
    use std::os::unix::ffi::OsStrExt as _;
    let (site, refs) = site();
    site.write("refs/a/x.csv", csv(&refs[..9]));
    site.write("refs/a/y.csv", csv(&refs[9..]));
    let foreign = std::ffi::OsStr::from_bytes(b"\xcb\xb5\xc3\xf7.csv");
    std::fs::rename(site.path("refs/a/y.csv"), site.path("refs/a").join(foreign)).unwrap();
    for name in ["up", "up2"] {
        std::os::unix::fs::symlink("..", site.path("refs/a").join(name)).unwrap();
    }
    archives(&site, &refs, "csv: { path: 'refs/**/*.csv' }");
    site.run(&["plan"]).exits(0);
    site.run(&["check", "--connect"]).exits(0);
    site.run(&["verify", "nightly", "--against", "nightly"]).exits(0);
}

#[test]
fn times_in_another_unit_are_invalid_in_every_form_whatever_is_tolerated() {
    let (site, refs) = site();
    let mut text = "conversation_id,message_server_id,create_time\n".to_owned();
    for (n, (conversation, id, time)) in refs.iter().enumerate() {
        let wrong = jiff::Timestamp::from_microsecond(*time).unwrap();
        let wrong = if n % 2 == 0 { wrong.to_string() } else { (time / 1000).to_string() };
        text += &format!("{conversation},{id},{wrong}\n");
    }
    site.write("refs.csv", text);
    site.jobs(
        "nightly: { app: main, source: { csv: { path: refs.csv } }, sink: { parquet: { path: archive } }, \
         tolerate: [107404] }",
    );
    let ended = site.night().exits(3);
    assert_eq!((ended.refs("invalid"), ended.refs("accepted"), site.api.stats().requests), (20, 0, 0));
    let lines = site.failure_lines("nightly");
    assert!(lines.iter().all(|line| line["message"].as_str().unwrap().contains("it looks like seconds")), "{lines:?}");
}
