//! `adopt JOB`: takes over an archive whose ledger is lost, old, copied or another's.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::arguments::Adopt;
use super::provenance::{self, Provenance};
use super::{Context, Exit, assemble, failures, output};
use crate::archive::{Inventory, RunStamp, Takeover};
use crate::config::{Config, Job};
use crate::ledger::{Adoption, CarriedCursor, Identity, JobLock, Ledger, ReplacedLedger, RunNote};
use crate::run::{self, Adopted, RunError};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    job: &'a str,
    run_id: String,
    archive: &'a str,
    ledger_id: String,
    /// The last commit, from which the new ledger continues.
    commit: u64,
    /// Who owned the archive; null if it did not say.
    former_owner: Option<Owner<'a>>,
    former_ledger: FormerLedger,
    files: u64,
    /// Files that no manifest named; the adoption's manifest names them.
    files_without_manifest: Vec<&'a str>,
    files_missing: Vec<&'a str>,
    temporary_files_removed: u64,
    temporary_bytes: u64,
    messages: u64,
    ids: u64,
    twice: u64,
    other_apps: u64,
    pending: u64,
    lost: u64,
    open_failures: u64,
    cursor: &'static str,
}

#[derive(Serialize)]
struct Owner<'a> {
    ledger_id: &'a str,
    job: &'a str,
}

#[derive(Serialize)]
struct FormerLedger {
    /// `none`, `read`, `foreign` or `unreadable`.
    state: &'static str,
    why: Option<String>,
    kept: Option<String>,
}

pub(super) async fn adopt(context: &Context, arguments: &Adopt) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let job = assemble::selected(&config, std::slice::from_ref(&arguments.job))?[0];
    let identity = assemble::identity(&config, job)?;
    let lock = JobLock::acquire(&config.state, &job.name, Duration::ZERO).await.map_err(assemble::ledger_exit)?;
    let signer = provenance::signer(job)?;
    let archive = assemble::archive(&config, job)?;
    let stamp = stamp(&identity, Uuid::now_v7());
    let mut takeover = archive.takeover(stamp.clone()).map_err(exit)?;
    let holding = takeover.look().await.map_err(exit)?;
    let note = provenance::note(&config, job, &Provenance::default())?;
    let path = assemble::ledger_path(&config, job);
    let (ledger, adopted) = take_over(takeover, holding, &path, &identity, &stamp, &note).await?;
    let run_id = stamp.run_id;
    let mut sink = archive.writer(stamp).map_err(exit)?;
    run::recover(&ledger, sink.as_mut(), signer.as_ref()).await.map_err(exit)?;
    failures::write_file(&ledger, job, &config.state.join(format!("failures-{}.jsonl", job.name))).await?;
    warn(job, &adopted);
    report(arguments, job, run_id, &ledger, &adopted).await?;
    ledger.close().await.map_err(assemble::ledger_exit)?;
    drop(lock);
    Ok(0)
}

