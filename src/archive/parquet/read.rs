//! Reads the files that manifests name, and of these only what may hold what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ArrowPredicateFn, ParquetRecordBatchReader, RowFilter};
use ::parquet::file::statistics::Statistics;
use arrow::array::BooleanArray;
use arrow::error::ArrowError;
use async_trait::async_trait;

use super::data_file::{APP, ID, ParquetFile, overlaps};
use super::manifests::is_manifest;
use super::places::{MANIFESTS, is_inside};
use super::pruning::{directory_may_hold, group_may_hold};
use super::records::Records;
use crate::archive::ArchiveError;
use crate::archive::read::{
    ArchiveReader, FoundId, Head, IdTaker, Origin, RecordTaker, VanishedMessages, Wanted, WantedIds,
};
use crate::model::Column;
use crate::model::manifest::{BESIDE, DataFile, Manifest, sha256};
use crate::model::record::VanishedNote;
use crate::model::selection::{Scope, Selection};
use crate::storage::Storage;

/// Messages decoded at once.
const MESSAGES: usize = 1024;
/// IDs decoded at once.
const IDS: usize = 65_536;
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

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A Parquet archive as its manifests described it when it was opened. Its functions block: a process that reads an
/// archive does nothing else.
#[derive(Debug)]
pub(super) struct ParquetReader {
    storage: Arc<dyn Storage>,
    files: Vec<DataFile>,
    app_keys: BTreeSet<String>,
    /// Files of notes of what vanished.
    vanished: Vec<String>,
    origin: Origin,
}

impl ParquetReader {
    /// Reads the manifests of an archive. Runs that end later are not seen.
    ///
    /// # Errors
    ///
    /// There is no archive, a manifest cannot be read, or a manifest names a file outside the archive.
    pub(super) fn open(storage: Arc<dyn Storage>) -> Result<Self, ArchiveError> {
        let place = storage.place().to_owned();
        let listed = storage.list(&format!("{MANIFESTS}/"), false)?;
        if listed.is_empty() {
            return Err(ArchiveError::Unusable(format!(
                "{place} has no manifests (_manifests/*.json), and a file that no manifest names is no data: is it the \
                 directory of a Parquet archive, and did a run finish?"
            )));
        }
        let (mut manifests, mut app_keys) = (BTreeMap::new(), BTreeSet::new());
        for file in listed.into_iter().map(|found| found.name).filter(|name| is_manifest(name)) {
            let content = storage.read(&file)?.map(|(content, _)| content).unwrap_or_default();
            let manifest: Manifest = serde_json::from_slice(&content)
                .map_err(|error| ArchiveError::failed(format!("reading {}", storage.at(&file)), error))?;
            let sequence = manifest.sequence;
            app_keys.insert(manifest.app_key.clone());
            manifests.insert(sequence, (Head { sequence, file, sha256: sha256(&content) }, manifest));
        }
        let count = manifests.len() as u64;
        if let Some((&last, _)) = manifests.last_key_value()
            && last != count
        {
            tracing::warn!(
                "the archive at {place} has {count} manifests, but the last one has the number {last}: some are missing, and \
                 the files they name are not read; `yunxin-archiver verify` says which"
            );
        }
        let head = manifests.last_key_value().map(|(_, (head, _))| head.clone());
        let origin = Origin::Parquet { path: place.clone(), manifests: count, head };
        let (mut files, mut vanished) = (Vec::new(), Vec::new());
        for (_, manifest) in manifests.into_values() {
            files.extend(manifest.files);
            vanished.extend(manifest.vanished);
        }
        if let Some(file) = files.iter().chain(&vanished).find(|file| !is_inside(&file.path)) {
            return Err(ArchiveError::Unusable(format!(
                "a manifest of {place} names {:?}, which leads out of the archive",
                file.path
            )));
        }
        let vanished = vanished.into_iter().map(|file| format!("{BESIDE}{}", file.path)).collect();
        Ok(Self { storage, files, app_keys, vanished, origin })
    }

