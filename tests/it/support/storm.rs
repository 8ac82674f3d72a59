//! A whole site to attack: an API, references, a configuration, the binary; and what must hold of it afterwards.

mod archive;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use yunxin_archiver::ledger::{Ledger, RunRow};
use yunxin_archiver::simulator::{APP_KEY, APP_SECRET, Fate, Handle, Message, Quirk, Settings, World, start_with};

use self::archive::{parquet_ids, parquet_manifests, postgres_ids, postgres_manifests};
use super::bucket::Bucket;
use super::postgres::PgUrl;

/// A private key as openssl writes it, of RFC 8410.
pub(crate) const SIGNING_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
pub(crate) const SIGKILL: i32 = 9;
/// What another writer's rows say of the run that wrote them: one before all that left a manifest.
pub(crate) const ELSEWHERE: &str = "run_id = '00000000-0000-7000-8000-000000000000'";
const FIRST_ID: i64 = 9_007_199_254_740_993;
const FIRST_TIME: i64 = 1_325_376_000_000;
const HOUR: i64 = 3_600_000;
/// How far the IDs of messages that no reference names are from those that link to them.
const EXTRA: i64 = 1_000_000_000;

/// Where a site's messages go.
#[derive(Debug, Clone)]
pub(crate) enum To {
    Parquet,
    Bucket(Bucket),
    Postgres(PgUrl),
}

/// A site. Its references grow by [`Site::night`].
pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) api: Handle,
    pub(crate) to: To,
    /// Lines for the app, the job's `fetch` and its sink, beyond what every site has.
    pub(crate) app: String,
    pub(crate) fetch: String,
    pub(crate) sink: String,
    pub(crate) endpoints: Option<String>,
    references: String,
    /// Whether messages link to others, that no reference names. The job must then have `threads: complete`.
    pub(crate) threads: bool,
    found: BTreeSet<i64>,
    missing: BTreeSet<i64>,
    extras: BTreeSet<i64>,
    next: i64,
}

/// What a run of the binary did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("it was killed: {self:?}"))
    }

    /// Insists on an exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// The only job's summary, as `--json` prints it.
    pub(crate) fn summary(&self) -> Value {
        let summary: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no summary: {self:?}"));
        summary["jobs"][0].clone()
    }

    /// What ended the only job.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.summary()["error"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }
}

impl Site {
    /// A site without references, of an API whose requests hold at most 12 messages; the job asks for 20, so that
    /// whole batches are refused and split.
    pub(crate) fn new(to: To) -> Self {
        Self::with(to, Settings { rate_limit: 0, batch_limit: 12, ..Settings::default() })
    }

    pub(crate) fn with(to: To, settings: Settings) -> Self {
        let mut site = Self {
            directory: tempfile::tempdir().unwrap(),
            api: start_with(settings, World::explicit()).unwrap(),
            to,
            app: "rate_limit: 1000".to_owned(),
            fetch: "batch_size: 20".to_owned(),
            sink: String::new(),
            endpoints: None,
            references: "conversation_id,message_server_id,create_time\n".to_owned(),
            threads: false,
            found: BTreeSet::new(),
            missing: BTreeSet::new(),
            extras: BTreeSet::new(),
            next: 0,
        };
        site.write_secret("secret", APP_SECRET);
        site.write_secret("sign.pem", SIGNING_KEY);
        site.night(0);
        site
    }

    /// A site with so many references.
    pub(crate) fn of(to: To, references: i64) -> Self {
        let mut site = Self::new(to);
        site.night(references);
        site
    }

    /// A site that has had a first, quiet run, and has more to do.
    #[track_caller]
    pub(crate) fn begun(to: To, references: i64, more: i64) -> Self {
        let mut site = Self::of(to, references);
        site.plain().exits(0);
        site.night(more);
        site
    }

