//! What an archive is to an export: messages by selection, what vanished, and where all that came from.

mod ids;
pub(super) mod parquet;
pub(super) mod postgres;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use super::error::ExportError;
use super::record::{Record, Vanished};
use super::selection::Selection;

/// What is read from an archive.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// What is selected.
    Selected(&'a Selection),
    /// Messages with these IDs that were created in this range of time (first and last), in milliseconds.
    Ids(&'a Arc<BTreeSet<i64>>, i64, i64),
}

impl Wanted<'_> {
    /// Whether a message is wanted.
    pub fn holds(&self, record: &Record) -> bool {
        match self {
            Self::Selected(selection) => selection.holds(record),
            // The range serves to read less; a wrong time in a thread link must not hide a message that was read.
            Self::Ids(ids, ..) => ids.contains(&record.id()),
        }
    }
}

/// Where messages come from, as the export's own manifest tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// A Parquet archive.
    Parquet {
        /// Its directory, as it was named.
        path: String,
        /// The manifests that were read.
        manifests: u64,
        /// The last of them; null when there is none.
        head: Option<Head>,
    },
    /// Tables in Postgres.
    Postgres {
        /// Server and database, without credentials.
        place: String,
        /// The table of messages, quoted.
        table: String,
        /// The ledger that owns the archive.
        ledger_id: Option<String>,
        /// The last commit that was seen.
        commit: Option<i64>,
    },
}

/// The last manifest of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Its number.
    pub sequence: u64,
    /// Its file, relative to the archive.
    pub file: String,
    /// The SHA-256 of that file.
    pub sha256: String,
}

/// What vanished, by application and message ID.
pub type VanishedMessages = HashMap<(String, i64), Vanished>;

/// Takes versions of messages, in any order.
pub type Taker<'a> = dyn FnMut(Record) -> Result<(), ExportError> + Send + 'a;

/// Which IDs are asked for.
#[derive(Debug, Clone, Copy)]
pub struct WantedIds<'a> {
    /// Those of this application.
    pub app_key: &'a str,
    /// From this one on.
    pub first: i64,
    /// Up to this one.
    pub last: i64,
    /// Files that are committed and that a manifest may not name yet: each where it will be, or else where it is until
    /// then.
    pub committed: &'a [(String, String)],
}

/// The ID of a message that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldId {
    /// It is data.
    Archived(i64),
    /// It is in a file that no manifest names yet.
    Unnamed(i64),
}

/// Takes IDs, in any order.
pub type IdTaker<'a> = dyn FnMut(HeldId) -> Result<(), ExportError> + Send + 'a;

/// An archive that is read as it was when it was opened.
#[async_trait]
pub trait Archive: Send {
    /// Hands over every version of every wanted message once, in any order.
    async fn read(&mut self, wanted: Wanted<'_>, take: &mut Taker<'_>) -> Result<(), ExportError>;

    /// The messages that vanished from the service after they were archived; none where nothing is known of such.
    async fn vanished(&mut self, selection: &Selection) -> Result<VanishedMessages, ExportError>;

    /// Hands over IDs, some perhaps more than once. Returns what is wrong with files that cannot be read: their IDs are
    /// not among them.
    async fn ids(&mut self, wanted: WantedIds<'_>, take: &mut IdTaker<'_>) -> Result<Vec<String>, ExportError>;

    /// The applications that messages are of: all of them, or at least two if there are several.
    async fn app_keys(&mut self) -> Result<Vec<String>, ExportError>;

    /// Where messages come from.
    fn origin(&self) -> Origin;
}
