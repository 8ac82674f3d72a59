//! The scripts in examples/, which register an archive's files in tables. They run exactly as they stand there, with real
//! catalogues, on a disk and in a bucket. `tests/run.sh` installs what they need.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use yunxin_archiver::simulator::Message;

use crate::support::postgres;
use crate::support::server::{Home, find_program, free_port};
use crate::support::site::{Site, csv, dialogue, id, names, reference, time};

/// IDs of messages with their revisions.
type Versions = Vec<(i64, i64)>;

#[derive(Clone)]
enum Format {
    Iceberg,
    Delta,
    /// With this catalogue.
    DuckLake(String),
}

/// One of each format, with catalogues that are files.
fn formats() -> [Format; 3] {
    [Format::Iceberg, Format::Delta, Format::DuckLake("lake.ducklake".to_owned())]
}

/// A table of an archive.
struct Table<'a> {
    site: &'a Site,
    format: Format,
    /// Of what vanished, and not of the messages.
    vanished: bool,
    /// The server whose bucket `nightly` has the archive, if it is not on the disk.
    endpoint: Option<&'a str>,
}

fn here(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

impl<'a> Table<'a> {
    fn new(site: &'a Site, format: &Format) -> Self {
        Self { site, format: format.clone(), vanished: false, endpoint: None }
    }

    /// The table of what vanished.
    fn vanished(&self) -> Self {
        Self { site: self.site, format: self.format.clone(), vanished: true, endpoint: self.endpoint }
    }

    /// Python, which finds the packages, DuckDB's extensions and the catalogue of Iceberg.
    fn python(&self, arguments: impl IntoIterator<Item = String>) -> Command {
        let packages = PathBuf::from(here("target/tables"));
        assert!(packages.exists(), "{} is not there: run tests/run.sh", packages.display());
        let warehouse = self.site.path("warehouse");
        std::fs::create_dir_all(&warehouse).unwrap();
        let mut command = Command::new("python3");
        command
            .args(arguments)
            .current_dir(self.site.path(""))
            .stdin(Stdio::null())
            .env("PYTHONPATH", &packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", &packages)
            .env("PYICEBERG_CATALOG__DEFAULT__TYPE", "sql")
            .env("PYICEBERG_CATALOG__DEFAULT__URI", format!("sqlite:///{}/catalog.db", warehouse.display()))
            .env("PYICEBERG_CATALOG__DEFAULT__WAREHOUSE", &warehouse);
        if let Some(endpoint) = self.endpoint {
            command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "us-east-1");
            command.env("AWS_ACCESS_KEY_ID", "it").env("AWS_SECRET_ACCESS_KEY", "hunter2-bucket");
        }
        command
    }

    fn name(&self) -> String {
        if self.vanished { "vanished" } else { "messages" }.to_owned()
    }

    /// The script as a command, or the Python program `by` that runs it.
    fn script(&self, by: Option<&str>) -> Command {
        let (script, names) = match &self.format {
            Format::Iceberg => ("examples/iceberg.py", vec![format!("yunxin.{}", self.name())]),
            Format::Delta => ("examples/delta.py", Vec::new()),
            Format::DuckLake(catalogue) => ("examples/ducklake.py", vec![catalogue.clone(), self.name()]),
        };
        let archive = if self.endpoint.is_some() { "s3://nightly/archive" } else { "archive" };
        let option = self.vanished.then(|| "--vanished".to_owned());
        let words = [here(script), archive.to_owned()].into_iter().chain(names).chain(option);
        self.python(by.map(here).into_iter().chain(words))
    }

    /// Registers what is new; returns how many runs that were.
    #[track_caller]
    fn registers(&self) -> usize {
        registered(&succeeded(&self.script(None).output().unwrap()))
    }

    /// Is refused, in these words.
    #[track_caller]
    fn is_refused(&self, words: &str) {
        let output = self.script(None).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.contains(words)), (Some(1), true), "{said}");
        assert!(!said.contains("Traceback"), "{said}");
    }

    /// What DuckDB reads from the table, which is what is in the files that the manifests name.
    #[track_caller]
    fn read(&self) -> Value {
        let (kind, table) = match &self.format {
            Format::Iceberg => ("iceberg", "yunxin".to_owned()),
            Format::Delta if self.endpoint.is_some() => ("delta", "s3://nightly/archive".to_owned()),
            Format::Delta => ("delta", "archive".to_owned()),
            Format::DuckLake(catalogue) => ("ducklake", catalogue.clone()),
        };
        let words = [here("tests/it/tables/read.py"), kind.to_owned(), table, self.name()];
        let seen: Value = serde_json::from_str(&succeeded(&self.python(words).output().unwrap())).unwrap();
        assert_eq!(seen["differing"], 0, "{kind}: {seen}");
        seen
    }

    /// The versions in the table.
    #[track_caller]
    fn versions(&self) -> Versions {
        versions_of(&self.read())
    }
}