    fn read_file(
        &self,
        file: &DataFile,
        wanted: &Arc<Wanted>,
        take: &mut RecordTaker<'_>,
    ) -> Result<ControlFlow<()>, ArchiveError> {
        let unreadable = |error: AnyError| {
            let context = format!(
                "{} is named by a manifest and cannot be read; `yunxin-archiver verify` looks at the whole archive",
                self.storage.at(&file.path)
            );
            ArchiveError::failed(context, error)
        };
        for batch in messages(&self.storage, file, wanted).map_err(unreadable)? {
            let batch = batch.map_err(|error| unreadable(error.into()))?;
            for record in Records::of(&batch).iter() {
                if take(record.map_err(|error| unreadable(error.into()))?).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Opens a file to read the messages in it that are wanted.
fn messages(
    storage: &Arc<dyn Storage>,
    file: &DataFile,
    wanted: &Arc<Wanted>,
) -> Result<ParquetRecordBatchReader, AnyError> {
    let file = ParquetFile::open(storage, &file.path, Some(file.bytes))?;
    let builder = file.groups(&[], |group| group_may_hold(group, wanted)).with_batch_size(MESSAGES);
    if matches!(**wanted, Wanted::Selected(Selection { scope: Scope::All, from: None, to: None })) {
        return Ok(builder.build()?);
    }
    let projection = ProjectionMask::columns(builder.parquet_schema(), DECIDING.map(Column::name));
    let wanted = Arc::clone(wanted);
    let predicate = ArrowPredicateFn::new(projection, move |batch| {
        let records = Records::of(&batch);
        let holds = records.iter().map(|record| Ok(Some(wanted.holds(&record?))));
        holds.collect::<Result<BooleanArray, ArrowError>>()
    });
    Ok(builder.with_row_filter(RowFilter::new(vec![Box::new(predicate)])).build()?)
}

#[async_trait]
impl ArchiveReader for ParquetReader {
    async fn read(&mut self, wanted: &Wanted, take: &mut RecordTaker<'_>) -> Result<(), ArchiveError> {
        let wanted = Arc::new(wanted.clone());
        for file in self.files.iter().filter(|file| directory_may_hold(&file.path, &wanted)) {
            if self.read_file(file, &wanted, take)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn vanished(&mut self, selection: &Selection) -> Result<VanishedMessages, ArchiveError> {
        let mut found = VanishedMessages::new();
        for path in &self.vanished {
            read_vanished(&self.storage, path, selection, &mut found).map_err(|error| {
                let context = format!(
                    "{}, which notes what vanished, is named by a manifest and cannot be read; it belongs beside the \
                     archive",
                    self.storage.at(path)
                );
                ArchiveError::failed(context, error)
            })?;
        }
        Ok(found)
    }

    async fn ids(&mut self, wanted: WantedIds<'_>, take: &mut IdTaker<'_>) -> Result<Vec<String>, ArchiveError> {
        let mut unreadable = Vec::new();
        let named: BTreeSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        let archived = self.files.iter().map(|file| (file.path.as_str(), file.path.as_str(), Some(file.bytes)));
        let unnamed = wanted.committed.iter().filter(|(path, _)| !named.contains(path.as_str()));
        let unnamed = unnamed.map(|(path, staged)| {
            let is_there = |place: &&str| self.storage.size(place).is_ok_and(|size| size.is_some());
            (path.as_str(), [path.as_str(), staged].into_iter().find(is_there).unwrap_or(path), None)
        });
        for (path, place, bytes) in archived.chain(unnamed) {
            let found = if bytes.is_some() { FoundId::Archived } else { FoundId::Unnamed };
            match ids(&self.storage, place, bytes, wanted, &mut |id| take(found(id))) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) => unreadable.push(format!("{path} cannot be read: {error}")),
            }
        }
        Ok(unreadable)
    }

    async fn app_keys(&mut self) -> Result<Vec<String>, ArchiveError> {
        Ok(self.app_keys.iter().cloned().collect())
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }
}

/// Passes on the wanted IDs in a file.
fn ids(
    storage: &Arc<dyn Storage>,
    path: &str,
    bytes: Option<u64>,
    wanted: WantedIds<'_>,
    take: &mut dyn FnMut(i64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, AnyError> {
    let batches = ParquetFile::open(storage, path, bytes)?.batches(&[APP, ID], IDS, |group| {
        group.columns().iter().all(|column| match (column.column_path().string().as_str(), column.statistics()) {
            (ID, Some(Statistics::Int64(range))) => overlaps(range, wanted.first, wanted.last),
            _ => true,
        })
    })?;
    for rows in batches {
        let rows = rows?;
        for (app, id) in rows.texts(APP)?.iter().zip(rows.int64s(ID)?) {
            let is_wanted = app == Some(wanted.app_key) && (wanted.first..=wanted.last).contains(id);
            if is_wanted && take(*id).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn read_vanished(
    storage: &Arc<dyn Storage>,
    path: &str,
    selection: &Selection,
    found: &mut VanishedMessages,
) -> Result<(), AnyError> {
    const KEY: &str = Column::ConversationKey.name();
    let file = ParquetFile::open(storage, path, None)?;
    for rows in file.batches(&[APP, ID, KEY, "noticed_at", "code"], MESSAGES, |_| true)? {
        let rows = rows?;
        let (apps, ids, keys) = (rows.texts(APP)?, rows.int64s(ID)?, rows.texts(KEY)?);
        let (times, codes) = (rows.times("noticed_at")?, rows.int32s("code")?);
        for row in 0..rows.len() {
            let is_wanted = match &selection.scope {
                Scope::Conversations(wanted) => wanted.contains(keys.value(row)),
                Scope::All | Scope::Accounts(_) => true,
            };
            if is_wanted {
                let note = VanishedNote { noticed_at: Some(times[row]), code: Some(codes[row].into()) };
                found.entry((apps.value(row).to_owned(), ids[row])).or_insert(note);
            }
        }
    }
    Ok(())
}
