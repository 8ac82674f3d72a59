//! An archive in Postgres: the rows of its manifests, and its messages by run.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::chain::{self, Held};
use super::{Settings, TOLD, Verification, VerifyError, Wrong};
use crate::archive::postgres::{Reader, Settings as Place};
use crate::model::manifest::{Manifest, sha256};

/// Number, run, hash, text, signature.
type Row = (i64, String, String, String, Option<Vec<u8>>);

/// What the commits of a run say, and what is there of it.
#[derive(Default)]
struct Run {
    messages: u64,
    /// Rows that they added: new messages, and new versions of old ones.
    added: u64,
    commits: u64,
    there: u64,
    /// Messages of which it noted that they vanished.
    noted: u64,
}

/// Verifies an archive in Postgres, in one transaction that sees it as it is now.
///
/// # Errors
///
/// The server cannot be reached or refuses, or there is no archive.
pub async fn verify(place: &Place, settings: &Settings) -> Result<Verification, VerifyError> {
    let mut reader = Reader::open(place).await?;
    let mut out = Verification::new(format!("{} at {}", reader.messages, reader.place()), "postgres");
    let held = held(&mut reader, &mut out).await?;
    let links = chain::follow(held, settings, is_called, &mut out);
    if links.is_empty() {
        out.wrong(Wrong::Sequence, &reader.manifests, "there is no manifest: no run of this version has ended");
    }
    let table = reader.vanished.clone();
    let notes = is_there(&mut reader, &table).await?;
    let runs = runs(&mut reader, notes).await?;
    let manifests: BTreeMap<&str, _> = links.iter().map(|link| (link.manifest.run_id.as_str(), link)).collect();
    for (run, link) in &manifests {
        let none = Run::default();
        let found = runs.get(*run).unwrap_or(&none);
        if found.messages != link.manifest.rows {
            let message = format!(
                "it says that the run committed {} messages, and its commits say {}",
                link.manifest.rows, found.messages
            );
            out.wrong(Wrong::Sums, &link.name, message);
        }
    }
    // The first manifest says that there was none before it: earlier runs wrote none.
    let first = links.first().filter(|link| link.manifest.previous.is_none()).map(|link| link.manifest.run_id.as_str());
    let (mut earlier, mut earlier_rows) = (0_u64, 0);
    for (run, found) in &runs {
        out.rows += found.there;
        out.vanished += found.noted;
        let subject = format!("run {run}");
        if found.commits > 0 && found.there != found.added {
            let message =
                format!("its commits added {} messages and versions, and {} are there", found.added, found.there);
            out.wrong(Wrong::Content, &subject, message);
        }
        if manifests.contains_key(run.as_str()) {
            continue;
        }
        // The IDs of runs tell their time.
        if first.is_some_and(|first| run.as_str() < first) {
            earlier += 1;
            earlier_rows += found.there;
        } else if found.there > 0 || found.noted > 0 {
            let message = format!(
                "no manifest names it, and it added {} messages and versions and noted {} as vanished: it is going on, \
                 or died and the next run names it, or it never was",
                found.there, found.noted
            );
            out.wrong(Wrong::Unnamed, &subject, message);
        }
    }
    if earlier > 0 {
        out.note(format!("{earlier_rows} messages are of {earlier} runs before the first manifest"));
    }
    twice(&mut reader, &mut out).await?;
    if notes {
        noted_twice(&mut reader, &mut out).await?;
    }
    out.problems.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
    Ok(out.done())
}

fn is_called(name: &str, manifest: &Manifest) -> bool {
    name == called(manifest.sequence as i64, &manifest.run_id)
}

fn called(sequence: i64, run: &str) -> String {
    format!("manifest {sequence} of run {run}")
}

/// Whether there is such a table, which an archive of an earlier version has not.
async fn is_there(reader: &mut Reader, table: &str) -> Result<bool, VerifyError> {
    let there = sqlx::query_scalar("select to_regclass($1) is not null").persistent(false).bind(table);
    let there = there.fetch_one(&mut reader.connection).await;
    Ok(there.map_err(|error| reader.report(&format!("cannot look for {table}"), error))?)
}