/// Takes the archive of a job that has no ledger over, if there is one and it belongs to this job. Otherwise does nothing:
/// then the job begins, or is refused, as it would be without this. Also returns what looks wrong about the archive.
///
/// The caller holds the job's lock.
///
/// # Errors
///
/// The archive holds messages of another app, cannot be read, or another process writes it.
pub(super) async fn if_missing(
    config: &Config,
    job: &Job,
    identity: &Identity,
    note: &RunNote,
    run_id: Uuid,
) -> Result<Option<(Ledger, Option<String>)>, Exit> {
    let path = assemble::ledger_path(config, job);
    if Ledger::read(&path).await.map_err(assemble::ledger_exit)?.is_some() {
        return Ok(None);
    }
    let stamp = stamp(identity, run_id);
    let mut takeover = assemble::archive(config, job)?.takeover(stamp.clone()).map_err(exit)?;
    let holding = takeover.look().await.map_err(exit)?;
    if holding.owner.as_ref().is_none_or(|(_, owner)| *owner != job.name) {
        return Ok(None);
    }
    if let Some(other) = holding.manifests.iter().flatten().last().filter(|last| last.app_key != identity.app_key) {
        return Err(Exit::words(format!(
            "the archive at {} holds messages of the app {}, and this job's app is {}: choose another path; or, if both \
             belong in one archive, `yunxin-archiver adopt {}` takes it over",
            identity.sink, other.app_key, identity.app_key, job.name
        )));
    }
    let (ledger, adopted) = take_over(takeover, holding, &path, identity, &stamp, note).await?;
    warn(job, &adopted);
    tracing::warn!(
        job = job.name,
        messages = adopted.archived.messages,
        commit = adopted.commit,
        "there was no ledger, and the archive was taken over. The former ledger's failures, dismissals, pending requests and \
         cursor are lost: the source is read from its start, and whatever it still names and the archive does not hold is \
         asked for again. What it no longer names is not"
    );
    let missing = &adopted.holding.missing;
    let lost = missing.first().map(|(run, file)| {
        format!(
            "the archive lost files that its manifests name ({} in all, the first {file} of run {run}): bring them back. Of \
             their messages, what the source still names is fetched again",
            missing.len()
        )
    });
    Ok(Some((ledger, lost)))
}

fn stamp(identity: &Identity, run_id: Uuid) -> RunStamp {
    let Identity { job, app_key, .. } = identity.clone();
    RunStamp { job, app_key, run_id, ledger_id: Uuid::now_v7() }
}

/// Takes over the archive that was looked at. Returns the new ledger, which is in its place.
async fn take_over(
    mut archive: Box<dyn Takeover>,
    holding: Inventory,
    path: &Path,
    identity: &Identity,
    stamp: &RunStamp,
    note: &RunNote,
) -> Result<(Ledger, Adopted), Exit> {
    let owner = holding.owner.as_ref().and_then(|(owner, _)| Uuid::try_parse(owner).ok());
    let adoption = Adoption::begin(path, identity, stamp.ledger_id, owner).await.map_err(assemble::ledger_exit)?;
    let adopted =
        run::adopt(archive.as_mut(), holding, adoption, stamp.run_id, Timestamp::now()).await.map_err(exit)?;
    // The writer takes the lock that this has.
    drop(archive);
    let ledger = assemble::own_ledger(path, identity).await?;
    ledger.note_run(stamp.run_id, note, 0, 0).await.map_err(assemble::ledger_exit)?;
    Ok((ledger, adopted))
}

fn exit(error: impl Into<RunError>) -> Exit {
    let error = error.into();
    Exit { code: error.exit_code(), error: anyhow::anyhow!("{}", run::describe(&error)) }
}

/// Warns about what somebody should look at.
fn warn(job: &Job, adopted: &Adopted) {
    let name = &job.name;
    if let Some((_, owner)) = adopted.holding.owner.as_ref().filter(|(_, owner)| owner != name) {
        tracing::warn!(job = name, "the archive belonged to job {owner}, which can no longer write it");
    }
    for (run, path) in &adopted.holding.missing {
        tracing::warn!(job = name, file = path, %run, "a file is missing; its messages are fetched again if they are referenced");
    }
    if adopted.archived.twice > 0 {
        tracing::warn!(job = name, messages = adopted.archived.twice, "messages are in the archive twice");
    }
    if let CarriedCursor::Dropped(references) = adopted.carried.cursor {
        tracing::warn!(
            job = name,
            references,
            "references before the cursor are neither archived nor pending: the next run reads its source from the start"
        );
    }
}

