//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::Timestamp;

use super::completeness::Completeness;
use super::export::Export;
use super::failures::Failures;
use super::init::Init;
use super::provenance::Provenance;
use super::simulate::Simulate;
use crate::model::failure::Class;
use crate::progress::Style;
use crate::telemetry::{Format, Level};

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0   complete
  1   failed; what is pending stays pending
  2   usage or configuration
  3   complete, with new failures that the job does not tolerate, or 95% of the references or rows
      failed (see `looks_wrong`)
  4   credentials or permission refused: do not retry
  5   stopped early by a deadline or signal: run again to continue
  75  the job, or another process of its app, is running";

const GLOBAL: &str = "Global options";

/// Archives NetEase Yunxin IM messages by reference, to Parquet or Postgres.
#[derive(Debug, Parser)]
#[command(name = "yunxin-archiver", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Arguments {
    /// The configuration file.
    #[arg(short, long, global = true, default_value = "jobs.yaml", value_name = "FILE", help_heading = GLOBAL)]
    pub config: PathBuf,

    /// The format of log lines on stderr.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = GLOBAL)]
    log_format: LogFormat,

    /// How progress is shown on stderr.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "STYLE", help_heading = GLOBAL)]
    progress: ProgressStyle,

    /// Log more: once for every commit and retry, twice for everything.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = GLOBAL)]
    verbose: u8,

    /// Log errors only, and show no progress.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = GLOBAL)]
    quiet: bool,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    pub(super) fn log_format(&self) -> Format {
        match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }

    pub(super) fn log_level(&self) -> Level {
        match (self.quiet, self.verbose) {
            (true, _) => Level::Quiet,
            (false, 0) => Level::Normal,
            (false, 1) => Level::Verbose,
            (false, _) => Level::Trace,
        }
    }

    pub(super) fn progress(&self) -> Style {
        match self.progress {
            _ if self.quiet => Style::None,
            ProgressStyle::Auto if self.log_format == LogFormat::Json => Style::Plain,
            ProgressStyle::Auto => Style::Auto,
            ProgressStyle::Bar => Style::Bar,
            ProgressStyle::Plain => Style::Plain,
            ProgressStyle::None => Style::None,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ProgressStyle {
    /// Bars on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    Bar,
    Plain,
    None,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run jobs: read, fetch, archive.
    Run(Run),
    /// Work for runs with --fleet: ask for messages and stage them, until told to stop.
    Worker(Worker),
    /// Show what a run would do. Sends nothing and writes nothing.
    Plan(Jobs),
    /// Ask again for selected failures of a job.
    Retry(Retry),
    /// Show past runs, the cursor, what is pending and what failed.
    Status(Jobs),
    /// List a job's open failures, or dismiss them.
    Failures(Failures),
    /// List every committed file of a job once, in order, for loading.
    Files(Files),
    /// Check an archive against its manifests, and whether it holds everything that is referenced.
    Verify(Verify),
    /// Take over an archive whose ledger is lost or old.
    Adopt(Adopt),
    /// Write a page about a run, or the history of jobs as pages.
    Report(Report),
    /// Export conversations or accounts as pages, RSMF, CSV, JSON lines or Parquet.
    Export(Export),
    /// Check the configuration and, with --connect, everything it names.
    Check(Check),
    /// Go through everything that jobs need, line by line, with the one thing to do about each. Asks the API three times at
    /// most, and changes nothing.
    Doctor(Jobs),
    /// Write a commented jobs.yaml.
    Init(Init),
    /// Print the schema of the configuration or of what is written.
    Schema(Schema),
    /// Serve a simulated Yunxin API on loopback.
    Simulate(Simulate),
    /// Run a whole job against a simulated API, and show what to look at.
    Demo(Demo),
    /// Print a completion script.
    Completions(Completions),
    /// Write the man pages of all commands.
    Man(Man),
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// A job, or the directory of a Parquet archive.
    #[arg(value_name = "PATH | JOB")]
    pub archive: String,

    /// The signer's public key (PEM); may be given several times. Not needed for a job with `sign`.
    #[arg(long, value_name = "FILE")]
    pub public_key: Vec<PathBuf>,

    /// The SHA-256 of a manifest that was kept outside this system; it must be in the chain.
    #[arg(long, value_name = "SHA256", value_parser = parse_sha256)]
    pub head: Option<String>,

    /// Read no data: check the manifests, the owner record, and that every file is there with its size.
    #[arg(long, conflicts_with = "against")]
    pub quick: bool,

    /// Completeness.
    #[command(flatten)]
    pub completeness: Completeness,

    /// Print what was found as JSON.
    #[arg(long)]
    pub json: bool,
}

fn parse_sha256(text: &str) -> Result<String, &'static str> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { Ok(text.to_owned()) } else { Err("not a SHA-256, which has 64 hexadecimal digits") }
}

/// Jobs by name.
#[derive(Debug, Args)]
pub struct Jobs {
    /// The jobs; by default all, in the order of the file.
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `worker`.
#[derive(Debug, Args)]
pub struct Worker {
    /// The jobs; by default all whose archive is in a bucket.
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Answer /healthz and /readyz over HTTP at this address, for probes.
    #[arg(long, value_name = "IP:PORT")]
    pub health: Option<SocketAddr>,
}

/// Arguments of `run`.
#[derive(Debug, Default, Args)]
pub struct Run {
    /// The jobs; by default all, in the order of the file.
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Plan at most this many new references.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,

    /// Stop after this time (2h, 90m), or at this time of the host's clock (05:30).
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,

    /// Read the source from this value of its cursor, or from its `start`.
    #[arg(long, value_name = "VALUE")]
    pub from: Option<String>,

    /// If the job has no ledger and its archive is there, first take the archive over, as `adopt` does. For hosts whose
    /// state does not last.
    #[arg(long)]
    pub adopt_if_missing: bool,

    /// Then ask again for what was archived in this time (7d, 36h), or for everything (all), and record what was edited
    /// or has vanished since.
    #[arg(long, value_name = "TIME|all")]
    pub refetch: Option<Refetch>,

    /// Options of every command that runs jobs.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Options of every command that runs jobs.
#[derive(Debug, Default, Args)]
pub struct RunOptions {
    /// What the manifest says of the run.
    #[command(flatten)]
    pub provenance: Provenance,

    /// Wait this long if the job or another job of its app is running.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub wait: Option<Duration>,

    /// Let workers ask for the messages: a fleet, as `fleet` in the configuration describes it. The archive must be in a
    /// bucket.
    #[arg(long)]
    pub fleet: bool,

    /// Write the summary to this file, even if the run fails.
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,

    /// Write the metrics of the jobs to this file, even if the run fails, as Prometheus' node_exporter reads them.
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,

    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is asked for again: `7d`, or `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refetch {
    /// What was archived in this time before now.
    Last(Duration),
    /// Everything.
    All,
}

impl Refetch {
    /// The earliest time of archiving that is asked for.
    pub fn since(self, now: Timestamp) -> Timestamp {
        match self {
            Self::All => Timestamp::UNIX_EPOCH,
            Self::Last(time) => now.checked_sub(time).unwrap_or(Timestamp::UNIX_EPOCH).max(Timestamp::UNIX_EPOCH),
        }
    }
}

impl FromStr for Refetch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        match humantime::parse_duration(text) {
            Ok(time) if time > Duration::ZERO => Ok(Self::Last(time)),
            Ok(_) => Err("not a time; use a time such as 7d, or all".to_owned()),
            Err(error) => Err(format!("{error}; use a time such as 7d, or all")),
        }
    }
}

/// Arguments of `retry`.
#[derive(Debug, Args)]
pub struct Retry {
    /// The job.
    pub job: String,

    /// Failures of this class; may be given several times.
    #[arg(long, value_name = "CLASS")]
    pub class: Vec<Class>,

    /// Failures with this code; may be given several times.
    #[arg(long, value_name = "CODE", allow_negative_numbers = true)]
    pub code: Vec<i64>,

    /// Every open failure except invalid rows, which must be corrected in the source.
    #[arg(long, conflicts_with_all = ["class", "code"])]
    pub all: bool,

    /// Options of every command that runs jobs.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Arguments of `files`.
#[derive(Debug, Args)]
pub struct Files {
    /// The job.
    pub job: String,

    /// List only files of runs after this one.
    #[arg(long, value_name = "RUN")]
    pub after: Option<uuid::Uuid>,

    /// Print one JSON object per line.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The job; with --all, by default every job.
    #[arg(required_unless_present = "all")]
    pub job: Option<String>,

    /// The run; by default the latest.
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    pub run: Option<uuid::Uuid>,

    /// Write the whole history as pages: a calendar of nights, trends, failures to search, and a page for every run.
    /// Again, it writes what changed.
    #[arg(long)]
    pub all: bool,

    /// Where the page is written; `-` prints it. With --all, a directory of its own. [default: report.html, or report]
    #[arg(short, long, value_name = "FILE | DIR")]
    pub output: Option<PathBuf>,
}

/// Arguments of `adopt`.
#[derive(Debug, Args)]
pub struct Adopt {
    /// The job.
    pub job: String,

    /// Print what was taken over as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The jobs; by default all.
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Also connect to source, sink and API, and print the beginning of one real message.
    #[arg(long)]
    pub connect: bool,

    /// How many rows of the source to show, and how many messages to ask for until one exists.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub sample: usize,
}

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub struct Schema {
    /// What to print the schema of.
    #[arg(value_enum)]
    pub of: SchemaOf,
}

/// What has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// JSON schema of jobs.yaml.
    Config,
    /// The Parquet files.
    Parquet,
    /// The Postgres tables.
    Postgres,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The directory to create.
    #[arg(default_value = "demo")]
    pub directory: PathBuf,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory, which must exist.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}
