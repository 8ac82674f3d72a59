//! A file as the archive and as the ledger have it.

use crate::archive::ArchiveFile;
use crate::ledger::FileRow;

pub(super) fn file_row(file: &ArchiveFile) -> FileRow {
    let ArchiveFile { path, temporary, rows, bytes, sha256, range } = file.clone();
    FileRow { path, temporary, rows, bytes, sha256, range }
}

pub(super) fn archive_file(file: &FileRow) -> ArchiveFile {
    let FileRow { path, temporary, rows, bytes, sha256, range } = file.clone();
    ArchiveFile { path, temporary, rows, bytes, sha256, range }
}
