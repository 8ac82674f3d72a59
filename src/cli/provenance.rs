//! What a manifest says about who ran a job and why, and the key it is signed with.

use clap::Args;
use secrecy::ExposeSecret as _;

use super::Exit;
use crate::config::{Config, Job};
use crate::ledger::RunNote;
use crate::model::manifest::Signer;
use crate::model::summary::{JobSummary, Outcome};

/// What to do with the hash of the last manifest.
pub(super) const ADVICE: &str =
    "keep this hash outside this system: with it, `verify --head` detects whatever is changed or cut off later";

/// Whether a run added something to the archive that its manifest's hash protects.
pub(super) fn is_worth_keeping(summary: &JobSummary) -> bool {
    let again = &summary.refetched;
    summary.outcome != Outcome::Failed
        && summary.references.archived + summary.thread_extras.archived + again.edited + again.vanished > 0
}

/// What the command line says about a run; it overrides the job.
#[derive(Debug, Clone, Default, Args)]
pub struct Provenance {
    /// Who runs the job, for the manifest.
    #[arg(long, value_name = "WHO", value_parser = words)]
    pub operator: Option<String>,

    /// Why the job is run, for the manifest.
    #[arg(long, value_name = "WHAT", value_parser = words)]
    pub purpose: Option<String>,
}

pub(super) fn words(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("it is empty"),
        text if text.chars().any(char::is_control) => Err("it contains control characters"),
        text => Ok(text.to_owned()),
    }
}

/// What the manifest says about who runs what, with which settings.
pub(super) fn note(config: &Config, job: &Job, provenance: &Provenance) -> Result<RunNote, Exit> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(RunNote {
        tool: Some(concat!("yunxin-archiver ", env!("CARGO_PKG_VERSION")).to_owned()),
        host: Some(host).filter(|host| !host.is_empty()),
        operator: provenance.operator.clone().or_else(|| job.operator.clone()),
        purpose: provenance.purpose.clone().or_else(|| job.purpose.clone()),
        configuration_sha256: Some(config.digest(job).map_err(Exit::usage)?),
    })
}

/// The key that signs a job's manifests.
pub(super) fn signer(job: &Job) -> Result<Option<Signer>, Exit> {
    let Some(sign) = &job.sign else { return Ok(None) };
    let key = sign.look_up().map_err(Exit::usage)?;
    Signer::from_pem(key.expose_secret()).map(Some).map_err(|error| Exit::usage(sign.error(error.to_string())))
}
