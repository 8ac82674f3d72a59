//! `export`: writes conversations from an archive.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{ArgGroup, Args, ValueEnum};
use jiff::tz::TimeZone;

use super::{Context, Exit, assemble, output, period, signals};
use crate::archive::read::ArchiveReader;
use crate::config::Config;
use crate::export::redact::{Field, Pseudonyms, Redaction};
use crate::export::selection::conversation_key;
use crate::export::{self, ExportError, ExportManifest, Format, Order};
use crate::model::selection::{Scope, Selection};
use crate::run::Stop;

/// The bytes that sorting may keep in memory.
const SORT_MEMORY: usize = 128 << 20;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)]
#[command(group = ArgGroup::new("from-where").required(true).args(["job", "archive"]))]
#[command(group = ArgGroup::new("scope").required(true).multiple(false).args(["conversation", "account", "all"]))]
pub struct Export {
    /// The job whose archive is read.
    #[arg(value_name = "JOB")]
    pub job: Option<String>,

    /// A Parquet archive instead of a job: its directory, or its URL.
    #[arg(long, value_name = "PATH")]
    pub archive: Option<PathBuf>,

    /// A conversation, by its ID in either spelling (alice|1|bob) or its key; may be given several times.
    #[arg(long, value_name = "ID")]
    pub conversation: Vec<String>,

    /// What this account sent or received, or all accounts in a file, one per line; may be given several times.
    #[arg(long, value_name = "ID|@FILE")]
    pub account: Vec<String>,

    /// Everything.
    #[arg(long)]
    pub all: bool,

    /// Only messages created at this time or later: a date, or an RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,

    /// Only messages created before this time; a date includes that whole day.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,

    /// Include the messages that selected ones reply to and those that started their threads, marked as context.
    #[arg(long)]
    pub threads: bool,

    /// The time zone of dates and times; by default that of the job's archive, or UTC.
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,

    /// The format.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Format,

    /// Remove these fields: text, attachment, extension, extra, raw.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FIELDS")]
    pub redact: Vec<Field>,

    /// Replace accounts by pseudonyms.
    #[arg(long)]
    pub pseudonymise: bool,

    /// Where to write the key of the pseudonyms; by default DIR.key.
    #[arg(long, value_name = "FILE", requires = "pseudonymise")]
    pub key_out: Option<PathBuf>,

    /// The directory to write; it must be new or empty.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,

    /// Print what was exported as JSON.
    #[arg(long)]
    pub json: bool,
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (word, about) = self.words();
        Some(PossibleValue::new(word).help(about))
    }
}

impl ValueEnum for Field {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (word, about) = self.words();
        Some(PossibleValue::new(word).help(about))
    }
}

/// The exit code and message for an error of an export.
pub(super) fn exit(error: ExportError) -> Exit {
    match error {
        ExportError::Unusable(_) => Exit::usage(error),
        ExportError::Archive(error) => assemble::archive_exit(error),
        ExportError::Stopped => Exit { code: 5, error: error.into() },
        ExportError::Failed { .. } => Exit::failed(error),
    }
}

pub(super) async fn export(context: &Context, arguments: Export) -> Result<u8, Exit> {
    let stop = Stop::default();
    signals::watch(&stop).map_err(Exit::failed)?;
    let (mut archive, own_zone) = open(context, &arguments).await?;
    let timezone = match &arguments.timezone {
        Some(name) => period::timezone(name)?,
        None => own_zone,
    };
    let selection = selection(&arguments, &timezone)?;
    let key = if arguments.pseudonymise { Some(Key::create(&arguments)?) } else { None };
    let order = Order {
        selection,
        threads: arguments.threads,
        format: arguments.format,
        directory: arguments.output.clone(),
        timezone,
        redaction: Redaction::new(arguments.redact.iter().copied(), key.as_ref().map(|key| Pseudonyms::new(key.bytes))),
        sort_memory: SORT_MEMORY,
    };
    let told = || stop.is_told();
    let key_sha256 = key.as_ref().map(|key| export::key_sha256(&key.bytes));
    let manifest = match export::export(archive.as_mut(), order, key_sha256, &told).await {
        Ok(manifest) => manifest,
        Err(error) => {
            if let Some(key) = &key {
                std::fs::remove_file(&key.path).ok();
            }
            return Err(exit(error));
        }
    };
    if manifest.counts.messages == 0 {
        output::say("nothing matches: check the spelling of conversations and accounts, and --from and --to");
    }
    if arguments.json {
        output::json(&manifest)?;
    } else {
        show(&manifest, &arguments.output, key.as_ref())?;
    }
    Ok(0)
}

