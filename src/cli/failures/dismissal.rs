//! `failures JOB --dismiss`, and `--reopen`, which reverts it.

use jiff::Timestamp;

use super::super::{Exit, assemble, output};
use super::{Failures, nothing, write_file};
use crate::config::{Config, Job};
use crate::ledger::{Dismissed, FailureFilter, FailureState, JobLock};

/// Dismisses or reopens the failures that match `filter`, and updates their file.
pub(super) async fn dismiss_or_reopen(
    config: &Config,
    job: &Job,
    arguments: &Failures,
    filter: &FailureFilter,
) -> Result<u8, Exit> {
    let Failures { class, code, source, older_than, all, dismiss, .. } = arguments;
    let (option, done) = if *dismiss { ("--dismiss", "dismissed") } else { ("--reopen", "reopened") };
    if class.is_empty() && code.is_empty() && source.is_none() && older_than.is_none() && !all {
        return Err(Exit::words(format!(
            "{option} what? --class CLASS, --code CODE, --source INPUT, --older-than TIME, or --all"
        )));
    }
    // Checked before the lock is taken, which would create the state directory of a job that never ran.
    let Some(former) = assemble::ledger_to_read(config, job).await? else {
        return Err(Exit::words(format!("job {} has not run yet: it has no failures", job.name)));
    };
    assemble::warn_of_change(config, job, &former).await?;
    // Open the ledger with its own identity: no run begins here, so it must not be bound to a changed job.
    let identity = former.identity().clone();
    former.close().await.map_err(assemble::ledger_exit)?;
    let wait = arguments.wait.unwrap_or_default();
    let lock = JobLock::acquire(&config.state, &job.name, wait).await.map_err(assemble::ledger_exit)?;
    let path = assemble::ledger_path(config, job);
    let ledger = assemble::own_ledger(&path, &identity).await?;
    let changed = if *dismiss {
        let by = arguments.operator.clone().or_else(|| job.operator.clone()).unwrap_or_else(user);
        ledger.dismiss(filter, Timestamp::now(), &by, arguments.reason.as_deref()).await
    } else {
        ledger.reopen(filter).await
    };
    let Dismissed { references, rows } = changed.map_err(assemble::ledger_exit)?;
    if references + rows == 0 {
        let state = if *dismiss { FailureState::Open } else { FailureState::Dismissed };
        output::say(&nothing(Some(&ledger), &FailureFilter { state: Some(state), ..FailureFilter::default() }).await?);
    }
    write_file(&ledger, job, &config.state.join(format!("failures-{}.jsonl", job.name))).await?;
    ledger.close().await.map_err(assemble::ledger_exit)?;
    drop(lock);
    let references = output::counted(references, "reference", "references");
    output::line(&format!("{done}: {references}, {}", output::counted(rows, "invalid row", "invalid rows")))?;
    Ok(0)
}

/// The user's name, as the environment or `/etc/passwd` has it, or else the number.
fn user() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let in_file = || {
        let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
        let lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.into_iter().find(|fields| fields.get(2) == Some(&&*uid)).map(|fields| fields[0].to_owned())
    };
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let plain = |name: &String| !name.is_empty() && !name.chars().any(char::is_control);
    named.filter(plain).or_else(in_file).unwrap_or_else(|| format!("the user with ID {uid}"))
}
