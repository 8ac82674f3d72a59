//! The findings, for a terminal and as JSON.

use serde_json::{Value, json};

use super::super::{Exit, output};
use super::Outcome;
use crate::archive::read::Origin;
use crate::completeness::certificate::{Examined, KnownFailures};
use crate::completeness::{AbsentReference, Counts, Findings, verdict};

/// Absent references and invalid rows that are printed.
const LISTED: usize = 20;
/// Days and accounts that are printed.
const ROWS: usize = 31;

pub(super) fn text(outcome: &Outcome) -> Result<(), Exit> {
    let Outcome { examined, findings } = outcome;
    let count = output::count;
    let read = &findings.read;
    let mut lines = vec![("archive", examined.place())];
    if let Origin::Parquet { head: Some(head), .. } = &examined.archive {
        lines.push(("", format!("last manifest {}, SHA-256 {}", head.file, head.sha256)));
    }
    lines.push(("references", examined.references.clone()));
    lines.push(("range", examined.range()));
    let mut rows = format!("{} read", count(read.rows));
    for (n, what) in [
        (read.duplicates, "repeat a reference"),
        (read.invalid, "are not references"),
        (read.outside, "are outside the range"),
        (read.skipped, "are about other things"),
    ] {
        if n > 0 {
            rows.push_str(&format!(", {} {what}", count(n)));
        }
    }
    lines.push(("rows", rows));
    match &examined.failures {
        KnownFailures::Ledger => {}
        KnownFailures::File(file) => lines.push(("failures", format!("from {file}; pending references are unknown"))),
        KnownFailures::Nowhere => {
            lines.push(("failures", "unknown (no ledger, no --failures): what failed counts as absent".to_owned()));
        }
    }
    for (name, text) in lines {
        output::line(&format!("{name:<11} {text}"))?;
    }
    totals(examined, findings)?;
    by_day_and_account(examined, findings)?;
    lists(examined, findings)?;
    output::line("")?;
    output::line(&verdict(findings, examined.failures.is_known()).sentence)?;
    Ok(())
}

fn cells(name: &str, counts: &Counts) -> Vec<String> {
    let Counts { referenced, archived, failed, dismissed, pending, absent } = *counts;
    let numbers = [referenced, archived, failed, dismissed, pending, absent];
    std::iter::once(name.to_owned()).chain(numbers.map(output::count)).collect()
}

fn totals(examined: &Examined, findings: &Findings) -> Result<(), Exit> {
    let header = ["", "referenced", "archived", "failed", "dismissed", "pending", examined.missing()];
    output::line("")?;
    output::line(&output::table(&header, &[cells("messages", &findings.total)]))?;
    if !findings.failures.is_empty() {
        let rows: Vec<Vec<String>> = findings
            .failures
            .iter()
            .map(|((class, code), n)| {
                vec![class.to_string(), code.map(|code| code.to_string()).unwrap_or_default(), output::count(*n)]
            })
            .collect();
        output::line("")?;
        output::line(&output::table(&["failed", "code", "messages"], &rows))?;
    }
    Ok(())
}

fn by_day_and_account(examined: &Examined, findings: &Findings) -> Result<(), Exit> {
    if findings.total.referenced == 0 {
        return Ok(());
    }
    let header = |first| [first, "referenced", "archived", "failed", "dismissed", "pending", examined.missing()];
    // If there are too many days, show those on which something is not archived.
    let few = findings.days.len() <= ROWS;
    let days = findings.days.iter().filter(|(_, counts)| few || counts.archived < counts.referenced).take(ROWS);
    let rows: Vec<Vec<String>> = days
        .map(|(day, counts)| cells(&day.map_or_else(|| "no day".to_owned(), |day| day.to_string()), counts))
        .collect();
    output::line("")?;
    if !rows.is_empty() {
        output::line(&output::table(&header("day"), &rows))?;
    }
    more(findings.days.len() - rows.len(), "days")?;
    let accounts = findings.accounts_by_weight();
    let rows: Vec<Vec<String>> = accounts.iter().take(ROWS).map(|(name, counts)| cells(name, counts)).collect();
    output::line("")?;
    output::line(&output::table(&header("account"), &rows))?;
    more(accounts.len() - rows.len(), "accounts")
}

