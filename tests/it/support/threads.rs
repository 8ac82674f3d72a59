//! A job against a simulated API, run by the binary, for tests of threads and later versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::Array;
use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;
use yunxin_archiver::simulator::{self, APP_KEY, APP_SECRET, Fault, Handle, Hook, Message, Settings, World};

/// The time of the message with ID 0.
pub(crate) const START: i64 = 1_790_000_000_000;

/// When a message of these tests was created.
pub(crate) fn time(id: i64) -> i64 {
    START + id * 1_000
}

/// A message that links to the root of its thread and to the message that it answers.
pub(crate) fn message(conversation: &str, id: i64, root: Option<i64>, reply: Option<i64>) -> Message {
    let message = Message::text(conversation, id, time(id), &format!("message {id}"));
    let link = |id: i64| format!("{{\"message_server_id\":\"{id}\",\"create_time\":{}}}", time(id));
    let links: Vec<String> = [("thread_root", root), ("thread_reply", reply)]
        .into_iter()
        .filter_map(|(name, id)| Some(format!("\"{name}\":{}", link(id?))))
        .collect();
    if links.is_empty() { message } else { message.field("thread_config", &format!("{{{}}}", links.join(","))) }
}

/// A job in a directory of its own, and the service that it asks.
pub(crate) struct Night {
    directory: TempDir,
    pub(crate) service: Handle,
    sink: String,
}

/// One message as the archive has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Archived {
    pub(crate) id: i64,
    pub(crate) revision: i32,
    pub(crate) requested: bool,
    pub(crate) text: String,
}

impl Night {
    /// A job with a Parquet archive that commits as often as it can, and with these keys of `fetch`.
    pub(crate) fn new(world: World, fetch: &str) -> Self {
        Self::with_sink(world, fetch, "parquet: { path: archive, partition_by: [], commit_interval: 1ms }")
    }

    pub(crate) fn with_sink(world: World, fetch: &str, sink: &str) -> Self {
        let settings = Settings { rate_limit: 0, count_asks: true, ..Settings::default() };
        let night = Self {
            directory: TempDir::new().unwrap(),
            service: simulator::start_with(settings, world).unwrap(),
            sink: sink.to_owned(),
        };
        std::fs::write(night.path("secret"), APP_SECRET).unwrap();
        night.configure(fetch);
        night
    }

    /// Writes the configuration with these keys of `fetch`.
    pub(crate) fn configure(&self, fetch: &str) {
        let config = format!(
            "version: 1\napps:\n  main:\n    app_key: {APP_KEY}\n    app_secret: file:secret\n    \
             endpoints: [\"{}\"]\n    rate_limit: 100000\njobs:\n  night:\n    app: main\n    \
             source:\n      csv: {{ path: refs.csv }}\n    fetch: {{ {fetch} }}\n    plan_window: 8\n    \
             sink:\n      {}\n",
            self.service.url(),
            self.sink
        );
        std::fs::write(self.path("jobs.yaml"), config).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes these the references of the source.
    pub(crate) fn references<'a>(&self, references: impl IntoIterator<Item = (&'a str, i64)>) {
        let mut text = "conversation_id,message_server_id,create_time\n".to_owned();
        for (conversation, id) in references {
            writeln!(text, "{conversation},{id},{}", time(id)).unwrap();
        }
        std::fs::write(self.path("refs.csv"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
        command.arg("-c").arg(self.path("jobs.yaml")).args(arguments).stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the job to its end, and returns its exit code and summary.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.output(&[arguments, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        let job = summary["jobs"][0].clone();
        check_sums(&job);
        (output.status.code().unwrap_or_else(|| panic!("{said}")), job)
    }

    /// Lets the service answer `requests` more requests, starts the job, and kills it once it waits for the next ones.
    /// Returns `false` when it came to its end before.
    pub(crate) fn run_and_kill_after(&self, requests: u64) -> bool {
        self.kill_after(&["run"], requests)
    }

    /// The same with these arguments.
    pub(crate) fn kill_after(&self, arguments: &[&str], requests: u64) -> bool {
        let met = AtomicU64::new(0);
        let hook = Hook::new(move |_| (met.fetch_add(1, Ordering::Relaxed) >= requests).then_some(Fault::Stall));
        self.service.faults(|faults| faults.hook = Some(hook));
        let before = self.service.stats().requests;
        let mut child = self.command(arguments).arg("-q").stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let killed = wait(&mut child, || self.service.stats().requests > before + requests);
        self.service.faults(|faults| faults.hook = None);
        killed
    }

    /// Runs the job with these arguments until it dies at a step, as by `kill -9`; `false` when it came to its end.
    pub(crate) fn dies_at(&self, step: &str, arguments: &[&str]) -> bool {
        let output = self.command(arguments).env("YUNXIN_ARCHIVER_DIE_AT", step).output().unwrap();
        output.status.code().is_none()
    }

    /// Every row of the Parquet archive's committed files, in order.
    pub(crate) fn archived(&self) -> Vec<Archived> {
        let mut rows: Vec<Archived> = data_files(&self.path("archive")).iter().flat_map(|file| rows_of(file)).collect();
        rows.sort();
        rows
    }

    /// The IDs in the archive, by whether a reference asked for them. Each is there once.
    pub(crate) fn ids(&self) -> (BTreeSet<i64>, BTreeSet<i64>) {
        let rows = self.archived();
        let all: BTreeSet<i64> = rows.iter().map(|row| row.id).collect();
        assert_eq!(all.len(), rows.len(), "a message is there twice");
        let (requested, extra): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.requested);
        (requested.iter().map(|row| row.id).collect(), extra.iter().map(|row| row.id).collect())
    }

    /// How often each message was asked for.
    pub(crate) fn asks(&self) -> BTreeMap<i64, u32> {
        self.service.stats().asks.into_iter().collect()
    }
}

/// Waits until `done`, then kills the process; `false` when it ended by itself.
fn wait(child: &mut Child, done: impl Fn() -> bool) -> bool {
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if done() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn check_sums(job: &Value) {
    let of = |group: &str, name: &str| job[group][name].as_u64().unwrap_or_else(|| panic!("{group}.{name}: {job}"));
    let sum = |group: &str, names: &[&str]| names.iter().map(|name| of(group, name)).sum::<u64>();
    assert_eq!(
        sum("references", &["accepted", "resumed", "retried"]),
        sum("references", &["archived", "failed", "pending"]),
        "{job}"
    );
    assert_eq!(of("thread_extras", "planned"), sum("thread_extras", &["archived", "failed", "pending"]), "{job}");
    let ends = ["unchanged", "edited", "vanished", "failed", "pending"];
    assert_eq!(of("refetched", "planned"), sum("refetched", &ends), "{job}");
}

/// The files that an archive's loaders would read.
pub(crate) fn data_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('_') {
            files.extend(data_files(&path));
        } else if name.ends_with(".parquet") {
            files.push(path);
        }
    }
    files
}

fn rows_of(file: &Path) -> Vec<Archived> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap().build().unwrap();
    let mut rows = Vec::new();
    for batch in reader.map(Result::unwrap) {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let ids = column("message_server_id").as_primitive::<Int64Type>();
        let revisions = column("revision").as_primitive::<Int32Type>();
        let (requested, texts) = (column("requested").as_boolean(), column("text").as_string::<i32>());
        rows.extend((0..batch.num_rows()).map(|row| Archived {
            id: ids.value(row),
            revision: revisions.value(row),
            requested: requested.value(row),
            text: if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() },
        }));
    }
    rows
}
