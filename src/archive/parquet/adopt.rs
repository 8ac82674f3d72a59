//! Gives an archive to another ledger: what is in it, which messages those are, and the new owner record.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::blocking::blocking;
use super::contents::Contents;
use super::data_file::{APP, Batches, ID, ParquetFile, REVISION, Rows, Unreadable};
use super::manifests;
use super::owner::OwnedArchive;
use super::storage::{self, failure};
use crate::archive::{ArchiveError, ExistingIds, Inventory, ListedManifest, RunStamp, Takeover};
use crate::model::manifest::{BESIDE, DataFile, is_vanished};

/// Rows read at once.
const ROWS: usize = 65_536;
/// What is read of a file. The last column is not in files of notes of what vanished.
const COLUMNS: [&str; 3] = [APP, ID, REVISION];

/// An archive of Parquet files that gets another ledger.
pub(super) struct ParquetTakeover {
    archive: Arc<OwnedArchive>,
    app_key: String,
    /// Files whose IDs are still to be read.
    files: VecDeque<PathBuf>,
    current: Current,
}

impl ParquetTakeover {
    /// Touches nothing.
    pub(super) fn new(root: &Path, stamp: RunStamp) -> Self {
        let archive = Arc::new(OwnedArchive::new(root, &stamp));
        Self { archive, app_key: stamp.app_key, files: VecDeque::new(), current: None }
    }
}

#[async_trait]
impl Takeover for ParquetTakeover {
    async fn look(&mut self) -> Result<Inventory, ArchiveError> {
        let archive = Arc::clone(&self.archive);
        let inventory = blocking(move || look(&archive)).await?;
        self.current = None;
        self.files = inventory
            .manifests
            .iter()
            .flatten()
            .flat_map(|manifest| &manifest.files)
            .chain(&inventory.unnamed)
            .filter(|file| !is_vanished(&file.path))
            .map(|file| self.archive.places().root().join(&file.path))
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
            let app_key = self.app_key.clone();
            let (current, ids) = blocking(move || read_on(current, next, &app_key)).await?;
            self.current = current;
            if ids.is_some() {
                return Ok(ids);
            }
        }
    }

    async fn hand_over(&mut self, commit: u64) -> Result<(), ArchiveError> {
        let archive = Arc::clone(&self.archive);
        blocking(move || archive.hand_over(commit)).await
    }
}

type Current = Option<(PathBuf, Batches)>;

/// Reads the next IDs of the current file, or the first ones of the next file.
fn read_on(
    current: Current,
    next: Option<PathBuf>,
    app_key: &str,
) -> Result<(Current, Option<ExistingIds>), ArchiveError> {
    let (path, mut batches) = match (current, next) {
        (Some(current), _) => current,
        (None, Some(path)) => {
            let batches = ParquetFile::open(&path).and_then(|file| file.batches(&COLUMNS, ROWS, |_| true));
            let batches = batches.map_err(|error| foreign(&path, error))?;
            (path, batches)
        }
        (None, None) => return Ok((None, None)),
    };
    let Some(rows) = batches.next() else { return Ok((None, None)) };
    let ids = rows.and_then(|rows| ids_of(&rows, app_key)).map_err(|error| foreign(&path, error))?;
    Ok((Some((path, batches)), Some(ids)))
}

