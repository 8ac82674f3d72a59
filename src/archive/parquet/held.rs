//! What the archive holds of messages, to ask for them again.
//!
//! Every footer is read, and of the rest only the few columns that matter, in row groups whose statistics say that they
//! may hold something. What vanished is kept in memory: eight bytes a message.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::statistics::Statistics;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array as _, RecordBatch};
use async_trait::async_trait;

use super::archive::{Archive, MANIFESTS, TEMPORARY};
use super::blocking;
use super::disk::failure;
use crate::archive::{ArchiveError, ExistingVersions};
use crate::model::message::ExistingVersion;

/// Rows read at once.
const ROWS: usize = 16_384;
const COLUMNS: [&str; 8] = [
    "app_key",
    "conversation_id",
    "message_server_id",
    "revision",
    "create_time",
    "modify_time",
    "requested",
    "fetched_at",
];

/// Reads the archive twice: for later versions, then for first ones.
pub(super) struct Held {
    wanted: Wanted,
    files: Vec<PathBuf>,
    /// Files that are still to be read for first versions.
    left: VecDeque<PathBuf>,
    reading: Option<Reading>,
}

/// Which rows are wanted.
#[derive(Clone)]
struct Wanted {
    app_key: String,
    since: i64,
    revised: bool,
    /// IDs of what vanished, sorted.
    vanished: std::sync::Arc<[i64]>,
}

/// A file that is being read.
struct Reading {
    path: PathBuf,
    batches: ParquetRecordBatchReader,
}

impl Held {
    /// Finds the files. Blocks.
    pub(super) fn open(archive: &Archive, app_key: String, since: i64) -> Result<Self, ArchiveError> {
        let mut files = parquet_files(archive.root())?;
        // Names begin with the run, whose ID tells its time: what lies together is read together.
        files.sort_unstable();
        let mut vanished = Vec::new();
        if let Ok(beside) = archive.beside()
            && beside.is_dir()
        {
            for path in parquet_files(&beside)? {
                vanished.extend(noted(&path, &app_key)?);
            }
        }
        vanished.sort_unstable();
        let wanted = Wanted { app_key, since, revised: true, vanished: vanished.into() };
        Ok(Self { wanted, left: files.iter().cloned().collect(), files, reading: None })
    }
}

#[async_trait]
impl ExistingVersions for Held {
    async fn next(&mut self) -> Result<Option<Vec<ExistingVersion>>, ArchiveError> {
        loop {
            let reading = match self.reading.take() {
                Some(reading) => reading,
                None => match self.left.pop_front() {
                    Some(path) => {
                        let wanted = self.wanted.clone();
                        match blocking(move || Reading::open(path, &wanted)).await? {
                            Some(reading) => reading,
                            None => continue,
                        }
                    }
                    None if self.wanted.revised => {
                        self.wanted.revised = false;
                        self.left = std::mem::take(&mut self.files).into();
                        continue;
                    }
                    None => return Ok(None),
                },
            };
            let wanted = self.wanted.clone();
            let (reading, versions) = blocking(move || reading.next(&wanted)).await?;
            self.reading = reading;
            if !versions.is_empty() {
                return Ok(Some(versions));
            }
        }
    }
}

impl Reading {
    /// Opens a file, if it may hold something that is wanted.
    fn open(path: PathBuf, wanted: &Wanted) -> Result<Option<Self>, ArchiveError> {
        let file = File::open(&path).map_err(|error| failure("reading", &path, error))?;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(&path, &error.to_string()))?;
        let groups: Vec<usize> = builder
            .metadata()
            .row_groups()
            .iter()
            .enumerate()
            .filter(|(_, group)| wanted.may_be_in(group))
            .map(|(index, _)| index)
            .collect();
        if groups.is_empty() {
            return Ok(None);
        }
        let projection = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        let batches = builder.with_projection(projection).with_row_groups(groups).with_batch_size(ROWS).build();
        let batches = batches.map_err(|error| unreadable(&path, &error.to_string()))?;
        Ok(Some(Self { path, batches }))
    }

    /// The next versions that are wanted; without the reader after the last.
    fn next(mut self, wanted: &Wanted) -> Result<(Option<Self>, Vec<ExistingVersion>), ArchiveError> {
        let Some(batch) = self.batches.next() else { return Ok((None, Vec::new())) };
        let batch = batch.map_err(|error| unreadable(&self.path, &error.to_string()))?;
        let versions = wanted.of(&batch).ok_or_else(|| unreadable(&self.path, "its columns are of other types"))?;
        Ok((Some(self), versions))
    }
}

