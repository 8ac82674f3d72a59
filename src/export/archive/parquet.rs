//! A Parquet archive: the files that its manifests name, and of these only what may hold what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter,
};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::statistics::Statistics;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_schema::{DataType, TimeUnit};
use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::ids::{Unread, of_file};
use super::{Archive, Head, HeldId, IdTaker, Origin, Taker, VanishedMessages, Wanted, WantedIds};
use crate::archive::parquet::beside;
use crate::export::error::ExportError;
use crate::export::record::{Column, Record, Value, Vanished};
use crate::export::selection::{Scope, Selection};
use crate::model::manifest::{Manifest, ManifestFile};

/// Rows that are decoded at once.
const BATCH: usize = 1024;
/// A partition's date is that of some time zone: it may begin half a day and more before or after that of UTC.
const DATE_MARGIN: i64 = 26 * 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// The columns that decide whether a message is wanted.
const DECIDING: [Column; 7] = [
    Column::ConversationKey,
    Column::ConversationType,
    Column::MessageServerId,
    Column::CreateTime,
    Column::SenderId,
    Column::ReceiverAccountIds,
    Column::Inclusive,
];

/// A Parquet archive as its manifests describe it at the moment of opening.
#[derive(Debug)]
pub struct ParquetArchive {
    root: PathBuf,
    files: Vec<ManifestFile>,
    app_keys: BTreeSet<String>,
    /// Files that say which messages vanished.
    vanished: Vec<PathBuf>,
    origin: Origin,
}

impl ParquetArchive {
    /// Reads the manifests of the archive in this directory. Runs that come later are not seen.
    ///
    /// # Errors
    ///
    /// There is no archive, or a manifest cannot be read or leads out of the archive.
    pub fn open(root: &Path) -> Result<Self, ExportError> {
        let directory = root.join("_manifests");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ExportError::Unusable(format!(
                    "{} holds no manifests (_manifests/*.json), and what no manifest names is no data: is it the \
                     directory of a Parquet archive, and did a run finish?",
                    root.display()
                )));
            }
            Err(error) => return Err(ExportError::failed(format!("reading {}", directory.display()), error)),
        };
        let (mut manifests, mut app_keys) = (BTreeMap::new(), BTreeSet::new());
        for entry in entries {
            let path = entry.map_err(|error| ExportError::failed(format!("reading {}", directory.display()), error))?;
            let path = path.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let failed = |error| ExportError::failed(format!("reading {}", path.display()), error);
            let content = std::fs::read(&path).map_err(failed)?;
            let manifest: Manifest = serde_json::from_slice(&content).map_err(|error| failed(error.into()))?;
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let head = Head {
                sequence: manifest.sequence,
                file: format!("_manifests/{file}"),
                sha256: hex::encode(Sha256::digest(&content)),
            };
            app_keys.insert(manifest.app_key);
            manifests.insert(manifest.sequence, (head, manifest.files, manifest.vanished));
        }
        if let Some((&last, _)) = manifests.last_key_value()
            && last != manifests.len() as u64
        {
            tracing::warn!(
                "the archive at {} has {} manifests, and the last one has the number {last}: some are missing, and what \
                 they name is not exported; `yunxin-archiver verify` says which",
                root.display(),
                manifests.len()
            );
        }
        let origin = Origin::Parquet {
            path: root.display().to_string(),
            manifests: manifests.len() as u64,
            head: manifests.last_key_value().map(|(_, (head, ..))| head.clone()),
        };
        let (mut files, mut vanished) = (Vec::new(), Vec::new());
        for (_, messages, noted) in manifests.into_values() {
            files.extend(messages);
            vanished.extend(noted);
        }
        for file in files.iter().chain(&vanished) {
            if !Path::new(&file.path).components().all(|component| matches!(component, Component::Normal(_))) {
                return Err(ExportError::Unusable(format!(
                    "a manifest of {} names {:?}, which leads out of the archive",
                    root.display(),
                    file.path
                )));
            }
        }
        let beside = beside(root).unwrap_or_default();
        let vanished = vanished.into_iter().map(|file| beside.join(file.path)).collect();
        Ok(Self { root: root.to_path_buf(), files, app_keys, vanished, origin })
    }

    fn read_file(&self, file: &ManifestFile, wanted: Wanted<'_>, take: &mut Taker<'_>) -> Result<(), ExportError> {
        let path = self.root.join(&file.path);
        let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| ExportError::Failed {
            context: format!(
                "{} is named by a manifest and cannot be read; `yunxin-archiver verify` looks at the whole archive",
                path.display()
            ),
            source: error,
        };
        let open = File::open(&path).map_err(|error| unreadable(error.into()))?;
        let bytes = open.metadata().map_err(|error| unreadable(error.into()))?.len();
        if bytes != file.bytes {
            let what = format!("it has {bytes} bytes, and the manifest says {}", file.bytes);
            return Err(unreadable(what.into()));
        }
        let metadata = ArrowReaderMetadata::load(&open, ArrowReaderOptions::default())
            .map_err(|error| unreadable(error.into()))?;
        let groups: Vec<usize> = metadata
            .metadata()
            .row_groups()
            .iter()
            .enumerate()
            .filter(|(_, group)| may_hold(group, wanted))
            .map(|(index, _)| index)
            .collect();
        if groups.is_empty() {
            return Ok(());
        }
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(open, metadata)
            .with_batch_size(BATCH)
            .with_row_groups(groups);
        let all = matches!(wanted, Wanted::Selected(Selection { scope: Scope::All, from: None, to: None }));
        if !all {
            let names = DECIDING.map(Column::name);
            let projection = ProjectionMask::columns(builder.parquet_schema(), names);
            let wanted = wanted.owned();
            let predicate = ArrowPredicateFn::new(projection, move |batch| {
                let reader = Rows::new(&batch)?;
                (0..batch.num_rows())
                    .map(|row| Ok(Some(wanted.borrowed().holds(&reader.record(row)?))))
                    .collect::<Result<BooleanArray, ArrowError>>()
            });
            builder = builder.with_row_filter(RowFilter::new(vec![Box::new(predicate)]));
        }
        for batch in builder.build().map_err(|error| unreadable(error.into()))? {
            let batch = batch.map_err(|error| unreadable(error.into()))?;
            let rows = Rows::new(&batch).map_err(|error| unreadable(error.into()))?;
            for row in 0..batch.num_rows() {
                take(rows.record(row).map_err(|error| unreadable(error.into()))?)?;
            }
        }
        Ok(())
    }
}

