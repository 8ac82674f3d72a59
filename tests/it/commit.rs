//! What is committed, whoever dies: the two sinks end to end, and whose an archive is.

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use yunxin_archiver::simulator::{Fault, Quirk, World};

use crate::support::parquet::read;
use crate::support::postgres::{self, PgUrl};
use crate::support::site::{NIGHTLY, Site, dialogue, dialogues, id, ids_of, message, reference};

const TO_POSTGRES: &str = "nightly: { app: main, source: { csv: { path: refs.csv } }, fetch: { concurrency: 2 }, \
                           sink: { postgres: { url: 'file:archive-url' } } }";

/// Every message of a table in the order of IDs, as JSON; times in milliseconds.
async fn rows(database: &PgUrl, table: &str) -> Vec<Value> {
    let mut connection = database.connect().await;
    let sql = format!("select to_jsonb(t)::text as row, * from {table} t order by message_server_id, revision");
    let found = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    found
        .iter()
        .map(|row| {
            let mut value: Value = serde_json::from_str(row.get("row")).unwrap();
            for (_, field) in value
                .as_object_mut()
                .unwrap()
                .iter_mut()
                .filter(|(name, _)| name.ends_with("_time") || *name == "fetched_at")
            {
                if let Some(text) = field.as_str() {
                    *field = text.parse::<jiff::Timestamp>().unwrap().as_millisecond().into();
                }
            }
            value
        })
        .collect()
}

/// JSON with every number as a floating-point one: `1.0` and `1` are the same number.
fn floats(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(floats).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, floats(value))).collect(),
        other => other,
    }
}

async fn ids(database: &PgUrl) -> Vec<i64> {
    rows(database, "messages").await.iter().map(|row| row["message_server_id"].as_i64().unwrap()).collect()
}

async fn to_postgres((refs, world): (Vec<crate::support::site::Ref>, World)) -> (Site, PgUrl) {
    let site = Site::nightly((refs, world));
    let database = postgres::database().await;
    site.write_secret("archive-url", &database.url());
    site.jobs(TO_POSTGRES);
    (site, database)
}

#[tokio::test]
async fn a_job_into_postgres_goes_on_night_after_night() {
    let (refs, world) = dialogue("alice|1|bob", 0..250);
    let (site, database) = to_postgres((refs.clone(), world)).await;
    site.write("refs.csv", crate::support::site::csv(&refs[..200]));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("archived"), ended.requests("sent")), (200, 2));
    assert_eq!(ended.job()["files"], json!([]));
    assert_eq!(site.night().exits(0).requests("sent"), 0);
    site.write("refs.csv", crate::support::site::csv(&refs[150..]));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("duplicate"), ended.refs("archived"), ended.requests("sent")), (50, 50, 1));
    assert_eq!(ids(&database).await, ids_of(&refs));
    let files = site.run(&["files", "nightly"]).exits(2);
    assert!(files.stderr.contains("writes to Postgres and has no files"), "{}", files.stderr);
}

#[tokio::test]
async fn a_killed_job_into_postgres_loses_nothing_and_repeats_nothing() {
    let (refs, world) = dialogues(60, 3);
    let (site, database) = to_postgres((refs.clone(), world)).await;
    for _ in 0..2 {
        site.answers(10, Fault::Stall);
        let more = site.api.stats().requests + 11;
        let running = site.start(&["run"]);
        site.wait_for_requests(more);
        running.signal(Signal::KILL);
        assert_eq!(running.end().code, None);
    }
    site.answers(10, Fault::Delay(std::time::Duration::from_secs(1)));
    let more = site.api.stats().requests + 11;
    let running = site.start(&["run", "--json"]);
    site.wait_for_requests(more);
    running.signal(Signal::TERM);
    let stopped = running.end().exits(5);
    assert_eq!(ids(&database).await.len() as u64, stopped.refs("archived"));
    site.answers_all();
    site.night().exits(0);
    assert_eq!(ids(&database).await, ids_of(&refs));
    assert_eq!(site.night().exits(0).requests("sent"), 0);
}

#[tokio::test]
async fn both_sinks_hold_the_same() {
    let mut world = World::explicit();
    let mut refs = Vec::new();
    for (n, quirk) in (0..).zip(Quirk::ALL) {
        // What one of the two cannot hold as it is, or as deep, is left to the tests of the sinks.
        if matches!(quirk, Quirk::Undecodable | Quirk::NulText | Quirk::DeepAttachment) {
            continue;
        }
        world.insert(message("alice|1|bob", n).quirk(quirk));
        refs.push(reference("alice|1|bob", n));
    }
    for n in 100..110 {
        world.insert(message("carol|2|4001", n));
        refs.push(reference("carol|2|4001", n));
    }
    let (site, database) = to_postgres((refs.clone(), world)).await;
    site.jobs(&format!(
        "{}\n{}",
        TO_POSTGRES.replace("nightly", "tables").replace("archive-url' }", "archive-url', raw: true }"),
        NIGHTLY.replace("nightly", "files").replace("archive }", "archive, raw: true }")
    ));
    site.night().exits(0);
    let tables = rows(&database, "messages").await;
    let seen = read(&site.path("archive"), "rows");
    let files = seen["duckdb"]["rows"].as_array().unwrap();
    assert_eq!((tables.len(), files.len()), (refs.len(), refs.len()));
    let parsed = |value: &Value| match value.as_str() {
        Some(text) => serde_json::from_str(text).unwrap(),
        None => value.clone(),
    };
    for (table, file) in tables.iter().zip(files) {
        for (name, value) in table.as_object().unwrap() {
            match name.as_str() {
                "run_id" | "fetched_at" => {}
                // Two stores of JSON text: one keeps it as it is, the other keeps what it says.
                "attachment" | "extra" => {
                    let (mut a, mut b) = (floats(value.clone()), floats(parsed(&file[name])));
                    for number in ["checksum", "ratio"] {
                        a.as_object_mut().map(|object| object.remove(number));
                        b.as_object_mut().map(|object| object.remove(number));
                    }
                    assert_eq!(a, b, "{name} of {}", table["message_server_id"]);
                }
                _ => assert_eq!(value, &file[name], "{name} of {}", table["message_server_id"]),
            }
        }
    }
}

