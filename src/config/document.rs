//! The whole file.

use std::path::PathBuf;

use super::app::{App, note_shared_keys};
use super::fleet::Fleet;
use super::job::Job;
use super::notify::{Hooks, Metrics, Ping};
use super::setting::{Named, Text};

settings! {
    /// Jobs that archive NetEase Yunxin messages by reference.
    pub(super) Document {
        /// The version of this file's form.
        version: String as Version, sample "1";
        /// The directory of the ledgers, one `<job>.sqlite` per job. It is created for its owner only. It must be on a local
        /// disk, not on NFS.
        state: PathBuf, default "./state";
        /// Where the [metrics](#metrics) of runs go.
        metrics: Metrics, default "{}";
        /// The monitor that is [pinged](#pings) by every `run`, whichever jobs it runs.
        ping: Ping, default "{}";
        /// Commands that are [run](#hooks) when a `run` or `retry` has ended.
        hooks: Hooks, default "{}";
        /// How the coordinator and the workers of a [fleet](#fleet) meet. Only `run --fleet` and `worker` need it.
        fleet: Option<Fleet>, default "null";
        /// The [apps](#apps) of Yunxin, at least one, each under a name of your choice.
        apps: Vec<App> as Named<App>;
        /// The [jobs](#jobs), at least one, each under a name of your choice. `run` without a name runs all, in this order.
        jobs: Vec<Job> as Named<Job>;
    }
    check |document, reader, _| {
        note_shared_keys(reader, &document.apps);
        for (n, job) in document.jobs.iter().enumerate() {
            let same = |first: &&Job| first.sink.same_place(&job.sink, reader.environment);
            if let Some(first) = document.jobs[..n].iter().find(same) {
                let own = if job.sink.has_files() { "path" } else { "table" };
                let message = format!(
                    "is also the place of jobs.{}: an archive has one job, so give each a {own} of its own",
                    first.name
                );
                reader.mistake(&format!("jobs.{}.sink", job.name), message);
                continue;
            }
            let overlaps = |first: &&Job| first.sink.overlaps(&job.sink, reader.environment);
            if let Some(first) = document.jobs[..n].iter().find(overlaps) {
                let message = format!(
                    "overlaps the place of jobs.{}: an archive takes its path and `<path>-vanished` with all that lies within, \
                     so choose a path apart from these",
                    first.name
                );
                reader.mistake(&format!("jobs.{}.sink", job.name), message);
            }
        }
    }
}

/// The version of the file's form.
pub(super) struct Version;

impl Text for Version {
    const FORM: &'static str = "`1`";

    fn parse(text: &str) -> Result<&str, &'static str> {
        if text == "1" { Ok(text) } else { Err("is a version that this program does not know: it knows 1") }
    }
}
