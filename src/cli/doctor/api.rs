//! Clock, credentials and quota, by at most three requests.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Finding;
use super::source::Sample;
use super::state::Memory;
use crate::cli::{assemble, output};
use crate::config::{Config, Job};
use crate::ledger::AppLock;
use crate::model::summary::JobSummary;
use crate::run::WHY_ABSENT;
use crate::yunxin::{App, Client, FetchSettings, Meaning, Outcome, Stop};

/// The most requests.
const MOST: u64 = 3;
/// Seconds by which clocks may differ: beyond the first, requests are signed by the service's clock, beyond the second, the
/// service refuses a signature by this machine's.
const CLOCKS: [u64; 2] = [60, 300];
/// The longest time that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the API said.
#[derive(Debug, Default)]
struct Said {
    sent: u64,
    throttled: bool,
    /// It accepted the credentials.
    accepted: bool,
    /// It had a message.
    found: bool,
    /// It refused the credentials, in these words.
    refused: Option<String>,
    /// It called single references bad parameters, in these words.
    doubted: Option<String>,
    /// What else it said, or why nobody answered.
    last: String,
}

/// Clock, credentials and quota; an error if nothing was asked.
pub(super) async fn ask(
    config: &Config,
    job: &Job,
    sample: &Sample,
    memory: &Memory,
) -> Result<[Finding; 3], [Finding; 3]> {
    let rate = config.app_of(job).rate_limit;
    let unasked = |why: &str, advice: &str| {
        let look = || Finding::look(format!("not asked: {why}"), advice);
        [look(), look(), look()]
    };
    if let Some(holder) = AppLock::holder(&config.state, &job.app) {
        return Err(unasked(&format!("{holder} uses the quota"), "run `doctor` again when it has ended"));
    }
    let app =
        assemble::app_settings(config, job).and_then(|settings| App::new(settings).map_err(crate::cli::Exit::usage));
    let app = match app {
        Ok(app) => app,
        Err(exit) => {
            let [clock, _, quota] = unasked("the credentials cannot be used", "correct the credentials first");
            return Err([clock, Finding::from(exit), quota]);
        }
    };
    if sample.references.is_empty() {
        return Err(unasked(
            "neither the source nor the ledger has a reference to ask for",
            "run `doctor` again when the source has rows",
        ));
    }
    let has_archived = memory.has_archived().await;
    let said = inquire(&app, job, sample, has_archived).await;
    Ok([clock(&app), credentials(&said, has_archived), quota(&said, rate, memory).await])
}

/// Asks for one reference after the other until enough is known.
async fn inquire(app: &Arc<App>, job: &Job, sample: &Sample, has_archived: bool) -> Said {
    let settings = FetchSettings {
        attempts: 1,
        // The first failure ends an attempt; the next one goes to another endpoint.
        give_up_after: Duration::ZERO,
        timeout: job.fetch.timeout.min(PATIENCE),
        ..job.fetch.clone()
    };
    let mut said = Said::default();
    for one in sample.references.iter().cycle().take(MOST as usize) {
        // Before the service's clock is known, asking once may take two requests.
        if said.sent >= MOST || (said.sent + 1 == MOST && app.clock_ahead().is_none()) {
            break;
        }
        let client = Client::new(Arc::clone(app), settings.clone());
        let outcome = client.fetch(client.permit().await, &one.ask(), &CancellationToken::new()).await;
        let stats = client.stats();
        said.sent += stats.sent;
        said.throttled |= stats.throttled > 0;
        match outcome {
            Ok(Outcome::Answered(answer)) => {
                said.accepted = true;
                said.found |= !answer.rows.is_empty();
            }
            Ok(Outcome::Refused { code, message, .. }) if Meaning::of(code) == Meaning::BadParameter => {
                said.doubted = Some(format!("code {code}: {message}"));
            }
            Ok(Outcome::Refused { code, message, .. }) => {
                said.accepted = true;
                said.last = format!("code {code}: {message}");
            }
            Ok(Outcome::Exhausted { message, .. }) | Err(Stop::Unreachable { last_error: message, .. }) => {
                said.last = message;
            }
            Err(stop) => said.refused = Some(stop.to_string()),
        }
        if said.found || said.throttled || said.refused.is_some() || (said.accepted && has_archived) {
            break;
        }
    }
    said
}

fn clock(app: &App) -> Finding {
    let Some(ahead) = app.clock_ahead() else {
        return Finding::look("not known: the service did not tell its time", "see the next line");
    };
    let by = output::duration(ahead.unsigned_abs() as f64);
    let side = if ahead > 0 { "behind" } else { "ahead of" };
    let advice = "set this machine's clock, by NTP";
    match ahead.unsigned_abs() {
        seconds if seconds <= CLOCKS[0] => Finding::ok(format!("{by} from the service's")),
        seconds if seconds <= CLOCKS[1] => Finding::look(format!("{by} {side} the service's"), advice),
        _ => Finding::wrong(
            format!("{by} {side} the service's: a signature by it is refused, so requests are signed by the service's"),
            advice,
        ),
    }
}

fn credentials(said: &Said, has_archived: bool) -> Finding {
    let Said { refused, doubted, last, .. } = said;
    if let Some(refused) = refused {
        return Finding::wrong(refused, "correct `app_key` and `app_secret`, or the app's list of IP addresses");
    }
    if said.found || (said.accepted && has_archived) {
        return Finding::ok(format!("accepted ({})", output::counted(said.sent, "request", "requests")));
    }
    if said.accepted {
        let more = if last.is_empty() { String::new() } else { format!(" ({last})") };
        return Finding::look(
            format!("accepted, but none of {} messages exists{more}: {WHY_ABSENT}", said.sent),
            "see how rows are understood: `check --connect`",
        );
    }
    if let Some(doubted) = doubted {
        return Finding::wrong(
            format!("refused ({doubted}): the AppSecret is wrong, or the references are"),
            "correct `app_secret`",
        );
    }
    if said.throttled {
        return Finding::look("not known: the quota is used up", "see the next line");
    }
    Finding::wrong(format!("no endpoint answers: {last}"), "see that this machine reaches `endpoints`, or `proxy`")
}

async fn quota(said: &Said, rate: u32, memory: &Memory) -> Finding {
    let advice = "see who else uses this AppKey, and set `rate_limit` to what your plan allows";
    if said.throttled {
        return Finding::look("the service answers that the quota is used up (416)", advice);
    }
    let last = memory.last_run().await.and_then(|run| serde_json::from_str::<JobSummary>(&run.summary_json?).ok());
    if let Some(throttled) = last.map(|summary| summary.requests.throttled).filter(|throttled| *throttled > 0) {
        let requests = output::counted(throttled, "request", "requests");
        return Finding::look(format!("{requests} of the last run met a quota that was used up (416)"), advice);
    }
    let pending = memory.pending_batches().await;
    let time = output::duration(pending as f64 / f64::from(rate.max(1)));
    let rate_text = output::counted(rate.into(), "request", "requests") + " per second";
    Finding::ok(match pending {
        0 => rate_text,
        _ => format!("{rate_text}; what is pending takes {time}"),
    })
}
