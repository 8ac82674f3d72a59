//! The directory of an export. It is written under a temporary name, so it is there as a whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::ExportError;

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportFile {
    /// The path relative to the export, with `/`.
    pub path: String,
    /// The number of messages in it, or of versions of messages.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
}

/// The directory of an export while it is written. If it is dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Output {
    target: PathBuf,
    temporary: PathBuf,
    files: Vec<ExportFile>,
    finished: bool,
}

impl Output {
    /// Starts a directory that will be at `target`, where there is nothing yet or an empty directory.
    pub(super) fn create(target: &Path) -> Result<Self, ExportError> {
        let refused = |why: &str| {
            ExportError::Unusable(format!("{} {why}: an export is written to a new directory", target.display()))
        };
        match std::fs::read_dir(target) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(refused("is not empty"));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Err(refused("is a file")),
            Err(error) => return Err(ExportError::failed(format!("looking at {}", target.display()), error)),
        }
        let Some(name) = target.file_name() else { return Err(refused("is not a name for a directory")) };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.inprogress", std::process::id()));
        let temporary = target.with_file_name(hidden);
        let failed = |error| ExportError::failed(format!("creating {}", temporary.display()), error);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            builder.recursive(true).create(parent).map_err(failed)?;
        }
        builder.recursive(false).create(&temporary).map_err(failed)?;
        Ok(Self { target: target.to_path_buf(), temporary, files: Vec::new(), finished: false })
    }

    /// The temporary directory.
    pub(super) fn directory(&self) -> &Path {
        &self.temporary
    }

    /// The files written so far.
    pub(super) fn files(&self) -> &[ExportFile] {
        &self.files
    }

    /// Starts a file.
    pub(super) fn file(&self, path: &str) -> Result<OutputFile, ExportError> {
        let full = self.temporary.join(path);
        let create = || {
            if let Some(parent) = full.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            }
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&full)
        };
        let file = create().map_err(|error| ExportError::failed(format!("creating {}", full.display()), error))?;
        let hashing = Hashing { file, hash: Sha256::new(), bytes: 0 };
        Ok(OutputFile { path: path.to_owned(), out: BufWriter::with_capacity(1 << 17, hashing) })
    }

    /// Ends a file with this many rows.
    pub(super) fn close(&mut self, file: OutputFile, rows: u64) -> Result<(), ExportError> {
        let OutputFile { path, out } = file;
        let full = self.temporary.join(&path);
        let hashing = out
            .into_inner()
            .map_err(|error| ExportError::failed(format!("writing {}", full.display()), error.into_error()))?;
        let sha256 = hex::encode(hashing.hash.finalize());
        self.files.push(ExportFile { path, rows, bytes: hashing.bytes, sha256 });
        Ok(())
    }

    /// Writes a file as a whole.
    pub(super) fn write(&mut self, path: &str, content: &[u8], rows: u64) -> Result<(), ExportError> {
        let mut file = self.file(path)?;
        file.put(content)?;
        self.close(file, rows)
    }

    /// Gives the directory its name.
    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        // This replaces an empty directory.
        let renamed = std::fs::rename(&self.temporary, &self.target);
        renamed.map_err(|error| ExportError::failed(format!("renaming to {}", self.target.display()), error))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.finished {
            std::fs::remove_dir_all(&self.temporary).ok();
        }
    }
}

/// A file being written.
#[derive(Debug)]
pub(super) struct OutputFile {
    path: String,
    out: BufWriter<Hashing>,
}

impl OutputFile {
    /// Appends.
    pub(super) fn put(&mut self, content: &[u8]) -> Result<(), ExportError> {
        let path = &self.path;
        self.out.write_all(content).map_err(|error| ExportError::failed(format!("writing {path}"), error))
    }
}

impl Write for OutputFile {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.out.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[derive(Debug)]
struct Hashing {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let written = self.file.write(content)?;
        self.hash.update(&content[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
