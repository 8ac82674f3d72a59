//! Gives an archive to another ledger: what is in it, which messages those are, and the new owner record.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::blocking::blocking;
use super::contents::Contents;
use super::data_file::{APP, Batches, ID, ParquetFile, REVISION, Rows, Unreadable};
use super::manifests;
use super::owner::{NamedManifest, OwnedArchive};
use super::places::is_inside;
use crate::archive::{ArchiveError, ExistingIds, Inventory, ListedManifest, RunStamp, Takeover, UnsealedRun};
use crate::model::manifest::{BESIDE, DataFile, is_vanished};
use crate::storage::Storage;

/// Rows read at once.
const ROWS: usize = 65_536;
/// What is read of a file. The last column is not in files of notes of what vanished.
const COLUMNS: [&str; 3] = [APP, ID, REVISION];

/// An archive of Parquet files that gets another ledger.
pub(super) struct ParquetTakeover {
    archive: Arc<OwnedArchive>,
    app_key: String,
    found: Found,
    /// Files whose IDs are still to be read.
    files: VecDeque<String>,
    current: Current,
}

/// What an archive was found to be, which it must still be when it changes hands.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Data, also beside the archive, with sizes.
    data: BTreeMap<String, u64>,
    manifests: Vec<String>,
    /// The last manifest, or the next one if the archive names it and it is not written.
    last: Option<NamedManifest>,
}

impl Found {
    fn of([within, beside]: [&Contents; 2], last: Option<NamedManifest>) -> Self {
        let data = within.data.iter().chain(&beside.data).map(|(path, bytes)| (path.clone(), *bytes)).collect();
        Self { data, manifests: within.manifests.clone(), last }
    }
}

impl ParquetTakeover {
    /// Touches nothing.
    pub(super) fn new(storage: Arc<dyn Storage>, stamp: RunStamp) -> Self {
        let archive = Arc::new(OwnedArchive::new(storage, &stamp));
        Self { archive, app_key: stamp.app_key, found: Found::default(), files: VecDeque::new(), current: None }
    }
}

#[async_trait]
impl Takeover for ParquetTakeover {
    async fn look(&mut self) -> Result<Inventory, ArchiveError> {
        let archive = Arc::clone(&self.archive);
        let (inventory, found) = blocking(move || look(&archive)).await?;
        (self.found, self.current) = (found, None);
        self.files = inventory
            .manifests
            .iter()
            .flatten()
            .flat_map(|manifest| &manifest.files)
            .chain(inventory.without_manifest())
            .filter(|file| !is_vanished(&file.path))
            .map(|file| file.path.clone())
            .collect();
        Ok(inventory)
    }

    async fn ids(&mut self) -> Result<Option<ExistingIds>, ArchiveError> {
        loop {
            let (current, next) = match self.current.take() {
                Some(current) => (Some(current), None),
                None => (None, self.files.pop_front()),
            };
            if current.is_none() && next.is_none() {
                return Ok(None);
            }
            let (storage, app_key) = (Arc::clone(self.archive.storage()), self.app_key.clone());
            let (current, ids) = blocking(move || read_on(&storage, current, next, &app_key)).await?;
            self.current = current;
            if ids.is_some() {
                return Ok(ids);
            }
        }
    }

    async fn hand_over(&mut self, commit: u64) -> Result<(), ArchiveError> {
        let (archive, found) = (Arc::clone(&self.archive), std::mem::take(&mut self.found));
        blocking(move || hand_over(&archive, commit, &found)).await
    }
}

type Current = Option<(String, Batches)>;

/// Reads the next IDs of the current file, or the first ones of the next file.
fn read_on(
    storage: &Arc<dyn Storage>,
    current: Current,
    next: Option<String>,
    app_key: &str,
) -> Result<(Current, Option<ExistingIds>), ArchiveError> {
    let (path, mut batches) = match (current, next) {
        (Some(current), _) => current,
        (None, Some(path)) => {
            let file = ParquetFile::open(storage, &path, None);
            let batches = file.and_then(|file| file.batches(&COLUMNS, ROWS, |_| true));
            let batches = batches.map_err(|error| foreign(storage, &path, error))?;
            (path, batches)
        }
        (None, None) => return Ok((None, None)),
    };
    let Some(rows) = batches.next() else { return Ok((None, None)) };
    let ids = rows.and_then(|rows| ids_of(&rows, app_key)).map_err(|error| foreign(storage, &path, error))?;
    Ok((Some((path, batches)), Some(ids)))
}