    pub(crate) fn write_secret(&self, name: &str, secret: &str) {
        std::fs::write(self.path(name), secret).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Adds references: four dialogues, and a team of which one member sees what the other does not. Every 23rd message
    /// does not exist. Writes the configuration, too.
    pub(crate) fn night(&mut self, count: i64) {
        let mut messages = Vec::new();
        for number in self.next..self.next + count {
            let (id, time) = (FIRST_ID + number, FIRST_TIME + number * HOUR);
            let gone = number % 23 == 22;
            let conversation = match number % 6 {
                5 if number % 12 == 5 => "guest|2|77".to_owned(),
                4 | 5 => "lead|2|77".to_owned(),
                dialogue => format!("user{dialogue}|1|用户{dialogue}"),
            };
            let mut message = Message::text(&conversation, id, time, &format!("消息 {number}"));
            if number % 12 == 5 {
                message = message.seen_by(["guest"], Fate::Missing);
            }
            if gone {
                message = message.fate(Fate::Missing);
            }
            if number % 7 == 3 {
                message = message.quirk(Quirk::Edited);
            }
            if self.threads && number % 31 == 8 {
                message = message.at_first(Fate::Failed(503), 1);
            }
            if self.threads && !gone && number % 5 == 1 {
                // A root that answers another message; every second time also a message that a reference names.
                let (root, first) = (id + EXTRA, id + 2 * EXTRA);
                let named = if number % 10 == 1 { id } else { first };
                let link = |name: &str, id: i64| {
                    format!("\"{name}\":{{\"message_server_id\":\"{id}\",\"create_time\":{}}}", time - 1)
                };
                message = message.field("thread_config", &format!("{{{}}}", link("thread_root", root)));
                let links = format!("{{{},{}}}", link("thread_root", first), link("thread_reply", named));
                let extra = |id: i64| Message::text(&conversation, id, time - 1, "before");
                messages.extend([extra(root).field("thread_config", &links), extra(first)]);
                self.extras.extend([root, first]);
            }
            messages.push(message);
            if gone {
                self.missing.insert(id)
            } else {
                self.found.insert(id)
            };
            writeln!(self.references, "{conversation},{id},{time}").unwrap();
        }
        self.next += count;
        self.api.world(|world| world.extend(messages));
        std::fs::write(self.path("refs.csv"), &self.references).unwrap();
        self.configure();
    }

    /// Lets every message that does not exist be found from now on.
    pub(crate) fn heals(&mut self) {
        let missing = std::mem::take(&mut self.missing);
        let lines: Vec<Vec<&str>> = self.references.lines().map(|line| line.split(',').collect()).collect();
        for id in missing {
            let line = lines.iter().find(|line| line[1] == id.to_string()).unwrap();
            self.api.world(|world| world.insert(Message::text(line[0], id, line[2].parse().unwrap(), "healed")));
            self.found.insert(id);
        }
    }

    /// Adds references as they stand, each to a message that is found.
    pub(crate) fn add(&mut self, references: impl IntoIterator<Item = (String, i64, i64)>) {
        let mut messages = Vec::new();
        for (conversation, id, time) in references {
            messages.push(Message::text(&conversation, id, time, "x"));
            self.found.insert(id);
            writeln!(self.references, "{conversation},{id},{time}").unwrap();
        }
        self.api.world(|world| world.extend(messages));
        std::fs::write(self.path("refs.csv"), &self.references).unwrap();
        self.configure();
    }

    /// Adds references to these messages: conversation, ID, time, and what is found there.
    pub(crate) fn hold(&mut self, messages: impl IntoIterator<Item = (String, i64, i64, Message)>) {
        for (conversation, id, time, message) in messages {
            self.found.insert(id);
            writeln!(self.references, "{conversation},{id},{time}").unwrap();
            self.api.world(|world| world.insert(message));
        }
        std::fs::write(self.path("refs.csv"), &self.references).unwrap();
        self.configure();
    }

    /// Writes the configuration as it is now.
    pub(crate) fn configure(&self) {
        let sink = match &self.to {
            To::Parquet => format!("parquet: {{ path: archive{} }}", self.sink),
            To::Bucket(bucket) => bucket.sink("", &self.sink),
            To::Postgres(_) => format!("postgres: {{ url: file:archive-url{} }}", self.sink),
        };
        if let To::Postgres(url) = &self.to {
            self.write_secret("archive-url", &url.url());
        }
        if let To::Bucket(bucket) = &self.to {
            self.write_secret("bucket-secret", bucket.secret());
        }
        let endpoints = self.endpoints.clone().unwrap_or_else(|| format!("[\"{}\"]", self.api.url()));
        let Self { app, fetch, .. } = self;
        let text = format!(
            "version: 1\napps:\n  main:\n    app_key: {APP_KEY}\n    app_secret: file:secret\n    \
             endpoints: {endpoints}\n    {app}\njobs:\n  nightly:\n    app: main\n    \
             source: {{ csv: {{ path: refs.csv, cursor: files }} }}\n    fetch: {{ {fetch} }}\n    sink:\n      {sink}\n    \
             tolerate: [107404]\n    sign: file:sign.pem\n"
        );
        std::fs::write(self.path("jobs.yaml"), text).unwrap();
    }

    /// The binary, with this site's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(&[], arguments)
    }

