//! What is in a file of messages, or of what vanished: keys and ranges, from a few of its columns.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array as _, RecordBatch};

use super::keys::{Key, Keys};
use crate::model::Column;
use crate::model::manifest::FileRange;

/// Rows decoded at once.
const ROWS: usize = 32_768;
const APP: &str = Column::AppKey.name();
const ID: &str = Column::MessageServerId.name();
const REVISION: &str = Column::Revision.name();
const TIME: &str = Column::CreateTime.name();

/// What a file that a manifest names holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Content {
    /// Versions of messages, each once in the whole archive.
    Messages,
    /// Which messages vanished, each once as well. Lies beside the archive.
    Vanished,
}

/// Applications by small numbers, the first met being 0. An application has one for each content: what is there twice
/// is there twice in one.
#[derive(Default)]
pub(super) struct Apps(Mutex<HashMap<(Content, String), u32>>);

impl Apps {
    fn number(&self, content: Content, app: &str) -> u32 {
        let mut apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = apps.len() as u32;
        *apps.entry((content, app.to_owned())).or_insert(next)
    }

    pub(super) fn names(self) -> Vec<(Content, String)> {
        let apps = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<((Content, String), u32)> = apps.into_iter().collect();
        names.sort_unstable_by_key(|(_, number)| *number);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// Why a file could not be read.
pub(super) enum Unread {
    /// It is none of its kind.
    File(String),
    /// The keys could not be kept.
    Keys(io::Error),
}

/// Reads a file's keys. Returns its rows and their range.
pub(super) fn read(
    path: &Path,
    content: Content,
    file: u32,
    apps: &Apps,
    keys: &mut Keys,
) -> Result<(u64, Option<FileRange>), Unread> {
    let bad = |error: &dyn std::fmt::Display| Unread::File(format!("it cannot be read as Parquet: {error}"));
    let open = File::open(path).map_err(|error| bad(&error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(open).map_err(|error| bad(&error))?;
    let mut places = Vec::new();
    let wanted = match content {
        Content::Messages => &[APP, ID, TIME, REVISION][..],
        Content::Vanished => &[APP, ID, TIME],
    };
    for column in wanted {
        let place = builder.schema().fields().iter().position(|field| field.name() == *column);
        places.push(place.ok_or_else(|| Unread::File(format!("it has no column {column}")))?);
    }
    let projection = ProjectionMask::roots(builder.parquet_schema(), places);
    let batches = builder.with_projection(projection).with_batch_size(ROWS).build().map_err(|error| bad(&error))?;
    let (mut rows, mut range): (u64, Option<FileRange>) = (0, None);
    let mut last: Option<(String, u32)> = None;
    for batch in batches {
        let batch = batch.map_err(|error| bad(&error))?;
        let Some(columns) = Columns::of(&batch, content) else {
            return Err(Unread::File("its columns are of other types, or null".to_owned()));
        };
        for row in 0..batch.num_rows() {
            let name = columns.apps.value(row);
            let app = match &last {
                Some((same, app)) if same == name => *app,
                _ => {
                    let app = apps.number(content, name);
                    last = Some((name.to_owned(), app));
                    app
                }
            };
            let (id, revision) = (columns.ids[row], columns.revisions.map_or(0, |revisions| revisions[row]));
            let one = FileRange::of(columns.times[row], id);
            range = Some(range.map_or(one, |range| range.with(one)));
            keys.push(Key { id, app, revision, file }).map_err(Unread::Keys)?;
        }
        rows += batch.num_rows() as u64;
    }
    Ok((rows, range))
}

struct Columns<'a> {
    apps: &'a arrow_array::StringArray,
    ids: &'a [i64],
    /// Of messages alone.
    revisions: Option<&'a [i32]>,
    times: &'a [i64],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch, content: Content) -> Option<Self> {
        let column = |name: &str| batch.column_by_name(name).filter(|column| column.null_count() == 0);
        let revisions = match content {
            Content::Messages => Some(&**column(REVISION)?.as_primitive_opt::<Int32Type>()?.values()),
            Content::Vanished => None,
        };
        Some(Self {
            apps: column(APP)?.as_string_opt::<i32>()?,
            ids: column(ID)?.as_primitive_opt::<Int64Type>()?.values(),
            revisions,
            times: column(TIME)?.as_primitive_opt::<TimestampMillisecondType>()?.values(),
        })
    }
}
