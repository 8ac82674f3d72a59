//! What a job's sink means, and where it is.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::database::{DatabaseUrl, Engine};
use super::document::{ParquetDocument, PostgresDocument, SinkDocument};
use super::mistake::Mistake;
use super::reading::{Reading, choose, size};
use super::secret::Environment;
use super::written::{Leaf, OneKind, Position, Written};

/// Where messages go.
#[derive(Debug, Clone)]
pub enum Sink {
    /// A directory of Parquet files.
    Parquet(ParquetSink),
    /// A table of a Postgres database.
    Postgres(PostgresSink),
}

/// The kinds of sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SinkKind {
    Parquet,
    Postgres,
}

impl SinkKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Parquet, Self::Postgres];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Postgres => "postgres",
        }
    }
}

/// A directory of Parquet files.
#[derive(Debug, Clone)]
pub struct ParquetSink {
    /// The archive's directory, absolute.
    pub path: PathBuf,
    /// The directories under it, outermost first, each at most once.
    pub partition_by: Vec<Partition>,
    /// The zone in which `date` and `month` are counted.
    pub timezone: TimeZone,
    /// How pages are compressed.
    pub compression: Compression,
    /// The size in bytes at which a file is closed.
    pub max_file_size: u64,
    /// The time after which open files are closed and committed.
    pub commit_interval: Duration,
    /// The bytes that unwritten rows may take.
    pub memory: u64,
    /// Which encodings may be used.
    pub encodings: Encodings,
    /// Whether each message's own JSON text is kept as well.
    pub raw: bool,
}

/// A table of a Postgres database.
#[derive(Debug, Clone)]
pub struct PostgresSink {
    /// The database.
    pub url: DatabaseUrl,
    /// The schema, 1 to 63 bytes, to be quoted.
    pub schema: String,
    /// The table of messages, 1 to 63 bytes, to be quoted.
    pub table: String,
    /// The time after which a transaction is committed.
    pub commit_interval: Duration,
    /// Whether each message's own JSON text is kept as well.
    pub raw: bool,
}

/// A directory level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Partition {
    /// The day of the message's creation.
    Date,
    /// The month of the message's creation.
    Month,
    /// The conversation's type.
    ConversationType,
    /// The AppKey.
    AppKey,
}

impl Partition {
    const NAMES: [(&'static str, Self); 4] = [
        ("date", Self::Date),
        ("month", Self::Month),
        ("conversation_type", Self::ConversationType),
        ("app_key", Self::AppKey),
    ];

    /// As it is written, here and in directories.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, partition)| *partition == self).map_or("", |(name, _)| name)
    }
}

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard, level 1 to 22.
    Zstd(i32),
    /// Snappy.
    Snappy,
    /// Gzip.
    Gzip,
    /// LZ4, as the raw frames that current readers know.
    Lz4,
    /// Not at all.
    None,
}

/// Which encodings may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encodings {
    /// Those that every engine reads: plain and dictionary.
    Compatible,
    /// Also the delta encodings.
    Compact,
}

impl Sink {
    /// The kind, as it is written.
    pub fn kind(&self) -> SinkKind {
        match self {
            Self::Parquet(_) => SinkKind::Parquet,
            Self::Postgres(_) => SinkKind::Postgres,
        }
    }

    /// Whether each message's own JSON text is kept as well.
    pub fn raw(&self) -> bool {
        match self {
            Self::Parquet(parquet) => parquet.raw,
            Self::Postgres(postgres) => postgres.raw,
        }
    }

    /// The time zone of the archive's days.
    pub fn timezone(&self) -> TimeZone {
        match self {
            Self::Parquet(parquet) => parquet.timezone.clone(),
            Self::Postgres(_) => TimeZone::UTC,
        }
    }

    /// How long messages may wait for their commit.
    pub fn commit_interval(&self) -> Duration {
        match self {
            Self::Parquet(parquet) => parquet.commit_interval,
            Self::Postgres(postgres) => postgres.commit_interval,
        }
    }

    /// The directory of the archive's files; `None` if it has no files.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Parquet(parquet) => Some(&parquet.path),
            Self::Postgres(_) => None,
        }
    }

    /// How rows are divided, as text: changing it is a new identity of the job. Empty when they are not.
    pub fn partitioning(&self) -> String {
        let Self::Parquet(parquet) = self else { return String::new() };
        let mut text = parquet.partition_by.iter().map(|partition| partition.as_str()).collect::<Vec<_>>().join(",");
        if parquet.partition_by.iter().any(|partition| matches!(partition, Partition::Date | Partition::Month)) {
            text.push('@');
            text.push_str(parquet.timezone.iana_name().unwrap_or("UTC"));
        }
        text
    }

    pub(super) fn read(reading: &mut Reading<'_>, written: &Written<OneKind<SinkDocument>>, key: &str) -> Option<Self> {
        match &written.value.0 {
            SinkDocument::Parquet(parquet) => {
                Some(Self::Parquet(ParquetSink::read(reading, parquet, &format!("{key}.parquet"))))
            }
            SinkDocument::Postgres(postgres) => {
                PostgresSink::read(reading, postgres, written.at, &format!("{key}.postgres")).map(Self::Postgres)
            }
        }
    }

    /// Where it is, without credentials: an absolute path without links, or `host:port/database/schema.table`.
    pub(super) fn place(&self, environment: &Environment) -> Result<String, Mistake> {
        match self {
            Self::Parquet(parquet) => Ok(real_path(&parquet.path).display().to_string()),
            Self::Postgres(postgres) => {
                Ok(format!("{}/{}.{}", postgres.url.place(environment)?, postgres.schema, postgres.table))
            }
        }
    }

    /// Whether both are one place, as far as can be told without what is not set.
    pub(super) fn same_place(&self, other: &Self, environment: &Environment) -> bool {
        if let (Self::Postgres(a), Self::Postgres(b)) = (self, other)
            && a.url.same(&b.url)
        {
            return (&a.schema, &a.table) == (&b.schema, &b.table);
        }
        match (self.place(environment), other.place(environment)) {
            (Ok(a), Ok(b)) => self.kind() == other.kind() && a == b,
            _ => false,
        }
    }
}

