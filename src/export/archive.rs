//! What an archive is to an export: messages by selection, what vanished, and where all that came from.

mod parquet;
mod postgres;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

pub use self::parquet::ParquetArchive;
pub use self::postgres::PostgresArchive;
use super::ExportError;
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

/// An archive that is read as it was when it was opened.
#[async_trait]
pub trait Archive: Send {
    /// Hands over every version of every wanted message once, in any order.
    async fn read(&mut self, wanted: Wanted<'_>, take: &mut Taker<'_>) -> Result<(), ExportError>;

    /// The messages that vanished from the service after they were archived; none where nothing is known of such.
    async fn vanished(&mut self, selection: &Selection) -> Result<VanishedMessages, ExportError>;

    /// Where messages come from.
    fn origin(&self) -> Origin;
}
