//! Everything around a job, in a directory of its own: configuration, simulated API, and the binary that is run there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::Array as _;
use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use yunxin_archiver::simulator::{APP_KEY, APP_SECRET, Fault, Handle, Hook, Message, Settings, World, start_with};

/// One job named `nightly`, from `refs.csv` to Parquet below `archive`.
pub(crate) const NIGHTLY: &str =
    "nightly: { app: main, source: { csv: { path: refs.csv } }, sink: { parquet: { path: archive } } }";

/// The same, which asks twice at most for what is refused for now.
pub(crate) const HASTY: &str = "nightly: { app: main, source: { csv: { path: refs.csv } }, fetch: { attempts: 2 }, \
                                sink: { parquet: { path: archive } } }";

/// A reference: conversation, message, time.
pub(crate) type Ref = (String, i64, i64);

/// The ID of the message with this number.
pub(crate) fn id(n: i64) -> i64 {
    158_844_553_334_358_000 + n
}

/// When the message with this number was created: from 2026-10-02 on, about a second apart.
pub(crate) fn time(n: i64) -> i64 {
    1_790_899_200_007 + n * 1_001
}

/// The message with this number, plain.
pub(crate) fn message(conversation_id: &str, n: i64) -> Message {
    Message::text(conversation_id, id(n), time(n), &format!("text {n}"))
}

/// The reference to it.
pub(crate) fn reference(conversation_id: &str, n: i64) -> Ref {
    (conversation_id.to_owned(), id(n), time(n))
}

/// References to the messages of these numbers, and a world that holds them.
pub(crate) fn dialogue(conversation_id: &str, numbers: impl IntoIterator<Item = i64>) -> (Vec<Ref>, World) {
    let refs: Vec<Ref> = numbers.into_iter().map(|n| reference(conversation_id, n)).collect();
    let mut world = World::explicit();
    world.extend(refs.iter().map(|(conversation, id, time)| Message::text(conversation, *id, *time, "hello")));
    (refs, world)
}

/// So many dialogues of so many messages each, and a world that holds them.
pub(crate) fn dialogues(count: i64, each: i64) -> (Vec<Ref>, World) {
    let refs: Vec<Ref> = (0..count * each).map(|n| reference(&format!("owner{0}|1|other{0}", n % count), n)).collect();
    let mut world = World::explicit();
    world.extend(refs.iter().map(|(conversation, id, time)| Message::text(conversation, *id, *time, "hello")));
    (refs, world)
}

/// References as CSV with a header.
pub(crate) fn csv(refs: &[Ref]) -> String {
    let mut text = String::from("conversation_id,message_server_id,create_time\n");
    for (conversation, id, time) in refs {
        writeln!(text, "{conversation},{id},{time}").unwrap();
    }
    text
}

/// References as JSON lines.
pub(crate) fn jsonl(refs: &[Ref]) -> String {
    let mut text = String::new();
    for (conversation, id, time) in refs {
        let line = serde_json::json!({
            "conversation_id": conversation, "message_server_id": id.to_string(), "create_time": time,
        });
        writeln!(text, "{line}").unwrap();
    }
    text
}

/// A directory, and a simulated API beside it.
pub(crate) struct Site {
    dir: TempDir,
    pub(crate) api: Handle,
}

impl Site {
    /// One with this world, without a quota at the server, and with the one job [`NIGHTLY`].
    pub(crate) fn new(world: World) -> Self {
        Self::with(Self::settings(), world)
    }

    /// What the simulated API of [`Site::new`] is set to.
    pub(crate) fn settings() -> Settings {
        Settings { rate_limit: 0, block_ms: 0, count_asks: true, ..Settings::default() }
    }

    /// One with this API.
    pub(crate) fn with(settings: Settings, world: World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let site = Self { dir, api: start_with(settings, world).unwrap() };
        site.write_secret("secret", APP_SECRET);
        site.jobs(NIGHTLY);
        site
    }

