//! The ledger's files: for their owner alone, whatever the umask.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// What SQLite keeps beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// What is added to a ledger's name while its archive has not accepted it.
pub(super) const BEGINNING: &str = ".beginning";

/// Creates a file, and the directories that are missing.
pub(super) fn create(path: &Path) -> io::Result<()> {
    if let Some(dir) = parent(path) {
        create_dir(dir)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.sync_all()?;
    sync_parent(path)
}

/// Takes the permissions of others from a file.
pub(super) fn keep_private(path: &Path) -> io::Result<()> {
    // The file is not opened here: closing it would give up every lock that this process has on it, SQLite's too.
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o700))?;
    }
    Ok(())
}

/// Creates a directory. One that exists stays as it is.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(above) = parent(dir) {
        create_dir(above)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o700)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes names in a file's directory durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    parent(path).map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|dir| !dir.as_os_str().is_empty())
}

/// The path with something added to its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Where the ledger with this ID is kept when another takes its place: `<job>.<ledger ID>.sqlite`.
pub fn kept_path(place: &Path, id: Uuid) -> PathBuf {
    place.with_extension(format!("{id}.sqlite"))
}

/// The ledgers that are kept under such names, the latest first.
pub(super) fn kept_ledgers(place: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(parent(place).unwrap_or(Path::new("."))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        // `<job>.<ledger ID>.sqlite` without `.sqlite` ends in the ID.
        let id = Path::new(&name).file_stem().and_then(|name| Path::new(name).extension()?.to_str());
        ids.extend(id.and_then(|id| Uuid::try_parse(id).ok()).filter(|id| kept_path(place, *id).ends_with(&name)));
    }
    ids.sort_unstable();
    Ok(ids.into_iter().rev().map(|id| kept_path(place, id)).collect())
}

/// Whether a database has a write-ahead log, as it has whenever a process writes.
pub(super) fn has_log(path: &Path) -> bool {
    beside(path, "-wal").exists()
}

/// Removes a database and what SQLite keeps beside it.
pub(super) fn remove_database(path: &Path) -> io::Result<()> {
    remove(path)?;
    BESIDE.into_iter().try_for_each(|suffix| remove(&beside(path, suffix)))
}

/// Removes a file that may be missing.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives the database `new` the name `place`. What was there is kept under the name `kept`, or one like it that is free,
/// which is returned. There is a database in the place at any time. Both databases are closed.
pub(super) fn put_into_place(new: &Path, place: &Path, kept: &Path) -> io::Result<Option<PathBuf>> {
    let has_content = |path: &Path| fs::metadata(path).is_ok_and(|found| found.len() > 0);
    if has_content(&beside(new, "-wal")) {
        return Err(io::Error::other("the new ledger is still open somewhere"));
    }
    let mut name = None;
    if has_content(place) {
        // A process that died here has given it the name already.
        let is_kept = is_same_file(place, kept)?;
        let kept = if is_kept { kept.to_owned() } else { free_name(kept)? };
        let log = beside(place, "-wal");
        if has_content(&log) {
            // Only a ledger that could not be read still has one.
            fs::rename(&log, beside(&kept, "-wal"))?;
        }
        if !is_kept && fs::hard_link(place, &kept).is_err() {
            fs::copy(place, &kept)?;
            File::open(&kept)?.sync_all()?;
        }
        name = Some(kept);
    }
    crate::failpoint::reach("ledger.kept");
    BESIDE.into_iter().try_for_each(|suffix| remove(&beside(place, suffix)))?;
    fs::rename(new, place)?;
    BESIDE.into_iter().try_for_each(|suffix| remove(&beside(new, suffix)))?;
    sync_parent(place)?;
    Ok(name)
}

/// Whether both names are those of one file.
fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let file = |path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    Ok(other.try_exists()? && file(one)? == file(other)?)
}

/// A name that no file has: this one, or the same with a number.
pub(super) fn free_name(wanted: &Path) -> io::Result<PathBuf> {
    let mut name = wanted.to_owned();
    for n in 1..1_000 {
        if !name.try_exists()? {
            return Ok(name);
        }
        name = beside(wanted, &format!("-{n}"));
    }
    Err(io::Error::other(format!("there are too many files named {}", wanted.display())))
}
