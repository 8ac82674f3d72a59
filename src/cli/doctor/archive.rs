//! The archive: whether it can be written, whose it is, and what its place does by itself.

use std::time::Duration;

use super::Finding;
use super::state::Memory;
use crate::archive::{ArchiveOwner, Upkeep};
use crate::cli::{Exit, assemble, output};
use crate::config::{Config, Job};
use crate::storage::Lifecycle;

/// How long a store that does not answer is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the archive can be written, and by this ledger.
pub(super) async fn archive(config: &Config, job: &Job, memory: &Memory) -> Result<Finding, Exit> {
    let archive = assemble::archive_with(config, job, config.state.clone(), PATIENCE)?;
    let found = archive.probe().await.map_err(assemble::archive_exit)?;
    let owner = archive.owner().await.map_err(assemble::archive_exit)?;
    if memory.is_unreadable() {
        return Ok(Finding::look(
            format!("{found}; whose it is cannot be said without the ledger"),
            "mend the ledger first",
        ));
    }
    let name = &job.name;
    let adopt = format!("`adopt {name}` takes it over");
    let last = match memory.ledger() {
        None => None,
        Some(ledger) => Some((ledger.id().to_string(), ledger.last_commit().await.map_err(assemble::ledger_exit)?)),
    };
    Ok(match (owner, last) {
        (None, Some((_, last))) if last > 0 => Finding::wrong(
            format!("empty or gone, though the ledger recorded {}", output::counted(last, "commit", "commits")),
            format!("mount it, or restore it; if it is lost, {adopt} as it is"),
        ),
        (Some(ArchiveOwner { job: owner, commit, .. }), None) => Finding::look(
            format!("there is an archive of job {owner} with {commit} commits, and this job has no ledger"),
            format!("restore the ledger; if it is lost, {adopt}, or `run {name} --adopt-if-missing`"),
        ),
        (Some(owner), Some((ledger, _))) if owner.ledger_id != ledger => Finding::wrong(
            format!("it belongs to ledger {} of job {}, and this is ledger {ledger}", owner.ledger_id, owner.job),
            format!("choose another place; or, if that ledger is lost, {adopt}"),
        ),
        (Some(owner), Some((_, last))) if owner.commit > last && !memory.is_running() => Finding::wrong(
            format!("ahead of the ledger: it has commit {}, and the ledger knows {last}: an old copy", owner.commit),
            format!("restore the ledger of this archive; if it is lost, {adopt}"),
        ),
        (Some(owner), Some((_, last))) if owner.commit < last && !memory.is_running() => Finding::look(
            format!("behind the ledger: it has commit {}, and the ledger {last}", owner.commit),
            format!("`run {name}`: what a crash left is finished, and what was lost is fetched again"),
        ),
        _ => Finding::ok(found),
    })
}

/// What the archive's place does by itself, and what dead runs left in it.
pub(super) async fn lifecycle(config: &Config, job: &Job, memory: &Memory) -> Result<Finding, Exit> {
    let Upkeep { lifecycle, temporary } = assemble::archive_with(config, job, config.state.clone(), PATIENCE)?
        .upkeep()
        .await
        .map_err(assemble::archive_exit)?;
    let own = memory.ledger().map(|ledger| ledger.id().to_string());
    let files = |is_own: bool| -> u64 {
        temporary.iter().filter(|(ledger, _)| (Some(*ledger) == own.as_ref()) == is_own).map(|(_, n)| n).sum()
    };
    let left = match (files(true), memory.is_running()) {
        (0, _) | (_, true) => String::new(),
        (files, false) => format!("; the next run removes {files} temporary files"),
    };
    let rule = "add a rule that aborts incomplete uploads after 14 days (docs/object-stores.md#unfinished-uploads)";
    let finding = match lifecycle {
        Lifecycle::Known { harmful, .. } if !harmful.is_empty() => {
            return Ok(Finding::wrong(harmful.join("; "), "take the archive's prefix out of that rule"));
        }
        Lifecycle::Known { ends_uploads: false, .. } => {
            Finding::look(format!("no rule ends unfinished uploads{left}"), rule)
        }
        Lifecycle::Known { .. } => Finding::ok(format!("a rule ends unfinished uploads, none removes objects{left}")),
        Lifecycle::Unknown(why) => Finding::ok(format!("cannot be asked: {why}{left}")),
        Lifecycle::None => Finding::ok(format!("not in a bucket{left}")),
    };
    Ok(match files(false) {
        0 => finding,
        files => Finding::look(
            format!("{files} temporary files are of other ledgers; {}", finding.found),
            format!("if no other job ever wrote here, `adopt {}` removes them", job.name),
        ),
    })
}