fn look(archive: &OwnedArchive) -> Result<Inventory, ArchiveError> {
    let root = archive.places().root();
    if !storage::is_directory(root)? {
        return Ok(Inventory { is_empty: true, manifests: Some(Vec::new()), ..Inventory::default() });
    }
    archive.lock()?;
    let record = archive.read_owner_record()?;
    let mut inventory = Inventory {
        commit: record.as_ref().map_or(0, |record| record.commit),
        owner: record.map(|record| (record.ledger_id, record.job)),
        ..Inventory::default()
    };
    let mut contents = Contents::of(root, false).map_err(|error| failure("reading", root, error))?;
    contents.manifests.retain(|path| path.rsplit('/').next().is_some_and(manifests::is_manifest));
    let mut named = HashSet::new();
    inventory.manifests = Some(listed_manifests(archive, &contents.manifests, &mut named, &mut inventory.missing)?);
    for path in contents.data.iter().filter(|path| !named.contains(*path)) {
        inventory.unnamed.push(unnamed(archive, path.clone(), &COLUMNS)?);
    }
    let beside = match archive.places().existing_beside() {
        Some(beside) => Contents::of(&beside, false).map_err(|error| failure("reading", &beside, error))?,
        None => Contents::default(),
    };
    for path in beside.data.iter().map(|path| format!("{BESIDE}{path}")).filter(|path| !named.contains(path)) {
        inventory.unnamed.push(unnamed(archive, path, &COLUMNS[..2])?);
    }
    // A file's name contains its run, whose ID contains its time, and its number.
    let name = |file: &DataFile| file.path.rsplit('/').next().unwrap_or_default().to_owned();
    inventory.unnamed.sort_by_cached_key(|file| (name(file), file.path.clone()));
    inventory.temporary_files = (contents.temporary.len() + beside.temporary.len()) as u64;
    inventory.temporary_bytes = contents.temporary.iter().chain(&beside.temporary).map(|(_, bytes)| bytes).sum();
    inventory.is_empty = inventory.owner.is_none() && contents.manifests.is_empty() && contents.data.is_empty();
    Ok(inventory)
}

/// The manifests in their order. Notes the files that they name, and those of them that are missing.
fn listed_manifests(
    archive: &OwnedArchive,
    paths: &[String],
    named: &mut HashSet<String>,
    missing: &mut Vec<(Uuid, String)>,
) -> Result<Vec<ListedManifest>, ArchiveError> {
    let root = archive.places().root();
    let mut listed: Vec<ListedManifest> = Vec::with_capacity(paths.len());
    for path in paths.iter().map(|path| root.join(path)) {
        let sealed = manifests::read(&path)?;
        let sha256 = sealed.sha256();
        let manifest = sealed.manifest;
        let run_id = Uuid::try_parse(&manifest.run_id).map_err(|_| {
            ArchiveError::Unusable(format!("{} names {:?}, which is no run ID", path.display(), manifest.run_id))
        })?;
        let vanished = manifest.vanished.into_iter();
        let vanished = vanished.map(|file| DataFile { path: format!("{BESIDE}{}", file.path), ..file });
        let mut files = Vec::with_capacity(manifest.files.len());
        for file in manifest.files.into_iter().chain(vanished) {
            let place = archive.places().file(&file.path)?;
            if !named.insert(file.path.clone()) {
                continue;
            }
            match storage::size(&place).map_err(|error| failure("looking at", &place, error))? {
                None => missing.push((run_id, file.path)),
                Some(size) if size == file.bytes => files.push(file),
                Some(size) => {
                    return Err(ArchiveError::Unusable(format!(
                        "{} has {size} bytes, and {} says {}: restore it, or move it out of the archive so that its \
                         messages are fetched again",
                        place.display(),
                        path.display(),
                        file.bytes
                    )));
                }
            }
        }
        listed.push(ListedManifest { sequence: manifest.sequence, run_id, sha256, files });
    }
    listed.sort_by_key(|manifest| manifest.sequence);
    if let Some([one, other]) = listed.array_windows().find(|[one, other]| one.sequence == other.sequence) {
        return Err(ArchiveError::Unusable(format!(
            "{} has two manifests of number {}, of the runs {} and {}: move the wrong one away",
            root.display(),
            one.sequence,
            one.run_id,
            other.run_id
        )));
    }
    Ok(listed)
}

/// A file of a run that published it and died before it wrote its manifest.
fn unnamed(archive: &OwnedArchive, path: String, columns: &[&str]) -> Result<DataFile, ArchiveError> {
    let place = archive.places().file(&path)?;
    let file = ParquetFile::open(&place).and_then(|file| file.require(columns).map(|()| file));
    let file = file.map_err(|error| foreign(&place, error))?;
    let (bytes, sha256) = storage::hash(&place).map_err(|error| failure("reading", &place, error))?;
    Ok(DataFile { path, rows: file.rows(), bytes, sha256, range: file.range() })
}

fn foreign(path: &Path, error: Unreadable) -> ArchiveError {
    match error {
        Unreadable::Io(error) => failure("reading", path, error),
        Unreadable::Content(why) => ArchiveError::Unusable(format!(
            "{} is no file of this archive: {why}. Restore it, or move it away; what it held is then fetched again",
            path.display()
        )),
    }
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