#[test]
fn an_archive_of_another_ledger_is_refused_by_name_of_what_takes_it_over() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..5));
    site.night().exits(0);
    let before = site.files("archive");
    // A ledger that is new, as after its loss.
    let config = site.read("jobs.yaml");
    site.write("jobs.yaml", config.replace("state: state", "state: state-2"));
    let ended = site.night().exits(2);
    let error = ended.job()["error"].as_str().unwrap();
    assert!(error.contains("adopt") && error.contains("archive"), "{error}");
    // One that is older than its archive.
    site.write("jobs.yaml", config);
    let old = std::fs::read(site.path("state/nightly.sqlite")).unwrap();
    let (refs, world) = dialogue("carol|1|dave", 10..15);
    site.api.world(|served| *served = world);
    site.write("refs.csv", crate::support::site::csv(&refs));
    site.night().exits(0);
    std::fs::write(site.path("state/nightly.sqlite"), old).unwrap();
    let requests = site.api.stats().requests;
    let ended = site.night().exits(2);
    let error = ended.job()["error"].as_str().unwrap();
    assert!(error.contains("adopt"), "{error}");
    assert_eq!(site.api.stats().requests, requests);
    assert!(site.files("archive").len() > before.len());
    assert_eq!(site.ids("archive").len(), 10);
}

#[tokio::test]
async fn a_table_of_another_ledger_is_refused() {
    let (site, database) = to_postgres(dialogue("alice|1|bob", 0..5)).await;
    site.night().exits(0);
    let config = site.read("jobs.yaml");
    site.write("jobs.yaml", config.replace("state: state", "state: state-2"));
    let ended = site.night().exits(2);
    assert!(ended.job()["error"].as_str().unwrap().contains("adopt"), "{ended:?}");
    assert!(!format!("{ended:?}").contains(postgres::PASSWORD));
    assert_eq!(ids(&database).await.len(), 5);
}

#[test]
fn a_job_that_changed_what_it_is_bound_to_is_refused_while_batches_are_pending() {
    let (refs, world) = dialogues(4, 5);
    let site = Site::nightly((refs.clone(), world));
    site.write_secret("secret", "not-the-secret");
    site.night().exits(4);
    site.write_secret("secret", yunxin_archiver::simulator::APP_SECRET);
    site.jobs(&NIGHTLY.replace("archive }", "archive-2 }"));
    let ended = site.night().exits(2);
    let error = ended.job()["error"].as_str().unwrap();
    assert!(error.contains("batches of the old one are pending") && error.contains("archive-2"), "{error}");
    // Everything else may change at any time.
    site.jobs(
        &NIGHTLY
            .replace("archive }", "archive, compression: snappy }")
            .replace(" sink", " fetch: { batch_size: 7 }, sink"),
    );
    assert_eq!(site.night().exits(0).refs("resumed"), 20);
    // Now it may, and begins anew.
    site.jobs(&NIGHTLY.replace("archive }", "archive-2 }"));
    assert_eq!(site.night().exits(0).refs("archived"), 20);
    assert_eq!(site.ids("archive"), ids_of(&refs));
    assert_eq!(site.ids("archive-2"), ids_of(&refs));
}

#[tokio::test]
async fn a_database_that_refuses_or_is_not_there_ends_the_job_and_costs_nothing() {
    let (site, database) = to_postgres(dialogue("alice|1|bob", 0..5)).await;
    site.write_secret("archive-url", &database.url_as(postgres::USER, "wrong-password"));
    let refused = site.night().exits(4);
    assert!(!format!("{refused:?}").contains("wrong-password"));
    let url = format!("postgres://nobody@127.0.0.1:1/{}", database.database());
    site.write_secret("archive-url", &url);
    let absent = site.run(&["run", "--json", "--deadline", "1m"]).exits(1);
    assert!(absent.job()["error"].as_str().unwrap().contains("127.0.0.1:1"), "{absent:?}");
    assert_eq!(site.api.stats().requests, 0);
    site.write_secret("archive-url", &database.url());
    assert_eq!(site.night().exits(0).refs("archived"), 5);
    assert_eq!(ids(&database).await.first(), Some(&id(0)));
}
