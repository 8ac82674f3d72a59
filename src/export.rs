//! Writes conversations from an archive, for people and for other programs: as pages, RSMF, CSV, JSON lines or Parquet.
//!
//! ```text
//! archive ─versions→ sort ─items→ redaction → format → directory
//! parquet            on disk      once, before  html rsmf csv   new, named
//! postgres           as needed    any format    jsonl parquet   at the end
//! ```
//!
//! An export streams. It keeps in memory what [`Order::sort_memory`] allows for sorting, one page or slice, and a few
//! bytes for every message that was replied to, every vanished message and every conversation.

mod clock;
mod content;
mod count;
mod csv;
mod error;
mod html;
mod indented;
pub mod item;
mod jsonl;
mod output;
mod parquet;
pub mod redact;
mod rsmf;
pub mod selection;
mod sort;
mod transcript;

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::clock::Clock;
use self::count::Counter;
pub use self::count::Counts;
pub use self::error::ExportError;
use self::item::Item;
pub use self::output::ExportFile;
use self::output::Output;
use self::redact::{Field, Redaction};
use self::sort::Entry;
use self::transcript::Transcript;
use crate::archive::read::{ArchiveReader, Origin, VanishedMessages, Wanted};
use crate::model::Column;
use crate::model::record::{Record, Value};
use crate::model::selection::{Scope, Selection};
use crate::sort::{Merge, Sorter};

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Pages to read in a browser.
    Html,
    /// Relativity Short Message Format 2.0.
    Rsmf,
    /// A table for spreadsheets.
    Csv,
    /// One JSON object per line.
    Jsonl,
    /// The archive's own schema.
    Parquet,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Html, Self::Rsmf, Self::Csv, Self::Jsonl, Self::Parquet];

    /// The word for it, and what it is.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Html => ("html", "Pages that read like a chat"),
            Self::Rsmf => ("rsmf", "What e-discovery reviewers load: Relativity Short Message Format 2.0"),
            Self::Csv => ("csv", "A table for spreadsheets"),
            Self::Jsonl => ("jsonl", "One JSON object per line"),
            Self::Parquet => ("parquet", "The archive's own schema"),
        }
    }
}

/// What to export, and how.
#[derive(Debug)]
pub struct Order {
    /// Which messages.
    pub selection: Selection,
    /// Whether to include the messages that selected ones reply to, and those that started their threads.
    pub threads: bool,
    /// The format.
    pub format: Format,
    /// Where it is written: a directory that does not exist yet, or an empty one.
    pub directory: PathBuf,
    /// The time zone of dates and times.
    pub timezone: TimeZone,
    /// What is removed.
    pub redaction: Redaction,
    /// The bytes that sorting may keep in memory; the rest goes to nameless files beside the export.
    pub sort_memory: usize,
}

/// What was exported: `export.json`.
#[derive(Debug, Clone, Serialize)]
pub struct ExportManifest {
    /// The format version of this document: 1.
    pub version: u32,
    /// The program's version.
    pub tool_version: &'static str,
    /// When the export began.
    pub created_at: Timestamp,
    /// The format.
    pub format: Format,
    /// The time zone of dates and times.
    pub timezone: String,
    /// Where the messages come from.
    pub archive: Origin,
    /// Which messages.
    pub selection: Selected,
    /// What was removed.
    pub redaction: Redacted,
    /// How much was exported.
    pub counts: Counts,
    /// Every other file of the export.
    pub files: Vec<ExportFile>,
}

/// Which messages were selected. With pseudonyms, accounts appear as these.
#[derive(Debug, Clone, Serialize)]
pub struct Selected {
    /// Whether everything is selected.
    pub all: bool,
    /// Conversations, by their keys.
    pub conversations: Vec<String>,
    /// Accounts.
    pub accounts: Vec<String>,
    /// Created at this time or later.
    pub from: Option<String>,
    /// Created before this time.
    pub to: Option<String>,
    /// Whether thread context is included.
    pub threads: bool,
}

/// What was removed.
#[derive(Debug, Clone, Serialize)]
pub struct Redacted {
    /// The fields.
    pub fields: BTreeSet<Field>,
    /// Whether accounts are replaced by pseudonyms.
    pub pseudonymised: bool,
    /// The SHA-256 of the key file's content, which identifies the key of this export.
    pub key_sha256: Option<String>,
}

/// The text of a key file.
pub fn key_text(key: &[u8; 32]) -> String {
    format!("{}\n", hex::encode(key))
}

