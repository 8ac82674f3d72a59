//! `verify --against`: every reference is archived, failed, pending or absent, and the certificate says so.

use serde_json::{Value, json};
use yunxin_archiver::simulator::{APP_KEY, Fate, Message, World};

use crate::support::page::{Read, is_self_contained};
use crate::support::site::{Ended, NIGHTLY, Ref, Site, csv, dialogue, id, ids_of, jsonl, message, reference, time};
use crate::support::{mariadb, postgres};

/// Midnight of 2026-10-02 in UTC.
const MIDNIGHT: i64 = 1_790_899_200_000;
const HOUR: i64 = 3_600_000;

/// Runs `verify … --json`; what it found.
#[track_caller]
fn verify(site: &Site, arguments: &[&str], code: i32) -> Value {
    let ended = site.run(&[&["verify"], arguments, &["--json"]].concat()).exits(code);
    assert_eq!(ended.summary["version"], 1);
    let found = ended.summary["completeness"].clone();
    assert_eq!(found["complete"], code == 0, "{found}");
    found
}

/// Counts as `[referenced, archived, failed, pending, absent]`.
fn counts(of: &Value) -> [u64; 5] {
    ["referenced", "archived", "failed", "pending", "absent"].map(|name| of[name].as_u64().unwrap())
}

/// What a table holds for a name.
fn row<'a>(found: &'a Value, table: &str, name: &str, value: &str) -> &'a Value {
    let rows = found[table].as_array().unwrap();
    rows.iter().find(|row| row[name] == value).unwrap_or_else(|| panic!("{value} is not in {found}"))
}

/// Twenty messages of two days and three accounts. Number 3 is recalled, 4 is not there, 5 is in no list.
fn world() -> (Vec<Ref>, World) {
    let mut world = World::explicit();
    let mut refs = Vec::new();
    for n in 0..20 {
        let conversation = ["Alice|1|bob", "bob|1|carol", "carol|2|77"][(n % 3) as usize];
        let at = MIDNIGHT + (n + 6) * HOUR;
        let fate = match n {
            3 => Fate::Failed(398),
            4 => Fate::Failed(404),
            5 => Fate::Unanswered,
            _ => Fate::Found,
        };
        world.insert(Message::text(conversation, id(n), at, "hello").fate(fate));
        refs.push((conversation.to_owned(), id(n), at));
    }
    (refs, world)
}

fn sane() -> (Vec<Ref>, World) {
    dialogue("alice|1|bob", 0..30)
}

