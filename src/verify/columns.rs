//! What is in a file of messages: keys and ranges, from four of its columns.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};

use super::keys::{Key, Keys};
use crate::manifest::FileRange;

/// Rows decoded at once.
const ROWS: usize = 32_768;
const APP: &str = "app_key";
const ID: &str = "message_server_id";
const REVISION: &str = "revision";
const TIME: &str = "create_time";

/// Applications by small numbers, the first met being 0.
#[derive(Default)]
pub(super) struct Apps(Mutex<HashMap<String, u32>>);

impl Apps {
    fn number(&self, app: &str) -> u32 {
        let mut apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = apps.get(app) {
            return *number;
        }
        let number = apps.len() as u32;
        apps.insert(app.to_owned(), number);
        number
    }

    pub(super) fn names(self) -> Vec<String> {
        let apps = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<(String, u32)> = apps.into_iter().collect();
        names.sort_unstable_by_key(|(_, number)| *number);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// Why a file could not be read.
pub(super) enum Unread {
    /// It is none of messages.
    File(String),
    /// The keys could not be kept.
    Keys(io::Error),
}

/// Reads a file's keys. Returns its rows and their range.
pub(super) fn read(path: &Path, file: u32, apps: &Apps, keys: &mut Keys) -> Result<(u64, Option<FileRange>), Unread> {
    let bad = |error: &dyn std::fmt::Display| Unread::File(format!("it cannot be read as Parquet: {error}"));
    let open = File::open(path).map_err(|error| bad(&error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(open).map_err(|error| bad(&error))?;
    let mut places = Vec::new();
    for column in [APP, ID, REVISION, TIME] {
        let place = builder.schema().fields().iter().position(|field| field.name() == column);
        places.push(place.ok_or_else(|| Unread::File(format!("it has no column {column}")))?);
    }
    let projection = ProjectionMask::roots(builder.parquet_schema(), places);
    let batches = builder.with_projection(projection).with_batch_size(ROWS).build().map_err(|error| bad(&error))?;
    let (mut rows, mut range): (u64, Option<FileRange>) = (0, None);
    let mut last: Option<(String, u32)> = None;
    for batch in batches {
        let batch = batch.map_err(|error| bad(&error))?;
        let Some(columns) = Columns::of(&batch) else {
            return Err(Unread::File("its columns are of other types, or null".to_owned()));
        };
        for row in 0..batch.num_rows() {
            let name = columns.apps.value(row);
            let app = match &last {
                Some((same, app)) if same == name => *app,
                _ => {
                    let app = apps.number(name);
                    last = Some((name.to_owned(), app));
                    app
                }
            };
            let (id, revision) = (columns.ids[row], columns.revisions[row]);
            let one = FileRange::of(columns.times[row], id);
            range = Some(range.map_or(one, |range| range.with(one)));
            keys.push(Key { id, app, revision, file }).map_err(Unread::Keys)?;
        }
        rows += batch.num_rows() as u64;
    }
    Ok((rows, range))
}

struct Columns<'a> {
    apps: &'a arrow::array::StringArray,
    ids: &'a [i64],
    revisions: &'a [i32],
    times: &'a [i64],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let column = |name: &str| batch.column_by_name(name).filter(|column| column.null_count() == 0);
        Some(Self {
            apps: column(APP)?.as_string_opt::<i32>()?,
            ids: column(ID)?.as_primitive_opt::<Int64Type>()?.values(),
            revisions: column(REVISION)?.as_primitive_opt::<Int32Type>()?.values(),
            times: column(TIME)?.as_primitive_opt::<TimestampMillisecondType>()?.values(),
        })
    }
}
