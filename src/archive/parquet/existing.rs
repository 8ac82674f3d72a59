//! Which versions of messages are in the archive, to ask the service for them again.
//!
//! Every footer is read. Of the rest, only a few columns are read, in row groups whose statistics say that they may hold
//! something. The IDs of vanished messages are kept in memory: eight bytes each.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::statistics::Statistics;
use async_trait::async_trait;

use super::blocking::blocking;
use super::contents::Contents;
use super::data_file::{APP, Batches, ID, ParquetFile, REVISION, Rows, TIME, Unreadable};
use crate::archive::{ArchiveError, ExistingVersions};
use crate::model::manifest::{DataFile, is_vanished};
use crate::model::message::ExistingVersion;
use crate::storage::Storage;

/// Rows read at once.
const ROWS: usize = 16_384;
/// Missing files that an error names.
const NAMED: usize = 5;
const COLUMNS: [&str; 8] = [APP, "conversation_id", ID, REVISION, TIME, "modify_time", "requested", "fetched_at"];

/// Reads the archive twice: for later versions, then for first ones.
pub(super) struct ParquetVersions {
    storage: Arc<dyn Storage>,
    wanted: Arc<WantedVersions>,
    /// Files that are still to be read this time.
    left: VecDeque<String>,
    /// Files that may hold first versions that are wanted.
    again: VecDeque<String>,
    current: Current,
}

type Current = Option<(String, Batches)>;

/// Which rows are wanted.
#[derive(Clone)]
struct WantedVersions {
    app_key: String,
    since: i64,
    /// Later versions, or first ones.
    later: bool,
    /// IDs of vanished messages, sorted.
    vanished: Vec<i64>,
}

/// The files of an archive and beside it. Insists that those that were published are among them. Blocks.
pub(super) fn find(storage: &dyn Storage, published: &[DataFile], job: &str) -> Result<BTreeSet<String>, ArchiveError> {
    let mut listed = Contents::of(storage, false)?.data;
    listed.append(&mut Contents::beside(storage)?.data);
    let mut lost = Vec::new();
    for DataFile { path, bytes, .. } in published {
        // A directory that is a link, and the size of what a link leads to, are not in the listing.
        if listed.get(path) != Some(bytes) && storage.size(path)? != Some(*bytes) {
            lost.push(storage.at(path));
        } else {
            listed.entry(path.clone()).or_insert(*bytes);
        }
    }
    if lost.is_empty() {
        return Ok(listed.into_keys().collect());
    }
    let more = lost.len().saturating_sub(NAMED);
    let and_more = if more > 0 { format!(" and {more} more") } else { String::new() };
    lost.truncate(NAMED);
    Err(ArchiveError::Unusable(format!(
        "files of the archive at {} are missing or have another size, so their messages cannot be asked for again: {}{and_more}. \
         Restore them; or, if they are lost, `yunxin-archiver adopt {job}` takes the archive over as it is, and the next \
         run fetches what they held if its source still names it",
        storage.place(),
        lost.join(", ")
    )))
}

impl ParquetVersions {
    /// Reads which messages vanished. Blocks.
    pub(super) fn open(
        storage: Arc<dyn Storage>,
        files: BTreeSet<String>,
        app_key: String,
        since: i64,
    ) -> Result<Self, ArchiveError> {
        let (beside, left): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| is_vanished(path));
        let mut vanished = Vec::new();
        for path in beside {
            let ids = vanished_ids(&storage, &path, &app_key).map_err(|error| unreadable(&storage, &path, error))?;
            vanished.extend(ids);
        }
        vanished.sort_unstable();
        let wanted = Arc::new(WantedVersions { app_key, since, later: true, vanished });
        Ok(Self { storage, wanted, left: left.into(), again: VecDeque::new(), current: None })
    }
}

#[async_trait]
impl ExistingVersions for ParquetVersions {
    async fn next(&mut self) -> Result<Option<Vec<ExistingVersion>>, ArchiveError> {
        loop {
            let current = self.current.take();
            if current.is_none() && self.left.is_empty() {
                if !self.wanted.later {
                    return Ok(None);
                }
                Arc::make_mut(&mut self.wanted).later = false;
                self.left = std::mem::take(&mut self.again);
                continue;
            }
            let next = if current.is_none() { self.left.pop_front() } else { None };
            let (storage, wanted) = (Arc::clone(&self.storage), Arc::clone(&self.wanted));
            let (current, versions, again) = blocking(move || read_on(&storage, current, next, &wanted)).await?;
            self.current = current;
            self.again.extend(again);
            if !versions.is_empty() {
                return Ok(Some(versions));
            }
        }
    }
}

