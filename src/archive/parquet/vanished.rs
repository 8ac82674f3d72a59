//! Files that say which messages vanished, beside the archive: few rows, one file a day and commit.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::coding::{codec, metadata};
use super::disk::{self, failure};
use super::{Compression, Settings};
use crate::archive::{ArchiveError, ArchiveFile, RunStamp};
use crate::failpoint::reach;
use crate::model::manifest::{BESIDE, FileRange};
use crate::model::message::Vanished;

/// The columns, their types, and what they mean. None is ever null.
pub(super) const COLUMNS: [(&str, DataType, &str); 9] = [
    ("app_key", DataType::Utf8, "the AppKey that the message was asked for with"),
    ("conversation_key", DataType::Utf8, "the dialogue, as in the archive"),
    ("conversation_id", DataType::Utf8, "the conversation as it was asked last"),
    ("conversation_type", DataType::Int32, "1 one-to-one, 2 team, 3 super team"),
    ("message_server_id", DataType::Int64, "the message's ID"),
    ("create_time", TIME, "when it was sent"),
    ("code", DataType::Int32, "what the API answered"),
    ("run_id", DataType::Utf8, "the run that noticed"),
    ("noticed_at", TIME, "when it was noticed"),
];
const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// What was noted and not yet committed.
#[derive(Debug)]
pub(super) struct Notes {
    vanished: Vec<Vanished>,
    zone: TimeZone,
    compression: Compression,
    stamp: RunStamp,
    settings: Settings,
    /// Files written so far in this run.
    parts: u32,
}

fn schema() -> SchemaRef {
    let field = |(name, kind, _): &(&str, DataType, &str)| {
        let kind =
            if *kind == TIME { DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())) } else { kind.clone() };
        Field::new(*name, kind, false)
    };
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
}

impl Notes {
    pub(super) fn new(settings: &Settings, stamp: &RunStamp) -> Self {
        Self {
            vanished: Vec::new(),
            zone: settings.timezone.clone(),
            compression: settings.compression,
            stamp: stamp.clone(),
            settings: settings.clone(),
            parts: 0,
        }
    }

    pub(super) fn add(&mut self, vanished: Vec<Vanished>) {
        self.vanished.extend(vanished);
    }

    pub(super) fn len(&self) -> usize {
        self.vanished.len()
    }

    /// What is to be written, by the day on which it was noticed. Nothing is left here.
    pub(super) fn take(&mut self, temporary: &(PathBuf, String)) -> Vec<Sheet> {
        let mut days: BTreeMap<String, Vec<Vanished>> = BTreeMap::new();
        for vanished in std::mem::take(&mut self.vanished) {
            let noticed = Timestamp::from_millisecond(vanished.noticed_at).unwrap_or_default();
            let day = noticed.to_zoned(self.zone.clone()).date().to_string();
            days.entry(day).or_default().push(vanished);
        }
        let mut sheets = Vec::with_capacity(days.len());
        for (day, vanished) in days {
            let name = format!("part-{}-{:05}", self.stamp.run_id, self.parts);
            self.parts += 1;
            sheets.push(Sheet {
                path: format!("{BESIDE}date={day}/{name}.parquet"),
                temporary: format!("{}/{name}.inprogress", temporary.1),
                place: temporary.0.join(format!("{name}.inprogress")),
                properties: WriterProperties::builder()
                    .set_compression(codec(self.compression))
                    .set_key_value_metadata(Some(metadata(&self.settings, &self.stamp)))
                    .build(),
                app_key: self.stamp.app_key.clone(),
                run_id: self.stamp.run_id.to_string(),
                vanished,
            });
        }
        sheets
    }
}

/// One file to be written.
#[derive(Debug)]
pub(super) struct Sheet {
    path: String,
    temporary: String,
    place: PathBuf,
    properties: WriterProperties,
    app_key: String,
    run_id: String,
    vanished: Vec<Vanished>,
}

impl Sheet {
    /// Writes the file, durably but for its name. Blocks.
    pub(super) fn write(self) -> Result<ArchiveFile, ArchiveError> {
        let failed = |error| failure("writing", &self.place, error);
        let content = self.content().map_err(|error| ArchiveError::Failed {
            context: format!("writing {}", self.place.display()),
            source: Box::new(error),
        })?;
        disk::create_directories(&disk::parent(&self.place)).map_err(failed)?;
        let mut file = disk::create_new(&self.place).map_err(failed)?;
        file.write_all(&content).map_err(failed)?;
        reach("vanished.fsync");
        file.sync_all().map_err(failed)?;
        Ok(ArchiveFile {
            path: self.path,
            temporary: self.temporary,
            rows: self.vanished.len() as u64,
            bytes: content.len() as u64,
            sha256: hex::encode(Sha256::digest(&content)),
            range: self
                .vanished
                .iter()
                .map(|note| FileRange::of(note.create_time, note.message_server_id))
                .reduce(FileRange::with),
        })
    }

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
        let batch = RecordBatch::try_new(schema(), columns)?;
        let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(self.properties.clone()))?;
        writer.write(&batch)?;
        writer.into_inner()
    }
}
