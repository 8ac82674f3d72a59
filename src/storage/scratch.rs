//! Local files without a name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Creates a file in a directory and takes its name away. It is gone when it is closed, even after a crash.
pub(super) fn create(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!("{}.scratch", uuid::Uuid::now_v7()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
