//! Reading an archive for exports and completeness: messages by selection, what vanished, and where all that came from.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use super::ArchiveError;
use crate::model::record::{Record, VanishedNote};
use crate::model::selection::Selection;

/// An archive that is open for reading. It is read as it was when it was opened.
#[async_trait]
pub trait ArchiveReader: Send {
    /// Passes every version of every wanted message to `take` once, in any order, until `take` breaks.
    async fn read(&mut self, wanted: &Wanted, take: &mut RecordTaker<'_>) -> Result<(), ArchiveError>;

    /// The messages that vanished from the service after they were archived. May include messages that are not
    /// selected.
    async fn vanished(&mut self, selection: &Selection) -> Result<VanishedMessages, ArchiveError>;

    /// Passes the IDs of wanted messages to `take`, some perhaps more than once, until `take` breaks. Returns what is
    /// wrong with files that cannot be read; their IDs are left out.
    async fn ids(&mut self, wanted: WantedIds<'_>, take: &mut IdTaker<'_>) -> Result<Vec<String>, ArchiveError>;

    /// The AppKeys of the messages: all of them, or at least two if there are several.
    async fn app_keys(&mut self) -> Result<Vec<String>, ArchiveError>;

    /// Where the messages come from.
    fn origin(&self) -> Origin;
}

/// Which messages are read.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Those that are selected.
    Selected(Selection),
    /// Those with these IDs.
    Ids {
        /// The IDs.
        ids: Arc<BTreeSet<i64>>,
        /// The earliest create time of these messages, in milliseconds since the epoch.
        first: i64,
        /// The latest.
        last: i64,
    },
}

impl Wanted {
    /// Whether a message is wanted.
    pub fn holds(&self, record: &Record) -> bool {
        match self {
            Self::Selected(selection) => selection.holds(record),
            // The range of time only serves to read less. A wrong time in a thread link must not hide a message.
            Self::Ids { ids, .. } => ids.contains(&record.id()),
        }
    }

    /// The first and the last create time that may be wanted.
    pub fn range(&self) -> (i64, i64) {
        match self {
            Self::Selected(selection) => {
                (selection.from.unwrap_or(i64::MIN), selection.to.map_or(i64::MAX, |to| to.saturating_sub(1)))
            }
            Self::Ids { first, last, .. } => (*first, *last),
        }
    }
}

/// Takes versions of messages.
pub type RecordTaker<'a> = dyn FnMut(Record) -> ControlFlow<()> + Send + 'a;

/// Which IDs are read.
#[derive(Debug, Clone, Copy)]
pub struct WantedIds<'a> {
    /// Those of this application.
    pub app_key: &'a str,
    /// The least.
    pub first: i64,
    /// The greatest.
    pub last: i64,
    /// Committed files that a manifest may not name yet: each with its final path, and where it is until then.
    pub committed: &'a [(String, String)],
}

/// The ID of a message that is in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundId {
    /// A manifest, or a table, has the message.
    Archived(i64),
    /// The message is in a committed file that no manifest names yet.
    Unnamed(i64),
}

/// Takes IDs.
pub type IdTaker<'a> = dyn FnMut(FoundId) -> ControlFlow<()> + Send + 'a;

/// Messages that vanished, by application and message ID.
pub type VanishedMessages = HashMap<(String, i64), VanishedNote>;

/// Where messages come from, as exports and certificates state it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// A Parquet archive.
    Parquet {
        /// Its directory, as it was named.
        path: String,
        /// How many manifests were read.
        manifests: u64,
        /// The last of them; null if there is none.
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
