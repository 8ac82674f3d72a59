//! Where a job's messages go.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::database::{self, DatabaseUrl, Postgres};
use super::environment::Environment;
use super::mistake::ConfigError;
use super::scalar::Size;
use super::secret::{Lookup, Secret};
use super::setting::{Scalar, Text, sample, text};
use super::store::{Bucket, Location, Storage};
use crate::model::manifest::vanished_directory;

one_of! {
    /// Where messages go.
    Sink, SinkKind {
        /// A directory of Parquet files, or a prefix of a bucket.
        Parquet(ParquetSink) = "parquet";
        /// A table of a Postgres database.
        Postgres(PostgresSink) = "postgres";
    }
}

settings! {
    /// A directory of Parquet files, or a prefix of a bucket.
    pub ParquetSink {
        /// The directory of the archive. Or a prefix of a bucket: `s3://bucket/prefix`, `gs://bucket/prefix`,
        /// `az://container/prefix`.
        path: Location, default "./archive", sample "./archive", undigested "the digest has the place";
        /// How [the object store](#object-stores) of such a prefix is reached.
        storage: Storage, default "{}", undigested "it changes nothing of what is archived";
        /// The directories under it, outermost first, each at most once. `[]`: none.
        partition_by: Vec<PartitionColumn>, default "[date]", undigested "the digest has the partitioning";
        /// The zone of `date` and `month`; decide before the first run. Another zone is another partitioning, which
        /// [needs another archive](operations.md#changing-a-job).
        timezone: TimeZone, default "UTC", sample "Asia/Shanghai";
        /// How pages are compressed.
        compression: Compression, default "zstd(3)";
        /// The size at which a file is closed.
        max_file_size: u64 as Size, default "256MB";
        /// The time after which open files are closed and committed. A crash costs at most the requests of one interval.
        commit_interval: Duration, default "5m";
        /// The memory that unwritten rows may take.
        memory: u64 as Size, default "256MB";
        /// Which encodings may be used. Every engine reads `compatible`; `compact` is smaller, and may use the delta
        /// encodings.
        encodings: Encodings, default "compatible";
        /// Whether each message's own JSON text is also kept, in the column `raw`.
        raw: bool, default "false";
    }
    check |parquet, reader, key| {
        if matches!(parquet.path, Location::Directory(_)) && parquet.storage.says_something() {
            reader.mistake(&format!("{key}.storage"), "is for object stores, and the path is a directory: write a path such as s3://bucket/prefix");
        }
        if let Location::Bucket(bucket) = &parquet.path {
            for (name, message) in parquet.storage.unsuited(bucket) {
                reader.mistake(&format!("{key}.storage.{name}"), message);
            }
        }
    }
}

settings! {
    /// A table of a Postgres database.
    pub PostgresSink {
        /// The URL of the database, `postgres://user@host:5432/database`. With a password: `env:` or `file:`.
        url: Secret as Lookup<DatabaseUrl<Postgres>>, sample "env:ARCHIVE_DATABASE_URL";
        /// The schema of the tables. 1 to 63 bytes; it is quoted, so case counts.
        schema: String as Identifier, default "public", undigested "the digest has the place";
        /// The table of messages; the names of its companions begin with this name. 1 to 63 bytes; it is quoted, so case
        /// counts.
        table: String as Identifier, default "messages", undigested "the digest has the place";
        /// The time after which a transaction is committed, unless it reaches 75,000 messages or 24 MiB before.
        commit_interval: Duration, default "10s";
        /// Whether each message's own JSON text is also kept, in the column `raw`.
        raw: bool, default "false";
    }
}

choice! {
    /// A column by which files are put into directories.
    PartitionColumn {
        /// `date=2026-11-22`, the day of `create_time`.
        Date = "date";
        /// `month=2026-11`, the month of `create_time`.
        Month = "month";
        /// `conversation_type=1`. The column is in the files as well.
        ConversationType = "conversation_type";
        /// `app_key=…`. The column is in the files as well.
        AppKey = "app_key";
    }
}

choice! {
    /// Which encodings may be used.
    Encodings {
        /// Those that Spark, Hive, ClickHouse, Doris, BigQuery and DuckDB all read: plain and dictionary.
        Compatible = "compatible";
        /// Delta encodings too, for smaller files.
        Compact = "compact";
    }
}

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard, level 1 to 22. A level outside this range counts as the nearest one in it.
    Zstd(i32),
    /// Snappy.
    Snappy,
    /// Gzip, level 6.
    Gzip,
    /// LZ4, as Parquet's `LZ4_RAW`.
    Lz4,
    /// Not at all.
    None,
}

impl Scalar for Compression {
    type Value = Self;

