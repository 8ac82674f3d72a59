//! The source, and how far it was read.

use jiff::{SignedDuration, Timestamp};

use super::Finding;
use super::state::Memory;
use crate::cli::check::{LOOKED_AT, Sampled, whole_seconds};
use crate::cli::{Exit, assemble, output};
use crate::config::{Files, Job};
use crate::source::{self, Checkpoint, CursorValue, Understood};

/// A cursor that is older says that nothing comes any more.
const STALE: SignedDuration = SignedDuration::from_hours(48);
/// A cursor that is further ahead passes rows over.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// References to ask for.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) references: Vec<Sampled>,
}

impl Sample {
    /// If the source has none, one that is pending.
    pub(super) async fn or_pending(&mut self, memory: &Memory) {
        if self.references.is_empty() {
            self.references.extend(memory.pending_reference().await);
        }
    }
}

/// Reads a sample of the source.
pub(super) async fn source(job: &Job, sample: &mut Sample) -> Result<Finding, Exit> {
    let kind = job.source.kind().as_str();
    if job.source.files().is_some_and(Files::is_stdin) {
        return Ok(Finding::ok(format!("{kind} from standard input, which is not read")));
    }
    let rows = source::sample(assemble::source_settings(job, None), LOOKED_AT).await.map_err(assemble::source_exit)?;
    // The latest ones: the service may have forgotten the others.
    sample.references = rows.iter().filter_map(Sampled::of).collect();
    sample.references.sort_by_key(|reference| std::cmp::Reverse(reference.create_time));
    let invalid = rows.iter().filter(|row| matches!(row.understood, Understood::Invalid(_))).count();
    let of = format!("{kind}: {} of the first {} rows are references", sample.references.len(), rows.len());
    let advice = "see how rows are understood: `check --connect`";
    Ok(if rows.is_empty() {
        Finding::ok(format!("{kind}: no rows (yet)"))
    } else if sample.references.is_empty() && invalid > 0 {
        Finding::wrong(of, advice)
    } else if let Some(whole) = whole_seconds(&rows) {
        Finding::look(format!("{kind}: {whole}"), "select the time with its milliseconds")
    } else if invalid > 0 {
        Finding::look(format!("{of}, {invalid} are invalid"), advice)
    } else {
        Finding::ok(of)
    })
}

/// How far the source was read.
pub(super) async fn cursor(job: &Job, memory: &Memory) -> Result<Finding, Exit> {
    let has_cursor = job.source.query().is_some_and(|query| query.cursor.is_some())
        || job.source.files().is_some_and(|files| files.skip_consumed);
    if !has_cursor {
        return Ok(Finding::ok("none: every run reads everything, and what is archived costs no request"));
    }
    let Some(ledger) = memory.ledger() else { return Ok(Finding::ok("none yet")) };
    let Some(stored) = ledger.checkpoint().await.map_err(assemble::ledger_exit)? else {
        return Ok(Finding::ok("none yet: the next run reads from the start"));
    };
    if stored.source != job.source.identity() {
        return Ok(Finding::look(
            "made by another kind of source or cursor column: the next run reads from the start",
            "restore the former source if you did not mean that",
        ));
    }
    let Ok(checkpoint) = serde_json::from_str(&stored.text) else {
        let advice = format!("`run {} --from start`: what is archived costs no request", job.name);
        return Ok(Finding::wrong("damaged", advice));
    };
    let value = match checkpoint {
        Checkpoint::Files(files) => {
            let files = output::counted(files.len() as u64, "file", "files");
            return Ok(Finding::ok(format!("{files} consumed")));
        }
        Checkpoint::Value(value) => value,
    };
    let CursorValue::Timestamp { micros, .. } = value else { return Ok(Finding::ok(value.to_string())) };
    let age = Timestamp::now().duration_since(Timestamp::from_microsecond(micros).unwrap_or_default());
    let span = output::span(age.abs().as_secs_f64());
    Ok(if age > STALE {
        Finding::look(format!("{value}, {span} ago"), "see whether the source is still being filled")
    } else if -age > AHEAD {
        let advice = format!("correct that row, then `run {} --from VALUE` with the right time", job.name);
        Finding::wrong(format!("{value}, {span} ahead: rows before it are passed over"), advice)
    } else {
        Finding::ok(value.to_string())
    })
}