/// Writes an export. `stop` is asked again and again whether to give up.
///
/// # Errors
///
/// If the archive cannot be read or the directory cannot be written. Nothing is left behind then.
pub async fn export(
    archive: &mut dyn ArchiveReader,
    mut order: Order,
    key_sha256: Option<String>,
    stop: &(dyn Fn() -> bool + Send + Sync),
) -> Result<ExportManifest, ExportError> {
    let created_at = Timestamp::now();
    let mut output = Output::create(&order.directory)?;
    if let Scope::Accounts(accounts) = &order.selection.scope {
        for account in accounts.clone() {
            order.redaction.learn_account(&account);
        }
    }
    let mut gathered = gather(archive, &mut order, &output, stop).await?;
    let vanished = archive.vanished(&order.selection).await?;
    let clock = Clock::new(order.timezone.clone());
    let mut transcript = transcript(&mut order, &clock, &mut gathered, &mut output)?;
    let mut counts = Counter::default();
    let mut items = Items { merge: gathered.merge.peekable(), vanished };
    while let Some(mut item) = items.next().transpose()? {
        if stop() {
            return Err(ExportError::Stopped);
        }
        counts.count(&item);
        order.redaction.apply(&mut item.latest);
        for earlier in &mut item.earlier {
            order.redaction.apply(earlier);
        }
        transcript.write(&item, &mut output)?;
    }
    transcript.finish(&mut output)?;
    let manifest = ExportManifest {
        version: 1,
        tool_version: env!("CARGO_PKG_VERSION"),
        created_at,
        format: order.format,
        timezone: clock.name(),
        archive: archive.origin(),
        redaction: Redacted {
            fields: order.redaction.fields().clone(),
            pseudonymised: order.redaction.pseudonyms().is_some(),
            key_sha256,
        },
        selection: selected(&mut order, &clock),
        counts: counts.finish(&clock),
        files: output.files().to_vec(),
    };
    let mut text =
        serde_json::to_vec_pretty(&manifest).map_err(|error| ExportError::failed("writing export.json", error))?;
    text.push(b'\n');
    output.write("export.json", &text, 0)?;
    output.finish()?;
    Ok(manifest)
}

/// The result of the first pass over an archive.
struct Gathered {
    merge: Merge<Entry>,
    /// The messages that others reply to.
    answered: HashSet<i64>,
    /// Whether any message has its own JSON text (`raw`).
    raw: bool,
}

/// Reads what is selected, then what belongs to its threads, and sorts all of it.
async fn gather(
    archive: &mut dyn ArchiveReader,
    order: &mut Order,
    output: &Output,
    stop: &(dyn Fn() -> bool + Send + Sync),
) -> Result<Gathered, ExportError> {
    let sorting = |error| ExportError::failed("sorting messages in a temporary file beside the export", error);
    let mut sorter = Sorter::new(output.directory().to_path_buf(), order.sort_memory);
    let (mut answered, mut raw) = (HashSet::new(), false);
    let mut links = Links::default();
    let selection = order.selection.clone();
    let unlimited = selection == Selection { scope: Scope::All, from: None, to: None };
    let (threads, quotes) = (order.threads && !unlimited, order.format == Format::Html);
    let redaction = &mut order.redaction;
    let mut take = |record: Record, context: bool, links: &mut Links| {
        if stop() {
            return Err(ExportError::Stopped);
        }
        redaction.learn(&record);
        raw |= *record.get(Column::Raw) != Value::Null;
        if threads && !context {
            links.note(&record);
        }
        if quotes {
            answered.extend(record.integer(Column::ThreadReplyMessageServerId));
        }
        sorter.push(Entry { context, record }).map_err(sorting)
    };
    read(archive, &Wanted::Selected(selection.clone()), |record| take(record, false, &mut links)).await?;
    if !links.ids.is_empty() {
        let ids = Arc::new(std::mem::take(&mut links.ids));
        let wanted = Wanted::Ids { ids, first: links.first, last: links.last };
        read(archive, &wanted, |record| {
            if selection.holds(&record) { Ok(()) } else { take(record, true, &mut Links::default()) }
        })
        .await?;
    }
    Ok(Gathered { merge: sorter.finish().map_err(sorting)?, answered, raw })
}

