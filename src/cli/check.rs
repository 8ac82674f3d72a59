//! `check`: the file; then source, sink and credentials; then rows as they are understood, and one real message.

use super::arguments::Check;
use super::{Context, Exit, assemble, output};
use crate::config::{self, Config, Job};
use crate::reference::ConversationId;
use crate::run::describe;
use crate::sink;
use crate::source::{self, SampleRow, Understood};
use crate::yunxin::{App, AskFor, Client, Outcome, Verdict};

/// Rows looked at to tell whether times are whole seconds.
const LOOKED_AT: usize = 200;

pub(super) async fn check(context: &Context, arguments: &Check) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let jobs = assemble::selected(&config, &arguments.jobs)?;
    output::line(&format!("{}: ok, {} of {} jobs selected", config.file.display(), jobs.len(), config.jobs.len()))?;
    if !arguments.connect {
        output::say("the file is in order; --connect also tries source, sink and credentials");
        return Ok(0);
    }
    let mut code = 0;
    for job in jobs {
        output::line(&format!("\njob {}", job.name))?;
        for result in [
            check_source(&config, job, arguments.sample).await,
            check_sink(&config, job).await.map(|line| (vec![line], None)),
        ] {
            match result {
                Ok((lines, first)) => {
                    for line in lines {
                        output::line(&format!("  {line}"))?;
                    }
                    if let Some(first) = first {
                        match check_api(&config, job, &first).await {
                            Ok(lines) => lines.iter().try_for_each(|line| output::line(&format!("  {line}")))?,
                            Err(exit) => complain(&mut code, &exit)?,
                        }
                    }
                }
                Err(exit) => complain(&mut code, &exit)?,
            }
        }
    }
    Ok(code)
}

fn complain(code: &mut u8, exit: &Exit) -> Result<(), Exit> {
    *code = crate::summary::gravest([*code, exit.code]);
    output::line(&format!("  wrong: {:#}", exit.error))?;
    Ok(())
}

/// A row that can be asked for.
struct Sampled {
    conversation: ConversationId,
    message_server_id: i64,
    create_time: i64,
}

async fn check_source(config: &Config, job: &Job, shown: usize) -> Result<(Vec<String>, Option<Sampled>), Exit> {
    let kind = job.source.origin.kind().as_str();
    let stdin = matches!(&job.source.origin, config::Origin::Csv { files, .. } | config::Origin::Jsonl { files }
        if files.input == config::Input::Stdin);
    if stdin {
        return Ok((vec![format!("source {kind}: the standard input, not read by check")], None));
    }
    let settings = assemble::source_settings(config, job, None)?;
    let rows = source::sample(settings, shown.max(LOOKED_AT)).await.map_err(|error| {
        let error = crate::run::RunError::Source(error);
        Exit { code: error.exit_code(), error: anyhow::anyhow!("source {kind}: {}", describe(&error)) }
    })?;
    let mut lines = vec![format!("source {kind}: ok")];
    if rows.is_empty() {
        lines.push("no rows (yet)".to_owned());
    }
    lines.extend(rows.iter().take(shown).flat_map(show));
    lines.extend(whole_seconds(&rows));
    let first = rows.iter().find_map(|row| match &row.understood {
        Understood::Reference { conversation_id, message_server_id, create_time } => Some(Sampled {
            conversation: ConversationId::parse(conversation_id).ok()?,
            message_server_id: *message_server_id,
            create_time: *create_time,
        }),
        Understood::Skipped | Understood::Invalid(_) => None,
    });
    Ok((lines, first))
}

fn show(row: &SampleRow) -> [String; 2] {
    let raw: Vec<String> = row.raw.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let understood = match &row.understood {
        Understood::Reference { conversation_id, message_server_id, create_time } => {
            let at = jiff::Timestamp::from_millisecond(*create_time)
                .map_or_else(|_| create_time.to_string(), |at| at.to_string());
            format!("message {message_server_id} of {conversation_id}, created {at}")
        }
        Understood::Skipped => "not a conversation's message: passed over".to_owned(),
        Understood::Invalid(why) => format!("no reference: {why}"),
    };
    [format!("{}: {}", row.position, raw.join(" ")), format!("  → {understood}")]
}

