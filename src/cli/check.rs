//! `check`: checks the file; with `--connect` also source, sink and credentials, and shows how rows are understood and a
//! real message.

use std::time::Duration;

use super::arguments::Check;
use super::{Context, Exit, assemble, contained, fleet, notices, output, provenance};
use crate::config::{self, Config, Job};
use crate::model::reference::ConversationId;
use crate::model::summary::gravest;
use crate::run::{WHY_ABSENT, describe};
use crate::source::{self, SampleRow, Understood};
use crate::yunxin::{App, AskFor, Client, FetchSettings, Meaning, Outcome, Stop, Verdict};

/// How many rows are examined to decide whether times are whole seconds.
pub(super) const LOOKED_AT: usize = 200;
/// The longest time that an API that does not answer is tried.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn check(context: &Context, arguments: &Check) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let jobs = assemble::selected(&config, &arguments.jobs)?;
    let all = output::counted(config.jobs.len() as u64, "job", "jobs");
    output::line(&format!("{}: ok, {} of {all} selected", config.file.display(), jobs.len()))?;
    if !arguments.connect {
        output::say("the file is in order; --connect also checks source, sink and credentials");
        return Ok(0);
    }
    let mut code = 0;
    look(&mut code, async |_| notices::check_settings(&config)).await?;
    for job in jobs {
        output::line(&format!("\njob {}", job.name))?;
        let shown = arguments.sample;
        let may_ask = look(&mut code, async |_| check_settings(&config, job)).await?;
        look(&mut code, async |lines| check_ledger(&config, job, lines).await).await?;
        let sample = look(&mut code, async |lines| check_source(job, shown, lines).await).await?;
        if may_ask && !sample.is_empty() {
            look(&mut code, async |lines| check_api(&config, job, &sample, lines).await).await?;
        }
        look(&mut code, async |lines| check_sink(&config, job, lines).await).await?;
        look(&mut code, async |lines| check_fleet(&config, job, lines).await).await?;
    }
    Ok(code)
}

/// Performs one check, and prints what it found and what is wrong.
async fn look<T: Default>(
    code: &mut u8,
    check: impl AsyncFnOnce(&mut Vec<String>) -> Result<T, Exit>,
) -> Result<T, Exit> {
    let mut lines = Vec::new();
    let found = contained(check(&mut lines)).await;
    for line in lines {
        output::line(&format!("  {line}"))?;
    }
    match found {
        Ok(found) => Ok(found),
        Err(exit) => {
            *code = gravest([*code, exit.code]);
            output::line(&format!("  wrong: {:#}", exit.error))?;
            Ok(T::default())
        }
    }
}

/// Looks up what a run needs besides its source and sink, and checks its form.
fn check_settings(config: &Config, job: &Job) -> Result<bool, Exit> {
    provenance::signer(job)?;
    App::new(assemble::app_settings(config, job)?).map_err(Exit::usage)?;
    Ok(true)
}

/// Warns if the job changed since its ledger began.
async fn check_ledger(config: &Config, job: &Job, lines: &mut Vec<String>) -> Result<(), Exit> {
    if let Some(ledger) = assemble::ledger_to_read(config, job).await? {
        let change = assemble::change(config, job, &ledger).await?;
        lines.extend(change.map(|change| format!("warning: {change}")));
    }
    Ok(())
}

/// A row that can be asked for.
pub(super) struct Sampled {
    pub(super) conversation: ConversationId,
    pub(super) message_server_id: i64,
    pub(super) create_time: i64,
}

impl Sampled {
    /// What a row names, if it is a reference.
    pub(super) fn of(row: &SampleRow) -> Option<Self> {
        match &row.understood {
            Understood::Reference { conversation_id, message_server_id, create_time } => Some(Self {
                conversation: ConversationId::parse(conversation_id).ok()?,
                message_server_id: *message_server_id,
                create_time: *create_time,
            }),
            Understood::Skipped | Understood::Invalid(_) => None,
        }
    }

    /// The request for it alone.
    pub(super) fn ask(&self) -> AskFor {
        AskFor {
            key: self.conversation.key(),
            conversation: self.conversation.clone(),
            refs: vec![(self.message_server_id, self.create_time)],
            batch: 1,
        }
    }
}

/// Shows the first rows. Returns their references.
async fn check_source(job: &Job, shown: usize, lines: &mut Vec<String>) -> Result<Vec<Sampled>, Exit> {
    let kind = job.source.kind().as_str();
    if job.source.files().is_some_and(config::Files::is_stdin) {
        lines.push(format!("source {kind}: standard input, which check does not read"));
        return Ok(Vec::new());
    }
    let settings = assemble::source_settings(job, None);
    let rows = source::sample(settings, shown.max(LOOKED_AT)).await.map_err(|error| {
        let error = crate::run::RunError::Source(error);
        Exit { code: error.exit_code(), error: anyhow::anyhow!("source {kind}: {}", describe(&error)) }
    })?;
    lines.push(format!("source {kind}: ok"));
    if rows.is_empty() {
        lines.push("no rows (yet)".to_owned());
    }
    lines.extend(rows.iter().take(shown).flat_map(show));
    lines.extend(whole_seconds(&rows).map(|found| format!("warning: {found}")));
    let sample: Vec<Sampled> = rows.iter().filter_map(Sampled::of).take(shown.max(1)).collect();
    if sample.is_empty() && rows.iter().any(|row| matches!(row.understood, Understood::Invalid(_))) {
        let none = match rows.len() {
            1 => "the first row is not a reference".to_owned(),
            all => format!("none of the first {all} rows is a reference"),
        };
        return Err(Exit { code: 3, error: anyhow::anyhow!("{none}") });
    }
    Ok(sample)
}