/// Reads the next rows of the current file, or the first ones of the next file. Also returns that file's name if it is to be
/// read again for first versions.
fn read_on(
    storage: &Arc<dyn Storage>,
    current: Current,
    next: Option<String>,
    wanted: &WantedVersions,
) -> Result<(Current, Vec<ExistingVersion>, Option<String>), ArchiveError> {
    let mut again = None;
    let (path, mut batches) = match (current, next) {
        (Some(current), _) => current,
        (None, Some(path)) => {
            let file = ParquetFile::open(storage, &path, None);
            let file = file.map_err(|error| unreadable(storage, &path, error))?;
            if wanted.later && file.has_group(|group| wanted.may_be_in(group, false)) {
                again = Some(path.clone());
            }
            let batches = file.batches(&COLUMNS, ROWS, |group| wanted.may_be_in(group, wanted.later));
            (path.clone(), batches.map_err(|error| unreadable(storage, &path, error))?)
        }
        (None, None) => return Ok((None, Vec::new(), None)),
    };
    let Some(rows) = batches.next() else { return Ok((None, Vec::new(), again)) };
    let versions = rows.and_then(|rows| wanted.among(&rows)).map_err(|error| unreadable(storage, &path, error))?;
    Ok((Some((path, batches)), versions, again))
}

impl WantedVersions {
    /// Whether the statistics of a row group allow a later version, or a first one, that is wanted.
    fn may_be_in(&self, group: &RowGroupMetaData, later: bool) -> bool {
        group.columns().iter().all(|column| match (column.column_path().string().as_str(), column.statistics()) {
            (REVISION, Some(Statistics::Int32(range))) if later => range.max_opt().is_none_or(|max| *max > 0),
            ("fetched_at", Some(Statistics::Int64(range))) if !later => {
                range.max_opt().is_none_or(|max| *max >= self.since)
            }
            _ => true,
        })
    }

    fn among(&self, rows: &Rows) -> Result<Vec<ExistingVersion>, Unreadable> {
        let (apps, conversations) = (rows.texts(APP)?, rows.texts("conversation_id")?);
        let (ids, revisions) = (rows.int64s(ID)?, rows.int32s(REVISION)?);
        let (created, fetched) = (rows.times(TIME)?, rows.times("fetched_at")?);
        let mut versions = Vec::new();
        for row in 0..rows.len() {
            let (id, revision) = (ids[row], revisions[row]);
            let is_wanted = if self.later { revision > 0 } else { revision == 0 && fetched[row] >= self.since };
            if is_wanted && apps.value(row) == self.app_key && self.vanished.binary_search(&id).is_err() {
                versions.push(ExistingVersion {
                    message_server_id: id,
                    conversation_id: conversations.value(row).to_owned(),
                    create_time: created[row],
                    revision,
                    modify_time: rows.time("modify_time", row)?,
                    fetched_at: fetched[row],
                    requested: rows.flag("requested", row)?,
                });
            }
        }
        Ok(versions)
    }
}

/// The IDs of the app's messages that a file says vanished.
fn vanished_ids(storage: &Arc<dyn Storage>, path: &str, app_key: &str) -> Result<Vec<i64>, Unreadable> {
    let mut vanished = Vec::new();
    for rows in ParquetFile::open(storage, path, None)?.batches(&[APP, ID], ROWS, |_| true)? {
        let rows = rows?;
        let of_app = rows.texts(APP)?.iter().zip(rows.int64s(ID)?).filter(|(app, _)| *app == Some(app_key));
        vanished.extend(of_app.map(|(_, id)| *id));
    }
    Ok(vanished)
}

fn unreadable(storage: &Arc<dyn Storage>, path: &str, error: Unreadable) -> ArchiveError {
    let at = storage.at(path);
    error.of(&at, |why| ArchiveError::failed(format!("reading what is archived in {at}"), why))
}
