//! Whatever the source and the archive, everything is read.

use super::*;

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
    assert!(gone.stderr.contains("there is no such directory"), "{}", gone.stderr);
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
                std::sync::Arc::new(arrow_array::StringArray::from_iter_values(refs.iter().map(|r| r.0.as_str()))),
            ),
            (
                "message_server_id",
                std::sync::Arc::new(arrow_array::Int64Array::from_iter_values(refs.iter().map(|r| r.1))),
            ),
            ("create_time", std::sync::Arc::new(arrow_array::Int64Array::from_iter_values(refs.iter().map(|r| r.2)))),
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