async fn held(reader: &mut Reader, out: &mut Verification) -> Result<Vec<Held>, VerifyError> {
    let table = reader.manifests.clone();
    if !is_there(reader, &table).await? {
        return Ok(Vec::new());
    }
    let sql = format!("select sequence, run_id, sha256, body, signature from {} order by sequence", reader.manifests);
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .persistent(false)
        .fetch_all(&mut reader.connection)
        .await
        .map_err(|error| reader.report("cannot read manifests", error))?;
    let mut held = Vec::with_capacity(rows.len());
    for (sequence, run, said, body, signature) in rows {
        let name = called(sequence, &run);
        let found = sha256(body.as_bytes());
        if found != said {
            let message = format!("its row says it has the SHA-256 {said}, and it has {found}: it was changed");
            out.wrong(Wrong::Manifest, &name, message);
        }
        held.push(Held { name, bytes: body.into_bytes(), signature });
    }
    Ok(held)
}

/// What commits say and what is there, by run.
async fn runs(reader: &mut Reader, notes: bool) -> Result<BTreeMap<String, Run>, VerifyError> {
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    let sql = format!(
        "select run_id, count(*), sum(messages)::bigint, sum(inserted + revised)::bigint from {} group by run_id",
        reader.commits
    );
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(AssertSqlSafe(sql))
        .persistent(false)
        .fetch_all(&mut reader.connection)
        .await
        .map_err(|error| reader.report("cannot read commits", error))?;
    for (run, commits, messages, added) in rows {
        let [commits, messages, added] = [commits, messages, added].map(|count| count.max(0) as u64);
        runs.insert(run, Run { messages, added, commits, ..Run::default() });
    }
    let sql = format!(
        "select run_id, sum(n)::bigint from (select run_id, count(*) as n from {} group by run_id \
         union all select run_id, count(*) as n from {} group by run_id) as both_tables group by run_id",
        reader.messages, reader.revisions
    );
    let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(sql))
        .persistent(false)
        .fetch_all(&mut reader.connection)
        .await
        .map_err(|error| reader.report("cannot count messages", error))?;
    for (run, there) in rows {
        runs.entry(run).or_default().there = there.max(0) as u64;
    }
    if notes {
        let sql = format!("select run_id, count(*) from {} group by run_id", reader.vanished);
        let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_all(&mut reader.connection)
            .await
            .map_err(|error| reader.report("cannot count what vanished", error))?;
        for (run, noted) in rows {
            runs.entry(run).or_default().noted = noted.max(0) as u64;
        }
    }
    Ok(runs)
}

/// Messages that are there twice in one revision, which only a table without its key lets happen within one table.
async fn twice(reader: &mut Reader, out: &mut Verification) -> Result<(), VerifyError> {
    let sql = format!(
        "with twice as (select app_key, message_server_id, revision, count(*) as n from \
            (select app_key, message_server_id, revision from {} \
             union all select app_key, message_server_id, revision from {}) as both_tables \
            group by 1, 2, 3 having count(*) > 1) \
         select app_key, message_server_id, revision, n, count(*) over () from twice order by 1, 2, 3 limit {TOLD}",
        reader.messages, reader.revisions
    );
    let rows: Vec<(String, i64, i32, i64, i64)> = sqlx::query_as(AssertSqlSafe(sql))
        .persistent(false)
        .fetch_all(&mut reader.connection)
        .await
        .map_err(|error| reader.report("cannot look for messages that are there twice", error))?;
    out.twice = rows.first().map_or(0, |row| row.4.max(0) as u64);
    for (app, id, revision, n, _) in &rows {
        let subject = format!("message {id}");
        out.wrong(Wrong::Twice, subject, format!("of {app}, revision {revision}, is there {n} times"));
    }
    if out.twice > rows.len() as u64 {
        out.note(format!("{} messages more are there twice, and not told one by one", out.twice - rows.len() as u64));
    }
    Ok(())
}

/// Messages that are noted as vanished twice, which only a table without its key lets happen.
async fn noted_twice(reader: &mut Reader, out: &mut Verification) -> Result<(), VerifyError> {
    let sql = format!(
        "with twice as (select app_key, message_server_id, count(*) as n from {} group by 1, 2 having count(*) > 1) \
         select app_key, message_server_id, n, count(*) over () from twice order by 1, 2 limit {TOLD}",
        reader.vanished
    );
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(AssertSqlSafe(sql))
        .persistent(false)
        .fetch_all(&mut reader.connection)
        .await
        .map_err(|error| reader.report("cannot look for messages that are noted twice", error))?;
    for (app, id, n, _) in &rows {
        out.wrong(Wrong::Twice, format!("message {id}"), format!("of {app} is noted as vanished {n} times"));
    }
    let more = rows.first().map_or(0, |row| row.3) - rows.len() as i64;
    if more > 0 {
        out.note(format!("{more} messages more are noted as vanished twice, and not told one by one"));
    }
    Ok(())
}
