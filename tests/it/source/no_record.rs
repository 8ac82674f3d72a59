//! Inputs that hold something but not one recognisable reference. They are refused and not consumed, and read once they or
//! the job are mended.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use yunxin_archiver::source::{Files, Format};

use super::sqlite_state::{bound, mode};
use super::{TIME, csv, jsonl, of_csv, of_parquet, renamed, rows_of};
use crate::support::refs::{read, read_from, unusable, write_parquet};
use crate::support::site::{Ref, Site, dialogue, ids_of};

fn event((_, id, time): &Ref) -> String {
    format!(
        "{{\"eventType\":\"1\",\"convType\":\"PERSON\",\"fromAccount\":\"alice\",\"to\":\"bob\",\
         \"msgTimestamp\":\"{time}\",\"msgidServer\":\"{id}\"}}"
    )
}

fn reference((conversation, id, time): &Ref) -> String {
    format!("{{\"conversation_id\":\"{conversation}\",\"message_server_id\":{id},\"create_time\":{time}}}")
}

fn site() -> (Site, Vec<Ref>) {
    let (refs, world) = dialogue("alice|1|bob", 0..20);
    (Site::new(world), refs)
}

fn job(site: &Site, source: &str) {
    site.jobs(&format!("nightly: {{ app: main, source: {{ {source} }}, sink: {{ parquet: {{ path: archive }} }} }}"));
}

/// References as they stand in a file.
type Write<'a> = &'a dyn Fn(&[Ref]) -> String;

#[test]
fn references_inside_of_other_objects_are_found_by_the_hint_and_never_consumed_before() {
    const REFERENCES: &str = "jsonl: { path: refs.jsonl, cursor: files }";
    const EVENTS: &str = "jsonl: { path: refs.jsonl, cursor: files, format: copy_event }";
    let lines = |line: fn(&Ref) -> String, begin: &'static str, end: &'static str| {
        move |refs: &[Ref]| {
            refs.iter().flat_map(|one| [begin, &line(one), end, "\n"].map(str::to_owned)).collect::<String>()
        }
    };
    let escaped = |one: &Ref| serde_json::to_string(&event(one)).unwrap();
    let whole = |refs: &[Ref]| {
        format!("{{\"total\":20,\"data\":[{}]}}", refs.iter().map(reference).collect::<Vec<_>>().join(","))
    };
    let inside: [(&str, Write<'_>, &str); 7] = [
        (REFERENCES, &whole, "`jq -c '.data[]'`"),
        (REFERENCES, &lines(reference, "{\"ref\":", "}"), "`jq -c '.ref'`"),
        (REFERENCES, &lines(reference, "{\"page\":{\"rows\":[", "]}}"), "`jq -c '.page.rows[]'`"),
        (EVENTS, &lines(event, "{\"received\":\"x\",\"body\":", "}"), "inside `body`: set `columns: { event: body }`"),
        (EVENTS, &lines(escaped, "{\"body\":", "}"), "inside `body`: set `columns: { event: body }`"),
        (EVENTS, &lines(event, "{\"eventType\":\"1\",\"to\":\"x\",\"doc\":", "}"), "`columns: { event: doc }`"),
        (EVENTS, &lines(event, "{\"items\":[", "]}"), "`jq -c '.items[]'`"),
    ];
    for (source, write, hint) in inside {
        let (site, refs) = site();
        site.write("refs.jsonl", write(&refs));
        job(&site, source);
        for _ in 0..2 {
            let refused = site.night().exits(2);
            let error = refused.job()["error"].as_str().unwrap();
            assert!(error.contains("no JSON object in it has any of the members") && error.contains(hint), "{error}");
            assert_eq!(refused.refs("read"), 0);
        }
        assert_eq!(site.run(&["plan"]).code, Some(2));
        assert_eq!(site.run(&["check", "--connect"]).code, Some(2));
        // Does what the hint says.
        if let Some((_, rest)) = hint.split_once("event: ") {
            job(&site, &source.replace(" }", &format!(", columns: {{ event: {} }}", rest.trim_end_matches('`'))));
        } else {
            let line = if source == EVENTS { event } else { reference };
            site.write("refs.jsonl", lines(line, "", "")(&refs));
        }
        assert_eq!(site.night().exits(0).refs("archived"), 20);
        assert_eq!(site.ids("archive"), ids_of(&refs));
    }
}

#[test]
fn a_member_that_is_there_and_wrong_is_an_invalid_row_and_consumed() {
    let (site, refs) = site();
    for (name, line) in [
        ("a", "{\"conversation_id\":\"alice|1|bob\",\"message_serv".to_owned()),
        ("b", "{\"message_server_id\":{}}".to_owned()),
        ("c", reference(&refs[0]).replace("alice|1|bob", "alice")),
        ("d", "{\"create_time\":\"\",\"conversation_id\":null,\"owner_id\":\"alice\"}".to_owned()),
    ] {
        site.write(&format!("refs/{name}.jsonl"), line);
    }
    job(&site, "jsonl: { path: refs/*.jsonl, cursor: files }");
    let night = site.night().exits(3);
    assert_eq!((night.refs("read"), night.refs("invalid")), (4, 4));
    let told = site.run(&["failures", "nightly"]).exits(0).stdout;
    for why in ["message_server_id is missing", "create_time is empty", "conversation_type is missing"] {
        assert!(told.contains(why), "{why}: {told}");
    }
    assert_eq!(site.night().exits(0).refs("read"), 0);
}

#[tokio::test]
async fn columns_with_nothing_in_any_row_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let consuming = |name: &str| Files { path: at(name).to_str().unwrap().to_owned(), skip_consumed: true };
    std::fs::write(at("x.csv"), "conversation_id,note,message_server_id,create_time\n,a,,\n\" \",b,,\n").unwrap();
    let settings = of_csv(consuming("x.csv"));
    let said = unusable(&settings).await;
    let columns = "\"conversation_id\", \"message_server_id\", \"create_time\"";
    assert!(said.contains(&format!("x.csv: none of its rows has anything in {columns}; the first is ")), "{said}");
    assert!(said.ends_with("x.csv:2: conversation_id is empty; message_server_id is empty; create_time is empty"));
    let none = || Arc::new(StringArray::from(vec![None::<&str>; 3])) as ArrayRef;
    write_parquet(
        &at("x.parquet"),
        vec![("conversation_id", none()), ("message_server_id", none()), ("create_time", none())],
    );
    let settings = of_parquet(consuming("x.parquet"));
    assert!(unusable(&settings).await.ends_with("message_server_id is null; create_time is null"));
    // A single row that holds something is enough.
    write_parquet(
        &at("x.parquet"),
        vec![
            ("conversation_id", none()),
            ("message_server_id", Arc::new(Int64Array::from(vec![None, None, Some(5)]))),
            ("create_time", none()),
        ],
    );
    let found = read(&settings).await;
    assert_eq!((found.invalid.len(), found.checkpoint().is_some()), (3, true));
    assert!(read_from(&settings, found.checkpoint()).await.invalid.is_empty());
}

