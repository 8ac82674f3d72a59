//! `verify PATH | JOB`: whether an archive is what its manifests say, and, with `--against`, whether it holds everything
//! that is referenced.

use std::path::Path;

use secrecy::ExposeSecret as _;

use super::arguments::Verify;
use super::{Context, Exit, assemble, completeness, output};
use crate::archive::Archive;
use crate::archive::verify::{Content, Kept, Settings, Verification};
use crate::completeness::certificate::Integrity;
use crate::config::{self, Config, Job};
use crate::model::manifest::{PublicKey, Signer};

pub(super) async fn verify(context: &Context, arguments: &Verify) -> Result<u8, Exit> {
    let wanted = &arguments.completeness;
    if wanted.prints_page() && arguments.json {
        return Err(Exit::words("`--output -` and `--json` both print: choose one, or write the page to a file"));
    }
    let mut settings = Settings { quick: arguments.quick, ..Settings::new() };
    for path in &arguments.public_key {
        settings.keys.push(public_key(path)?);
    }
    settings.kept.extend(arguments.head.iter().map(|head| Kept {
        sha256: head.to_lowercase(),
        by: "--head".to_owned(),
        last: false,
    }));
    let (archive, notes) = find(context, &arguments.archive, &mut settings).await?;
    let verified = archive.verify(settings).await;
    let mut verified = verified.map_err(|error| assemble::place_exit(&arguments.archive, error))?;
    verified.notes.extend(notes);
    let complete = match &wanted.against {
        Some(against) => {
            let integrity = if verified.ok { Integrity::Sound } else { Integrity::Broken };
            Some(completeness::examine(context, &arguments.archive, against, wanted, integrity).await?)
        }
        None => None,
    };
    if arguments.json {
        let mut document = serde_json::to_value(&verified).map_err(anyhow::Error::from).map_err(Exit::failed)?;
        if let Some(complete) = &complete {
            document["completeness"] = complete.json();
        }
        output::json(&document)?;
    } else if !wanted.prints_page() {
        print(&verified)?;
    }
    if let Some(complete) = &complete {
        if !arguments.json && !wanted.prints_page() {
            output::line("")?;
            complete.print()?;
        }
        wanted.certify(complete)?;
    }
    Ok(u8::from(!verified.ok || complete.is_some_and(|complete| !complete.is_complete())))
}

fn public_key(path: &Path) -> Result<PublicKey, Exit> {
    let unusable = |why: String| Exit::words(format!("--public-key {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    PublicKey::from_pem(&text).map_err(|error| unusable(format!("it {error}")))
}

/// The archive of the job of this name, or else in this directory or bucket. A job adds what it knows about its archive to `settings`.
async fn find(context: &Context, name: &str, settings: &mut Settings) -> Result<(Box<dyn Archive>, Vec<String>), Exit> {
    let config = match Config::load(&context.config) {
        Ok(config) => config,
        Err(_) if assemble::is_place(name) => return Ok((assemble::archive_at(Path::new(name))?, Vec::new())),
        Err(error) => {
            return Err(Exit::words(format!("{name} is not a directory, and a job needs the configuration: {error}")));
        }
    };
    let Some(job) = config.job(name) else {
        if assemble::is_place(name) {
            return Ok((assemble::archive_at(Path::new(name))?, Vec::new()));
        }
        let known: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
        let file = config.file.display();
        return Err(Exit::words(format!(
            "{name:?} is neither a directory nor a job of {file}, which has {}",
            known.join(", ")
        )));
    };
    let mut notes = Vec::new();
    if settings.keys.is_empty() {
        match own_key(job) {
            Ok(key) => settings.keys.extend(key),
            Err(why) => notes.push(format!("the job's own key is not known here: {why}")),
        }
    }
    settings.kept.extend(ledger_head(&config, job).await);
    Ok((assemble::archive(&config, job)?, notes))
}

/// The public key of the job's private one.
fn own_key(job: &Job) -> Result<Option<PublicKey>, String> {
    let Some(sign) = &job.sign else { return Ok(None) };
    let key = sign.look_up().map_err(|error| error.to_string())?;
    let signer = Signer::from_pem(key.expose_secret()).map_err(|error| format!("it {error}"))?;
    Ok(Some(*signer.public()))
}

/// The last manifest that the job's ledger knows of, if there is a ledger and it is this archive's.
async fn ledger_head(config: &Config, job: &Job) -> Option<Kept> {
    let ledger = assemble::ledger_to_read(config, job).await.ok()??;
    let is_its = |identity: config::Identity| identity.place == ledger.identity().sink;
    // If a part of the identity is missing, such as an AppKey that is not set, this cannot be decided.
    let place_is_same = config.identity(job).map_or(job.sink.has_files(), is_its);
    let head = ledger.last_manifest().await.ok()??.sha256.filter(|_| place_is_same)?;
    Some(Kept { sha256: head, by: format!("the ledger of {}", job.name), last: true })
}

fn print(verified: &Verification) -> Result<(), Exit> {
    let count = output::count;
    output::line(&format!("archive     {}", verified.archive))?;
    output::line(&format!("manifests   {}", count(verified.manifests)))?;
    if let Some(head) = &verified.head {
        output::line(&format!("            the last one is {}, SHA-256 {}", head.sequence, head.sha256))?;
    }
    let signatures = &verified.signatures;
    let signed = match (signatures.right, signatures.unsigned) {
        (0, _) => "none".to_owned(),
        (right, unsigned) => {
            let known = if signatures.known.is_empty() { "the keys they name" } else { "known keys" };
            let rest = if unsigned > 0 { format!(", {} manifests not signed", count(unsigned)) } else { String::new() };
            format!("{} valid, checked against {known}{rest}", count(right))
        }
    };
    output::line(&format!("signatures  {signed}"))?;
    if verified.kind == "parquet" {
        output::line(&format!("files       {}, {}", count(verified.files), output::bytes(verified.bytes)))?;
    }
    let twice = match verified.twice {
        None if verified.kind == "parquet" => "as the manifests say".to_owned(),
        None => "and duplicates were not looked for".to_owned(),
        Some(0) => "none twice".to_owned(),
        Some(twice) => format!("{} twice", count(twice)),
    };
    output::line(&format!("messages    {}, {twice}", count(verified.rows)))?;
    if verified.content == Content::NotChecked {
        output::line("content     not checked")?;
    }
    if verified.vanished > 0 {
        output::line(&format!("vanished    {} noted", count(verified.vanished)))?;
    }
    for note in &verified.notes {
        output::line(&format!("note        {note}"))?;
    }
    output::line("")?;
    for problem in &verified.problems {
        output::line(&format!("{:<10}  {}: {}", problem.kind.as_str(), problem.subject, problem.message))?;
    }
    match verified.problems.len() {
        0 if verified.content == Content::NotChecked => {
            output::line("nothing is wrong as far as this shows: the content was not checked")?;
        }
        0 => output::line("the archive is what its manifests say")?,
        1 => output::line("1 problem: the archive is not what its manifests say")?,
        problems => output::line(&format!("{problems} problems: the archive is not what its manifests say"))?,
    }
    Ok(())
}