impl Wanted {
    /// Whether a row group may hold something that is wanted, by the statistics of its columns.
    fn may_be_in(&self, group: &RowGroupMetaData) -> bool {
        group.columns().iter().all(|column| match (column.column_path().string().as_str(), column.statistics()) {
            ("revision", Some(Statistics::Int32(range))) if self.revised => range.max_opt().is_none_or(|max| *max > 0),
            ("fetched_at", Some(Statistics::Int64(range))) if !self.revised => {
                range.max_opt().is_none_or(|max| *max >= self.since)
            }
            _ => true,
        })
    }

    fn of(&self, batch: &RecordBatch) -> Option<Vec<ExistingVersion>> {
        let apps = batch.column_by_name("app_key")?.as_string_opt::<i32>()?;
        let conversations = batch.column_by_name("conversation_id")?.as_string_opt::<i32>()?;
        let ids = batch.column_by_name("message_server_id")?.as_primitive_opt::<Int64Type>()?;
        let revisions = batch.column_by_name("revision")?.as_primitive_opt::<Int32Type>()?;
        let requested = batch.column_by_name("requested")?.as_boolean_opt()?;
        let time = |name| batch.column_by_name(name)?.as_primitive_opt::<TimestampMillisecondType>();
        let (created, modified, fetched) = (time("create_time")?, time("modify_time")?, time("fetched_at")?);
        let mut versions = Vec::new();
        for row in 0..batch.num_rows() {
            let (id, revision) = (ids.value(row), revisions.value(row));
            let is_wanted = if self.revised { revision > 0 } else { revision == 0 && fetched.value(row) >= self.since };
            if !is_wanted || apps.value(row) != self.app_key || self.vanished.binary_search(&id).is_ok() {
                continue;
            }
            versions.push(ExistingVersion {
                message_server_id: id,
                conversation_id: conversations.value(row).to_owned(),
                create_time: created.value(row),
                revision,
                modify_time: modified.is_valid(row).then(|| modified.value(row)),
                fetched_at: fetched.value(row),
                requested: requested.value(row),
            });
        }
        Some(versions)
    }
}

/// The Parquet files of a directory, but for those that are being written.
fn parquet_files(root: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let failed = |error| failure("reading", &directory, error);
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if entry.file_type().map_err(failed)?.is_dir() {
                let name = entry.file_name();
                if directory != root || [MANIFESTS, TEMPORARY, "lost+found"].iter().all(|other| name != *other) {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// The IDs of messages of the app that a file says vanished.
fn noted(path: &Path, app_key: &str) -> Result<Vec<i64>, ArchiveError> {
    let file = File::open(path).map_err(|error| failure("reading", path, error))?;
    let read = || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
        let projection = ProjectionMask::columns(builder.parquet_schema(), ["app_key", "message_server_id"]);
        let batches = builder.with_projection(projection).with_batch_size(ROWS).build();
        let mut noted = Vec::new();
        for batch in batches.map_err(|error| error.to_string())? {
            let batch = batch.map_err(|error| error.to_string())?;
            let columns = (batch.column_by_name("app_key"), batch.column_by_name("message_server_id"));
            let (Some(apps), Some(ids)) = columns else { return Err("it lacks a column".to_owned()) };
            let (apps, ids) = (apps.as_string_opt::<i32>(), ids.as_primitive_opt::<Int64Type>());
            let (Some(apps), Some(ids)) = (apps, ids) else { return Err("its columns are of other types".to_owned()) };
            let of_app = apps.iter().zip(ids.values()).filter(|(app, _)| *app == Some(app_key));
            noted.extend(of_app.map(|(_, id)| *id));
        }
        Ok(noted)
    };
    read().map_err(|error: String| unreadable(path, &error))
}

fn unreadable(path: &Path, why: &str) -> ArchiveError {
    ArchiveError::Failed { context: format!("reading what is archived in {}", path.display()), source: why.into() }
}