    /// The binary under another program, such as `prlimit --nofile=256`. `YUNXIN_ARCHIVER_BINARY` names another binary,
    /// such as one that was built for release.
    pub(crate) fn wrapped(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let other = std::env::var("YUNXIN_ARCHIVER_BINARY").ok();
        let mut words = wrapper.to_vec();
        words.push(other.as_deref().unwrap_or(env!("CARGO_BIN_EXE_yunxin-archiver")));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("-c").arg(self.path("jobs.yaml")).args(["--progress", "none"]).args(arguments);
        command.current_dir(self.directory.path()).stdin(Stdio::null()).env_remove("YUNXIN_ARCHIVER_DIE_AT");
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.command(arguments))
    }

    /// `run --json`, to its end.
    pub(crate) fn plain(&self) -> Ran {
        self.run(&["run", "--json"])
    }

    /// Insists that a run ends well and leaves the archive whole.
    #[track_caller]
    pub(crate) fn completes(&self) {
        self.plain().exits(0);
        self.is_whole();
    }

    /// A run under way.
    pub(crate) fn start(&self) -> Child {
        self.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// A run that must die at a step.
    #[track_caller]
    pub(crate) fn dies_at(&self, step: &str) {
        let ran = ran(self.command(&["run"]).env("YUNXIN_ARCHIVER_DIE_AT", step));
        assert_eq!(ran.status.signal(), Some(SIGKILL), "{step} is not reached: {ran:?}");
    }

    pub(crate) fn found(&self) -> &BTreeSet<i64> {
        &self.found
    }

    /// Messages that only others link to.
    pub(crate) fn extras(&self) -> &BTreeSet<i64> {
        &self.extras
    }

    /// The last messages that are found, of those that were edited.
    pub(crate) fn edited(&self, count: usize) -> Vec<i64> {
        self.found.iter().rev().copied().filter(|id| (id - FIRST_ID) % 7 == 3).take(count).collect()
    }

    /// How many commits there were.
    pub(crate) fn commits(&self) -> u64 {
        block_on(async {
            let ledger = Ledger::read(&self.path("state/nightly.sqlite")).await.unwrap().unwrap();
            ledger.last_commit().await.unwrap()
        })
    }

    /// Waits until something is so, as another process brings it about. Panics after a minute.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let begun = std::time::Instant::now();
        while !so(self) {
            assert!(begun.elapsed().as_secs() < 60, "it never happened: {what}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Insists that the archive holds every message exactly once, and that nothing else is left or said of it.
    #[track_caller]
    pub(crate) fn is_whole(&self) {
        block_on(self.check());
        self.run(&["verify", "nightly"]).exits(0);
    }

    async fn check(&self) {
        let ledger = Ledger::read(&self.path("state/nightly.sqlite")).await.unwrap().unwrap();
        let sums = ledger.sums().await.unwrap();
        assert_eq!((sums.pending_refs, sums.carried_refs, sums.retrying), (0, 0, 0), "something is pending");
        assert_eq!(sums.open_failures, self.missing.len() as u64, "open failures");
        assert_eq!(ledger.intent().await.unwrap(), None);
        assert_eq!(ledger.unpublished().await.unwrap(), []);
        let known = ledger.known(&self.found.iter().copied().collect::<Vec<_>>()).await.unwrap();
        assert_eq!(known.len(), self.found.len());
        let last = ledger.last_commit().await.unwrap();
        if let To::Bucket(bucket) = &self.to {
            bucket.mirror(&self.path("archive"));
        }
        let ids = match &self.to {
            To::Parquet | To::Bucket(_) => {
                let files = ledger.files(None).await.unwrap();
                let files: BTreeSet<String> = files.into_iter().map(|committed| committed.file.path).collect();
                parquet_ids(&self.path("archive"), last, &files)
            }
            To::Postgres(url) => postgres_ids(url, last).await,
        };
        let manifests = match &self.to {
            To::Parquet | To::Bucket(_) => parquet_manifests(&self.path("archive")),
            To::Postgres(url) => postgres_manifests(url).await,
        };
        self.agrees(&ledger.runs(100_000).await.unwrap(), &manifests, ids.len());
        let twice: Vec<i64> = ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        assert_eq!(twice, Vec::<i64>::new(), "archived twice");
        let ids: BTreeSet<i64> = ids.into_iter().collect();
        let wanted: BTreeSet<i64> = self.found.union(&self.extras).copied().collect();
        let missing: Vec<i64> = wanted.difference(&ids).copied().collect();
        assert_eq!(missing, Vec::<i64>::new(), "lost");
        assert_eq!(ids, wanted, "archived and never asked for");
        let left: Vec<PathBuf> = files_below(self.directory.path())
            .into_iter()
            .filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                name.ends_with(".tmp") || name.ends_with(".inprogress") || path.to_string_lossy().contains("/_tmp/")
            })
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "temporary files");
    }

    /// Insists that every run has a manifest that says what the ledger says of it, and that all of them together say what
    /// became of every reference.
    fn agrees(&self, runs: &[RunRow], manifests: &[Value], rows: usize) {
        for (run, manifest) in runs.iter().rev().zip(manifests) {
            let counts = &run.counts;
            let said = json!({
                "run_id": run.run_id.to_string(), "references": counts.references, "thread_extras": counts.thread_extras,
                "rows": counts.rows, "bytes": counts.bytes,
            });
            for (name, value) in said.as_object().unwrap() {
                assert_eq!(&manifest[name], value, "{name} of {manifest}");
            }
        }
        assert_eq!(runs.len(), manifests.len(), "manifests");
        let (found, extras) = (self.found.len() as u64, self.extras.len() as u64);
        assert_eq!(total(manifests, "/rows"), rows as u64);
        assert_eq!(total(manifests, "/references/accepted"), found + self.missing.len() as u64);
        assert_eq!(total(manifests, "/references/archived"), found);
        assert_eq!(total(manifests, "/thread_extras/archived"), extras);
        let failures = manifests.iter().flat_map(|manifest| manifest["failures"].as_array().unwrap());
        let missing: u64 =
            failures.filter(|kind| kind["code"] == 107_404).map(|kind| kind["count"].as_u64().unwrap()).sum();
        // A hostile service says the same of others as well.
        assert!(missing >= self.missing.len() as u64, "failures in manifests: {missing}");
    }
}

/// Sums one number of all manifests, by its JSON pointer.
fn total(manifests: &[Value], pointer: &str) -> u64 {
    manifests.iter().map(|manifest| manifest.pointer(pointer).unwrap().as_u64().unwrap()).sum()
}

/// Runs a command to its end.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A fresh database of the cluster that all tests share.
pub(crate) fn database() -> PgUrl {
    block_on(super::postgres::database())
}

/// Every file below a directory.
pub(crate) fn files_below(root: &Path) -> Vec<PathBuf> {
    let (mut files, mut directories) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}