fn more(n: usize, what: &str) -> Result<(), Exit> {
    if n > 0 {
        output::line(&format!("… and {} more {what}: --json lists all", output::count(n as u64)))?;
    }
    Ok(())
}

fn lists(examined: &Examined, findings: &Findings) -> Result<(), Exit> {
    if !findings.problems.is_empty() {
        output::line("")?;
        for problem in &findings.problems {
            output::line(problem)?;
        }
    }
    if !findings.invalid.is_empty() {
        output::line("")?;
        for row in findings.invalid.iter().take(LISTED) {
            output::line(&format!("{}: {}", row.position, row.message))?;
        }
        let rest = findings.read.invalid.saturating_sub(LISTED as u64);
        if rest > 0 {
            let rest = output::counted(rest, "more row that is no reference", "more rows that are no references");
            output::line(&format!("… and {rest}"))?;
        }
    }
    if !findings.absent.is_empty() {
        let rows: Vec<Vec<String>> = findings
            .absent
            .iter()
            .take(LISTED)
            .map(|absent| {
                let day = absent.day.map(|day| day.to_string()).unwrap_or_default();
                vec![absent.message_server_id.to_string(), absent.conversation_id.clone(), day, absent.account.clone()]
            })
            .collect();
        output::line("")?;
        output::line(&output::table(&[examined.missing(), "conversation", "day", "account"], &rows))?;
        let rest = findings.total.absent.saturating_sub(LISTED as u64);
        if rest > 0 {
            output::line(&format!("… and {} more", output::count(rest)))?;
        }
        match &examined.absent_file {
            Some(file) => output::line(&format!("all of them are in {file}, which is a jsonl source"))?,
            None => output::line("--absent FILE writes all of them, as a jsonl source")?,
        }
    }
    Ok(())
}

/// All findings.
pub(super) fn json(outcome: &Outcome) -> Value {
    let Outcome { examined, findings } = outcome;
    let said = verdict(findings, examined.failures.is_known());
    let at = |millis: Option<i64>| {
        millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok()).map(|at| at.to_string())
    };
    json!({
        "complete": findings.is_complete(),
        "result": said.sentence,
        "job": examined.job,
        "archive": examined.archive,
        "app_key": examined.app_key,
        "references": {
            "from": examined.references,
            "rows": findings.read.rows,
            "skipped": findings.read.skipped,
            "invalid": findings.read.invalid,
            "outside": findings.read.outside,
            "duplicates": findings.read.duplicates,
            "sha256": findings.references_sha256,
        },
        "created_from": at(examined.from),
        "created_before": at(examined.to),
        "timezone": examined.timezone.iana_name().unwrap_or("UTC"),
        "failures_known": match &examined.failures {
            KnownFailures::Ledger => "ledger",
            KnownFailures::File(_) => "file",
            KnownFailures::Nowhere => "no",
        },
        "messages": findings.total,
        "failures": findings.failures.iter().map(|((class, code), n)| {
            json!({ "class": class.as_str(), "code": code, "messages": n })
        }).collect::<Vec<_>>(),
        "days": findings.days.iter().map(|(day, counts)| named("day", json!(day), counts)).collect::<Vec<_>>(),
        "accounts": findings.accounts_by_weight().into_iter()
            .map(|(name, counts)| named("account", json!(name), counts)).collect::<Vec<_>>(),
        "absent": findings.absent.iter().take(LISTED).map(absent).collect::<Vec<_>>(),
        "absent_file": examined.absent_file,
        "invalid": findings.invalid.iter().take(LISTED).map(|row| {
            json!({ "position": row.position, "message": row.message })
        }).collect::<Vec<_>>(),
        "unreadable": findings.problems,
        "tool_version": examined.version,
        "started_at": examined.started_at.to_string(),
        "operator": examined.operator,
        "purpose": examined.purpose,
    })
}

fn named(name: &str, value: Value, counts: &Counts) -> Value {
    let mut object = json!(counts);
    object[name] = value;
    object
}

fn absent(reference: &AbsentReference) -> Value {
    let mut object = json!(reference);
    object["day"] = json!(reference.day);
    object["account"] = json!(reference.account);
    object
}