fn versions_of(seen: &Value) -> Versions {
    let rows = seen["rows"].as_array().unwrap().iter();
    rows.map(|row| (row["message_server_id"].as_i64().unwrap(), row["revision"].as_i64().unwrap())).collect()
}

/// Each table registers so many runs.
#[track_caller]
fn register(tables: &[Table<'_>], runs: usize) {
    for table in tables {
        assert_eq!(table.registers(), runs);
    }
}

/// Each table registers so many runs, and then has these versions.
#[track_caller]
fn register_and_hold(tables: &[Table<'_>], runs: usize, versions: &Versions) {
    for table in tables {
        assert_eq!((table.registers(), &table.versions()), (runs, versions));
    }
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn registered(printed: &str) -> usize {
    printed.lines().filter(|line| line.contains(": added run ")).count()
}

/// A DuckLake whose catalogue is a Postgres database of its own.
async fn ducklake_in_postgres(site: &Site) -> Format {
    let database = postgres::database().await;
    let (user, password) = (postgres::USER, postgres::PASSWORD);
    let (port, name) = (database.port(), database.database());
    let catalogue = format!("postgres:host=127.0.0.1 port={port} user={user} password={password} dbname={name}");
    let create = format!("import duckdb; duckdb.execute(\"attach 'ducklake:{catalogue}' as lake (data_path 'lake')\")");
    let format = Format::DuckLake(catalogue);
    succeeded(&Table::new(site, &format).python(["-c".to_owned(), create]).output().unwrap());
    format
}

/// A site after its first night, which archived 30 messages of four days. `sink` is what else its sink has.
fn first_night(sink: &str) -> (Site, Versions) {
    let numbers = || (0..30).map(|n| n * 10_000);
    let site = Site::nightly(dialogue("alice|1|bob", numbers()));
    configure(&site, sink);
    site.night().exits(0);
    (site, numbers().map(|n| (id(n), 0)).collect())
}

fn configure(site: &Site, sink: &str) {
    let parquet = format!("{{ path: archive{sink} }}");
    site.jobs(&format!(
        "nightly: {{ app: main, source: {{ csv: {{ path: refs.csv }} }}, sink: {{ parquet: {parquet} }} }}"
    ));
}

/// The next night: ten more messages. One of the first was edited, and one has vanished.
fn next_night(site: &Site, versions: &mut Versions) {
    let refs: Vec<_> = (1..=10).map(|n| reference("carol|2|4400000001", 1_000_000 + n)).collect();
    site.api.world(|world| {
        world.extend(refs.iter().map(|(conversation, id, time)| Message::text(conversation, *id, *time, "hello")));
        world.edit(id(0), "edited", time(2_000_000));
        world.recall(id(10_000));
    });
    site.write("refs.csv", csv(&refs));
    let ended = site.run(&["run", "--refetch", "all", "--json"]).exits(0);
    let refetched = &ended.job()["refetched"];
    assert_eq!((&refetched["edited"], &refetched["vanished"]), (&json!(1), &json!(1)));
    versions.extend(refs.iter().map(|(_, id, _)| (*id, 0)));
    versions.push((id(0), 1));
    versions.sort_unstable();
}

/// A night that adds one message, a month later.
fn another_message(site: &Site, versions: &mut Versions) {
    let (refs, world) = dialogue("dave|1|erin", [3_000_000]);
    site.api.world(|served| *served = world);
    site.write("refs.csv", csv(&refs));
    site.night().exits(0);
    versions.push((id(3_000_000), 0));
}

/// What the archive consists of, without the log of a Delta table.
fn archive(site: &Site) -> Vec<(PathBuf, Vec<u8>)> {
    let all = ["archive", "archive-vanished"].into_iter().flat_map(|directory| site.files(directory));
    let own = all.filter(|path| !path.to_string_lossy().contains("/_delta_log/"));
    own.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn all_runs_that_are_not_registered_are_registered_by_one_call() {
    let (site, mut versions) = first_night("");
    next_night(&site, &mut versions);
    another_message(&site, &mut versions);
    register_and_hold(&formats().map(|format| Table::new(&site, &format)), 3, &versions);
}

#[test]
fn each_run_is_registered_once_and_the_archive_stays_as_it_is() {
    let (site, mut versions) = first_night("");
    let tables = formats().map(|format| Table::new(&site, &format));
    register_and_hold(&tables, 1, &versions);
    for table in &tables {
        let said = succeeded(&table.vanished().script(None).output().unwrap());
        assert!(said.contains("no new notes of messages that vanished up to run 1"), "{said}");
    }
    next_night(&site, &mut versions);
    // A night that finds nothing new leaves a manifest without files.
    site.night().exits(0);
    let before = archive(&site);
    let seen = tables.each_ref().map(|table| {
        assert_eq!((table.registers(), table.registers()), (1, 0));
        let vanished = table.vanished();
        assert_eq!((vanished.registers(), vanished.registers()), (1, 0));
        assert_eq!(vanished.read()["rows"][0]["message_server_id"], id(10_000));
        table.read()
    });
    assert!(archive(&site) == before);
    let manifests = names(&site.path("archive/_manifests"));
    let run = |number: usize| manifests[number - 1].split_once('-').unwrap().1.strip_suffix(".json").unwrap();
    for seen in &seen {
        assert_eq!(versions_of(seen), versions);
        assert_eq!(seen["latest"].as_array().unwrap().len(), 40);
        assert_eq!(seen["latest"][0], json!({ "message_server_id": id(0), "revision": 1, "text": "edited" }));
    }
    // A table with a history says of each of its states which run came with it, and the marker of DuckLake of the last.
    assert_eq!(
        seen.map(|seen| seen["runs"].clone()),
        [json!([run(1), run(2)]), json!([run(1), run(2)]), json!([run(2)])]
    );

    // The log of a Delta table in the archive is nothing to the archiver, not even its checkpoints.
    let checkpoint = "from deltalake import DeltaTable; DeltaTable('archive').create_checkpoint()".to_owned();
    succeeded(&tables[1].python(["-c".to_owned(), checkpoint]).output().unwrap());
    another_message(&site, &mut versions);
    let verified = site.run(&["verify", "nightly"]).exits(0);
    assert!(!verified.stdout.contains("_delta_log"), "{}", verified.stdout);
    assert_eq!((tables[1].registers(), tables[1].versions()), (1, versions));
}

#[tokio::test]
async fn a_registration_that_another_one_overtakes_adds_nothing() {
    let (site, mut versions) = first_night("");
    let tables =
        [Format::Iceberg, Format::Delta, ducklake_in_postgres(&site).await].map(|format| Table::new(&site, &format));
    let overtaken = |versions: &Versions| {
        for table in &tables {
            let output = table.script(Some("tests/it/tables/overtaken.py")).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // What was printed is what the other one added.
            let printed = registered(&String::from_utf8_lossy(&output.stdout));
            assert_eq!((output.status.code(), printed), (Some(1), 1), "{said}");
            assert!(said.contains("Run this again.") && !said.contains("Traceback"), "{said}");
            assert_eq!((table.registers(), &table.versions()), (0, versions));
        }
    };
    // In the first registration, which creates the table, and in a later one.
    overtaken(&versions);
    next_night(&site, &mut versions);
    overtaken(&versions);
}

#[test]
fn a_registration_that_is_killed_added_a_run_as_a_whole_or_not_at_all() {
    let (site, mut versions) = first_night("");
    let tables = formats().map(|format| Table::new(&site, &format));
    let killed = |when: &str| {
        for table in &tables {
            let mut command = table.script(Some("tests/it/tables/killed.py"));
            assert_eq!(command.env("KILLED", when).output().unwrap().status.code(), None);
        }
    };
    killed("before");
    register(&tables, 1);
    next_night(&site, &mut versions);
    killed("after");
    register_and_hold(&tables, 0, &versions);
}

#[tokio::test]
async fn of_registrations_at_once_one_adds_each_run() {
    let (site, mut versions) = first_night("");
    next_night(&site, &mut versions);
    for format in [Format::Iceberg, Format::Delta, ducklake_in_postgres(&site).await] {
        let table = Table::new(&site, &format);
        let pipes = |mut command: Command| command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let at_once = [(); 3].map(|()| pipes(table.script(None)));
        let outputs = at_once.map(|child| child.wait_with_output().unwrap());
        let added: usize = outputs.iter().map(|output| registered(&String::from_utf8_lossy(&output.stdout))).sum();
        assert_eq!(added + table.registers(), 2, "{outputs:?}");
        assert_eq!(table.versions(), versions);
    }
}

#[test]
fn an_archive_with_a_gap_or_another_one_than_the_tables_is_refused() {
    let (site, mut versions) = first_night("");
    let tables = formats().map(|format| Table::new(&site, &format));
    register(&tables, 1);
    next_night(&site, &mut versions);
    another_message(&site, &mut versions);
    let manifests = || site.files("archive/_manifests").into_iter().filter(|path| path.extension().is_some());
    let manifests: Vec<PathBuf> = manifests().collect();
    let refused_without = |tables: &[Table<'_>], paths: &[&Path], words: &str| {
        let away = |path: &Path| site.path(path.file_name().unwrap().to_str().unwrap());
        for path in paths {
            std::fs::rename(path, away(path)).unwrap();
        }
        for table in tables {
            table.is_refused(words);
        }
        for path in paths {
            std::fs::rename(away(path), path).unwrap();
        }
    };
    // What the scripts share needs one of them.
    refused_without(&tables[1..2], &[&manifests[1]], "manifest 2 is missing");
    refused_without(&tables[1..2], &[&site.path("archive/_manifests")], "there are no manifests");
    // A copy that has a manifest and lacks a file of it: the run before is registered, and nothing of this one.
    let last = site.files("archive").into_iter().find(|path| path.to_string_lossy().contains("date=2026-11")).unwrap();
    refused_without(&tables, &[&last], "missing or of another size than manifest 3 says");
    register(&tables, 1);
    refused_without(&tables, &[&manifests[1], &manifests[2]], "an older copy");
    let other = manifests[2].with_file_name("00000003-0192f1d2-0000-7000-8000-000000000000.json");
    std::fs::rename(&manifests[2], &other).unwrap();
    for table in &tables {
        table.is_refused("not the archive that the table was made of");
    }
    std::fs::rename(&other, &manifests[2]).unwrap();
    register_and_hold(&tables, 0, &versions);
}

#[test]
fn a_column_that_later_files_have_is_added_to_the_table() {
    let partitions = ", partition_by: [month, conversation_type, app_key], encodings: compact";
    let (site, mut versions) = first_night(partitions);
    let tables = formats().map(|format| Table::new(&site, &format));
    register(&tables, 1);
    configure(&site, &format!("{partitions}, raw: true"));
    another_message(&site, &mut versions);
    for table in &tables {
        assert_eq!(table.registers(), 1);
        let seen = table.read();
        assert_eq!(versions_of(&seen), versions);
        assert_eq!((&seen["rows"][0]["raw"], seen["rows"][30]["raw"].is_string()), (&Value::Null, true));
    }
}

#[tokio::test]
async fn an_archive_in_a_bucket_is_registered_there() {
    let home = Home::new("root");
    let (python, packages, port) = (find_program("python3", &[]), here("target/tables"), free_port().to_string());
    let serve = format!(
        "import os, sys; sys.path.insert(0, '{packages}'); os.environ.update(BIND_HOST='127.0.0.1', \
         GATEWAY_PORT='{port}', SERVICES='s3'); sys.argv = ['ministack']; from ministack.app import main; main()"
    );
    let _server = home.serve("KILL", &python, &["-c".to_owned(), serve]);
    let endpoint = format!("http://127.0.0.1:{port}");

    let (site, mut versions) = first_night(", partition_by: [month, app_key]");
    let formats = [Format::Iceberg, Format::Delta, ducklake_in_postgres(&site).await];
    let tables = formats.map(|format| Table { endpoint: Some(&endpoint), ..Table::new(&site, &format) });
    let copy = || {
        let words = [here("tests/it/tables/into_bucket.py"), "nightly".to_owned(), "archive".to_owned()];
        succeeded(&tables[0].python(words).output().unwrap());
    };
    copy();
    register_and_hold(&tables, 1, &versions);
    next_night(&site, &mut versions);
    copy();
    for table in &tables {
        let output = table.script(Some("tests/it/tables/overtaken.py")).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!((table.registers(), &table.versions()), (0, &versions));
    }
}
