//! A directory of pages: what may be written to it, and how.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::{Exit, output};
use crate::page::made_from;

/// The file that says whose pages a directory holds.
const MARKER: &str = "_pages.json";
/// The bytes of a page in which [`made_from`] is found.
const BEGINNING: u64 = 400;

#[derive(Serialize, Deserialize, PartialEq)]
struct Marker {
    version: u32,
    written_by: String,
    /// The job; null for the overview of all jobs.
    job: Option<String>,
}

/// A directory that holds the pages of one job, or of all jobs, and is written to by nobody else.
pub(super) struct Directory {
    path: PathBuf,
    /// Permissions of the pages: whoever may read the directory may read them.
    mode: u32,
    written: u64,
}

impl Directory {
    /// Takes a directory that is new, empty, or holds these pages already.
    pub(super) fn open(path: &Path, job: Option<&str>) -> Result<Self, Exit> {
        let failed = |error: io::Error| Exit::failed(anyhow::anyhow!("{} cannot be used: {error}", path.display()));
        let marker =
            Marker { version: 1, written_by: "yunxin-archiver report --all".to_owned(), job: job.map(str::to_owned) };
        let refused =
            |why: &str| Exit::words(format!("{} {why}: name a directory that is new or empty", path.display()));
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.is_dir() => return Err(refused("is not a directory")),
            Ok(_) => {}
        }
        match fs::read_to_string(path.join(MARKER)) {
            Ok(text) => match serde_json::from_str::<Marker>(&text) {
                Ok(known) if known == marker => {}
                Ok(Marker { version: 1, job: Some(job), .. }) => {
                    return Err(refused(&format!("holds the pages of job {job} alone")));
                }
                Ok(Marker { version: 1, .. }) => return Err(refused("holds the pages of all jobs")),
                _ => return Err(refused(&format!("has a {MARKER} that this version does not know"))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for other in fs::read_dir(path).map_err(failed)? {
                    let other = other.map_err(failed)?.file_name();
                    // A call that died while it wrote the marker may have left a part of it.
                    if other.to_string_lossy().starts_with(MARKER) {
                        continue;
                    }
                    return Err(refused(&format!("holds other things, such as {}", other.display())));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        let mut directory = Self { path: path.to_owned(), mode, written: 0 };
        let text = serde_json::to_string_pretty(&marker)? + "\n";
        directory.write(MARKER, &text)?;
        directory.written = 0;
        Ok(directory)
    }

    /// The directory in this one.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a directory in this one that may be read by whoever may read this one.
    pub(super) fn make(&self, name: &str) -> Result<(), Exit> {
        let path = self.place(name);
        if path.is_dir() {
            return Ok(());
        }
        let made = fs::create_dir(&path).and_then(|()| fs::set_permissions(&path, Permissions::from_mode(self.mode)));
        made.map_err(|error| Exit::failed(anyhow::anyhow!("{} cannot be made: {error}", path.display())))
    }

    /// How many pages were written, because they had changed.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether a page was made from this.
    pub(super) fn holds(&self, name: &str, hash: &str) -> bool {
        let mut beginning = Vec::new();
        let read = File::open(self.place(name)).and_then(|file| file.take(BEGINNING).read_to_end(&mut beginning));
        read.is_ok() && made_from(&String::from_utf8_lossy(&beginning)) == Some(hash)
    }

    /// Replaces a page as a whole, if it is another one than before.
    pub(super) fn write(&mut self, name: &str, page: &str) -> Result<(), Exit> {
        let path = self.place(name);
        if fs::read(&path).is_ok_and(|there| there == page.as_bytes()) {
            return Ok(());
        }
        let written = || {
            let mut file = output::Replacement::create(&path)?;
            file.write_all(page.as_bytes())?;
            file.set_mode(self.mode & 0o666)?;
            file.finish()
        };
        written().map_err(|error| Exit::failed(anyhow::anyhow!("{} cannot be written: {error}", path.display())))?;
        self.written += 1;
        Ok(())
    }
}