#[tokio::test]
async fn a_column_of_something_other_than_copy_events_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.csv");
    let inner = event(&("alice|1|bob".to_owned(), 5, TIME)).replace('"', "\"\"");
    let settings = || {
        let mut settings = csv(&path);
        rows_of(&mut settings).format = Format::CopyEvent;
        renamed(settings, &[("event", "doc")])
    };
    for cell in ["", "5", "{}", "\"{\"\"a\"\":1}\"", &format!("\"{{\"\"data\"\":{inner}}}\"")] {
        std::fs::write(&path, format!("id,doc\n1,{cell}\n2,{cell}\n")).unwrap();
        let said = unusable(&settings()).await;
        assert!(said.contains("x.csv: none of its rows has a copy event in \"doc\"; the first is "), "{said}");
    }
    std::fs::write(&path, format!("id,doc\n1,\n2,\"{inner}\"\n")).unwrap();
    assert_eq!(read(&settings()).await.ids(), [5]);
    // The same in JSON lines, where the text is no event either.
    let path = directory.path().join("x.jsonl");
    std::fs::write(&path, "{\"doc\":5}\n{\"doc\":\"{\"}\n{\"doc\":{\"a\":1}}\n").unwrap();
    let mut settings = jsonl(&path);
    rows_of(&mut settings).format = Format::CopyEvent;
    let said = unusable(&renamed(settings, &[("event", "doc")])).await;
    assert!(said.contains("no JSON object in it has within \"doc\" any of the members eventType"), "{said}");
}

#[test]
fn a_query_that_gives_nothing_leaves_its_cursor_however_many_rows_it_has() {
    for count in [1, 20_000] {
        let (site, refs) = site();
        let execute = |sql: String| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(super::sqlite::execute(&site.path("refs.db"), &sql));
        };
        execute(format!(
            "create table refs (id integer primary key, conversation_id text, message_server_id, create_time);
             with recursive n(i) as (values (1) union all select i + 1 from n where i < {count})
             insert into refs (id) select i from n"
        ));
        job(
            &site,
            "sqlite: { path: refs.db, query: 'select * from refs where id > :after order by id', \
             cursor: { column: id, overlap: 0 } }",
        );
        for _ in 0..2 {
            let error = site.night().exits(2).job()["error"].as_str().unwrap().to_owned();
            assert!(error.contains("query: none of its rows has anything in "), "{error}");
        }
        // If one row holds something, the others are invalid rows and are consumed.
        let (conversation, id, time) = &refs[0];
        execute(format!("insert into refs values (null, '{conversation}', {id}, {time})"));
        let night = site.night().exits(3);
        assert_eq!((night.refs("archived"), night.refs("invalid")), (1, count));
        assert_eq!(site.night().exits(0).refs("read"), 0);
    }
}

