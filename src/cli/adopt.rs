//! `adopt JOB`: takes over an archive whose ledger is lost, old, copied or another's.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::arguments::Adopt;
use super::provenance::{self, Provenance};
use super::{Context, Exit, assemble, failures, output};
use crate::archive::RunStamp;
use crate::config::{Config, Job};
use crate::ledger::{Adoption, CarriedCursor, JobLock, Ledger, ReplacedLedger};
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
    let (run_id, now) = (Uuid::now_v7(), Timestamp::now());
    let stamp =
        RunStamp { job: job.name.clone(), app_key: identity.app_key.clone(), run_id, ledger_id: Uuid::now_v7() };
    let (note, signer) = (provenance::note(&config, job, &Provenance::default())?, provenance::signer(job)?);
    let archive = assemble::archive(&config, job)?;
    let mut takeover = archive.takeover(stamp.clone()).map_err(exit)?;
    let holding = takeover.look().await.map_err(exit)?;
    let path = assemble::ledger_path(&config, job);
    let adoption = Adoption::begin(&path, &identity, stamp.ledger_id).await.map_err(assemble::ledger_exit)?;
    let adopted = run::adopt(takeover.as_mut(), holding, adoption, run_id, now).await.map_err(exit)?;
    // The writer takes the lock that this has.
    drop(takeover);
    let ledger = assemble::own_ledger(&path, &identity).await?;
    let mut sink = archive.writer(stamp).map_err(exit)?;
    ledger.note_run(run_id, &note, 0, 0).await.map_err(assemble::ledger_exit)?;
    run::recover(&ledger, sink.as_mut(), signer.as_ref()).await.map_err(exit)?;
    failures::write_file(&ledger, job, &config.state.join(format!("failures-{}.jsonl", job.name))).await?;
    warn(job, &adopted);
    report(arguments, job, &identity.sink, run_id, &ledger, &adopted)?;
    ledger.close().await.map_err(assemble::ledger_exit)?;
    drop(lock);
    Ok(0)
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

fn report(
    arguments: &Adopt,
    job: &Job,
    archive: &str,
    run_id: Uuid,
    ledger: &Ledger,
    adopted: &Adopted,
) -> Result<(), Exit> {
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
    let named: usize = holding.manifests.iter().flatten().map(|manifest| manifest.files.len()).sum();
    let result = Report {
        version: 1,
        job: &job.name,
        run_id: run_id.to_string(),
        archive,
        ledger_id: ledger.id().to_string(),
        commit: adopted.commit,
        former_owner: holding.owner.as_ref().map(|(ledger_id, job)| Owner { ledger_id, job }),
        former_ledger: FormerLedger { state, why, kept },
        files: (named + holding.unnamed.len()) as u64,
        files_without_manifest: holding.unnamed.iter().map(|file| file.path.as_str()).collect(),
        files_missing: holding.missing.iter().map(|(_, path)| path.as_str()).collect(),
        temporary_files_removed: holding.temporary_files,
        temporary_bytes: holding.temporary_bytes,
        messages: archived.messages,
        ids: archived.ids,
        twice: archived.twice,
        other_apps: adopted.other_apps,
        pending: carried.pending,
        lost: carried.lost,
        open_failures: carried.failures,
        cursor: match carried.cursor {
            CarriedCursor::None => "none",
            CarriedCursor::Kept => "kept",
            CarriedCursor::Dropped(_) => "dropped",
        },
    };
    if arguments.json {
        return Ok(output::json(&result)?);
    }
    print(&result, job.sink.has_files())
}

fn print(result: &Report<'_>, has_files: bool) -> Result<(), Exit> {
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
    lines.push(("failures", format!("{} open", count(result.open_failures))));
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
