//! Notes of what vanished, as files beside the archive: few rows, one file for each day and commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::archive::parquet::settings::Settings;
use crate::archive::parquet::{properties, schema};
use crate::archive::{ArchiveError, RunStamp};
use crate::failpoint::reach;
use crate::model::manifest::{BESIDE, DataFile, FileRange, StagedFile, sha256};
use crate::model::message::Vanished;
use crate::storage::Storage;

/// Notes that were accepted and are not committed.
#[derive(Debug)]
pub(super) struct Notes {
    vanished: Vec<Vanished>,
    zone: TimeZone,
    properties: WriterProperties,
    stamp: RunStamp,
    /// What tells the files of this writer from all others.
    name: String,
    /// How many files this run has begun.
    files: u32,
}

impl Notes {
    pub(super) fn new(settings: &Settings, stamp: &RunStamp, name: String) -> Self {
        Self {
            vanished: Vec::new(),
            zone: settings.timezone.clone(),
            properties: properties::of_vanished(settings, stamp),
            stamp: stamp.clone(),
            name,
            files: 0,
        }
    }

    pub(super) fn add(&mut self, vanished: Vec<Vanished>) {
        self.vanished.extend(vanished);
    }

    pub(super) fn len(&self) -> usize {
        self.vanished.len()
    }

    /// Takes all notes, as files by the day on which they were noticed.
    pub(super) fn take(&mut self) -> Vec<NotesFile> {
        let mut days: BTreeMap<String, Vec<Vanished>> = BTreeMap::new();
        for vanished in std::mem::take(&mut self.vanished) {
            let noticed = Timestamp::from_millisecond(vanished.noticed_at).unwrap_or_default();
            let day = noticed.to_zoned(self.zone.clone()).date().to_string();
            days.entry(day).or_default().push(vanished);
        }
        let mut files = Vec::with_capacity(days.len());
        for (day, vanished) in days {
            let path = format!("{BESIDE}date={day}/part-{}-{:05}.parquet", self.name, self.files);
            self.files += 1;
            files.push(NotesFile {
                path,
                properties: self.properties.clone(),
                app_key: self.stamp.app_key.clone(),
                run_id: self.stamp.run_id.to_string(),
                vanished,
            });
        }
        files
    }
}

/// A file that is to be written.
#[derive(Debug)]
pub(super) struct NotesFile {
    path: String,
    properties: WriterProperties,
    app_key: String,
    run_id: String,
    vanished: Vec<Vanished>,
}

impl NotesFile {
    /// Stages the file. Blocks.
    pub(super) fn write(self, storage: &dyn Storage) -> Result<StagedFile, ArchiveError> {
        let doing = || format!("writing {}", storage.at(&self.path));
        let content = self.content().map_err(|error| ArchiveError::failed(doing(), error))?;
        let mut output = storage.stage(&self.path)?;
        output.write_all(&content).map_err(|error| ArchiveError::failed(doing(), error))?;
        let staged = output.finish()?;
        reach("vanished.fsync");
        let range = |note: &Vanished| FileRange::of(note.create_time, note.message_server_id);
        let file = DataFile {
            path: self.path,
            rows: self.vanished.len() as u64,
            bytes: content.len() as u64,
            sha256: sha256(&content),
            range: self.vanished.iter().map(range).reduce(FileRange::with),
        };
        Ok(StagedFile { file, staged })
    }

    /// The columns of [`schema::vanished`].
    fn content(&self) -> Result<Vec<u8>, ParquetError> {
        let rows = &self.vanished;
        let texts =
            |of: fn(&Vanished) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(of))) };
        let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(|_| text))) };
        let times = |of: fn(&Vanished) -> i64| -> ArrayRef {
            Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(of)).with_timezone("UTC"))
        };
        let columns: Vec<ArrayRef> = vec![
            same(&self.app_key),
            texts(|row| &row.conversation_key),
            texts(|row| &row.conversation_id),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.conversation_type))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.message_server_id))),
            times(|row| row.create_time),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.code as i32))),
            same(&self.run_id),
            times(|row| row.noticed_at),
        ];
        let batch = RecordBatch::try_new(schema::vanished(), columns)?;
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(self.properties.clone()))?;
        writer.write(&batch)?;
        writer.into_inner()
    }
}
