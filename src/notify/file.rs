//! Metrics in a file, as the textfile collector of Prometheus' node_exporter reads them.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::{Destination, Ended};
use crate::locked::Locked;
use crate::metrics::{JobMetrics, last_success, text};
use crate::replacement::Replacement;

/// How often, and after which pauses, the lock is tried before the file is written without it.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The file.
pub(super) struct MetricsFile {
    path: PathBuf,
    /// The jobs whose lines are kept when others ran.
    jobs: Vec<String>,
}

impl MetricsFile {
    pub(super) fn new(path: PathBuf, jobs: Vec<String>) -> Self {
        Self { path, jobs }
    }

    fn write(&self, mut metrics: JobMetrics) -> io::Result<()> {
        // Before it is read: a pipe would be waited for.
        let mut file = Replacement::create(&self.path)?;
        // Of a file that cannot be read nothing is kept.
        let former = std::fs::read(&self.path).unwrap_or_default();
        let former = String::from_utf8_lossy(&former);
        metrics.last_success = metrics.last_success.or_else(|| last_success(&former, &metrics.job));
        let is_kept = |name: &str| self.jobs.iter().any(|job| job == name);
        file.set_mode(0o644)?;
        file.write_all(text(&[metrics], &former, is_kept).as_bytes())?;
        file.finish()
    }
}

#[async_trait]
impl Destination for MetricsFile {
    fn name(&self) -> String {
        format!("the metrics file {}", self.path.display())
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn tell(&self, ended: &Ended<'_>) -> Result<(), String> {
        // Two processes that run other jobs of the same file read and replace it one after the other.
        let _lock = lock(self.path.parent().filter(|parent| !parent.as_os_str().is_empty())).await;
        self.write(ended.metrics.clone()).map_err(|error| error.to_string())
    }
}

/// Locks a directory. Nobody waits for a process that has stopped with the lock.
async fn lock(directory: Option<&Path>) -> Option<Locked> {
    let directory = File::open(directory.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..TRIES {
        if directory.try_lock().is_ok() {
            return Some(Locked::of(directory));
        }
        sleep(PAUSE).await;
    }
    None
}