/// Takes the archive over as it was found. A run may have published files since then, of a commit that the owner record
/// already named. Once its staged files are removed it can publish no more, and the archive shows whether it did.
fn hand_over(archive: &OwnedArchive, commit: u64, found: &Found) -> Result<(), ArchiveError> {
    archive.hand_over(commit, found.last.clone())?;
    let [contents, beside] = list(&**archive.storage())?;
    if Found::of([&contents, &beside], found.last.clone()) == *found { Ok(()) } else { Err(archive.was_written()) }
}

/// What is in an archive, and what is beside it.
fn list(storage: &dyn Storage) -> Result<[Contents; 2], ArchiveError> {
    let mut contents = Contents::of(storage, false)?;
    contents.manifests.retain(|path| manifests::is_manifest(path));
    Ok([contents, Contents::beside(storage)?])
}

fn look(archive: &OwnedArchive) -> Result<(Inventory, Found), ArchiveError> {
    let storage = archive.storage();
    // An archive that has an owner need not be listed to see that it is not empty.
    if archive.look_up_owner()?.is_none() {
        archive.stands_alone()?;
        if storage.list("", false)?.is_empty() {
            let empty = Inventory { is_empty: true, manifests: Some(Vec::new()), ..Inventory::default() };
            return Ok((empty, Found::default()));
        }
    }
    archive.lock()?;
    // The archive may have been copied here from a place of another kind.
    storage.probe()?;
    let record = archive.look_up_owner()?;
    let next = record.as_ref().and_then(|record| record.manifest.clone());
    let mut inventory = Inventory {
        commit: record.as_ref().map_or(0, |record| record.commit),
        owner: record.map(|record| (record.ledger_id, record.job)),
        ..Inventory::default()
    };
    let [contents, beside] = list(&**storage)?;
    archive.holds_no_other(&contents)?;
    let mut named = HashSet::new();
    let found = [&contents, &beside];
    inventory.manifests = Some(listed_manifests(storage, found, &mut named, &mut inventory.missing)?);
    for path in contents.data.keys().filter(|path| !named.contains(*path)) {
        inventory.unnamed.push(unnamed(storage, path, &COLUMNS)?);
    }
    for path in beside.data.keys().filter(|path| !named.contains(*path)) {
        inventory.unnamed.push(unnamed(storage, path, &COLUMNS[..2])?);
    }
    // A file's name contains its run, whose ID contains its time, and its number.
    let name = |file: &DataFile| file.path.rsplit('/').next().unwrap_or_default().to_owned();
    inventory.unnamed.sort_by_cached_key(|file| (name(file), file.path.clone()));
    inventory.temporary_files = (contents.temporary.len() + beside.temporary.len()) as u64;
    inventory.temporary_bytes = contents.temporary.iter().chain(&beside.temporary).map(|(_, bytes)| bytes).sum();
    inventory.is_empty = inventory.owner.is_none() && contents.manifests.is_empty() && contents.data.is_empty();
    let last = inventory.manifests.iter().flatten().last();
    let last = last.map(|last| NamedManifest { sequence: last.sequence, run_id: last.run_id.to_string() });
    // A run that named its manifest and has not written it may live, and write it at any time. So its number stays its own:
    // whoever writes it first, it is there once.
    let number = last.as_ref().map_or(1, |last| last.sequence + 1);
    let has_one = |run: &str| inventory.manifests.iter().flatten().any(|listed| listed.run_id.to_string() == run);
    let unwritten = next.filter(|next| next.sequence == number && !has_one(&next.run_id));
    let unwritten = unwritten.and_then(|next| Some((Uuid::try_parse(&next.run_id).ok()?, next)));
    let last = match unwritten {
        Some((run_id, next)) => {
            let (files, others) = inventory.unnamed.into_iter().partition(|file| name(file).contains(&next.run_id));
            inventory.unnamed = others;
            inventory.unsealed.push(unsealed(run_id, files));
            Some(next)
        }
        None => last,
    };
    Ok((inventory, Found::of([&contents, &beside], last)))
}