impl ParquetSink {
    fn read(reading: &mut Reading<'_>, written: &ParquetDocument, key: &str) -> Self {
        let five_minutes = Duration::from_mins(5);
        let megabytes = 256_000_000;
        let encodings = [("compatible", Encodings::Compatible), ("compact", Encodings::Compact)];
        let zstd = Compression::Zstd(3);
        Self {
            path: reading.path(&written.path, &format!("{key}.path"), "./archive"),
            partition_by: read_partitions(reading, written.partition_by.as_deref(), &format!("{key}.partition_by")),
            timezone: reading.timezone(&written.timezone, &format!("{key}.timezone")),
            compression: reading.value(&written.compression, &format!("{key}.compression"), zstd, compression),
            max_file_size: reading.value(&written.max_file_size, &format!("{key}.max_file_size"), megabytes, size),
            commit_interval: reading.duration(
                &written.commit_interval,
                &format!("{key}.commit_interval"),
                five_minutes,
            ),
            memory: reading.value(&written.memory, &format!("{key}.memory"), megabytes, size),
            encodings: reading.choice(
                &written.encodings,
                &format!("{key}.encodings"),
                Encodings::Compatible,
                &encodings,
            ),
            raw: reading.flag(&written.raw, &format!("{key}.raw"), false),
        }
    }
}

impl PostgresSink {
    fn read(reading: &mut Reading<'_>, written: &PostgresDocument, at: Position, key: &str) -> Option<Self> {
        let url = DatabaseUrl::read(reading, &written.url, Engine::Postgres, at, &format!("{key}.url"));
        let mut identifier = |leaf: &Leaf, key: String, default: &str| {
            reading.value(leaf, &key, default.to_owned(), |text| {
                if text.is_empty() || text.len() > 63 || text.contains('\0') {
                    Err("names nothing in Postgres: 1 to 63 bytes".to_owned())
                } else {
                    Ok(text.to_owned())
                }
            })
        };
        let schema = identifier(&written.schema, format!("{key}.schema"), "public");
        let table = identifier(&written.table, format!("{key}.table"), "messages");
        let ten_seconds = Duration::from_secs(10);
        let commit_interval =
            reading.duration(&written.commit_interval, &format!("{key}.commit_interval"), ten_seconds);
        let raw = reading.flag(&written.raw, &format!("{key}.raw"), false);
        url.map(|url| Self { url, schema, table, commit_interval, raw })
    }
}

fn read_partitions(reading: &mut Reading<'_>, written: Option<&[Written<String>]>, key: &str) -> Vec<Partition> {
    let Some(written) = written else { return vec![Partition::Date] };
    let mut partitions = Vec::new();
    for (n, leaf) in written.iter().enumerate() {
        let key = format!("{key}[{n}]");
        match choose(&leaf.value, &Partition::NAMES) {
            Ok(partition) if partitions.contains(&partition) => {
                reading.mistake(leaf.at, &key, format!("{:?} stands here a second time", leaf.value));
            }
            Ok(partition) => partitions.push(partition),
            Err(right) => reading.mistake(leaf.at, &key, format!("{:?} {right}", leaf.value)),
        }
    }
    partitions
}

fn compression(text: &str) -> Result<Compression, String> {
    let wrong = "is unknown here: expected is one of zstd(1) to zstd(22), snappy, gzip, lz4, none";
    match text {
        "zstd" => Ok(Compression::Zstd(3)),
        "snappy" => Ok(Compression::Snappy),
        "gzip" => Ok(Compression::Gzip),
        "lz4" => Ok(Compression::Lz4),
        "none" => Ok(Compression::None),
        _ => {
            let level = text.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')'));
            let level = level.and_then(|level| level.trim().parse().ok()).filter(|level| (1..=22).contains(level));
            level.map(Compression::Zstd).ok_or_else(|| wrong.to_owned())
        }
    }
}

/// The path without links, also where its last parts do not exist yet.
fn real_path(path: &Path) -> PathBuf {
    let mut missing: Vec<OsString> = Vec::new();
    let mut existing = path.to_owned();
    loop {
        if let Ok(real) = existing.canonicalize() {
            return missing.iter().rev().fold(real, |path, part| path.join(part));
        }
        match existing.components().next_back() {
            Some(Component::Normal(part)) => missing.push(part.to_owned()),
            // What does not exist is no link, so `..` after it only takes it back.
            Some(Component::ParentDir) => {
                existing.pop();
                existing.pop();
                continue;
            }
            _ => return path.to_owned(),
        }
        existing.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_same_before_and_after_it_exists() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/../b/archive");
        let before = real_path(&path);
        std::fs::create_dir_all(dir.path().join("b/archive")).expect("a directory");
        assert_eq!(before, real_path(&dir.path().join("b/archive")));
        assert_eq!(before, dir.path().canonicalize().expect("a directory").join("b/archive"));
    }

    #[test]
    fn compression_levels_have_bounds() {
        assert_eq!(compression("zstd(22)"), Ok(Compression::Zstd(22)));
        assert_eq!(compression("none"), Ok(Compression::None));
        for wrong in ["zstd(0)", "zstd(23)", "zstd(", "gzip(9)", "", "ZSTD(3)"] {
            assert!(compression(wrong).is_err(), "{wrong}");
        }
    }
}