    /// One with the references of a world in `refs.csv`.
    pub(crate) fn nightly((refs, world): (Vec<Ref>, World)) -> Self {
        let site = Self::new(world);
        site.write("refs.csv", csv(&refs));
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write_secret(&self, name: &str, content: &str) {
        self.write(name, content);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes `jobs.yaml` with these jobs of the app `main`.
    pub(crate) fn jobs(&self, jobs: &str) {
        self.config("jobs.yaml", "", jobs);
    }

    /// Writes a configuration with these apps beside `main`, and these jobs.
    pub(crate) fn config(&self, name: &str, apps: &str, jobs: &str) {
        let indented = |text: &str| text.lines().fold(String::new(), |all, line| all + "  " + line + "\n");
        self.write(
            name,
            format!(
                "version: 1\nstate: state\napps:\n  main: {{ app_key: {APP_KEY}, app_secret: 'file:secret', \
                 endpoints: ['{}'], rate_limit: 2000 }}\n{}jobs:\n{}",
                self.api.url(),
                indented(apps),
                indented(jobs)
            ),
        );
    }

    /// The binary, to be run here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null()).env_remove("NO_COLOR");
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    /// Runs `run --json` to its end.
    pub(crate) fn night(&self) -> Ended {
        self.run(&["run", "--json"])
    }

    /// Starts the binary.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(arguments))
    }

    /// Lets so many more requests be answered at once; those after them meet `then`, so that a run goes no further however
    /// slow whoever looks at it is.
    pub(crate) fn answers(&self, more: u64, then: Fault) {
        let last = self.api.stats().requests + more;
        self.api.faults(|faults| {
            faults.hook = Some(Hook::new(move |request| (request.sequence > last).then(|| then.clone())));
        });
    }

    /// Lets every request be answered.
    pub(crate) fn answers_all(&self) {
        self.api.faults(|faults| faults.hook = None);
    }

    /// Waits until the API was asked so often.
    pub(crate) fn wait_for_requests(&self, count: u64) {
        wait_until("the API was asked", || self.api.stats().requests >= count);
    }

    /// The IDs in the Parquet archive of this name, sorted. None may be there twice.
    pub(crate) fn ids(&self, archive: &str) -> Vec<i64> {
        let mut ids = Vec::new();
        for path in self.files(archive).iter().filter(|path| path.extension().is_some_and(|e| e == "parquet")) {
            let file = fs::File::open(path).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                let column = batch.column_by_name("message_server_id").unwrap().as_primitive::<Int64Type>().clone();
                assert_eq!(column.null_count(), 0);
                ids.extend_from_slice(column.values());
            }
        }
        ids.sort_unstable();
        let twice: Vec<i64> = ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        assert_eq!(twice, Vec::<i64>::new(), "archived twice");
        ids
    }

    /// Every file below a directory.
    pub(crate) fn files(&self, name: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directories = vec![self.path(name)];
        while let Some(directory) = directories.pop() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() { directories.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }

    /// Every file with its content, to see whether anything changed. What SQLite's readers share is only named.
    pub(crate) fn everything(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let shared = |path: &Path| path.to_str().unwrap().ends_with("-shm");
        let content = |path: &Path| if shared(path) { Vec::new() } else { fs::read(path).unwrap() };
        self.files("").into_iter().map(|path| (path.clone(), content(&path))).collect()
    }

    /// The open failures of a job by message ID: class and code.
    pub(crate) fn failures(&self, job: &str) -> BTreeMap<i64, (String, Option<i64>)> {
        self.failure_lines(job)
            .iter()
            .filter_map(|line| {
                let class = line["class"].as_str().unwrap();
                (class != "invalid").then(|| (id_in(line), (class.to_owned(), line["code"].as_i64())))
            })
            .collect()
    }

    /// The lines of a job's file of failures.
    pub(crate) fn failure_lines(&self, job: &str) -> Vec<Value> {
        let text = self.read(&format!("state/failures-{job}.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The message's ID in a line of failures: text, whatever reads it.
pub(crate) fn id_in(line: &Value) -> i64 {
    line["message_server_id"].as_str().unwrap().parse().unwrap()
}

/// The IDs of references, sorted, each once.
pub(crate) fn ids_of(refs: &[Ref]) -> Vec<i64> {
    refs.iter().map(|reference| reference.1).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Standard output as JSON; null when it is none.
    pub(crate) summary: Value,
}

fn ended(output: std::process::Output) -> Ended {
    let stdout = String::from_utf8(output.stdout).unwrap();
    let summary = serde_json::from_str(&stdout).unwrap_or(Value::Null);
    Ended { code: output.status.code(), stdout, stderr: String::from_utf8(output.stderr).unwrap(), summary }
}

impl Ended {
    /// The same, having ended with this code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The summary of the only job.
    #[track_caller]
    pub(crate) fn job(&self) -> &Value {
        let jobs = self.summary["jobs"].as_array().unwrap_or_else(|| panic!("no summary: {self:?}"));
        assert_eq!(jobs.len(), 1, "{self:?}");
        &jobs[0]
    }

    /// A count of the only job's references. Its sums must agree.
    #[track_caller]
    pub(crate) fn refs(&self, name: &str) -> u64 {
        let refs = &self.job()["references"];
        let get = |name: &str| refs[name].as_u64().unwrap();
        assert_eq!(get("read"), get("skipped") + get("invalid") + get("duplicate") + get("accepted"), "{refs}");
        assert_eq!(
            get("accepted") + get("resumed") + get("retried"),
            get("archived") + get("failed") + get("pending"),
            "{refs}"
        );
        get(name)
    }

    /// A count of the only job's requests.
    #[track_caller]
    pub(crate) fn requests(&self, name: &str) -> u64 {
        self.job()["requests"][name].as_u64().unwrap()
    }
}

/// A command under way.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    heard: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, heard: String::new() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The ID of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it reads from, when it was given a pipe.
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Reads standard error up to a line that holds `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        let from = self.heard.len();
        while !self.heard[from..].contains(text) {
            let read = self.stderr.read_line(&mut self.heard).unwrap();
            assert!(read > 0, "ended without {text:?}:\n{}", self.heard);
        }
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        self.stderr.read_to_string(&mut self.heard).unwrap();
        let mut output = self.child.wait_with_output().unwrap();
        output.stderr = self.heard.into_bytes();
        ended(output)
    }
}

/// Waits until something holds, looking often.
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_mins(1), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The files of a directory by name, relative, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
