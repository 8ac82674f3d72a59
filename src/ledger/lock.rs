//! Locks of jobs and apps. The kernel holds them for a process, so they end with it, however it ends.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{Timestamp, Unit};
use tokio::time::{Instant, sleep};

use super::disk::create_dir;
use super::error::{Fault, LedgerError};
use super::shares_note::SharesNote;
use crate::locked::Locked;

/// The pause before a lock that is taken is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long every caller tries: somebody who only looks holds a lock for an instant.
const INSTANT: Duration = Duration::from_millis(100);

/// The lock of a job: one process runs it at a time.
#[derive(Debug)]
pub struct JobLock {
    _held: Locked,
}

/// The lock of an app's quota: one process uses it at a time, whatever jobs it runs.
#[derive(Debug)]
pub struct AppLock {
    _held: Locked,
    shares: SharesNote,
}

impl JobLock {
    /// Takes the job's lock, waiting for it for up to `wait`. [`LedgerError::Busy`] says who holds it.
    pub async fn acquire(state: &Path, job: &str, wait: Duration) -> Result<Self, LedgerError> {
        acquire(&path(state, job, "job"), wait, &format!("job {job} is running")).await.map(|held| Self { _held: held })
    }

    /// Who runs the job, as `process 123 since …`; `None` when nobody does.
    pub fn holder(state: &Path, job: &str) -> Option<String> {
        holder(&path(state, job, "job"))
    }
}

impl AppLock {
    /// Takes the app's lock, waiting for it for up to `wait`. [`LedgerError::Busy`] says who holds it.
    ///
    /// A process takes it once for all its jobs of the app.
    pub async fn acquire(state: &Path, app: &str, wait: Duration) -> Result<Self, LedgerError> {
        let busy = format!("the quota of app {app} is in use");
        let held = acquire(&path(state, app, "app"), wait, &busy).await?;
        Ok(Self { _held: held, shares: SharesNote::at(state.join(format!("{}.app.shares", plain(app)))) })
    }

    /// Where it is noted until when workers may use shares of the app's quota.
    pub fn shares(&self) -> SharesNote {
        self.shares.clone()
    }

    /// Who uses the app's quota; `None` when nobody does.
    pub fn holder(state: &Path, app: &str) -> Option<String> {
        holder(&path(state, app, "app"))
    }
}

fn holder(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    // A shared lock is refused while somebody holds the lock itself.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => return Some(read_holder(&file)),
        Ok(()) => drop(Locked::of(file)),
        Err(TryLockError::Error(_)) => {}
    }
    None
}

fn path(state: &Path, name: &str, kind: &str) -> PathBuf {
    state.join(format!("{}.{kind}.lock", plain(name)))
}

/// A name that suits a file.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    name.chars().map(plain).collect()
}

async fn acquire(path: &Path, wait: Duration, busy: &str) -> Result<Locked, LedgerError> {
    let failed = |error| Fault::Io(error).at(path, "locking");
    let file = open(path).map_err(failed)?;
    let deadline = Instant::now() + wait.max(INSTANT);
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(LedgerError::Busy(format!("{busy}: {}", read_holder(&file))));
                }
                sleep(PAUSE.min(left)).await;
            }
        }
    }
    let held = Locked::of(file);
    let mut file: &File = &held;
    let since = Timestamp::now().round(Unit::Second).unwrap_or_default();
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "process {} since {since}", std::process::id()));
    written.map_err(failed)?;
    Ok(held)
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        create_dir(dir)?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

fn read_holder(mut file: &File) -> String {
    let mut text = String::new();
    match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::used_underscore_binding)]
mod tests {
    use super::*;
    use crate::locked::tests::Heir;

    #[tokio::test]
    async fn a_lock_that_is_dropped_is_free_whatever_child_has_its_descriptor() {
        let state = tempfile::tempdir().unwrap();
        let (state, at_once) = (state.path(), Duration::ZERO);
        let job = JobLock::acquire(state, "nightly", at_once).await.unwrap();
        let app = AppLock::acquire(state, "main", at_once).await.unwrap();
        let _heirs = [Heir::of(&job._held), Heir::of(&app._held)];
        assert!(JobLock::acquire(state, "nightly", at_once).await.is_err());
        drop((job, app));
        assert_eq!(JobLock::holder(state, "nightly"), None);
        JobLock::acquire(state, "nightly", at_once).await.unwrap();
        AppLock::acquire(state, "main", at_once).await.unwrap();
    }
}
