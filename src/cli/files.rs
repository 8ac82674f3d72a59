//! `files JOB`: lists every committed file once, in order, for loading.

use serde::Serialize;

use super::arguments::Files;
use super::{Context, Exit, assemble, output};
use crate::config::Config;
use crate::ledger::LedgerError;

#[derive(Serialize)]
struct Line<'a> {
    run_id: String,
    path: String,
    rows: u64,
    bytes: u64,
    sha256: &'a str,
}

pub(super) async fn files(context: &Context, arguments: &Files) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let job = assemble::one(&config, &arguments.job)?;
    if !job.sink.has_files() {
        return Err(Exit::words(format!(
            "job {} writes to Postgres and has no files: load from its table, by run_id",
            job.name
        )));
    }
    let Some(ledger) = assemble::ledger_to_read(&config, job).await? else {
        return Err(Exit::words(format!("job {} has not run yet, or its ledger is lost: it lists no files", job.name)));
    };
    if let Some(changes) = assemble::changes(&config, job, &ledger) {
        return Err(Exit::words(format!(
            "job {} changed its {changes}: its ledger lists the files of the former settings. Restore them, or run the job first",
            job.name
        )));
    }
    let files = ledger.files(arguments.after).await.map_err(|error| match error {
        LedgerError::UnknownRun(_, run) => {
            let list = super::ending::command(&context.config, &format!("status {}", job.name));
            Exit::words(format!(
                "--after {run}: job {} has no run of this ID that left a manifest: `{list}` lists its runs",
                job.name
            ))
        }
        error => assemble::ledger_exit(error),
    })?;
    for committed in files {
        let file = &committed.file;
        let path = job.sink.file(&file.path).unwrap_or_default();
        if arguments.json {
            let line = Line {
                run_id: committed.run_id.to_string(),
                path,
                rows: file.rows,
                bytes: file.bytes,
                sha256: &file.sha256,
            };
            output::line(&serde_json::to_string(&line)?)?;
        } else {
            output::line(&path)?;
        }
    }
    Ok(0)
}
