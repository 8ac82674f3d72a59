//! What lies in `state`: the ledger and the locks; the room on the disks; and what the ledger says about retention.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::Finding;
use crate::cli::check::Sampled;
use crate::cli::{Exit, assemble, output, status};
use crate::config::{Config, Job};
use crate::ledger::{AppLock, JobLock, Ledger, LedgerError, RunRow};

/// Less room than this, in bytes, is too little for a run; less than the second is little.
const ROOM: [u64; 2] = [256 << 20, 2 << 30];
/// A reference that leaves the retention sooner, in seconds, may not wait for the next night.
const NEXT_NIGHT: i64 = 26 * 3600;

/// What the job remembers.
#[derive(Default)]
pub(super) struct Memory {
    ledger: Option<Ledger>,
    is_unreadable: bool,
    is_running: bool,
}

impl Memory {
    /// The ledger. `None` also if it cannot be read.
    pub(super) fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// Whether there is a ledger that cannot be read.
    pub(super) fn is_unreadable(&self) -> bool {
        self.is_unreadable
    }

    /// Whether a run is under way, so that everything may change while it is looked at.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Whether the job has ever archived anything.
    pub(super) async fn has_archived(&self) -> bool {
        match self.ledger() {
            Some(ledger) => ledger.last_commit().await.is_ok_and(|commit| commit > 0),
            None => false,
        }
    }

    pub(super) async fn last_run(&self) -> Option<RunRow> {
        self.ledger()?.run(None).await.ok()?
    }

    pub(super) async fn pending_batches(&self) -> u64 {
        match self.ledger() {
            Some(ledger) => ledger.totals().await.map_or(0, |totals| totals.pending_batches),
            None => 0,
        }
    }

    /// A reference that is pending.
    pub(super) async fn pending_reference(&self) -> Option<Sampled> {
        let pending = self.ledger()?.pending(0, 1).await.ok()?.pop()?;
        let (batch, first) = (&pending.batch, pending.batch.refs.first()?);
        Some(Sampled {
            conversation: batch.key.seen_by(&batch.asked),
            message_server_id: first.message_server_id,
            create_time: first.create_time,
        })
    }
}

/// Whether the ledger is sound. Keeps it for the checks that follow.
pub(super) async fn ledger(config: &Config, job: &Job, memory: &mut Memory) -> Result<Finding, Exit> {
    memory.is_running = JobLock::holder(&config.state, &job.name).is_some();
    memory.is_unreadable = true;
    let name = &job.name;
    let ledger = match Ledger::read(&assemble::ledger_path(config, job)).await {
        Ok(Some(ledger)) => ledger,
        Ok(None) => {
            memory.is_unreadable = false;
            return Ok(Finding::ok("none yet: the first run makes it"));
        }
        Err(error @ LedgerError::Version { found, known, .. }) if found < known => {
            return Ok(Finding::look(error.to_string(), format!("back `state` up, then `run {name}`")));
        }
        Err(error) => return Err(assemble::ledger_exit(error)),
    };
    let problems = ledger.problems().await.map_err(assemble::ledger_exit)?;
    if !problems.is_empty() {
        let advice = format!("move it away and `adopt {name}`, or restore it together with its archive");
        return Ok(Finding::wrong(format!("damaged: {}", problems.join("; ")), advice));
    }
    let change = assemble::change(config, job, &ledger).await?;
    let commits = ledger.last_commit().await.map_err(assemble::ledger_exit)?;
    let size = output::bytes(ledger.size());
    memory.ledger = Some(ledger);
    memory.is_unreadable = false;
    Ok(match change {
        Some(change) => Finding::look(change, "restore the former settings if you did not mean that"),
        None => Finding::ok(format!("sound, {size}, {}", output::counted(commits, "commit", "commits"))),
    })
}

/// Whether somebody else is at work.
pub(super) fn lock(config: &Config, job: &Job) -> Finding {
    let running = JobLock::holder(&config.state, &job.name).map(|holder| format!("the job is running: {holder}"));
    let in_use = || AppLock::holder(&config.state, &job.app).map(|holder| format!("the app is in use: {holder}"));
    match running.or_else(in_use) {
        Some(found) => Finding::look(found, "wait until it has ended; `run --wait 30m` waits as well"),
        None => Finding::ok("free"),
    }
}

/// Whether there is room where files are written, and permission.
pub(super) fn space(config: &Config, job: &Job) -> Result<Finding, Exit> {
    let temporary = std::env::temp_dir();
    let archive = assemble::directory(job).map(|directory| ("archive", directory));
    let places =
        archive.into_iter().chain([("state", config.state.as_path()), ("temporary files", temporary.as_path())]);
    let (mut texts, mut least, mut closed) = (Vec::new(), u64::MAX, None);
    for (what, directory) in places {
        let there = directory.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/"));
        let found = statvfs(there).map_err(|error| Exit::failed(anyhow::anyhow!("{}: {error}", there.display())))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        least = least.min(free);
        texts.push(format!("{what} {}", output::bytes(free)));
        if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            closed.get_or_insert_with(|| format!("{} may not be written ({what})", there.display()));
        }
    }
    let free = format!("free: {}", texts.join(", "));
    Ok(match closed {
        Some(closed) => Finding::wrong(closed, "let the user of the job own it"),
        None if least < ROOM[0] => Finding::wrong(free, "make room: a run that meets a full disk ends with exit 1"),
        None if least < ROOM[1] => Finding::look(free, "make room before the disk is full"),
        None => Finding::ok(free),
    })
}

/// Whether something pending is about to leave the vendor's retention.
pub(super) async fn retention(config: &Config, job: &Job, memory: &Memory) -> Result<Finding, Exit> {
    let app = config.app_of(job);
    if app.retention.is_none() {
        return Ok(Finding::ok(format!("not watched: `apps.{}.retention` is not set", app.name)));
    }
    let Some(ledger) = memory.ledger() else { return Ok(Finding::ok("nothing is pending")) };
    let Some(outlook) = status::retention(config, job, ledger).await? else { return Ok(Finding::ok("not watched")) };
    let (text, run) = (output::retention(&outlook), format!("`run {}` now", job.name));
    Ok(if outlook.expiring > 0 {
        Finding::wrong(text, format!("{run}, and raise `rate_limit` if your plan allows more"))
    } else if outlook.gone > 0 || outlook.oldest_pending_seconds.is_some_and(|left| left < NEXT_NIGHT) {
        Finding::look(text, run)
    } else {
        Finding::ok(text)
    })
}
