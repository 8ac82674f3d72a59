//! `doctor [JOB]...`: one page about everything that a job needs: what was found, and the one thing to do about it. No line
//! hides the ones after it.

mod api;
mod archive;
mod source;
mod state;

use std::collections::BTreeMap;

use serde::Serialize;

use self::source::Sample;
use self::state::Memory;
use super::arguments::Jobs;
use super::{Context, Exit, assemble, contained, output};
use crate::config::{Config, Job};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Look,
    Wrong,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    state: Grade,
    found: String,
    /// The one thing to do; null if there is nothing to do.
    advice: Option<String>,
}

impl Finding {
    fn ok(found: impl Into<String>) -> Self {
        Self { state: Grade::Ok, found: found.into(), advice: None }
    }

    fn look(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: Grade::Look, found: found.into(), advice: Some(advice.into()) }
    }

    fn wrong(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: Grade::Wrong, found: found.into(), advice: Some(advice.into()) }
    }
}

impl From<Exit> for Finding {
    fn from(Exit { code, error }: Exit) -> Self {
        let advice = match code {
            2 => "correct what the message names",
            4 => "correct the credentials, or grant what is missing",
            75 => "wait until the other process has ended",
            _ => "remove the cause that the message names",
        };
        Self::wrong(format!("{error:#}"), advice)
    }
}

/// What was found out of apps that were asked: jobs of one app share it.
type Asked<'a> = BTreeMap<&'a str, [Finding; 3]>;

/// A line of the page.
#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

/// A job's page.
#[derive(Debug, Serialize)]
struct Page {
    job: String,
    state: Grade,
    lines: Vec<Line>,
}

pub(super) async fn doctor(context: &Context, arguments: &Jobs) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let (mut pages, mut asked) = (Vec::new(), Asked::new());
    for job in assemble::selected(&config, &arguments.jobs)? {
        let lines = examine(&config, job, &mut asked).await;
        let state = lines.iter().map(|line| line.finding.state).max().unwrap_or(Grade::Ok);
        let page = Page { job: job.name.clone(), state, lines };
        if !arguments.json {
            print(&page, !pages.is_empty())?;
        }
        pages.push(page);
    }
    if arguments.json {
        output::json(&serde_json::json!({ "version": 1, "jobs": pages }))?;
    }
    Ok(match pages.iter().map(|page| page.state).max() {
        None | Some(Grade::Ok) => 0,
        Some(Grade::Look) => 3,
        Some(Grade::Wrong) => 2,
    })
}

/// Everything about a job, in the order in which a run needs it.
async fn examine<'a>(config: &Config, job: &'a Job, asked: &mut Asked<'a>) -> Vec<Line> {
    let mut memory = Memory::default();
    let ledger = finding(state::ledger(config, job, &mut memory)).await;
    let mut sample = Sample::default();
    let source = finding(source::source(job, &mut sample)).await;
    sample.or_pending(&memory).await;
    let [clock, credentials, quota] = match asked.get(job.app.as_str()) {
        Some(said) => said.clone(),
        None => match api::ask(config, job, &sample, &memory).await {
            Ok(said) => asked.entry(&job.app).or_insert(said).clone(),
            Err(unasked) => unasked,
        },
    };
    vec![
        Line { check: "clock", finding: clock },
        Line { check: "credentials", finding: credentials },
        Line { check: "quota", finding: quota },
        Line { check: "source", finding: source },
        Line { check: "cursor", finding: finding(source::cursor(job, &memory)).await },
        Line { check: "archive", finding: finding(archive::archive(config, job, &memory)).await },
        Line { check: "space", finding: state::space(config, job).unwrap_or_else(Finding::from) },
        Line { check: "ledger", finding: ledger },
        Line { check: "lock", finding: state::lock(config, job) },
        Line { check: "lifecycle", finding: finding(archive::lifecycle(config, job, &memory)).await },
        Line { check: "retention", finding: finding(state::retention(config, job, &memory)).await },
    ]
}

/// What a check finds, also if it fails or panics.
async fn finding(check: impl Future<Output = Result<Finding, Exit>>) -> Finding {
    contained(check).await.unwrap_or_else(Finding::from)
}

fn print(page: &Page, is_next: bool) -> Result<(), Exit> {
    if is_next {
        output::line("")?;
    }
    output::line(&format!("job {}", page.job))?;
    for Line { check, finding: Finding { state, found, advice } } in &page.lines {
        let state = match state {
            Grade::Ok => "ok",
            Grade::Look => "look",
            Grade::Wrong => "wrong",
        };
        output::line(&format!("  {state:<6} {check:<12} {}", output::one_line(found)))?;
        if let Some(advice) = advice {
            output::line(&format!("  {:<19} → {}", "", output::one_line(advice)))?;
        }
    }
    Ok(())
}