/// A run with these files, whose manifest is not written.
fn unsealed(run_id: Uuid, files: Vec<DataFile>) -> UnsealedRun {
    let began = run_id.get_timestamp().and_then(|time| {
        let (seconds, nanoseconds) = time.to_unix();
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
    });
    let of_messages = || files.iter().filter(|file| !is_vanished(&file.path));
    let (rows, bytes) = (of_messages().map(|file| file.rows).sum(), of_messages().map(|file| file.bytes).sum());
    UnsealedRun { run_id, began: began.unwrap_or(Timestamp::UNIX_EPOCH), rows, bytes, files }
}

/// The manifests in their order. Notes the files that they name, and those of them that are missing.
fn listed_manifests(
    storage: &Arc<dyn Storage>,
    [contents, beside]: [&Contents; 2],
    named: &mut HashSet<String>,
    missing: &mut Vec<(Uuid, String)>,
) -> Result<Vec<ListedManifest>, ArchiveError> {
    let mut listed: Vec<ListedManifest> = Vec::with_capacity(contents.manifests.len());
    for path in &contents.manifests {
        let (at, sealed) = (storage.at(path), manifests::read(&**storage, path)?);
        let sha256 = sealed.sha256();
        let manifest = sealed.manifest;
        let run_id = Uuid::try_parse(&manifest.run_id)
            .map_err(|_| ArchiveError::Unusable(format!("{at} names {:?}, which is no run ID", manifest.run_id)))?;
        let vanished = manifest.vanished.into_iter();
        let vanished = vanished.map(|file| DataFile { path: format!("{BESIDE}{}", file.path), ..file });
        let mut files = Vec::with_capacity(manifest.files.len());
        for file in manifest.files.into_iter().chain(vanished) {
            if !is_inside(file.path.strip_prefix(BESIDE).unwrap_or(&file.path)) {
                return Err(ArchiveError::Unusable(format!(
                    "the recorded path {:?} leads out of the archive",
                    file.path
                )));
            }
            if !named.insert(file.path.clone()) {
                continue;
            }
            // A directory that is a link is not in the listing.
            let listed = contents.data.get(&file.path).or_else(|| beside.data.get(&file.path)).copied();
            match listed.map_or_else(|| storage.size(&file.path), |bytes| Ok(Some(bytes)))? {
                None => missing.push((run_id, file.path)),
                Some(size) if size == file.bytes => files.push(file),
                Some(size) => {
                    return Err(ArchiveError::Unusable(format!(
                        "{} has {size} bytes, and {at} says {}: restore it, or move it out of the archive so that its \
                         messages are fetched again",
                        storage.at(&file.path),
                        file.bytes
                    )));
                }
            }
        }
        listed.push(ListedManifest { sequence: manifest.sequence, run_id, app_key: manifest.app_key, sha256, files });
    }
    listed.sort_by_key(|manifest| manifest.sequence);
    if let Some([one, other]) = listed.array_windows().find(|[one, other]| one.sequence == other.sequence) {
        return Err(ArchiveError::Unusable(format!(
            "{} has two manifests of number {}, of the runs {} and {}: move the wrong one away",
            storage.place(),
            one.sequence,
            one.run_id,
            other.run_id
        )));
    }
    Ok(listed)
}

/// A file of a run that published it and died before it wrote its manifest.
fn unnamed(storage: &Arc<dyn Storage>, path: &str, columns: &[&str]) -> Result<DataFile, ArchiveError> {
    let file = ParquetFile::open(storage, path, None).and_then(|file| file.require(columns).map(|()| file));
    let file = file.map_err(|error| foreign(storage, path, error))?;
    let sha256 = file.hash()?;
    Ok(DataFile { path: path.to_owned(), rows: file.rows(), bytes: file.bytes(), sha256, range: file.range() })
}

fn foreign(storage: &Arc<dyn Storage>, path: &str, error: Unreadable) -> ArchiveError {
    let at = storage.at(path);
    error.of(&at, |why| {
        ArchiveError::Unusable(format!(
            "{at} is no file of this archive: {why}. Restore it, or move it away; what it held is then fetched again"
        ))
    })
}

fn ids_of(rows: &Rows, app_key: &str) -> Result<ExistingIds, Unreadable> {
    let mut ids = ExistingIds { first: Vec::with_capacity(rows.len()), ..ExistingIds::default() };
    for ((app, id), revision) in rows.texts(APP)?.iter().zip(rows.int64s(ID)?).zip(rows.int32s(REVISION)?) {
        match revision {
            _ if app != Some(app_key) => ids.other_apps += 1,
            0 => ids.first.push(*id),
            later => ids.later.push((*id, *later)),
        }
    }
    Ok(ids)
}