#[tokio::test]
async fn an_event_whose_type_is_none_is_not_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.csv");
    for (types, why) in [
        ("1,1", "convType \"1\" is no conversation type, such as PERSON"),
        ("TEXT,PERSON", "eventType \"TEXT\" is no event type"),
    ] {
        std::fs::write(
            &path,
            format!("eventType,convType,fromAccount,to,msgidServer,msgTimestamp\n{types},a,b,5,{TIME}\n"),
        )
        .unwrap();
        let mut settings = csv(&path);
        rows_of(&mut settings).format = Format::CopyEvent;
        let found = read(&settings).await;
        assert_eq!(found.skipped, 0);
        assert!(found.complaints().contains(why), "{}", found.complaints());
    }
}

#[test]
fn a_directory_that_does_not_exist_is_no_night_without_files() {
    let (site, refs) = site();
    site.write("file", "");
    let refused = |path: &str, why: &str| {
        job(&site, &format!("csv: {{ path: '{path}', cursor: files }}"));
        for command in [&["run"][..], &["plan"], &["check", "--connect"]] {
            let ended = site.run(command).exits(2);
            let said = ended.stdout + &ended.stderr;
            assert!(said.contains(why), "{path}: {said}");
        }
    };
    for (path, directory) in [
        ("share/refs/*.csv", "share/refs"),
        ("share/**/*.csv", "share"),
        ("share/*/refs/x.csv", "share"),
        ("file/*.csv", "file"),
        ("file/refs/**", "file/refs"),
    ] {
        refused(path, &format!("{directory}: there is no such directory; is it mounted"));
    }
    refused("share/refs.csv", "share/refs.csv: there is no such file");
    // A directory without files is a quiet night. Files that come later are read.
    std::fs::create_dir_all(site.path("share/refs")).unwrap();
    job(&site, "csv: { path: 'share/refs/*.csv', cursor: files }");
    assert_eq!(site.night().exits(0).refs("read"), 0);
    site.run(&["plan"]).exits(0);
    site.write("share/refs/1.csv", crate::support::site::csv(&refs));
    assert_eq!(site.night().exits(0).refs("archived"), 20);
    // A directory that is away for a night is not read again.
    std::fs::rename(site.path("share"), site.path("away")).unwrap();
    site.night().exits(2);
    std::fs::rename(site.path("away"), site.path("share")).unwrap();
    assert_eq!(site.night().exits(0).refs("read"), 0);
}

#[test]
fn a_directory_that_may_not_be_entered_is_no_night_without_files() {
    let (site, refs) = site();
    site.write("share/a/refs/1.csv", crate::support::site::csv(&refs));
    for path in ["share/a/refs/*.csv", "share/*/refs/1.csv", "share/*/refs/*.csv", "links/**/*.csv"] {
        if path.starts_with("links") {
            std::fs::create_dir(site.path("links")).unwrap();
            std::os::unix::fs::symlink("../share/a/refs", site.path("links/refs")).unwrap();
        }
        job(&site, &format!("csv: {{ path: '{path}', cursor: files }}"));
        mode(&site.path("share/a"), 0o000);
        let denied = bound(&site).exits(4);
        assert!(denied.job()["error"].as_str().unwrap().contains("permission denied"), "{path}: {denied:?}");
        mode(&site.path("share/a"), 0o700);
    }
    assert_eq!(site.night().exits(0).refs("archived"), 20);
}

#[test]
fn the_files_of_a_night_that_is_refused_are_not_lost_to_those_before_them() {
    let (site, refs) = site();
    site.write("refs/1.jsonl", reference(&refs[0]));
    site.write("refs/2.jsonl", format!("{{\"ref\":{}}}", reference(&refs[1])));
    job(&site, "jsonl: { path: refs/*.jsonl, cursor: files }");
    let refused = site.night().exits(2);
    assert_eq!((refused.refs("read"), refused.refs("archived")), (1, 1));
    site.write("refs/2.jsonl", reference(&refs[1]));
    let night = site.night().exits(0);
    assert_eq!((night.refs("duplicate"), night.refs("archived")), (1, 1));
}