/// Reads what is wanted until `take` fails.
async fn read(
    archive: &mut dyn ArchiveReader,
    wanted: &Wanted,
    mut take: impl FnMut(Record) -> Result<(), ExportError> + Send,
) -> Result<(), ExportError> {
    let mut taken = Ok(());
    let take = &mut |record| {
        taken = take(record);
        if taken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    archive.read(wanted, take).await?;
    taken
}

/// The messages that selected ones reply to or that started their threads.
struct Links {
    ids: BTreeSet<i64>,
    first: i64,
    last: i64,
}

impl Default for Links {
    fn default() -> Self {
        Self { ids: BTreeSet::new(), first: i64::MAX, last: i64::MIN }
    }
}

impl Links {
    fn note(&mut self, record: &Record) {
        for (id, time) in [
            (Column::ThreadRootMessageServerId, Column::ThreadRootCreateTime),
            (Column::ThreadReplyMessageServerId, Column::ThreadReplyCreateTime),
        ] {
            if let Some(id) = record.integer(id) {
                self.ids.insert(id);
                let time = record.integer(time);
                self.first = self.first.min(time.unwrap_or(i64::MIN));
                self.last = self.last.max(time.unwrap_or(i64::MAX));
            }
        }
    }
}

/// Joins the versions of a message, which are adjacent, into one item.
struct Items {
    merge: std::iter::Peekable<Merge<Entry>>,
    vanished: VanishedMessages,
}

impl Iterator for Items {
    type Item = Result<Item, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let failed = |error| Some(Err(ExportError::failed("reading back a temporary file", error)));
        let first = match self.merge.next()? {
            Ok(entry) => entry,
            Err(error) => return failed(error),
        };
        let (mut latest, mut context, mut earlier) = (first.record, first.context, Vec::new());
        loop {
            let same = |next: &Record| {
                next.id() == latest.id()
                    && next.create_time() == latest.create_time()
                    && next.conversation_key() == latest.conversation_key()
                    && next.app_key() == latest.app_key()
            };
            match self.merge.next_if(|next| next.as_ref().map_or(true, |next| same(&next.record))) {
                None => break,
                Some(Err(error)) => return failed(error),
                Some(Ok(next)) => {
                    context &= next.context;
                    // The same version twice counts once.
                    if next.record.get(Column::Revision) != latest.get(Column::Revision) {
                        earlier.push(std::mem::replace(&mut latest, next.record));
                    }
                }
            }
        }
        let vanished = self.vanished.remove(&(latest.app_key().to_owned(), latest.id()));
        Some(Ok(Item { latest, earlier, context, vanished }))
    }
}

fn transcript(
    order: &mut Order,
    clock: &Clock,
    gathered: &mut Gathered,
    output: &mut Output,
) -> Result<Box<dyn Transcript>, ExportError> {
    let redacted = !order.redaction.fields().is_empty();
    let mut viewers = BTreeSet::new();
    if let Scope::Accounts(accounts) = &order.selection.scope {
        for account in accounts.clone() {
            viewers.insert(order.redaction.account(&account));
        }
    }
    Ok(match order.format {
        Format::Html => {
            let note = redaction_note(&order.redaction);
            Box::new(html::Pages::new(clock.clone(), viewers, std::mem::take(&mut gathered.answered), note))
        }
        Format::Rsmf => Box::new(rsmf::Slices::new(clock.clone(), viewers)),
        Format::Csv => Box::new(csv::Tables::new(clock.clone(), output)?),
        Format::Jsonl => Box::new(jsonl::Lines::new(clock.clone(), output)?),
        Format::Parquet => Box::new(parquet::Files::new(gathered.raw && !redacted, output)?),
    })
}

fn redaction_note(redaction: &Redaction) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for field in redaction.fields() {
        parts.push(match field {
            Field::Text => "texts",
            Field::Attachment => "attachments",
            Field::Extension => "extensions",
            Field::Extra => "unknown fields",
            Field::Raw => "raw messages",
        });
    }
    let mut note = if parts.is_empty() { String::new() } else { format!("Redacted: {}.", parts.join(", ")) };
    if redaction.pseudonyms().is_some() {
        note.push_str(" Accounts are pseudonyms.");
    }
    note
}

fn selected(order: &mut Order, clock: &Clock) -> Selected {
    let mut selected = Selected {
        all: order.selection.scope == Scope::All,
        conversations: Vec::new(),
        accounts: Vec::new(),
        from: order.selection.from.map(|time| clock.exact(time)),
        to: order.selection.to.map(|time| clock.exact(time)),
        threads: order.threads,
    };
    match &order.selection.scope {
        Scope::All => {}
        Scope::Conversations(keys) => {
            selected.conversations = keys.iter().map(|key| order.redaction.conversation(key)).collect();
        }
        Scope::Accounts(accounts) => {
            selected.accounts = accounts.iter().map(|account| order.redaction.account(account)).collect();
        }
    }
    selected
}

/// The SHA-256 of a key file's content.
pub fn key_sha256(key: &[u8; 32]) -> String {
    hex::encode(Sha256::digest(key_text(key)))
}
