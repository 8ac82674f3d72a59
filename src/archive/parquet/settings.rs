//! How and where an archive is written.

use std::path::PathBuf;

use jiff::tz::TimeZone;

pub use crate::config::{Compression, Encodings, PartitionColumn};
use crate::storage::Place;

/// How and where an archive is written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is. A directory is created with mode 0700 if it does not exist; an existing one keeps its mode.
    pub place: Place,
    /// The levels of directories, each column at most once.
    pub partition_by: Vec<PartitionColumn>,
    /// The time zone of `date` and `month`.
    pub timezone: TimeZone,
    /// How pages are compressed.
    pub compression: Compression,
    /// The size in bytes at which a file is closed.
    pub max_file_size: u64,
    /// The memory in bytes that the writer may use. A quarter of it buffers rows; encoding uses the rest.
    pub memory: usize,
    /// Which encodings may be used.
    pub encodings: Encodings,
    /// Whether there is a column `raw`.
    pub raw: bool,
}

impl Settings {
    /// The default settings of an archive in a directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Directory(path.into()))
    }

    /// The default settings of an archive. To read it, nothing more is needed.
    pub fn at(place: Place) -> Self {
        Self {
            place,
            partition_by: vec![PartitionColumn::Date],
            timezone: TimeZone::UTC,
            compression: Compression::Zstd(3),
            max_file_size: 256 << 20,
            memory: 256 << 20,
            encodings: Encodings::Compatible,
            raw: false,
        }
    }
}