#[test]
fn an_archive_that_holds_everything_is_complete() {
    let (refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    let before = site.everything();
    let found = verify(&site, &["nightly", "--against", "nightly"], 0);
    assert_eq!(counts(&found["messages"]), [30, 30, 0, 0, 0]);
    assert_eq!(found["result"], "All 30 messages that the references name are in the archive.");
    assert_eq!(counts(row(&found, "days", "day", "2026-10-02")), [30, 30, 0, 0, 0]);
    assert_eq!(counts(row(&found, "accounts", "account", "alice")), [30, 30, 0, 0, 0]);
    assert_eq!((&found["app_key"], &found["failures_known"]), (&json!(APP_KEY), &json!("ledger")));
    // The same by path, against a file.
    for against in ["nightly", "refs.csv", "./refs.csv"] {
        let found = verify(&site, &["archive", "--against", against], 0);
        assert_eq!((counts(&found["messages"]), &found["failures_known"]), ([30, 30, 0, 0, 0], &json!("no")));
    }
    site.write("refs.jsonl", jsonl(&refs));
    let other = verify(&site, &["nightly", "--against", "refs.jsonl"], 0);
    assert_eq!(other["references"]["sha256"], found["references"]["sha256"], "the same references in another form");
    let text = site.run(&["verify", "nightly", "--against", "nightly"]).exits(0).stdout;
    assert!(text.ends_with("All 30 messages that the references name are in the archive.\n"), "{text}");
    site.run(&["verify", "nightly"]).exits(0);
    std::fs::remove_file(site.path("refs.jsonl")).unwrap();
    assert_eq!(site.everything(), before, "nothing is written");
}

#[test]
fn what_failed_is_told_by_class_and_code_and_is_not_absent() {
    let site = Site::nightly(world());
    site.night().exits(3);
    let found = verify(&site, &["nightly", "--against", "nightly"], 0);
    assert_eq!(counts(&found["messages"]), [20, 17, 3, 0, 0]);
    let failures = found["failures"].as_array().unwrap();
    assert_eq!(failures.iter().map(|failure| failure["messages"].as_u64().unwrap()).sum::<u64>(), 3);
    let of = |code: Value| failures.iter().find(|failure| failure["code"] == code).unwrap()["class"].clone();
    assert_eq!(
        (of(json!(398)), of(json!(404)), of(Value::Null)),
        (json!("unavailable"), json!("unavailable"), json!("unanswered"))
    );
    // 18 of the hours are those of one day, 2 of the next.
    assert_eq!(counts(row(&found, "days", "day", "2026-10-02")), [18, 15, 3, 0, 0]);
    assert_eq!(counts(row(&found, "days", "day", "2026-10-03")), [2, 2, 0, 0, 0]);
    for (account, expected) in [("alice", [7, 6, 1, 0, 0]), ("bob", [7, 6, 1, 0, 0]), ("carol", [6, 5, 1, 0, 0])] {
        assert_eq!(counts(row(&found, "accounts", "account", account)), expected, "{account}");
    }
    // By its path alone an archive does not tell what failed from what is absent, and says so.
    let found = verify(&site, &["archive", "--against", "refs.csv"], 1);
    assert_eq!((counts(&found["messages"]), &found["failures_known"]), ([20, 17, 0, 0, 3], &json!("no")));
    let text = site.run(&["verify", "archive", "--against", "refs.csv"]).exits(1).stdout;
    assert!(text.contains("what failed counts as absent") && text.contains("absent or failed"), "{text}");
    let failures = ["--failures", "state/failures-nightly.jsonl"];
    let found = verify(&site, &[&["archive", "--against", "refs.csv"], &failures[..]].concat(), 0);
    assert_eq!((counts(&found["messages"]), &found["failures_known"]), ([20, 17, 3, 0, 0], &json!("file")));
    let refused = site.run(&[&["verify", "nightly", "--against", "refs.csv"], &failures[..]].concat()).exits(2);
    assert!(refused.stderr.contains("a job's failures are in its ledger"), "{}", refused.stderr);
    site.write("broken.jsonl", "{\"class\":\"unavailable\",\"message_server_id\":7}\n{\"class\":\"lost\"}\n");
    let broken = ["verify", "archive", "--against", "refs.csv", "--failures", "broken.jsonl"];
    assert!(site.run(&broken).exits(2).stderr.contains("broken.jsonl:2: has no failure's class"));
}

#[test]
fn an_absent_reference_is_named_with_its_day_and_account_and_can_be_fetched() {
    let (mut refs, mut world) = world();
    let site = Site::nightly((refs.clone(), world.clone()));
    site.night().exits(3);
    // One that nobody knew of, late in the evening of UTC.
    let late = ("Dave|1|erin".to_owned(), id(500), MIDNIGHT + 23 * HOUR);
    world.insert(Message::text(&late.0, late.1, late.2, "late"));
    site.api.world(|served| *served = world);
    refs.push(late.clone());
    site.write("refs.csv", csv(&refs));
    let found = verify(&site, &["nightly", "--against", "nightly", "--absent", "absent.jsonl"], 1);
    assert_eq!(counts(&found["messages"]), [21, 17, 3, 0, 1]);
    assert_eq!(
        found["absent"],
        json!([{ "conversation_id": late.0, "message_server_id": late.1, "create_time": late.2, "day": "2026-10-02", "account": "dave" }])
    );
    assert_eq!(counts(row(&found, "accounts", "account", "dave")), [1, 0, 0, 0, 1]);
    assert_eq!(found["accounts"][0]["account"], "dave", "those with absent messages come first");
    let text = site.run(&["verify", "nightly", "--against", "nightly"]).exits(1).stdout;
    let line = text.lines().find(|line| line.starts_with(&id(500).to_string())).unwrap();
    for part in ["Dave|1|erin", "2026-10-02", "dave"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(text.contains("One of the 21 messages that the references name is absent"), "{text}");
    let zoned = verify(&site, &["nightly", "--against", "nightly", "--timezone", "Asia/Shanghai"], 1);
    assert_eq!(zoned["absent"][0]["day"], "2026-10-03");
    // The list is a source of its own, and a run of the job finds the message as well.
    let listed = site.read("absent.jsonl");
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap().as_object().unwrap().len(), 3);
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", "jsonl: { path: absent.jsonl }"));
    let fetched = site.night();
    assert_eq!(fetched.refs("archived"), 1);
    site.jobs(NIGHTLY);
    assert_eq!(
        counts(&verify(&site, &["nightly", "--against", "nightly", "--absent", "absent.jsonl"], 0)["messages"])[4],
        0
    );
    assert_eq!(site.read("absent.jsonl"), "");
}

#[test]
fn what_is_pending_has_a_column_of_its_own() {
    let (mut refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    refs.extend(dialogue("bob|1|carol", 100..110).0);
    site.write("refs.csv", csv(&refs));
    site.write_secret("secret", "wrong");
    assert_eq!(site.night().exits(4).refs("pending"), 10);
    let found = verify(&site, &["nightly", "--against", "nightly"], 0);
    assert_eq!(counts(&found["messages"]), [40, 30, 0, 10, 0]);
    assert_eq!(
        found["result"],
        "Nothing is absent: of 40 messages that the references name, 30 are in the archive, 10 are still to be fetched."
    );
}

#[test]
fn files_that_await_their_manifest_are_pending_and_a_removed_file_is_absent() {
    let (refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    let all: Vec<Ref> = (0..40).map(|n| reference("alice|1|bob", n)).collect();
    site.api.world(|world| world.extend((30..40).map(|n| message("alice|1|bob", n))));
    site.write("refs.csv", csv(&all));
    site.night().exits(0);
    let manifest = |n: usize| {
        site.files("archive/_manifests")
            .into_iter()
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .nth(n)
            .unwrap()
    };
    // As after a run that died before it wrote its manifest.
    let last = manifest(1);
    std::fs::remove_file(&last).unwrap();
    change_ledger(&site, "delete from manifests where sequence = 2");
    // Until the next run writes it, the archive itself is not what its manifests say.
    let ended = site.run(&["verify", "nightly", "--against", "nightly", "--json"]).exits(1);
    let found = &ended.summary;
    assert_eq!((&found["ok"], &found["completeness"]["complete"]), (&json!(false), &json!(true)));
    assert_eq!(counts(&found["completeness"]["messages"]), [40, 30, 0, 10, 0]);
    // By path such a file is no data.
    assert_eq!(counts(&verify(&site, &["archive", "--against", "refs.csv"], 1)["messages"]), [40, 30, 0, 0, 10]);
    // A file that is named and gone is named, and what it held is absent.
    let manifest: Value = serde_json::from_slice(&std::fs::read(manifest(0)).unwrap()).unwrap();
    let file = manifest["files"][0]["path"].as_str().unwrap();
    std::fs::remove_file(site.path("archive").join(file)).unwrap();
    let found = verify(&site, &["nightly", "--against", "nightly"], 1);
    assert_eq!(counts(&found["messages"]), [40, 0, 0, 10, 30]);
    assert!(found["unreadable"][0].as_str().unwrap().starts_with(file), "{found}");
}

/// Changes a ledger that nobody uses.
fn change_ledger(site: &Site, sql: &str) {
    let path = site.path("state/nightly.sqlite");
    let sql = sql.to_owned();
    let change = async move {
        use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let changed = connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap().rows_affected();
        connection.close().await.unwrap();
        assert!(changed > 0);
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(change);
}

#[test]
fn duplicates_count_once_and_invalid_rows_are_named() {
    let (refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    let mut text = csv(&refs);
    text += &csv(&refs[..7]).split_once('\n').unwrap().1.replace("alice|1|bob", "bob|1|alice");
    text += "nonsense,12,13\nalice|1|bob,,1790899200007\n";
    site.write("refs.csv", text);
    let found = verify(&site, &["nightly", "--against", "nightly"], 0);
    let references = &found["references"];
    let read = ["rows", "duplicates", "invalid", "outside", "skipped"].map(|name| references[name].as_u64().unwrap());
    assert_eq!(read, [39, 7, 2, 0, 0]);
    assert_eq!(counts(&found["messages"]), [30, 30, 0, 0, 0]);
    assert_eq!(
        counts(row(&found, "accounts", "account", "alice")),
        [30, 30, 0, 0, 0],
        "whatever the order of the rows"
    );
    let invalid = found["invalid"].as_array().unwrap();
    assert!(invalid[0]["position"].as_str().unwrap().ends_with("refs.csv:39"), "{invalid:?}");
    let text = site.run(&["verify", "nightly", "--against", "nightly"]).exits(0).stdout;
    assert!(text.contains("39 read, 7 name a message again, 2 are no references"), "{text}");
    assert!(text.contains("refs.csv:40: message_server_id is empty"), "{text}");
}

#[test]
fn a_range_of_time_bounds_the_references() {
    let (mut refs, world) = world();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(3);
    refs.push(("dave|1|erin".to_owned(), id(500), MIDNIGHT - 1));
    site.write("refs.csv", csv(&refs));
    let in_range = |options: &[&str], code| {
        let found = verify(&site, &[&["nightly", "--against", "nightly"], options].concat(), code);
        (found["messages"]["referenced"].as_u64().unwrap(), found["references"]["outside"].as_u64().unwrap())
    };
    assert_eq!(in_range(&[], 1), (21, 0));
    assert_eq!(in_range(&["--from", "2026-10-02"], 0), (20, 1));
    assert_eq!(in_range(&["--to", "2026-10-01"], 1), (1, 20));
    assert_eq!(in_range(&["--from", "2026-10-02", "--to", "2026-10-02"], 0), (18, 3));
    assert_eq!(in_range(&["--from", "2026-10-02T06:00:00Z", "--to", "2026-10-02T15:00:00+08:00"], 0), (1, 20));
    assert_eq!(in_range(&["--from", "2026-10-03", "--timezone", "Asia/Shanghai"], 0), (10, 11));
    assert_eq!(in_range(&["--from", "2030-01-01"], 0), (0, 21));
    let run = |options: &[&str]| {
        site.run(&[&["verify", "nightly", "--against", "nightly"], options].concat()).exits(2).stderr
    };
    assert!(run(&["--from", "yesterday"]).contains("--from: \"yesterday\" is no time: give a date like 2026-11-22"));
    assert!(run(&["--from", "2026-10-03", "--to", "2026-10-02"]).contains("--from is not before --to"));
    assert!(run(&["--timezone", "Mars"]).contains("--timezone \"Mars\" is no time zone"));
    assert!(site.run(&["verify", "archive", "--from", "2026-10-02"]).exits(2).stderr.contains("--against"));
}

const TABLE: &str = "create table refs (n bigint primary key, conversation_id varchar(99), message_server_id bigint, create_time bigint)";

fn inserts(refs: &[Ref]) -> String {
    let rows: Vec<String> = refs
        .iter()
        .enumerate()
        .map(|(n, (conversation, id, time))| format!("({}, '{conversation}', {id}, {time})", n + 1))
        .collect();
    format!("insert into refs values {}", rows.join(", "))
}

/// Runs a job whose query goes on after its cursor, until nothing is left to read; what is verified is read from its
/// start all the same.
fn reads_everything(site: &Site, refs: &[Ref], source: &str) {
    let query = "query: 'select * from refs where n > :after', cursor: { column: n, overlap: 0 }";
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", &source.replace("QUERY", query)));
    assert_eq!(site.night().exits(0).refs("read"), refs.len() as u64);
    assert_eq!(site.night().exits(0).refs("read"), 0, "the cursor moved");
    let found = verify(site, &["nightly", "--against", "nightly"], 0);
    assert_eq!(counts(&found["messages"]), [30, 30, 0, 0, 0], "{source}");
}

#[tokio::test]
async fn a_query_is_read_from_its_start_whatever_its_cursor() {
    let (refs, world) = sane();
    let site = Site::new(world);
    let database = postgres::database().await;
    database.execute(&format!("{TABLE}; {}", inserts(&refs))).await;
    site.write_secret("url", &database.url());
    reads_everything(&site, &refs, "postgres: { url: 'file:url', QUERY }");

    let (refs, world) = sane();
    let site = Site::new(world);
    {
        use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
        let file = sqlx::sqlite::SqliteConnectOptions::new().filename(site.path("refs.db")).create_if_missing(true);
        let mut connection = file.connect().await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("{TABLE}; {}", inserts(&refs)))).await.unwrap();
        connection.close().await.unwrap();
    }
    reads_everything(&site, &refs, "sqlite: { path: refs.db, QUERY }");
}

#[test]
fn files_are_read_again_although_they_were_consumed() {
    let (refs, world) = sane();
    let site = Site::new(world);
    site.write("refs/a.jsonl", jsonl(&refs[..11]));
    site.write("refs/b.jsonl", jsonl(&refs[11..]));
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", "jsonl: { path: 'refs/*.jsonl', cursor: files }"));
    site.night().exits(0);
    assert_eq!(site.night().exits(0).refs("read"), 0);
    assert_eq!(counts(&verify(&site, &["nightly", "--against", "nightly"], 0)["messages"]), [30, 30, 0, 0, 0]);
    // Files that are gone are no reason to call an archive complete.
    std::fs::remove_dir_all(site.path("refs")).unwrap();
    let gone = site.run(&["verify", "nightly", "--against", "nightly"]).exits(2);
    assert!(gone.stderr.contains("no file matches"), "{}", gone.stderr);
}

#[test]
fn the_columns_of_the_job_are_those_of_a_file_for_it() {
    let (refs, world) = sane();
    let site = Site::new(world);
    site.write("refs.csv", csv(&refs).replace("message_server_id", "msg").replace(',', ";"));
    site.jobs(
        &NIGHTLY.replace("path: refs.csv", "path: refs.csv, delimiter: ';', columns: { message_server_id: msg }"),
    );
    site.night().exits(0);
    std::fs::copy(site.path("refs.csv"), site.path("other.csv")).unwrap();
    assert_eq!(counts(&verify(&site, &["nightly", "--against", "other.csv"], 0)["messages"]), [30, 30, 0, 0, 0]);
    let own_names = site.run(&["verify", "archive", "--against", "other.csv"]).exits(2);
    assert!(own_names.stderr.contains("other.csv"), "{}", own_names.stderr);
    let strange = site.run(&["verify", "nightly", "--against", "refs.txt"]).exits(2);
    assert!(strange.stderr.contains("ends in .csv, .jsonl or .parquet"), "{}", strange.stderr);
    let unknown = site.run(&["verify", "weekly", "--against", "nightly"]).exits(2);
    assert!(
        unknown.stderr.contains("is neither a directory nor a job of") && unknown.stderr.contains("has nightly"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test]
async fn an_archive_in_postgres_is_examined_alike_and_no_credentials_of_the_api_are_needed() {
    let (mut refs, world) = world();
    let site = Site::nightly((refs.clone(), world));
    let database = postgres::database().await;
    site.write_secret("url", &database.url());
    site.jobs(&NIGHTLY.replace("parquet: { path: archive }", "postgres: { url: 'file:url' }"));
    site.night().exits(3);
    refs.push(("dave|1|erin".to_owned(), id(500), MIDNIGHT));
    site.write("refs.csv", csv(&refs));
    // The app's key and secret are wherever the job runs, and not here.
    let config = site
        .read("jobs.yaml")
        .replace("file:secret", "env:NO_SUCH_SECRET")
        .replace(&format!("app_key: {APP_KEY}"), "app_key: env:NO_SUCH_KEY");
    assert!(config.contains("NO_SUCH_KEY") && config.contains("NO_SUCH_SECRET"));
    site.write("jobs.yaml", config);
    let found = verify(&site, &["nightly", "--against", "nightly", "-o", "page.html"], 1);
    assert_eq!(counts(&found["messages"]), [21, 17, 3, 0, 1]);
    assert_eq!((&found["app_key"], &found["archive"]["kind"]), (&json!(APP_KEY), &json!("postgres")));
    let html = site.read("page.html");
    is_self_contained(&html);
    assert!(!html.contains(postgres::PASSWORD) && !found.to_string().contains(postgres::PASSWORD));
    database.execute(&format!("delete from messages where message_server_id = {}", id(0))).await;
    assert_eq!(counts(&verify(&site, &["nightly", "--against", "nightly"], 1)["messages"]), [21, 16, 3, 0, 2]);
    database.execute("update messages set app_key = 'another'").await;
    let other = site.run(&["verify", "nightly", "--against", "nightly"]).exits(2);
    assert!(other.stderr.contains("messages of AppKey another"), "{}", other.stderr);
}

#[test]
fn a_parquet_archive_is_examined_without_credentials_of_the_api() {
    let site = Site::nightly(world());
    site.night().exits(3);
    let config = site
        .read("jobs.yaml")
        .replace("file:secret", "env:NO_SUCH_SECRET")
        .replace(&format!("app_key: {APP_KEY}"), "app_key: env:NO_SUCH_KEY");
    site.write("jobs.yaml", config);
    assert_eq!(counts(&verify(&site, &["nightly", "--against", "nightly"], 0)["messages"]), [20, 17, 3, 0, 0]);
    // And without a configuration.
    std::fs::remove_file(site.path("jobs.yaml")).unwrap();
    assert_eq!(counts(&verify(&site, &["archive", "--against", "refs.csv"], 1)["messages"]), [20, 17, 0, 0, 3]);
    assert!(site.run(&["verify", "nightly", "--against", "refs.csv"]).exits(2).stderr.contains("jobs.yaml"));
    // And without a ledger, which is said.
    site.jobs(NIGHTLY);
    std::fs::rename(site.path("state"), site.path("lost")).unwrap();
    let ended = site.run(&["verify", "nightly", "--against", "nightly"]).exits(1);
    assert!(ended.stderr.contains("the job has no ledger") && ended.stdout.contains("absent or failed"), "{ended:?}");
}

#[test]
fn every_kind_of_source_is_read_whole() {
    let (refs, world) = sane();
    let site = Site::new(world);
    site.write("refs.csv", csv(&refs));
    site.night().exits(0);
    crate::support::refs::write_parquet(
        &site.path("refs.parquet"),
        vec![
            (
                "conversation_id",
                std::sync::Arc::new(arrow::array::StringArray::from_iter_values(refs.iter().map(|r| r.0.as_str()))),
            ),
            (
                "message_server_id",
                std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(refs.iter().map(|r| r.1))),
            ),
            ("create_time", std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(refs.iter().map(|r| r.2)))),
        ],
    );
    for against in ["refs.parquet", "refs.csv"] {
        assert_eq!(counts(&verify(&site, &["archive", "--against", against], 0)["messages"]), [30, 30, 0, 0, 0]);
    }
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[tokio::test]
async fn a_mysql_query_is_read_from_its_start() {
    let (refs, world) = sane();
    let site = Site::new(world);
    let database = mariadb::database().await;
    database.execute(TABLE).await;
    database.execute(&inserts(&refs)).await;
    site.write_secret("url", &database.url());
    reads_everything(&site, &refs, "mysql: { url: 'file:url', QUERY }");
}

fn page(site: &Site, options: &[&str], code: i32) -> (String, Ended) {
    let ended =
        site.run(&[&["verify", "nightly", "--against", "nightly", "-o", "page.html"], options].concat()).exits(code);
    (site.read("page.html"), ended)
}

#[test]
fn the_certificate_is_self_contained_and_no_name_is_markup() {
    let hostile = "<script>alert(1)</script>\u{202e}&amp;\"'";
    let (mut refs, world) = world();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(3);
    refs.push((format!("{hostile}|1|bob"), id(500), time(1)));
    site.write("refs.jsonl", jsonl(&refs) + "{\"conversation_id\":\"<b>x</b>\"}\n");
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", "jsonl: { path: refs.jsonl }"));
    let (html, _) =
        page(&site, &["--operator", "<i>Jo</i>", "--purpose", "</style><b>audit</b>", "--absent", "a<b>.jsonl"], 1);
    is_self_contained(&html);
    assert!(
        !html.contains("<script")
            && !html.contains("<b>audit")
            && !html.contains("<i>Jo")
            && !html.contains('\u{202e}')
    );
    let read = Read::of(&html);
    assert_eq!(read.badge(), "incomplete");
    let text = read.text();
    for said in [
        "One of the 21 messages that the references name is absent",
        "<script>alert(1)</script>\\u{202e}&amp;\"'|1|bob",
        "<i>Jo</i>",
        "</style><b>audit</b>",
        "a<b>.jsonl",
        "unavailable",
        "2026-10-03",
        "place",
        "signature",
        "messages, replies among them, that no reference names",
        "the files that messages attach",
        "22 = 21 + 0 + 0 + 1 + 0",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let manifest = site
        .files("archive/_manifests")
        .into_iter()
        .rfind(|path| path.extension().is_some_and(|e| e == "json"))
        .unwrap();
    let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(std::fs::read(manifest).unwrap()));
    assert!(text.contains(&sha256), "the last manifest's hash");
    let tiles = read.list("tiles");
    for (tile, number) in
        tiles.iter().zip(["referenced21", "archived17", "failed3", "pending0", "absent1", "invalid rows1"])
    {
        assert!(tile.starts_with(number), "{tile}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&site.path("page.html").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_certificate_lists_what_has_room_and_points_to_the_rest() {
    let (refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    let (html, _) = page(&site, &[], 0);
    is_self_contained(&html);
    assert_eq!(Read::of(&html).badge(), "complete");
    let many: Vec<Ref> = (1_000..1_250).map(|n| reference(&format!("owner{n}|1|x"), n)).collect();
    site.write("refs.csv", csv(&[refs, many].concat()));
    let (html, ended) = page(&site, &["--absent", "absent.jsonl"], 1);
    is_self_contained(&html);
    let read = Read::of(&html);
    for said in ["The first 100 of 250, in order of ID", "All of them are in absent.jsonl", "151 more accounts"] {
        assert!(read.text().contains(said), "{said}");
    }
    assert!(
        ended.stdout.contains("… and 230 more") && ended.stdout.contains("… and 220 accounts more"),
        "{}",
        ended.stdout
    );
    assert_eq!(site.read("absent.jsonl").lines().count(), 250);
    let printed = site.run(&["verify", "nightly", "--against", "nightly", "-o", "-"]).exits(1).stdout;
    is_self_contained(&printed);
    site.run(&["verify", "nightly", "--against", "nightly", "-o", "-", "--json"]).exits(2);
    site.write("refs.csv", "conversation_id,message_server_id,create_time\n");
    let (html, _) = page(&site, &[], 0);
    is_self_contained(&html);
    assert_eq!(Read::of(&html).badge(), "nothing referenced");
}