/// What is wanted, to be kept by a filter that outlives the call.
enum OwnedWanted {
    Selected(Selection),
    Ids(Arc<BTreeSet<i64>>, i64, i64),
}

impl Wanted<'_> {
    fn owned(&self) -> OwnedWanted {
        match *self {
            Self::Selected(selection) => OwnedWanted::Selected(selection.clone()),
            Self::Ids(ids, first, last) => OwnedWanted::Ids(Arc::clone(ids), first, last),
        }
    }

    fn range(&self) -> (i64, i64) {
        match *self {
            Self::Selected(selection) => {
                (selection.from.unwrap_or(i64::MIN), selection.to.map_or(i64::MAX, |to| to.saturating_sub(1)))
            }
            Self::Ids(_, first, last) => (first, last),
        }
    }
}

impl OwnedWanted {
    fn borrowed(&self) -> Wanted<'_> {
        match self {
            Self::Selected(selection) => Wanted::Selected(selection),
            Self::Ids(ids, first, last) => Wanted::Ids(ids, *first, *last),
        }
    }
}

/// Whether the partitions of a path may hold what is wanted.
fn directory_may_hold(path: &str, wanted: Wanted<'_>) -> bool {
    let (first, last) = wanted.range();
    path.split('/').all(|level| match level.split_once('=') {
        Some(("date", date)) => date.parse::<jiff::civil::Date>().ok().is_none_or(|date| {
            let start = start_of(date);
            start - DATE_MARGIN <= last && first < start.saturating_add(DAY_MS + DATE_MARGIN)
        }),
        Some(("month", month)) => format!("{month}-01").parse::<jiff::civil::Date>().ok().is_none_or(|date| {
            let start = start_of(date);
            let end = start + i64::from(date.days_in_month()) * DAY_MS;
            start - DATE_MARGIN <= last && first < end + DATE_MARGIN
        }),
        Some(("conversation_type", kind)) => match wanted {
            Wanted::Selected(Selection { scope: Scope::Conversations(keys), .. }) => {
                keys.iter().any(|key| key.split('|').next() == Some(kind))
            }
            _ => true,
        },
        _ => true,
    })
}

fn start_of(date: jiff::civil::Date) -> i64 {
    date.to_zoned(jiff::tz::TimeZone::UTC).map_or(i64::MIN / 2, |zoned| zoned.timestamp().as_millisecond())
}

/// Whether a row group may hold what is wanted, by the statistics of its columns.
fn may_hold(group: &RowGroupMetaData, wanted: Wanted<'_>) -> bool {
    let (first, last) = wanted.range();
    group.columns().iter().all(|column| match (column.column_path().string().as_str(), column.statistics(), wanted) {
        ("create_time", Some(Statistics::Int64(range)), _) => {
            range.max_opt().is_none_or(|max| *max >= first) && range.min_opt().is_none_or(|min| *min <= last)
        }
        ("message_server_id", Some(Statistics::Int64(range)), Wanted::Ids(ids, ..)) => {
            match (range.min_opt(), range.max_opt()) {
                (Some(min), Some(max)) => ids.range(*min..=*max).next().is_some(),
                _ => true,
            }
        }
        (
            "conversation_key",
            Some(Statistics::ByteArray(range)),
            Wanted::Selected(Selection { scope: Scope::Conversations(keys), .. }),
        ) => match (range.min_opt(), range.max_opt()) {
            (Some(min), Some(max)) => keys.iter().any(|key| (min.data()..=max.data()).contains(&key.as_bytes())),
            _ => true,
        },
        _ => true,
    })
}

