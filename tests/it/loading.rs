//! The recipes of docs/loading.md, run exactly as they stand there. `tests/run.sh` installs what they run in.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::postgres;
use crate::support::site::{NIGHTLY, Ref, Site, csv, dialogue};

/// The versions of DuckDB that the documentation names.
const DUCKDB: [&str; 2] = ["duckdb-1.1.3", "duckdb-2.0.1"];

/// The code blocks of a section in this language.
fn recipes(section: &str, language: &str) -> Vec<String> {
    let whole = include_str!("../../docs/loading.md");
    let section = whole.split(&format!("\n## {section}\n")).nth(1).unwrap_or_else(|| panic!("no section {section}"));
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    section.split(&fence).skip(1).map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// Where a Python package is that `tests/run.sh` installed.
fn package(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/loading").join(name)
}

/// Runs a program in the site's directory with this input, the binary in its path; returns what it printed.
fn run(site: &Site, package_name: &str, program: &[&str], variables: &[(&str, &str)], input: &str) -> String {
    let package = package(package_name);
    assert!(package.exists(), "{package_name} is not installed: run tests/run.sh");
    let binary = Path::new(env!("CARGO_BIN_EXE_yunxin-archiver")).parent().unwrap();
    let path = format!("{}:{}:{}", site.path("bin").display(), binary.display(), std::env::var("PATH").unwrap());
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .current_dir(site.path(""))
        .env("PATH", path)
        .env("PYTHONPATH", package)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}\n{input}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A site after its first night.
fn first_night() -> Site {
    let site = Site::nightly(dialogue("alice|1|bob", 0..30));
    site.night().exits(0);
    site
}

/// Another night: new messages, and one of the first has vanished. Returns how many messages there are then.
fn next_night(site: &Site) -> i64 {
    let (refs, mut world) = dialogue("carol|2|4400000001", 100..140);
    let (first, _) = dialogue("alice|1|bob", 0..30);
    world.extend(first[1..].iter().map(|(conversation, id, time): &Ref| {
        yunxin_archiver::simulator::Message::text(conversation, *id, *time, "hello")
    }));
    site.api.world(|served| *served = world);
    site.write("refs.csv", csv(&refs));
    let ended = site.run(&["run", "--refetch", "all", "--json"]).exits(0);
    assert_eq!((ended.refs("archived"), &ended.job()["refetched"]["vanished"]), (40, &json!(1)));
    70
}

/// Runs SQL in a DuckDB database that stays; returns the rows of the last statement.
fn duckdb(site: &Site, version: &str, sql: &str) -> Value {
    let script = "import duckdb, json, sys\n\
                  result = duckdb.connect('warehouse.duckdb').execute(sys.stdin.read())\n\
                  print(json.dumps(result.fetchall(), default=str))";
    serde_json::from_str(&run(site, version, &["python3", "-c", script], &[], sql)).unwrap()
}

#[test]
fn duckdb_loads_each_run_once_in_its_oldest_and_newest_version() {
    let [in_place, load, adds_up, check] = recipes("DuckDB", "sql").try_into().unwrap();
    let [latest, without_vanished] = recipes("One row per message", "sql").try_into().unwrap();
    for version in DUCKDB {
        let site = first_night();
        let loaded = |messages: i64, runs: i64| {
            for _ in 0..2 {
                duckdb(&site, version, &load);
                assert_eq!(duckdb(&site, version, &adds_up), json!([[true]]), "{version}");
                let counts =
                    "select count(*), count(distinct message_server_id), (select count(*) from loaded) from messages";
                assert_eq!(duckdb(&site, version, counts), json!([[messages, messages, runs]]), "{version}");
            }
        };
        loaded(30, 1);
        let all = next_night(&site);
        loaded(all, 2);
        // A night with nothing new has a manifest without files.
        site.night().exits(0);
        loaded(all, 2);
        let (by_day, in_json) = in_place.split_once("-- inside JSON").unwrap();
        assert_eq!(duckdb(&site, version, by_day), json!([["2026-10-02", all, 2]]), "{version}");
        assert_eq!(duckdb(&site, version, in_json), json!([]), "{version}: no image on that day");
        assert_eq!(duckdb(&site, version, &check), json!([]), "{version}: every file holds what its manifest tells");
        let rows = |recipe: &str| {
            let counted = format!("select count(*) from ({})", recipe.trim().trim_end_matches(';'));
            duckdb(&site, version, &counted)[0][0].as_i64().unwrap()
        };
        assert_eq!((rows(&latest), rows(&without_vanished)), (all, all - 1), "{version}");
        // And it finds a file that is not what its manifest tells.
        let first = site.files("archive").into_iter().find(|path| path.to_string_lossy().contains("date=")).unwrap();
        std::fs::remove_file(first).unwrap();
        assert_eq!(duckdb(&site, version, &check).as_array().unwrap().len(), 1, "{version}");
    }
}

#[test]
fn clickhouse_loads_each_file_once() {
    let [table] = recipes("ClickHouse", "sql").try_into().unwrap();
    let [load] = recipes("ClickHouse", "sh").try_into().unwrap();
    let site = first_night();
    let client = include_str!("support/clickhouse_client.py");
    site.write("bin/clickhouse-client", client);
    std::fs::set_permissions(site.path("bin/clickhouse-client"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = site.path("clickhouse").display().to_string();
    let clickhouse = |program: &[&str], input: &str| run(&site, "chdb", program, &[("CLICKHOUSE_DATA", &data)], input);
    let loaded = |messages: i64| {
        for _ in 0..2 {
            clickhouse(&["bash"], &load);
            let count =
                clickhouse(&["clickhouse-client"], "select count(), uniqExact(message_server_id) from messages");
            assert_eq!(count.trim(), format!("{messages}\t{messages}"));
        }
    };
    clickhouse(&["clickhouse-client"], &table);
    loaded(30);
    let all = next_night(&site);
    loaded(all);
    // The token keeps a file that is loaded again from being there twice.
    std::fs::remove_file(site.path("last_run")).unwrap();
    loaded(all);
}

#[tokio::test]
async fn postgres_takes_the_files_and_the_rows_of_another_postgres() {
    let python = recipes("Postgres, from Parquet", "python");
    let sql = recipes("Postgres, from Parquet", "sql");
    let [load] = recipes("Postgres, from Parquet", "sh").try_into().unwrap();
    let site = first_night();
    site.write("load.py", &python[0]);
    site.write("load.sql", &sql[0]);
    let warehouse = postgres::database().await.url();
    let variables = [("WAREHOUSE_URL", warehouse.as_str())];
    let psql = |sql: &str| run(&site, DUCKDB[1], &["psql", "-qtAX", &warehouse], &[], sql);
    psql(&site.run(&["schema", "postgres"]).exits(0).stdout);
    let loaded = |messages: i64| {
        for _ in 0..2 {
            run(&site, DUCKDB[1], &["bash"], &variables, &load);
            assert_eq!(psql("select count(*) from messages").trim(), messages.to_string());
        }
    };
    loaded(30);
    let all = next_night(&site);
    loaded(all);
    std::fs::remove_file(site.path("last_run")).unwrap();
    loaded(all);
    assert_eq!(psql("select count(*) from messages where conversation_key = '2|4400000001'").trim(), "40");

    // From the Postgres sink, by runs.
    let [rows_of_runs] = recipes("From the Postgres sink", "sql").try_into().unwrap();
    let archive = postgres::database().await.url();
    site.write_secret("url", &archive);
    site.jobs(
        &NIGHTLY.replace("nightly", "tables").replace("parquet: { path: archive }", "postgres: { url: 'file:url' }"),
    );
    site.run(&["run"]).exits(0);
    let after = |last: u32| {
        let set = [format!("last={last}"), "this=1".to_owned()];
        let program = ["psql", "-qtAX", "-v", &set[0], "-v", &set[1], &archive];
        run(&site, DUCKDB[1], &program, &[], &rows_of_runs).lines().count()
    };
    assert_eq!((after(0), after(1)), (40, 0));
}

#[test]
fn spark_reads_the_archive_where_it_is_installed() {
    if !package("pyspark").exists() {
        return;
    }
    let [whole, by_manifest] = recipes("Spark", "python").try_into().unwrap();
    let site = first_night();
    let all = next_night(&site);
    let script = format!(
        "from pyspark.sql import SparkSession\n\
         spark = SparkSession.builder.master('local[1]').config('spark.ui.enabled', 'false').getOrCreate()\n\
         {whole}\n{by_manifest}\nprint(messages.count(), new.count(), spark.table('new_messages').count())\nspark.stop()\n"
    );
    let counts = run(&site, "pyspark", &["python3", "-"], &[], &script);
    assert_eq!(counts.trim(), format!("{all} 40 40"));
}
