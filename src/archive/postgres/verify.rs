//! Whether the tables are what the manifests say: the rows of the manifests, and the messages of each run.

use std::collections::BTreeMap;

use super::settings::Settings as Place;
use super::snapshot::Snapshot;
use crate::archive::ArchiveError;
use crate::archive::verify::chain::{self, FoundManifest};
use crate::archive::verify::{LISTED, Settings, Verification, Wrong};
use crate::model::manifest::{Manifest, sha256};

/// The row of a manifest: number, run, hash, text, signature.
type ManifestRow = (i64, String, String, String, Option<Vec<u8>>);

/// What the commits of a run say, and what is there of it.
#[derive(Default)]
struct Run {
    commits: u64,
    messages: u64,
    /// Rows that they added: new messages, and new versions of messages.
    added: u64,
    /// Rows that are there.
    there: u64,
    /// Messages that it noted as vanished.
    noted: u64,
}

/// Verifies an archive in Postgres, in one transaction that sees it as it is now.
///
/// # Errors
///
/// The server cannot be reached or refuses, or there is no archive.
pub(super) async fn verify(place: &Place, settings: &Settings) -> Result<Verification, ArchiveError> {
    let mut snapshot = Snapshot::open(place).await?;
    let mut out = Verification::new(
        format!("{} at {}", snapshot.names.shown(&snapshot.names.messages), snapshot.place()),
        "postgres",
        settings,
    );
    let found = find_manifests(&mut snapshot, &mut out).await?;
    let links = chain::follow(found, settings, is_called, &mut out);
    if links.is_empty() {
        let manifests = snapshot.names.shown(&snapshot.names.manifests);
        out.wrong(Wrong::Sequence, &manifests, "there is no manifest: no run of this version has ended");
    }
    let table = snapshot.vanished.clone();
    let has_notes = snapshot.exists(&table).await?;
    let runs = runs(&mut snapshot, has_notes).await?;
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
    // Runs before the first manifest wrote none, if it says that there was none before it.
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
        // The ID of a run contains its time.
        if first.is_some_and(|first| run.as_str() < first) {
            earlier += 1;
            earlier_rows += found.there;
        } else if found.there > 0 || found.noted > 0 {
            let message = format!(
                "no manifest names it, and it added {} messages and versions and noted {} as vanished: it has not ended; or \
                 it died, and the next run names it; or there never was such a run",
                found.there, found.noted
            );
            out.wrong(Wrong::Unnamed, &subject, message);
        }
    }
    if earlier > 0 {
        out.note(format!("{earlier_rows} messages are of {earlier} runs before the first manifest"));
    }
    if !settings.quick {
        find_duplicates(&mut snapshot, &mut out).await?;
        if has_notes {
            find_duplicate_notes(&mut snapshot, &mut out).await?;
        }
    }
    Ok(out.done())
}

/// Whether a manifest's row has the name that the manifest should have.
fn is_called(name: &str, manifest: &Manifest) -> bool {
    name == called(manifest.sequence as i64, &manifest.run_id)
}

fn called(sequence: i64, run: &str) -> String {
    format!("manifest {sequence} of run {run}")
}

async fn find_manifests(snapshot: &mut Snapshot, out: &mut Verification) -> Result<Vec<FoundManifest>, ArchiveError> {
    let table = snapshot.manifests.clone();
    if !snapshot.exists(&table).await? {
        return Ok(Vec::new());
    }
    let sql = format!("select sequence, run_id, sha256, body, signature from {table} order by sequence");
    let rows: Vec<ManifestRow> = snapshot.rows("cannot read manifests", sql).await?;
    let found = rows.into_iter().map(|(sequence, run, said, body, signature)| {
        let name = called(sequence, &run);
        let found = sha256(body.as_bytes());
        if found != said {
            let message = format!("its row says it has the SHA-256 {said}, and it has {found}: it was changed");
            out.wrong(Wrong::Manifest, &name, message);
        }
        FoundManifest { name, bytes: body.into_bytes(), signature }
    });
    Ok(found.collect())
}