/// The API wants the exact millisecond; a source that keeps whole seconds finds nothing.
fn whole_seconds(rows: &[SampleRow]) -> Option<String> {
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
            "warning: {whole} of {} times are whole seconds; the API finds a message only by its exact millisecond: \
             is there a column that keeps it?",
            times.len()
        )
    })
}

async fn check_sink(config: &Config, job: &Job) -> Result<String, Exit> {
    let kind = job.sink.kind().as_str();
    let probed = match &job.sink {
        config::Sink::Parquet(parquet) => sink::parquet::probe(&parquet.path),
        config::Sink::Postgres(postgres) => {
            sink::postgres::probe(&assemble::postgres_settings(config, postgres)?).await
        }
    };
    match probed {
        Ok(found) => Ok(format!("sink {kind}: {found}")),
        Err(error) => {
            let error = crate::run::RunError::Sink(error);
            Err(Exit { code: error.exit_code(), error: anyhow::anyhow!("sink {kind}: {}", describe(&error)) })
        }
    }
}

/// Asks for one message that the source names.
async fn check_api(config: &Config, job: &Job, first: &Sampled) -> Result<Vec<String>, Exit> {
    let app = App::new(assemble::app_settings(config, job)?).map_err(Exit::usage)?;
    let client = Client::new(app, assemble::fetch_settings(job));
    let ask = AskFor {
        key: first.conversation.key(),
        conversation: first.conversation.clone(),
        refs: vec![(first.message_server_id, first.create_time)],
        batch: 1,
    };
    let permit = client.permit().await;
    let outcome = client.fetch(permit, &ask, &tokio_util::sync::CancellationToken::new()).await.map_err(|stop| {
        let error = crate::run::RunError::Api(stop);
        Exit { code: error.exit_code(), error: anyhow::anyhow!("API: {}", describe(&error)) }
    })?;
    match outcome {
        Outcome::Answered(answer) => {
            let found = if let Some(row) = answer.rows.rows().first() {
                message_line(&answer.rows, row)
            } else {
                let why = answer.verdicts.first().map(|(_, verdict)| why(verdict)).unwrap_or_default();
                format!("message {}: not there: {why}", first.message_server_id)
            };
            Ok(vec!["API: ok, credentials accepted".to_owned(), found])
        }
        Outcome::Refused { code: 414, message, .. } => Err(Exit {
            code: 4,
            error: anyhow::anyhow!(
                "API: refused with code 414 ({message}): the AppSecret or this host's clock is wrong, or this one \
                 reference is ({} {} {})",
                first.conversation,
                first.message_server_id,
                first.create_time
            ),
        }),
        Outcome::Refused { code, message, .. } => {
            Ok(vec![format!("API: answered, refusing this conversation with code {code}: {message}")])
        }
        Outcome::Exhausted { message, attempts, .. } => {
            Err(Exit::failed(anyhow::anyhow!("API: no answer in {attempts} attempts: {message}")))
        }
    }
}

fn why(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Unavailable { code, message, .. } => {
            format!("{message} (code {})", code.map_or_else(|| "none".to_owned(), |code| code.to_string()))
        }
        Verdict::Unanswered => "the answer does not name it".to_owned(),
        Verdict::Undecodable { message, .. } => message.clone(),
    }
}

fn message_line(rows: &crate::message::MessageRows, row: &crate::message::Row) -> String {
    use crate::message::TextColumn;
    let text: String = rows.get(row, TextColumn::Text).unwrap_or_default().chars().take(60).collect();
    format!(
        "message {} from {}, type {}: {text:?}",
        row.message_server_id,
        rows.get(row, TextColumn::SenderId).unwrap_or("?"),
        row.message_type.map_or_else(|| "?".to_owned(), |kind| kind.to_string()),
    )
}