    fn schema() -> Json {
        text("`zstd(1)` to `zstd(22)`, `snappy`, `gzip`, `lz4` or `none`")
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "zstd" => Ok(Self::Zstd(3)),
            "snappy" => Ok(Self::Snappy),
            "gzip" => Ok(Self::Gzip),
            "lz4" => Ok(Self::Lz4),
            "none" => Ok(Self::None),
            _ => {
                let level = text.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')'));
                let level = level.and_then(|level| level.trim().parse().ok()).filter(|level| (1..=22).contains(level));
                level.map(Self::Zstd).ok_or_else(|| {
                    "is unknown here: write one of zstd(1) to zstd(22), snappy, gzip, lz4, none".to_owned()
                })
            }
        }
    }

    fn canonical(value: &Self) -> Json {
        match value {
            Self::Zstd(level) => json!(format!("zstd({level})")),
            Self::Snappy => json!("snappy"),
            Self::Gzip => json!("gzip"),
            Self::Lz4 => json!("lz4"),
            Self::None => json!("none"),
        }
    }
}

/// The name of something in Postgres, to be quoted.
pub(super) struct Identifier;

impl Text for Identifier {
    const FORM: &'static str = "name";

    fn parse(text: &str) -> Result<&str, &'static str> {
        if text.is_empty() || text.len() > 63 || text.contains('\0') {
            return Err("names nothing in Postgres: 1 to 63 bytes");
        }
        Ok(text)
    }
}

impl PostgresSink {
    /// The tables `public.messages` and its companions in the database at `url`, with every other key at its default.
    pub fn new(url: impl Into<Secret>) -> Self {
        Self { url: url.into(), ..sample::<Self>() }
    }
}

impl Sink {
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

    /// The path or URL of a file of the archive; `None` if it has no files.
    pub fn file(&self, path: &str) -> Option<String> {
        match self {
            Self::Parquet(ParquetSink { path: Location::Directory(directory), .. }) => {
                Some(directory.join(path).display().to_string())
            }
            Self::Parquet(ParquetSink { path: Location::Bucket(bucket), .. }) => {
                Some(format!("{}/{path}", bucket.url()))
            }
            Self::Postgres(_) => None,
        }
    }

    /// Whether the archive has files.
    pub fn has_files(&self) -> bool {
        matches!(self, Self::Parquet(_))
    }

    /// How rows are divided, as text: changing it is a new identity of the job. Empty when they are not.
    pub fn partitioning(&self) -> String {
        let Self::Parquet(parquet) = self else { return String::new() };
        let mut text = parquet.partition_by.iter().map(|partition| partition.as_str()).collect::<Vec<_>>().join(",");
        if parquet
            .partition_by
            .iter()
            .any(|partition| matches!(partition, PartitionColumn::Date | PartitionColumn::Month))
        {
            text.push('@');
            text.push_str(parquet.timezone.iana_name().unwrap_or("UTC"));
        }
        text
    }

    /// Where it is, without credentials: an absolute path without links, the URL of a prefix with the host of its store, or
    /// `host:port/database/schema.table`.
    pub(super) fn place(&self, environment: &Environment) -> Result<String, ConfigError> {
        match self {
            Self::Parquet(parquet) => Ok(match &parquet.path {
                Location::Directory(path) => real_path(path).display().to_string(),
                Location::Bucket(bucket) => bucket.place(&parquet.storage, environment),
            }),
            Self::Postgres(postgres) => {
                let database = database::place::<Postgres>(&postgres.url)?;
                Ok(format!("{database}/{}.{}", postgres.schema, postgres.table))
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

    /// Whether both have files, and one lies within the other or in the place beside it.
    pub(super) fn overlaps(&self, other: &Self, environment: &Environment) -> bool {
        let (Some((store, own)), Some((other_store, others))) = (self.places(environment), other.places(environment))
        else {
            return false;
        };
        let is_within = |a: &PathBuf| others.iter().any(|b| a.starts_with(b) || b.starts_with(a));
        store == other_store && own.iter().any(is_within)
    }

    /// The store of an archive that has files, and where in it they lie: in the archive, and in the place beside it.
    fn places(&self, environment: &Environment) -> Option<(String, Vec<PathBuf>)> {
        let Self::Parquet(parquet) = self else { return None };
        let (store, own) = match &parquet.path {
            Location::Directory(path) => (String::new(), real_path(path)),
            Location::Bucket(bucket) => {
                let whole = Bucket { prefix: String::new(), ..bucket.clone() };
                (whole.place(&parquet.storage, environment), PathBuf::from(&bucket.prefix))
            }
        };
        let beside = vanished_directory(&own);
        Some((store, std::iter::once(own).chain(beside).collect()))
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
        assert_eq!(Compression::parse("zstd(22)"), Ok(Compression::Zstd(22)));
        assert_eq!(Compression::parse("none"), Ok(Compression::None));
        for wrong in ["zstd(0)", "zstd(23)", "zstd(", "gzip(9)", "", "ZSTD(3)"] {
            assert!(Compression::parse(wrong).is_err(), "{wrong}");
        }
    }
}