async fn open(context: &Context, arguments: &Export) -> Result<(Box<dyn ArchiveReader>, TimeZone), Exit> {
    if let Some(path) = &arguments.archive {
        let reader = assemble::archive_at(path)?.reader().await;
        let reader = reader.map_err(|error| assemble::place_exit(&path.to_string_lossy(), error))?;
        return Ok((reader, TimeZone::UTC));
    }
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let job = assemble::one(&config, arguments.job.as_deref().unwrap_or_default())?;
    let reader = assemble::archive(&config, job)?.reader().await.map_err(assemble::archive_exit)?;
    Ok((reader, job.sink.timezone()))
}

fn selection(arguments: &Export, zone: &TimeZone) -> Result<Selection, Exit> {
    let scope = if arguments.all {
        Scope::All
    } else if arguments.conversation.is_empty() {
        Scope::Accounts(accounts(&arguments.account)?)
    } else {
        let keys = arguments.conversation.iter().map(|text| conversation_key(text));
        Scope::Conversations(
            keys.collect::<Result<_, _>>().map_err(|error| Exit::words(format!("--conversation: {error}")))?,
        )
    };
    let (from, to) = period::range(arguments.from.as_ref(), arguments.to.as_ref(), zone)?;
    Ok(Selection { scope, from, to })
}

fn accounts(named: &[String]) -> Result<BTreeSet<String>, Exit> {
    let mut accounts = BTreeSet::new();
    for name in named {
        match name.strip_prefix('@') {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Exit::words(format!("--account @{path}: the file cannot be read: {error}")))?;
                let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
                accounts.extend(lines.filter(|line| !line.is_empty()).map(str::to_lowercase));
            }
            None => {
                accounts.insert(name.trim().to_lowercase());
            }
        }
    }
    accounts.remove("");
    if accounts.is_empty() {
        return Err(Exit::words("--account names no account: give one, or @FILE with one per line"));
    }
    Ok(accounts)
}

/// The key of an export's pseudonyms, and its file.
struct Key {
    bytes: [u8; 32],
    path: PathBuf,
}

impl Key {
    /// Makes a key and writes it to a new file that only its owner may read.
    fn create(arguments: &Export) -> Result<Self, Exit> {
        let path = arguments.key_out.clone().unwrap_or_else(|| beside(&arguments.output));
        if path.starts_with(&arguments.output) {
            return Err(Exit::words(format!(
                "--key-out {} is inside the export: whoever gets the export must not get the key",
                path.display()
            )));
        }
        let bytes: [u8; 32] = rand::random();
        let written =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| {
                file.write_all(export::key_text(&bytes).as_bytes()).and_then(|()| file.sync_all())
            });
        written.map_err(|error| Exit::words(format!("the key cannot be written to {}: {error}", path.display())))?;
        Ok(Self { bytes, path })
    }
}

/// `DIR.key`.
fn beside(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".key");
    directory.with_file_name(name)
}

fn show(manifest: &ExportManifest, directory: &Path, key: Option<&Key>) -> Result<(), Exit> {
    let counts = &manifest.counts;
    let context = match counts.context {
        0 => String::new(),
        context => format!(", and {} from their threads", output::count(context)),
    };
    output::line(&format!(
        "{} from {}{context}: {} edited, {} vanished",
        output::counted(counts.messages, "message", "messages"),
        output::counted(counts.conversations, "conversation", "conversations"),
        output::count(counts.edited),
        output::count(counts.vanished)
    ))?;
    if let (Some(first), Some(last)) = (&counts.first, &counts.last) {
        output::line(&format!("from {first} to {last}"))?;
    }
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let files = output::counted(manifest.files.len() as u64, "file", "files");
    output::line(&format!("{files}, {}, and export.json in {}", output::bytes(bytes), directory.display()))?;
    if let Some(key) = key {
        output::line(&format!(
            "the key of the pseudonyms is in {}: keep it apart from the export",
            key.path.display()
        ))?;
    }
    Ok(())
}
