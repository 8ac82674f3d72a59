//! Files that are replaced as a whole.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Replaces a file as a whole, or leaves it as it is. Only the owner may read it.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::create(path)?;
    replacement.write_all(content)?;
    replacement.finish()
}

/// The new content of a file, which replaces the file once it is complete. If it is dropped before, the file stays as it is.
pub(crate) struct Replacement {
    out: io::BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Replacement {
    /// Starts a file that only its owner may read. Devices, pipes and directories are never replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        sweep(path);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        Ok(Self { out: io::BufWriter::new(file), temporary, path: path.to_owned() })
    }

    /// Gives the file this mode, whatever the process's mask says.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.out.get_ref().set_permissions(Permissions::from_mode(mode))
    }

    /// Replaces the file, durably.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        crate::failpoint::reach("replace.rename");
        std::fs::rename(&self.temporary, &self.path)
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // After the rename nothing has this name.
        std::fs::remove_file(&self.temporary).ok();
    }
}

/// Removes temporary files of processes that died while they replaced this file.
fn sweep(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let left = entry.file_name();
        let writer = left.to_str().and_then(|left| left.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp"));
        let Some(writer) = writer.and_then(|id| rustix::process::Pid::from_raw(id.parse().ok()?)) else { continue };
        if rustix::process::test_kill_process(writer) == Err(rustix::io::Errno::SRCH) {
            std::fs::remove_file(entry.path()).ok();
        }
    }
}
