//! An archive that gets another ledger: what is in it, which messages those are, and whose it becomes.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::statistics::Statistics;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::archive::{Archive, DEED, MANIFESTS, TEMPORARY};
use super::disk::{self, failure};
use super::{blocking, seal};
use crate::archive::{ArchiveError, ArchiveFile, ExistingIds, HeldManifest, Inventory, RunStamp, Takeover};
use crate::model::Column;
use crate::model::manifest::{BESIDE, Bounds, FileRange, Manifest, ManifestFile, is_vanished};

/// Rows read at once.
const ROWS: usize = 65_536;
const ID: &str = Column::MessageServerId.name();
const REVISION: &str = Column::Revision.name();
const APP: &str = Column::AppKey.name();
const TIME: &str = Column::CreateTime.name();
/// What is read of a file; the last one is not in files that say what vanished.
const COLUMNS: [&str; 3] = [APP, ID, REVISION];

/// An archive of Parquet files that gets another ledger.
#[derive(Debug)]
pub struct ParquetTakeover {
    archive: Arc<Archive>,
    app_key: String,
    /// Files whose IDs are still to be read.
    files: VecDeque<PathBuf>,
    current: Option<Reading>,
}

impl ParquetTakeover {
    /// The archive in this directory, to become that of the stamp's ledger. Touches nothing.
    pub fn new(path: PathBuf, stamp: RunStamp) -> Self {
        let archive = Arc::new(Archive::new(path, stamp.ledger_id, stamp.job, stamp.run_id));
        Self { archive, app_key: stamp.app_key, files: VecDeque::new(), current: None }
    }
}

#[async_trait]
impl Takeover for ParquetTakeover {
    async fn look(&mut self) -> Result<Inventory, ArchiveError> {
        let archive = Arc::clone(&self.archive);
        let holding = blocking(move || look(&archive)).await?;
        self.current = None;
        self.files = holding
            .manifests
            .iter()
            .flatten()
            .flat_map(|manifest| &manifest.files)
            .chain(&holding.unnamed)
            .filter(|file| !is_vanished(&file.path))
            .map(|file| self.archive.root().join(&file.path))
            .collect();
        Ok(holding)
    }

    async fn ids(&mut self) -> Result<Option<ExistingIds>, ArchiveError> {
        loop {
            let reading = match self.current.take() {
                Some(reading) => reading,
                None => match self.files.pop_front() {
                    Some(path) => blocking(move || Reading::open(path, &COLUMNS)).await?,
                    None => return Ok(None),
                },
            };
            let app_key = self.app_key.clone();
            let (reading, ids) = blocking(move || reading.next(&app_key)).await?;
            if let Some(ids) = ids {
                self.current = Some(reading);
                return Ok(Some(ids));
            }
        }
    }

    async fn hand_over(&mut self, commit: u64) -> Result<(), ArchiveError> {
        let archive = Arc::clone(&self.archive);
        blocking(move || hand_over(&archive, commit)).await
    }
}

