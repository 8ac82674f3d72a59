//! How and where an archive is written.

use std::path::PathBuf;

use jiff::tz::TimeZone;

/// How and where an archive is written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The archive's directory. Created with mode 0700 if it does not exist; an existing one keeps its mode.
    pub path: PathBuf,
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
    /// The settings of an archive that is only read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
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

/// A column by which files are put into directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartitionColumn {
    /// `date=2026-11-22`, the day of `create_time`.
    Date,
    /// `month=2026-11`, the month of `create_time`.
    Month,
    /// `conversation_type=1`. The column is in the files as well.
    ConversationType,
    /// `app_key=…`. The column is in the files as well.
    AppKey,
}

/// Which encodings may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encodings {
    /// Those that Spark, Hive, ClickHouse, Doris, BigQuery and DuckDB all read: plain and dictionary.
    Compatible,
    /// Delta encodings too, for smaller files.
    Compact,
}

/// How pages are compressed. A level outside the codec's range counts as the nearest one in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy.
    Snappy,
    /// LZ4, as Parquet's `LZ4_RAW`.
    Lz4,
    /// Gzip, 0 to 9.
    Gzip(u32),
    /// Brotli, 0 to 11.
    Brotli(u32),
    /// Zstandard, 1 to 22.
    Zstd(i32),
}
