//! The settings of a source.

use crate::config::Source;

pub use crate::config::{Cursor, Files, Format, Overlap, Query, Rows, TimeUnit};

/// A source, and where reading begins.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is read, and how its rows are understood.
    pub source: Source,
    /// Where to begin instead of at the checkpoint.
    pub from: Option<Begin>,
}

impl Settings {
    /// References from `source`, beginning at the checkpoint.
    pub fn new(source: Source) -> Self {
        Self { source, from: None }
    }
}

/// Where to begin instead of at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// At the very beginning. All files are read again.
    Start,
    /// After this value of the cursor's column, without an overlap.
    Value(String),
}
