//! A job that archives night after night, as a user runs it: the binary, a simulated API, a directory of references.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;
use yunxin_archiver::simulator::{APP_KEY, APP_SECRET, Handle, Settings, World, start_with};

use super::postgres::PgUrl;

/// References of one night.
pub(crate) const NIGHT: i64 = 5_000;

/// Where messages go.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Parquet,
    Postgres(PgUrl),
}

/// A job and everything around it.
pub(crate) struct Nights {
    pub(crate) directory: TempDir,
    pub(crate) place: Place,
    pub(crate) service: Handle,
}

impl Nights {
    pub(crate) fn new(place: Place) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { rate_limit: 0, count_asks: true, ..Settings::default() };
        let service = start_with(settings, World::any()).unwrap();
        let nights = Self { directory, place, service };
        std::fs::create_dir(nights.path("refs")).unwrap();
        nights.configure("jobs.yaml", "state", "nightly");
        nights
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the job's ledger is.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.path("state/nightly.sqlite")
    }

    /// Writes a configuration of one job, with this directory of state.
    pub(crate) fn configure(&self, file: &str, state: &str, job: &str) {
        let sink = match &self.place {
            Place::Parquet => "parquet: { path: archive }".to_owned(),
            Place::Postgres(_) => "postgres: { url: env:ARCHIVE_URL }".to_owned(),
        };
        let text = format!(
            "version: 1\nstate: {state}\napps:\n  main:\n    app_key: {APP_KEY}\n    app_secret: env:APP_SECRET\n    \
             endpoints: [\"{}\"]\n    rate_limit: 100000\njobs:\n  {job}:\n    app: main\n    source:\n      \
             csv: {{ path: refs/*.csv, cursor: files }}\n    sink:\n      {sink}\n    tolerate: [unanswered]\n",
            self.service.url()
        );
        std::fs::write(self.path(file), text).unwrap();
    }

    /// The references of one more night.
    pub(crate) fn fall(&self, night: i64) {
        let mut text = "conversation_id,message_server_id,create_time\n".to_owned();
        for id in ids(night..night + 1) {
            writeln!(text, "a{}|1|b,{id},{}", id % 20, 1_790_000_000_000 + id * 60_000).unwrap();
        }
        std::fs::write(self.path(&format!("refs/{night:03}.csv")), text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
        command.current_dir(self.directory.path()).args(arguments).env("APP_SECRET", APP_SECRET);
        if let Place::Postgres(database) = &self.place {
            command.env("ARCHIVE_URL", database.url());
        }
        command
    }

    pub(crate) fn go(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; returns what it prints.
    pub(crate) fn well(&self, arguments: &[&str]) -> String {
        let output = self.go(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the job; returns its summary.
    pub(crate) fn run(&self) -> Value {
        let summary: Value = serde_json::from_str(&self.well(&["run", "--json"])).unwrap();
        summary["jobs"][0].clone()
    }

    /// Takes the archive over; returns what it says of that.
    pub(crate) fn adopt(&self) -> Value {
        serde_json::from_str(&self.well(&["adopt", "nightly", "--json"])).unwrap()
    }

    /// Runs the job, which must be refused by a sentence that names `adopt`, and must not touch the archive.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> String {
        let before = self.contents().await;
        let asked = self.service.stats().requests;
        let output = self.go(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("adopt"), "{said}");
        assert_eq!(self.contents().await, before, "a refusal writes nothing");
        assert_eq!(self.service.stats().requests, asked, "and asks for nothing");
        said
    }

    /// Everything in the archive, in a form that can be compared.
    pub(crate) async fn contents(&self) -> Vec<String> {
        match &self.place {
            Place::Parquet => files_below(&self.path("archive"))
                .into_iter()
                .map(|(path, bytes)| format!("{} {}", path.display(), hex::encode(bytes)))
                .collect(),
            Place::Postgres(database) => {
                let mut connection = database.connect().await;
                let sql = "select t::text from messages_archive t union all select t::text from messages_commits t \
                           union all select count(*)::text from messages union all select xmax::text from messages_archive";
                sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
            }
        }
    }

    /// The IDs of all messages in the archive, sorted: each as often as it stands there.
    pub(crate) async fn archived(&self) -> Vec<i64> {
        let mut ids = match &self.place {
            Place::Parquet => files_below(&self.path("archive"))
                .into_iter()
                .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "parquet"))
                .flat_map(|(_, bytes)| {
                    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
                    let batches = reader.build().unwrap().map(Result::unwrap);
                    batches
                        .flat_map(|batch| {
                            let column = batch.column_by_name("message_server_id").unwrap();
                            column.as_primitive::<Int64Type>().values().to_vec()
                        })
                        .collect::<Vec<_>>()
                })
                .collect(),
            Place::Postgres(database) => {
                let mut connection = database.connect().await;
                let sql = "select message_server_id from messages";
                sqlx::query_scalar::<_, i64>(sql).fetch_all(&mut connection).await.unwrap()
            }
        };
        ids.sort_unstable();
        ids
    }

    /// What every night so far must have left: each message once.
    pub(crate) async fn holds(&self, nights: Range<i64>) {
        let archived = self.archived().await;
        assert_eq!(archived.len() as i64, (nights.end - nights.start) * NIGHT);
        assert_eq!(archived, ids(nights).collect::<Vec<_>>());
    }
}

/// The IDs of these nights.
pub(crate) fn ids(nights: Range<i64>) -> impl Iterator<Item = i64> {
    nights.start * NIGHT + 1..nights.end * NIGHT + 1
}

/// Every file below a directory with its content.
pub(crate) fn files_below(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let content = std::fs::read(&path).unwrap();
                found.insert(path, content);
            }
        }
    }
    found
}

/// Copies a directory as it is, in place of what is there.
pub(crate) fn copy(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
