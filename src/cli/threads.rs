//! The threads of a command.

use std::num::NonZero;
use std::thread::available_parallelism;

use super::{Exit, contained};
use crate::config::Job;

/// Sockets are polled after this many tasks. A task that decodes an answer takes a tenth of a millisecond, and a database
/// whose reply waits behind them cannot continue.
const LOOK_EVERY: u32 = 8;

/// Runs a command on one thread per core.
pub(super) fn on_all(command: impl Future<Output = Result<u8, Exit>>) -> Result<u8, Exit> {
    drive(cores(), command)
}

/// Runs a command on as many threads as suit `jobs`.
pub(super) fn on_suiting(jobs: &[&Job], command: impl Future<Output = Result<u8, Exit>>) -> Result<u8, Exit> {
    drive(suiting(cores(), jobs), command)
}

fn cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// How many threads suit these jobs. A database may run on the same machine. It then needs a whole core, and takes messages
/// more slowly than the other cores decode them, so more threads would only take turns with it.
fn suiting(cores: usize, jobs: &[&Job]) -> usize {
    let to_database = !jobs.is_empty() && jobs.iter().all(|job| !job.sink.has_files());
    if to_database { cores.saturating_sub(1).max(1) } else { cores }
}

fn drive(threads: usize, command: impl Future<Output = Result<u8, Exit>>) -> Result<u8, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .event_interval(LOOK_EVERY)
        .enable_all()
        .build()
        .map_err(|error| Exit::failed(anyhow::anyhow!("the runtime cannot start: {error}")))?;
    let result = runtime.block_on(contained(command));
    // Do not wait for requests that were given up.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    /// What suits jobs with these sinks on four cores and on one.
    fn suiting_sinks(sinks: &[&str]) -> (usize, usize) {
        let mut text = "version: 1\napps: { main: { app_key: key, app_secret: env:SECRET } }\njobs:\n".to_owned();
        for (index, sink) in sinks.iter().enumerate() {
            text.push_str(&format!(
                "  j{index}: {{ app: main, source: {{ csv: {{ path: r.csv }} }}, sink: {sink} }}\n"
            ));
        }
        let config = Config::parse(&text, Path::new("jobs.yaml"), Path::new("/"), |_| Some("s".to_owned())).unwrap();
        let jobs: Vec<&Job> = config.jobs.iter().collect();
        (suiting(4, &jobs), suiting(1, &jobs))
    }

    #[test]
    fn a_core_is_left_to_the_database_if_all_jobs_write_to_it() {
        let (parquet, postgres) = ("{ parquet: { path: out } }", "{ postgres: { url: env:URL } }");
        assert_eq!(suiting_sinks(&[postgres]), (3, 1));
        assert_eq!(suiting_sinks(&[parquet]), (4, 1));
        let other = "{ postgres: { url: env:URL, table: other } }";
        assert_eq!(suiting_sinks(&[postgres, other]), (3, 1));
        assert_eq!(suiting_sinks(&[postgres, parquet]), (4, 1));
    }
}
