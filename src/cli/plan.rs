//! `plan [JOB]...`: what a run would do. Sends nothing, writes nothing.

use serde::Serialize;

use super::arguments::Jobs;
use super::{Context, Exit, assemble, output};
use crate::config::Config;
use crate::run::{Estimate, describe, estimate};

#[derive(Serialize)]
struct Row {
    job: String,
    #[serde(flatten)]
    estimate: Estimate,
    /// References a request, as a share of the batch size.
    fill: f64,
    seconds_at_quota: f64,
}

pub(super) async fn plan(context: &Context, arguments: &Jobs) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let mut rows = Vec::new();
    for job in assemble::selected(&config, &arguments.jobs)? {
        let ledger = assemble::ledger_to_read(&config, job).await?;
        let checkpoint = assemble::checkpoint(ledger.as_ref(), job).await?;
        let source = assemble::open_source(&config, job, checkpoint, None).await?;
        let fetch = &job.fetch;
        let estimate = estimate(
            source,
            ledger.as_ref(),
            fetch.batch_size,
            job.plan_window,
            &assemble::team_owner(fetch),
            fetch.retry_for,
        )
        .await
        .map_err(|error| Exit { code: error.exit_code(), error: anyhow::anyhow!("{}", describe(&error)) })?;
        let rate_limit = config.app_of(job).rate_limit;
        rows.push(Row {
            job: job.name.clone(),
            fill: estimate.fill(fetch.batch_size),
            seconds_at_quota: estimate.requests as f64 / f64::from(rate_limit),
            estimate,
        });
    }
    if arguments.json {
        output::json(&serde_json::json!({ "version": 1, "jobs": rows }))?;
        return Ok(0);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let e = &row.estimate;
            vec![
                row.job.clone(),
                output::count(e.read),
                output::count(e.skipped + e.invalid),
                output::count(e.duplicate),
                output::count(e.references),
                output::count(e.conversations),
                output::count(e.requests),
                format!("{:.1}%", row.fill * 100.0),
                output::duration(row.seconds_at_quota),
            ]
        })
        .collect();
    let header =
        ["job", "read", "unusable", "known", "references", "conversations", "requests", "fill", "time at the quota"];
    output::line(&output::table(&header, &cells))?;
    Ok(0)
}