async fn report(arguments: &Adopt, job: &Job, run_id: Uuid, ledger: &Ledger, adopted: &Adopted) -> Result<(), Exit> {
    let Adopted { holding, archived, carried, .. } = adopted;
    let (state, why) = match (&adopted.former, &carried.damaged) {
        (ReplacedLedger::None, _) => ("none", None),
        (ReplacedLedger::Read { .. }, None) => ("read", None),
        (ReplacedLedger::Foreign(why), _) => ("foreign", Some(why.clone())),
        (ReplacedLedger::Unreadable(why), _) | (ReplacedLedger::Read { .. }, Some(why)) => {
            ("unreadable", Some(why.clone()))
        }
    };
    let kept = adopted.former_kept.as_ref().map(|path| path.display().to_string());
    let open_failures = ledger.totals().await?.open_failures;
    let named: usize = holding.manifests.iter().flatten().map(|manifest| manifest.files.len()).sum();
    let result = Report {
        version: 1,
        job: &job.name,
        run_id: run_id.to_string(),
        archive: &ledger.identity().sink,
        ledger_id: ledger.id().to_string(),
        commit: adopted.commit,
        former_owner: holding.owner.as_ref().map(|(ledger_id, job)| Owner { ledger_id, job }),
        former_ledger: FormerLedger { state, why, kept },
        files: (named + holding.without_manifest().count()) as u64,
        files_without_manifest: holding.without_manifest().map(|file| file.path.as_str()).collect(),
        files_missing: holding.missing.iter().map(|(_, path)| path.as_str()).collect(),
        temporary_files_removed: holding.temporary_files,
        temporary_bytes: holding.temporary_bytes,
        messages: archived.messages,
        ids: archived.ids,
        twice: archived.twice,
        other_apps: adopted.other_apps,
        pending: carried.pending,
        lost: carried.lost,
        open_failures: open_failures.values().sum(),
        cursor: match carried.cursor {
            CarriedCursor::None => "none",
            CarriedCursor::Kept => "kept",
            CarriedCursor::Dropped(_) => "dropped",
        },
    };
    if arguments.json {
        return Ok(output::json(&result)?);
    }
    print(&result, &output::failures(&open_failures), job.sink.has_files())
}

fn print(result: &Report<'_>, open_failures: &str, has_files: bool) -> Result<(), Exit> {
    let count = output::count;
    let mut lines = vec![
        ("job", result.job.to_owned()),
        (
            "archive",
            format!("{}, now owned by ledger {}, after commit {}", result.archive, result.ledger_id, result.commit),
        ),
    ];
    let former = &result.former_ledger;
    lines.push((
        "ledger",
        match (former.state, &former.why) {
            ("none", _) => "there was none".to_owned(),
            ("read", _) => "the former one was read".to_owned(),
            (_, Some(why)) => format!("nothing was taken from the former one: {why}"),
            (_, None) => "nothing was taken from the former one".to_owned(),
        },
    ));
    if let Some(kept) = &former.kept {
        lines.push(("", format!("kept as {kept}")));
    }
    if has_files {
        lines.push(("files", count(result.files)));
        for (path, what) in result.files_without_manifest.iter().map(|path| (path, "had no manifest")) {
            lines.push(("", format!("{path} {what}")));
        }
        for path in &result.files_missing {
            lines.push(("", format!("{path} is missing")));
        }
        if result.temporary_files_removed > 0 {
            let files = output::counted(result.temporary_files_removed, "temporary file", "temporary files");
            lines.push((
                "",
                format!("removed without loss of data: {files} ({})", output::bytes(result.temporary_bytes)),
            ));
        }
    }
    lines.push(("messages", format!("{}, of {}", count(result.messages), output::counted(result.ids, "ID", "IDs"))));
    if result.twice > 0 {
        lines.push(("", format!("there twice: {}", count(result.twice))));
    }
    if result.other_apps > 0 {
        lines.push(("", format!("from other apps, not counted: {}", count(result.other_apps))));
    }
    let lost =
        if result.lost > 0 { format!(", {} of them lost by the archive", count(result.lost)) } else { String::new() };
    lines.push(("pending", format!("{}{lost}", output::counted(result.pending, "reference", "references"))));
    lines.push(("failures", open_failures.to_owned()));
    lines.push((
        "cursor",
        match result.cursor {
            "kept" => "kept",
            _ => "none: the next run reads its source from the start; what is archived costs no request",
        }
        .to_owned(),
    ));
    for (name, text) in lines {
        output::line(&format!("{name:<9} {text}"))?;
    }
    Ok(())
}
