//! What is compared with what: an archive by a job or a path, and references by a job or a file.

use std::path::Path;

use super::super::{Exit, assemble};
use crate::archive::read::ArchiveReader;
use crate::config::{Config, CsvSource, Files, Job, JsonlSource, ParquetSource, Source};
use crate::ledger::Ledger;
use crate::source;

/// Whether a text could be a job's name.
fn may_be_job(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
}

/// The configuration; none if only paths are named and there is no usable one.
pub(super) fn config(file: &Path, named: [&str; 2]) -> Result<Option<Config>, Exit> {
    let needed = named.iter().any(|text| may_be_job(text) && !Path::new(text).exists());
    match Config::load(file) {
        Ok(config) => Ok(Some(config)),
        Err(_) if !needed => Ok(None),
        Err(error) => Err(Exit::usage(error)),
    }
}

fn job<'a>(config: Option<&'a Config>, text: &str) -> Option<(&'a Config, &'a Job)> {
    config.and_then(|config| Some((config, config.job(text)?)))
}

fn unknown(config: Option<&Config>, text: &str, otherwise: &str) -> Exit {
    let jobs = config.map_or_else(String::new, |config| {
        let names: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
        format!("; {} has {}", config.file.display(), names.join(", "))
    });
    Exit::words(format!("{text:?} is neither a job nor {otherwise}{jobs}"))
}

/// The archive that is examined.
pub(super) enum Target<'a> {
    /// A job's.
    Job(&'a Config, &'a Job),
    /// A Parquet archive's directory or URL.
    Path(String),
}

impl<'a> Target<'a> {
    pub(super) fn find(config: Option<&'a Config>, text: &str) -> Result<Self, Exit> {
        match job(config, text) {
            Some((config, job)) => Ok(Self::Job(config, job)),
            None if assemble::is_place(text) => Ok(Self::Path(text.to_owned())),
            None => Err(unknown(config, text, "the directory of a Parquet archive")),
        }
    }

    pub(super) fn job(&self) -> Option<&str> {
        match self {
            Self::Job(_, job) => Some(&job.name),
            Self::Path(_) => None,
        }
    }

    /// The archive as it is at this moment.
    pub(super) async fn open(&self) -> Result<Box<dyn ArchiveReader>, Exit> {
        let (archive, named) = match self {
            Self::Path(path) => (assemble::archive_at(Path::new(path))?, path),
            Self::Job(config, job) => (assemble::archive(config, job)?, &job.name),
        };
        archive.reader().await.map_err(|error| assemble::place_exit(named, error))
    }

    /// The job's ledger, of this archive.
    pub(super) async fn ledger(&self) -> Result<Option<Ledger>, Exit> {
        let Self::Job(config, job) = self else { return Ok(None) };
        let Some(ledger) = assemble::ledger_to_read(config, job).await? else {
            tracing::warn!(job = job.name, "the job has no ledger: what failed or is pending is unknown");
            return Ok(None);
        };
        // If the configuration's own identity needs a secret that is not available, trust the ledger.
        if let Ok(now) = config.identity(job)
            && (now.app_key != ledger.identity().app_key || now.place != ledger.identity().sink)
        {
            return Err(Exit::words(format!(
                "job {} was changed since its last run: its ledger belongs to AppKey {} and to {}. Verify that archive by its \
                 path, or run the job first",
                job.name,
                ledger.identity().app_key,
                ledger.identity().sink
            )));
        }
        Ok(Some(ledger))
    }
}

/// The references that it is compared with.
pub(super) enum Against<'a> {
    /// Those of a job's source.
    Job(&'a Config, &'a Job),
    /// Those in a file, or in several by a glob.
    File(Box<Source>),
}

impl<'a> Against<'a> {
    /// A file is read as the job's source of `target` would be.
    pub(super) fn find(config: Option<&'a Config>, text: &str, target: &Target<'_>) -> Result<Self, Exit> {
        if let Some((config, job)) = job(config, text) {
            return Ok(Self::Job(config, job));
        }
        let source = match target {
            Target::Job(_, job) => Some(&job.source),
            Target::Path(_) => None,
        };
        let files = Files { path: text.to_owned(), skip_consumed: false };
        let rows = source.map(|source| source.rows().clone()).unwrap_or_default();
        let lower = text.to_lowercase();
        let plain = lower.strip_suffix(".gz").or_else(|| lower.strip_suffix(".zst")).unwrap_or(&lower);
        let source = match plain.rsplit_once('.').map(|(_, ending)| ending) {
            Some("csv") => {
                let delimiter = if let Some(Source::Csv(csv)) = source { csv.delimiter } else { b',' };
                Source::Csv(CsvSource { delimiter, files, rows })
            }
            Some("jsonl" | "ndjson" | "json") => Source::Jsonl(JsonlSource { files, rows }),
            Some("parquet") => Source::Parquet(ParquetSource { files, rows }),
            _ => {
                let file = "a file that ends in .csv, .jsonl or .parquet, optionally followed by .gz or .zst";
                return Err(unknown(config, text, file));
            }
        };
        Ok(Self::File(Box::new(source)))
    }

    /// Settings that read every reference, whatever was read before.
    pub(super) fn settings(&self) -> source::Settings {
        let source = match self {
            Self::Job(_, job) => &job.source,
            Self::File(source) => source,
        };
        source::Settings { from: Some(source::Begin::Start), ..source::Settings::new(source.clone()) }
    }

    /// The references, described in one line.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::File(source) => source.files().map_or_else(String::new, |files| files.path.clone()),
            Self::Job(_, job) => {
                let (name, source) = (&job.name, &job.source);
                if let Some(files) = source.files() {
                    return format!("the source of job {name}: {}", files.path);
                }
                let cursor = source.query().and_then(|query| query.cursor.as_ref());
                let start = cursor.and_then(|cursor| cursor.start.as_ref());
                let start = start.map_or_else(String::new, |start| format!(", from its start {start} on"));
                format!("the source of job {name}: its {} query{start}", source.kind().as_str())
            }
        }
    }
}

/// The AppKey of the messages: the one given, or that of the ledger, the configuration or the archive, in this order.
pub(super) async fn app_key(
    given: Option<&str>,
    target: &Target<'_>,
    against: &Against<'_>,
    ledger: Option<&Ledger>,
    archive: &mut dyn ArchiveReader,
) -> Result<String, Exit> {
    let configured = |config: &Config, job: &Job| config.app_key(config.app_of(job)).ok();
    let of_target = ledger.map(|ledger| ledger.identity().app_key.clone()).or_else(|| match target {
        Target::Job(config, job) => configured(config, job),
        Target::Path(_) => None,
    });
    let of_references = match against {
        Against::Job(config, job) => configured(config, job),
        Against::File(..) => None,
    };
    if let (Some(one), Some(other)) = (&of_target, &of_references)
        && one != other
    {
        return Err(Exit::words(format!(
            "the archive belongs to AppKey {one}, but the references belong to AppKey {other}: they have nothing in common"
        )));
    }
    let known = given.map(ToOwned::to_owned).or(of_target).or(of_references);
    let held = archive.app_keys().await.map_err(assemble::archive_exit)?;
    match (known, held.as_slice()) {
        (Some(key), [only]) if key != *only => Err(Exit::words(format!(
            "the archive holds messages of AppKey {only}, but the references belong to AppKey {key}"
        ))),
        (Some(key), _) => Ok(key),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Ok(String::new()),
        (None, several) => Err(Exit::words(format!(
            "the archive holds messages of several AppKeys, such as {}: choose one with --app-key KEY",
            several.join(" and ")
        ))),
    }
}