fn show(row: &SampleRow) -> [String; 2] {
    let raw: Vec<String> = row.raw.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let understood = match &row.understood {
        Understood::Reference { conversation_id, message_server_id, create_time } => {
            let at = jiff::Timestamp::from_millisecond(*create_time)
                .map_or_else(|_| create_time.to_string(), |at| at.to_string());
            format!("message {message_server_id} of {conversation_id}, created {at}")
        }
        Understood::Skipped => "not a message of a conversation: skipped".to_owned(),
        Understood::Invalid(why) => format!("not a reference: {why}"),
    };
    [format!("{}: {}", row.position, raw.join(" ")), format!("  → {understood}")]
}

/// The API needs the exact millisecond, so a source that keeps whole seconds finds nothing.
pub(super) fn whole_seconds(rows: &[SampleRow]) -> Option<String> {
    let times: Vec<i64> = rows
        .iter()
        .filter_map(|row| match row.understood {
            Understood::Reference { create_time, .. } => Some(create_time),
            Understood::Skipped | Understood::Invalid(_) => None,
        })
        .collect();
    let whole = times.iter().filter(|time| **time % 1000 == 0).count();
    (times.len() >= 5 && whole * 10 >= times.len() * 9).then(|| {
        format!(
            "{whole} of {} times are whole seconds; the API finds a message only by its exact millisecond: \
             use a column that keeps milliseconds",
            times.len()
        )
    })
}

async fn check_sink(config: &Config, job: &Job, lines: &mut Vec<String>) -> Result<(), Exit> {
    let kind = job.sink.kind().as_str();
    match assemble::archive(config, job)?.probe().await {
        Ok(found) => {
            lines.push(format!("sink {kind}: {found}"));
            Ok(())
        }
        Err(error) => {
            let error = crate::run::RunError::Archive(error);
            Err(Exit { code: error.exit_code(), error: anyhow::anyhow!("sink {kind}: {}", describe(&error)) })
        }
    }
}

/// Makes the queue of a fleet that is configured, for a job that it can run.
async fn check_fleet(config: &Config, job: &Job, lines: &mut Vec<String>) -> Result<(), Exit> {
    if config.fleet.is_some() && fleet::is_possible(config, job)? {
        lines.push(format!("fleet: {}", fleet::look(config, job).await?));
    }
    Ok(())
}

/// Asks for the messages of the sample, one after the other, until one exists.
async fn check_api(config: &Config, job: &Job, sample: &[Sampled], lines: &mut Vec<String>) -> Result<(), Exit> {
    let app = App::new(assemble::app_settings(config, job)?).map_err(Exit::usage)?;
    let give_up_after = job.fetch.give_up_after.min(PATIENCE);
    let client = Client::new(app, FetchSettings { give_up_after, ..job.fetch.clone() });
    for one in sample {
        let permit = client.permit().await;
        let outcome =
            client.fetch(permit, &one.ask(), &tokio_util::sync::CancellationToken::new()).await.map_err(|stop| {
                let said = match &stop {
                    Stop::Unreachable { last_error, .. } => format!("nobody answers: {last_error}"),
                    stop => stop.to_string(),
                };
                Exit { code: crate::run::RunError::Api(stop).exit_code(), error: anyhow::anyhow!("API: {said}") }
            })?;
        match outcome {
            Outcome::Answered(answer) => {
                if lines.is_empty() {
                    lines.push("API: ok, credentials accepted".to_owned());
                }
                if let Some(row) = answer.rows.rows().first() {
                    lines.push(message_line(&answer.rows, row));
                    return Ok(());
                }
                let why = answer.verdicts.first().map(|(_, verdict)| why(verdict)).unwrap_or_default();
                lines.push(format!("message {}: does not exist: {why}", one.message_server_id));
            }
            Outcome::Refused { code, message, .. } if Meaning::of(code) == Meaning::BadParameter => {
                return Err(Exit {
                    code: 4,
                    error: anyhow::anyhow!(
                        "API: refused with code {code} ({message}): the AppSecret, this host's clock, or this one \
                         reference is wrong ({} {} {})",
                        one.conversation,
                        one.message_server_id,
                        one.create_time
                    ),
                });
            }
            Outcome::Refused { code, message, .. } => {
                lines.push(format!("API: answered, but refused {} with code {code}: {message}", one.conversation));
            }
            Outcome::Exhausted { message, attempts, .. } => {
                return Err(Exit::failed(anyhow::anyhow!("API: no answer in {attempts} attempts: {message}")));
            }
        }
    }
    let none = match sample.len() {
        1 => "the message that the first reference names does not exist".to_owned(),
        all => format!("none of the messages that the first {all} references name exists"),
    };
    Err(Exit { code: 3, error: anyhow::anyhow!("{none}: {WHY_ABSENT}") })
}

fn why(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Unavailable { code, message, .. } => {
            format!("{message} (code {})", code.map_or_else(|| "none".to_owned(), |code| code.to_string()))
        }
        Verdict::Unanswered => "the answer does not mention it".to_owned(),
        Verdict::Undecodable { message, .. } => message.clone(),
    }
}

fn message_line(rows: &crate::model::message::MessageRows, row: &crate::model::message::Row) -> String {
    use crate::model::message::TextColumn;
    let text: String = rows.get(row, TextColumn::Text).unwrap_or_default().chars().take(60).collect();
    format!(
        "message {} from {}, type {}: {text:?}",
        row.message_server_id,
        rows.get(row, TextColumn::SenderId).unwrap_or("?"),
        row.message_type.map_or_else(|| "?".to_owned(), |kind| kind.to_string()),
    )
}