fn look(archive: &Archive) -> Result<Inventory, ArchiveError> {
    let root = archive.root();
    match std::fs::metadata(root) {
        Ok(metadata) if !metadata.is_dir() => {
            return Err(ArchiveError::Unusable(format!("{} is no directory; an archive is one", root.display())));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Inventory { is_empty: true, manifests: Some(Vec::new()), ..Inventory::default() });
        }
        found => found.map_err(|error| failure("opening", root, error))?,
    };
    archive.lock()?;
    let deed = archive.read_deed()?;
    let mut holding = Inventory {
        commit: deed.as_ref().map_or(0, |deed| deed.commit),
        owner: deed.map(|deed| (deed.ledger_id, deed.job)),
        ..Inventory::default()
    };
    let found = Found::in_archive(root)?;
    let mut named = HashSet::new();
    let mut manifests = Vec::with_capacity(found.manifests.len());
    for path in &found.manifests {
        let sealed = seal::read(path)?;
        let sha256 = sealed.sha256();
        let manifest = sealed.manifest;
        let mut held =
            HeldManifest { sequence: manifest.sequence, run_id: run_of(path, &manifest)?, sha256, files: Vec::new() };
        let vanished = manifest.vanished.into_iter().map(beside);
        for file in manifest.files.into_iter().chain(vanished) {
            let place = archive.inside(&file.path)?;
            if !named.insert(place.clone()) {
                continue;
            }
            match disk::size(&place).map_err(|error| failure("looking at", &place, error))? {
                None => holding.missing.push((held.run_id, file.path)),
                Some(size) if size == file.bytes => held.files.push(sink_file(file)),
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
        manifests.push(held);
    }
    manifests.sort_by_key(|manifest: &HeldManifest| manifest.sequence);
    if let Some(pair) = manifests.windows(2).find(|pair| pair[0].sequence == pair[1].sequence) {
        return Err(ArchiveError::Unusable(format!(
            "{} has two manifests of number {}, of the runs {} and {}: move the wrong one away",
            root.display(),
            pair[0].sequence,
            pair[0].run_id,
            pair[1].run_id
        )));
    }
    holding.manifests = Some(manifests);
    for path in found.data.iter().filter(|path| !named.contains(*path)) {
        holding.unnamed.push(unnamed(root, path, "", &COLUMNS)?);
    }
    let noted = match archive.beside() {
        Ok(directory) if directory.is_dir() => Found::in_archive(&directory)?,
        _ => Found::default(),
    };
    for path in noted.data.iter().filter(|path| !named.contains(*path)) {
        holding.unnamed.push(unnamed(&archive.beside()?, path, BESIDE, &COLUMNS[..2])?);
    }
    // The name holds the run, whose ID tells its time, and the file's number.
    holding.unnamed.sort_by(|a, b| name(&a.path).cmp(name(&b.path)).then_with(|| a.path.cmp(&b.path)));
    holding.temporary_files = (found.temporary.len() + noted.temporary.len()) as u64;
    holding.temporary_bytes = found.temporary.values().chain(noted.temporary.values()).sum();
    holding.is_empty = holding.owner.is_none() && found.manifests.is_empty() && found.data.is_empty();
    Ok(holding)
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A file that says what vanished, as it is listed with others.
fn beside(file: ManifestFile) -> ManifestFile {
    ManifestFile { path: format!("{BESIDE}{}", file.path), ..file }
}

fn sink_file(file: ManifestFile) -> ArchiveFile {
    let ManifestFile { path, rows, bytes, sha256, range } = file;
    ArchiveFile { path, temporary: String::new(), rows, bytes, sha256, range }
}

fn run_of(path: &Path, manifest: &Manifest) -> Result<Uuid, ArchiveError> {
    Uuid::try_parse(&manifest.run_id).map_err(|_| {
        ArchiveError::Unusable(format!("{} names {:?}, which is no run ID", path.display(), manifest.run_id))
    })
}

/// What lies in an archive's directories.
#[derive(Default)]
struct Found {
    manifests: Vec<PathBuf>,
    data: Vec<PathBuf>,
    temporary: BTreeMap<PathBuf, u64>,
}

impl Found {
    fn in_archive(root: &Path) -> Result<Self, ArchiveError> {
        let mut found = Self::default();
        let (manifests, temporary) = (root.join(MANIFESTS), root.join(TEMPORARY));
        let mut directories = vec![root.to_path_buf()];
        while let Some(directory) = directories.pop() {
            let failed = |error| failure("reading", &directory, error);
            let entries = match std::fs::read_dir(&directory) {
                // Such as a file system's lost+found.
                Err(error)
                    if error.kind() == ErrorKind::PermissionDenied
                        && directory.file_name().is_some_and(|name| name == "lost+found") =>
                {
                    continue;
                }
                entries => entries.map_err(failed)?,
            };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let path = entry.path();
                let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
                if entry.file_type().map_err(failed)?.is_dir() {
                    directories.push(path);
                } else if path.starts_with(&temporary) {
                    let bytes = entry.metadata().map_err(failed)?.len();
                    found.temporary.insert(path, bytes);
                } else if directory == manifests && seal::is_manifest(&path) {
                    found.manifests.push(path);
                } else if extension == "parquet" {
                    found.data.push(path);
                }
            }
        }
        found.manifests.sort_unstable();
        found.data.sort_unstable();
        Ok(found)
    }
}

/// A file that a run wrote and published, and that died before it wrote its manifest.
fn unnamed(root: &Path, path: &Path, prefix: &str, columns: &[&str]) -> Result<ArchiveFile, ArchiveError> {
    let Reading { rows, range, .. } = Reading::open(path.to_path_buf(), columns)?;
    let mut file = File::open(path).map_err(|error| failure("reading", path, error))?;
    let mut hash = Hash { sha256: Sha256::new(), bytes: 0 };
    std::io::copy(&mut file, &mut hash).map_err(|error| failure("reading", path, error))?;
    let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
    let relative = relative.ok_or_else(|| foreign(path, "its name is no text"))?;
    Ok(ArchiveFile {
        path: format!("{prefix}{relative}"),
        temporary: String::new(),
        rows,
        bytes: hash.bytes,
        sha256: hex::encode(hash.sha256.finalize()),
        range,
    })
}

struct Hash {
    sha256: Sha256,
    bytes: u64,
}

impl std::io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn foreign(path: &Path, why: &str) -> ArchiveError {
    ArchiveError::Unusable(format!(
        "{} is no file of this archive: {why}. Restore it, or move it away; what it held is then fetched again",
        path.display()
    ))
}

/// A file whose IDs are being read.
struct Reading {
    path: PathBuf,
    batches: ParquetRecordBatchReader,
    rows: u64,
    range: Option<FileRange>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reading {
    fn open(path: PathBuf, columns: &[&str]) -> Result<Self, ArchiveError> {
        let file = File::open(&path).map_err(|error| failure("reading", &path, error))?;
        let unreadable =
            |error: &dyn std::fmt::Display| foreign(&path, &format!("it cannot be read as Parquet ({error})"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(&error))?;
        let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
        let range = range(builder.metadata().row_groups());
        let mut wanted = Vec::new();
        for column in columns {
            let place = builder.schema().fields().iter().position(|field| field.name() == column);
            wanted.push(place.ok_or_else(|| foreign(&path, &format!("it has no column {column}")))?);
        }
        let projection = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let batches = builder.with_projection(projection).with_batch_size(ROWS).build();
        let batches = batches.map_err(|error| unreadable(&error))?;
        Ok(Self { path, batches, rows, range })
    }

    /// The IDs of the next rows; none after the last.
    fn next(mut self, app_key: &str) -> Result<(Self, Option<ExistingIds>), ArchiveError> {
        let Some(batch) = self.batches.next() else { return Ok((self, None)) };
        let batch = batch.map_err(|error| foreign(&self.path, &format!("it cannot be read to its end ({error})")))?;
        let ids = held(&batch, app_key).ok_or_else(|| foreign(&self.path, "its columns are of other types"))?;
        Ok((self, Some(ids)))
    }
}

/// The range of a file as its statistics tell it; `None` where they do not.
fn range(groups: &[RowGroupMetaData]) -> Option<FileRange> {
    let bounds = |group: &RowGroupMetaData, name: &str| {
        let column = group.columns().iter().find(|column| column.column_path().string() == name)?;
        match column.statistics()? {
            Statistics::Int64(range) => Some(Bounds { min: *range.min_opt()?, max: *range.max_opt()? }),
            _ => None,
        }
    };
    let of = |group| Some(FileRange { create_time: bounds(group, TIME)?, message_server_id: bounds(group, ID)? });
    groups.iter().map(of).reduce(|all, one| Some(all?.with(one?))).flatten()
}

fn held(batch: &RecordBatch, app_key: &str) -> Option<ExistingIds> {
    let apps = batch.column_by_name(APP)?.as_string_opt::<i32>()?;
    let ids = batch.column_by_name(ID)?.as_primitive_opt::<Int64Type>()?;
    let revisions = batch.column_by_name(REVISION)?.as_primitive_opt::<Int32Type>()?;
    let mut held = ExistingIds { first: Vec::with_capacity(batch.num_rows()), ..ExistingIds::default() };
    for ((app, id), revision) in apps.iter().zip(ids.values()).zip(revisions.values()) {
        match revision {
            _ if app != Some(app_key) => held.other_apps += 1,
            0 => held.first.push(*id),
            later => held.later.push((*id, *later)),
        }
    }
    Some(held)
}

/// Writes the deed, which changes hands with its rename, and removes what former ledgers left of theirs.
fn hand_over(archive: &Archive, commit: u64) -> Result<(), ArchiveError> {
    let (temporary, _) = archive.temporary();
    disk::create_directories(&temporary).map_err(|error| failure("creating", &temporary, error))?;
    archive.lock()?;
    let run = archive.read_deed()?.filter(|deed| deed.commit == commit).and_then(|deed| deed.run_id);
    archive.write_deed(commit, run.and_then(|run| Uuid::try_parse(&run).ok()))?;
    let beside = archive.beside().map(|directory| directory.join(TEMPORARY));
    for all in std::iter::once(archive.root().join(TEMPORARY)).chain(beside.ok().filter(|all| all.is_dir())) {
        for entry in std::fs::read_dir(&all).map_err(|error| failure("reading", &all, error))? {
            let path = entry.map_err(|error| failure("reading", &all, error))?.path();
            let of_a_ledger =
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| Uuid::try_parse(name).is_ok());
            if path != temporary && of_a_ledger {
                std::fs::remove_dir_all(&path).map_err(|error| failure("removing", &path, error))?;
            }
        }
    }
    tracing::debug!(root = %archive.root().display(), commit, "{DEED} names the new ledger");
    Ok(())
}