/// What the commits say and what is there, by run.
async fn runs(snapshot: &mut Snapshot, has_notes: bool) -> Result<BTreeMap<String, Run>, ArchiveError> {
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    let count = |count: i64| count.max(0) as u64;
    let sql = format!(
        "select run_id, count(*), sum(messages)::bigint, sum(inserted + revised)::bigint from {} group by run_id",
        snapshot.commits
    );
    let rows: Vec<(String, i64, i64, i64)> = snapshot.rows("cannot read commits", sql).await?;
    for (run, commits, messages, added) in rows {
        let run_found =
            Run { commits: count(commits), messages: count(messages), added: count(added), ..Run::default() };
        runs.insert(run, run_found);
    }
    let sql = format!(
        "select run_id, sum(n)::bigint from (select run_id, count(*) as n from {} group by run_id \
         union all select run_id, count(*) as n from {} group by run_id) as both_tables group by run_id",
        snapshot.messages, snapshot.revisions
    );
    let rows: Vec<(String, i64)> = snapshot.rows("cannot count messages", sql).await?;
    for (run, there) in rows {
        runs.entry(run).or_default().there = count(there);
    }
    if has_notes {
        let sql = format!("select run_id, count(*) from {} group by run_id", snapshot.vanished);
        let rows: Vec<(String, i64)> = snapshot.rows("cannot count what vanished", sql).await?;
        for (run, noted) in rows {
            runs.entry(run).or_default().noted = count(noted);
        }
    }
    Ok(runs)
}

/// Messages that are there twice in one revision. Within one table that needs a table without its key.
async fn find_duplicates(snapshot: &mut Snapshot, out: &mut Verification) -> Result<(), ArchiveError> {
    let sql = format!(
        "with twice as (select app_key, message_server_id, revision, count(*) as n from \
            (select app_key, message_server_id, revision from {} \
             union all select app_key, message_server_id, revision from {}) as both_tables \
            group by 1, 2, 3 having count(*) > 1) \
         select app_key, message_server_id, revision, n, count(*) over () from twice order by 1, 2, 3 limit {LISTED}",
        snapshot.messages, snapshot.revisions
    );
    let rows: Vec<(String, i64, i32, i64, i64)> =
        snapshot.rows("cannot look for messages that are there twice", sql).await?;
    let twice = rows.first().map_or(0, |row| row.4.max(0) as u64);
    out.twice = Some(twice);
    for (app, id, revision, n, _) in &rows {
        out.wrong(Wrong::Twice, format!("message {id}"), format!("of {app}, revision {revision}, is there {n} times"));
    }
    if let Some(more @ 1..) = twice.checked_sub(rows.len() as u64) {
        out.note(format!("{more} more messages are there twice, and are not listed one by one"));
    }
    Ok(())
}

/// Messages that are noted as vanished twice, which needs a table without its key.
async fn find_duplicate_notes(snapshot: &mut Snapshot, out: &mut Verification) -> Result<(), ArchiveError> {
    let sql = format!(
        "with twice as (select app_key, message_server_id, count(*) as n from {} group by 1, 2 having count(*) > 1) \
         select app_key, message_server_id, n, count(*) over () from twice order by 1, 2 limit {LISTED}",
        snapshot.vanished
    );
    let rows: Vec<(String, i64, i64, i64)> =
        snapshot.rows("cannot look for messages that are noted twice", sql).await?;
    for (app, id, n, _) in &rows {
        out.wrong(Wrong::Twice, format!("message {id}"), format!("of {app} is noted as vanished {n} times"));
    }
    let more = rows.first().map_or(0, |row| row.3) - rows.len() as i64;
    if more > 0 {
        out.note(format!("{more} more messages are noted as vanished twice, and are not listed one by one"));
    }
    Ok(())
}
