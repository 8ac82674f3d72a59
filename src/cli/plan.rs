//! `plan [JOB]...`: shows what a run would do. Sends nothing and writes nothing.

use serde::Serialize;

use super::arguments::Jobs;
use super::{Context, Exit, assemble, contained, output};
use crate::config::{Config, Job};
use crate::model::summary::gravest;
use crate::run::{Estimate, describe, estimate};

#[derive(Serialize)]
struct Row {
    job: String,
    #[serde(flatten)]
    estimate: Estimate,
    /// References per request, as a share of the batch size.
    fill: f64,
    seconds_at_quota: f64,
}

pub(super) async fn plan(context: &Context, arguments: &Jobs) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let (mut rows, mut code) = (Vec::new(), 0);
    for job in assemble::selected(&config, &arguments.jobs)? {
        match contained(row(&config, job)).await {
            Ok(row) => rows.push(row),
            Err(exit) => {
                context.complain(&exit, &format!("job {}: ", job.name));
                code = gravest([code, exit.code]);
            }
        }
    }
    if arguments.json {
        output::json(&serde_json::json!({ "version": 1, "jobs": rows }))?;
        return Ok(code);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let e = &row.estimate;
            vec![
                row.job.clone(),
                output::count(e.read),
                output::count(e.skipped),
                output::count(e.invalid),
                output::count(e.duplicate),
                output::count(e.references),
                output::count(e.pending),
                output::count(e.conversations),
                output::count(e.requests),
                format!("{:.1}%", row.fill * 100.0),
                output::duration(row.seconds_at_quota),
            ]
        })
        .collect();
    let header = [
        "job",
        "read",
        "skipped",
        "invalid",
        "known already",
        "to fetch",
        "left pending",
        "conversations",
        "requests",
        "requests full",
        "time at the quota",
    ];
    if !cells.is_empty() {
        output::line(&output::table(&header, &cells))?;
    }
    Ok(code)
}

async fn row(config: &Config, job: &Job) -> Result<Row, Exit> {
    let ledger = assemble::next_ledger(config, job).await?;
    let checkpoint = assemble::checkpoint(ledger.as_ref(), job).await?;
    let source = assemble::open_source(job, checkpoint, None).await?;
    let fetch = &job.fetch;
    let owner = &fetch.team_owner;
    let estimate = estimate(source, ledger.as_ref(), fetch.batch_size, job.plan_window, owner, fetch.retry_for)
        .await
        .map_err(|error| Exit { code: error.exit_code(), error: anyhow::anyhow!("{}", describe(&error)) })?;
    Ok(Row {
        job: job.name.clone(),
        fill: estimate.fill(fetch.batch_size),
        seconds_at_quota: estimate.requests as f64 / f64::from(config.app_of(job).rate_limit),
        estimate,
    })
}