/// The columns of a batch by their place in a record; what a file does not have is null.
struct Rows {
    columns: Vec<(Column, ArrayRef)>,
}

impl Rows {
    fn new(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let schema = batch.schema();
        let mut columns = Vec::new();
        for definition in Column::all(true) {
            let name = definition.name;
            if let Some((index, _)) = schema.column_with_name(name) {
                let array = batch.column(index);
                if !is_readable(array.data_type()) {
                    return Err(ArrowError::SchemaError(format!("column {name} is of type {}", array.data_type())));
                }
                columns.push((definition.column, ArrayRef::clone(array)));
            }
        }
        Ok(Self { columns })
    }

    fn record(&self, row: usize) -> Result<Record, ArrowError> {
        let mut record = Record::new();
        for (column, array) in &self.columns {
            record.set(*column, value(array, row)?);
        }
        Ok(record)
    }
}

fn is_readable(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::Int32 | DataType::Int64 | DataType::Boolean => true,
        DataType::Timestamp(unit, _) => *unit == TimeUnit::Millisecond,
        DataType::List(item) => *item.data_type() == DataType::Utf8,
        _ => false,
    }
}

fn value(array: &ArrayRef, row: usize) -> Result<Value, ArrowError> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Int32 => Value::Integer(i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Value::Integer(array.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => Value::Flag(array.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Value::Integer(array.as_primitive::<TimestampMillisecondType>().value(row))
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items = items.as_string::<i32>();
            Value::List(items.iter().map(|item| item.unwrap_or_default().to_owned()).collect())
        }
        kind => return Err(ArrowError::SchemaError(format!("a column is of type {kind}"))),
    })
}

#[async_trait]
impl Archive for ParquetArchive {
    // Reading blocks: an export is the only thing that its process does.
    async fn read(&mut self, wanted: Wanted<'_>, take: &mut Taker<'_>) -> Result<(), ExportError> {
        for file in &self.files {
            if directory_may_hold(&file.path, wanted) {
                self.read_file(file, wanted, take)?;
            }
        }
        Ok(())
    }

    async fn vanished(&mut self, selection: &Selection) -> Result<VanishedMessages, ExportError> {
        let mut found = VanishedMessages::new();
        for path in &self.vanished {
            read_vanished(path, selection, &mut found).map_err(|error| ExportError::Failed {
                context: format!(
                    "{} is named by a manifest, says which messages vanished, and cannot be read; it belongs beside the \
                     archive",
                    path.display()
                ),
                source: Box::new(error),
            })?;
        }
        Ok(found)
    }

    async fn ids(&mut self, wanted: WantedIds<'_>, take: &mut IdTaker<'_>) -> Result<Vec<String>, ExportError> {
        let mut unreadable = Vec::new();
        let mut note = |path: &str, read: Result<(), Unread>| match read {
            Ok(()) => Ok(()),
            Err(Unread::File(error)) => {
                unreadable.push(format!("{path} cannot be read: {error}"));
                Ok(())
            }
            Err(Unread::Taker(error)) => Err(error),
        };
        let mut named = BTreeSet::new();
        for file in &self.files {
            let read = of_file(&self.root.join(&file.path), file.bytes, wanted, |id| take(HeldId::Archived(id)));
            note(&file.path, read)?;
            named.insert(file.path.as_str());
        }
        for (path, temporary) in wanted.committed.iter().filter(|(path, _)| !named.contains(path.as_str())) {
            let places = [path, temporary].map(|place| self.root.join(place));
            let there = places.iter().find_map(|place| Some((place, std::fs::metadata(place).ok()?.len())));
            let Some((place, bytes)) = there else {
                note(path, Err("it is committed, and not there".into()))?;
                continue;
            };
            note(path, of_file(place, bytes, wanted, |id| take(HeldId::Unnamed(id))))?;
        }
        Ok(unreadable)
    }

    async fn app_keys(&mut self) -> Result<Vec<String>, ExportError> {
        Ok(self.app_keys.iter().cloned().collect())
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }
}

fn read_vanished(path: &Path, selection: &Selection, found: &mut VanishedMessages) -> Result<(), ParquetError> {
    let file = File::open(path).map_err(|error| ParquetError::External(error.into()))?;
    for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH).build()? {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).cloned();
        for row in 0..batch.num_rows() {
            let get = |name: &str| column(name).map_or(Ok(Value::Null), |array| value(&array, row));
            let (Value::Text(app_key), Value::Integer(id)) = (get("app_key")?, get("message_server_id")?) else {
                continue;
            };
            let matters = match &selection.scope {
                Scope::Conversations(keys) => match get("conversation_key")? {
                    Value::Text(key) => keys.contains(&key),
                    _ => true,
                },
                _ => true,
            };
            if matters {
                let integer = |value: Value| match value {
                    Value::Integer(number) => Some(number),
                    _ => None,
                };
                let vanished = Vanished { noticed_at: integer(get("noticed_at")?), code: integer(get("code")?) };
                found.entry((app_key, id)).or_insert(vanished);
            }
        }
    }
    Ok(())
}
