//! How far a source was read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::value::Value;

/// How far a source was read. The ledger stores it once the source was read to its end, and hands it back unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkpoint {
    /// The highest value of a query's cursor column.
    Value(CursorValue),
    /// The files that were consumed.
    Files(Vec<ConsumedFile>),
}

/// A cursor value in its column's own type and precision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CursorValue {
    /// An integer column.
    Integer(i64),
    /// A timestamp column.
    Timestamp {
        /// Microseconds since the epoch; for a column without a zone, as if it were UTC.
        micros: i64,
        /// Whether the column carries a zone.
        zoned: bool,
    },
    /// A time as text, in a database that has no type for it.
    Text(String),
}

impl fmt::Display for CursorValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Timestamp { micros, zoned } => Value::Timestamp { micros: *micros, zoned: *zoned }.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumedFile {
    /// Its path.
    pub path: String,
    /// Its size in bytes when it was read.
    pub bytes: u64,
    /// SHA-256 of what was read, lower-case hex.
    pub sha256: String,
}
