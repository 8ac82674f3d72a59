//! A prefix of a bucket: S3 and what speaks it, Google Cloud Storage, Azure.
//!
//! A staged file is a multipart upload, small files too, so nothing is seen before it is published. Stores do not list
//! their uploads reliably, so each upload is noted in the archive, in a small object beside the other temporary files.
//! Whoever owns the archive can then give up the uploads of a process that died, also on another machine.

mod blocking;
mod connect;
mod credentials;
mod lifecycle;
mod listing;
mod note;
mod probe;
mod ranges;
mod spool;
mod upload;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, PutResult, UpdateVersion,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::blocking::wait;
pub use self::connect::{Conditions, Credentials, Encryption, ObjectSettings, Provider, Proxy};
use self::note::note_of;
use self::spool::Spool;
use self::upload::Upload;
use super::{
    Created, Lifecycle, Listed, PlaceLock, Published, Replaced, StagedOutput, Storage, StorageError, Version, above,
    reach_fsync, reach_rename, scratch,
};
use crate::failpoint::reach;
use crate::model::manifest::{BESIDE, StagedFile};
use crate::retry::{Jitter, Policy};

/// Bytes of a part. S3 wants at least 5 MiB.
const PART: usize = 8 << 20;
/// Parts of all files that are on their way at the same time.
const PARTS_UNDER_WAY: usize = 4;
/// Files that are published at the same time.
const PUBLISHED_AT_ONCE: usize = 8;
/// Places above an archive that are looked at, the nearest ones.
const LOOKED_ABOVE: usize = 8;

/// How a conditional write is tried again. The client does not do that itself, because an attempt may have been made.
const AGAIN: Policy = Policy {
    first: Duration::from_millis(200),
    factor: 2.0,
    longest: Duration::from_secs(5),
    jitter: Jitter::Added,
    attempts: Some(6),
};

/// What is asked of a store.
trait Store: ObjectStore + MultipartStore {}
impl<S: ObjectStore + MultipartStore> Store for S {}

/// A prefix of a bucket, and the one beside it.
#[derive(Debug, Clone)]
pub(super) struct ObjectStorage {
    store: Arc<dyn Store>,
    /// The same, by a client that gives up soon.
    probed: Arc<dyn Store>,
    settings: ObjectSettings,
    /// The URL of the archive.
    place: String,
    prefix: String,
    conditions: Conditions,
    scratch: PathBuf,
    ledger: Uuid,
    spool: Arc<Spool>,
    room: Arc<Semaphore>,
}

/// How an upload is completed: what [`StagedFile::staged`] says.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    upload: String,
    parts: Vec<String>,
}

impl Token {
    fn read(file: &StagedFile) -> Result<Self, StorageError> {
        serde_json::from_str(&file.staged).map_err(|error| StorageError::Failed {
            doing: format!("reading where {} was staged", file.file.path),
            source: Box::new(error),
        })
    }
}

impl ObjectStorage {
    /// Makes a client of the store. Asks nothing yet.
    pub(super) fn new(settings: &ObjectSettings, ledger: Uuid) -> Result<Self, StorageError> {
        let patience = settings.patience.min(probe::PATIENCE);
        Ok(Self {
            store: connect::connect(settings)?,
            probed: connect::connect(&ObjectSettings { patience, ..settings.clone() })?,
            settings: settings.clone(),
            place: settings.url(),
            prefix: settings.prefix.clone(),
            conditions: settings.conditions,
            scratch: settings.scratch.clone(),
            ledger,
            spool: Arc::new(Spool::new(PART)),
            room: Arc::new(Semaphore::new(PARTS_UNDER_WAY)),
        })
    }

    fn key(&self, name: &str) -> Result<Path, StorageError> {
        let key = match name.strip_prefix(BESIDE) {
            Some(within) => format!("{}-vanished/{within}", self.prefix),
            None => format!("{}/{name}", self.prefix),
        };
        Path::parse(key).map_err(|_| {
            StorageError::Unusable(format!("the recorded path {name:?} leads out of the archive at {}", self.place))
        })
    }

    fn failed<'a>(&'a self, doing: &'a str, name: &'a str) -> impl Fn(Error) -> StorageError + 'a {
        move |error| connect::explain(&format!("{doing} {}", self.at(name)), &error)
    }

    async fn put(&self, key: &Path, content: &[u8], mode: PutMode) -> Result<PutResult, Error> {
        self.store.put_opts(key, PutPayload::from(content.to_vec()), PutOptions::from(mode)).await
    }

    async fn read_now(&self, name: &str) -> Result<Option<(Vec<u8>, Version)>, StorageError> {
        let failed = self.failed("reading", name);
        let result = match self.store.get(&self.key(name)?).await {
            Err(error) if matches!(error, Error::NotFound { .. }) && !connect::is_without_bucket(&error) => {
                return Ok(None);
            }
            result => result.map_err(&failed)?,
        };
        let version = version(result.meta.e_tag.clone(), result.meta.version.clone());
        Ok(Some((result.bytes().await.map_err(failed)?.into(), version)))
    }

    async fn size_now(&self, name: &str) -> Result<Option<u64>, StorageError> {
        match self.store.head(&self.key(name)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("looking at", name)(error)),
        }
    }

    async fn list_now(&self, below: &str) -> Result<Vec<Listed>, StorageError> {
        // The key ends with the name of a directory, without its slash.
        let (beside, directory) = match below.strip_prefix(BESIDE) {
            Some(_) => (BESIDE, format!("{}-vanished", self.prefix)),
            None => ("", self.prefix.clone()),
        };
        let within = below[beside.len()..].trim_end_matches('/');
        let start = if within.is_empty() { directory.clone() } else { format!("{directory}/{within}") };
        let failed = self.failed("listing", below);
        let start = Path::parse(start).map_err(|error| failed(error.into()))?;
        let found: Vec<_> = self.store.list(Some(&start)).try_collect().await.map_err(&failed)?;
        let listed = found.iter().filter_map(|meta| {
            let name = meta.location.as_ref().strip_prefix(&directory)?.strip_prefix('/')?;
            Some(Listed { name: format!("{beside}{name}"), bytes: meta.size })
        });
        let mut listed: Vec<Listed> = listed.collect();
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    async fn find_above_now(&self, name: &str) -> Result<Option<String>, StorageError> {
        let bucket = self.place.strip_suffix(&self.prefix).unwrap_or(&self.place);
        for place in above::places_above(std::path::Path::new(&self.prefix)).take(LOOKED_ABOVE) {
            let key = format!("{}/{name}", place.display());
            let Ok(path) = Path::parse(&key) else { continue };
            match self.store.head(&path).await {
                Ok(_) => return Ok(Some(format!("{bucket}{key}"))),
                // A policy that ends at the archive's own prefix.
                Err(Error::NotFound { .. } | Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => {}
                Err(error) => return Err(connect::explain(&format!("looking at {bucket}{key}"), &error)),
            }
        }
        Ok(None)
    }

    async fn remove_now(&self, name: &str) -> Result<(), StorageError> {
        match self.store.delete(&self.key(name)?).await {
            Err(Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(self.failed("removing", name)(error)),
        }
    }

    async fn create_now(&self, name: &str, content: &[u8]) -> Result<Created, StorageError> {
        let key = self.key(name)?;
        let mode = match self.conditions {
            Conditions::Auto => PutMode::Create,
            Conditions::Off => match self.read_now(name).await? {
                Some((found, _)) => return Ok(if found == content { Created::Yes } else { Created::Taken }),
                None => PutMode::Overwrite,
            },
        };
        let mut tries = AGAIN.start();
        loop {
            let Err(error) = self.put(&key, content, mode.clone()).await else { return Ok(Created::Yes) };
            // Whatever was said, an attempt that was made may have been answered as an error, or as a conflict with itself.
            match self.read_now(name).await {
                Ok(Some((found, _))) => return Ok(if found == content { Created::Yes } else { Created::Taken }),
                Ok(None) if (is_refused(&error) || connect::may_pass(&error)) && wait_for(tries.next()).await => {}
                Ok(None) | Err(_) => return Err(self.failed("writing", name)(error)),
            }
        }
    }

    async fn replace_now(&self, name: &str, content: &[u8], read: Option<&Version>) -> Result<Replaced, StorageError> {
        let key = self.key(name)?;
        let mode = match (self.conditions, read) {
            (Conditions::Auto, None) => PutMode::Create,
            (Conditions::Auto, Some(read)) => PutMode::Update(update(read)),
            (Conditions::Off, read) => {
                let found = self.read_now(name).await?;
                if found.as_ref().map(|(_, version)| version) != read {
                    return Ok(Replaced::Changed);
                }
                PutMode::Overwrite
            }
        };
        let mut tries = AGAIN.start();
        loop {
            let error = match self.put(&key, content, mode.clone()).await {
                Ok(put) => return Ok(Replaced::Yes(version(put.e_tag, put.version))),
                Err(error) => error,
            };
            let now = self.read_now(name).await;
            match now {
                Ok(Some((found, now))) if found == content => return Ok(Replaced::Yes(now)),
                Ok(now) if is_refused(&error) && now.as_ref().map(|(_, version)| version) != read => {
                    return Ok(Replaced::Changed);
                }
                Ok(_) if (is_refused(&error) || connect::may_pass(&error)) && wait_for(tries.next()).await => {}
                Ok(_) | Err(_) => return Err(self.failed("writing", name)(error)),
            }
        }
    }

    async fn publish_one(&self, file: &StagedFile) -> Result<Published, StorageError> {
        let name = &file.file.path;
        let key = self.key(name)?;
        let Token { upload, parts } = Token::read(file)?;
        let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
        reach("complete.before");
        let completed = self.store.complete_multipart(&key, &upload, parts).await;
        reach("complete.after");
        // Whatever was said: an upload may have been completed by an attempt that was answered as an error, and a store may
        // say that it is complete though its object was removed since.
        match (self.size_now(name).await?, completed) {
            (Some(size), _) if size == file.file.bytes => {}
            (Some(size), _) => {
                let (at, recorded) = (self.at(name), file.file.bytes);
                return Ok(Published::Lost(Some(format!("{at} has {size} bytes and not {recorded} as recorded"))));
            }
            (None, Err(error)) if !connect::is_gone(&error) => return Err(self.failed("publishing", name)(error)),
            (None, _) => return Ok(Published::Lost(None)),
        }
        self.remove_now(&note_of(name, self.ledger)).await?;
        Ok(Published::Yes)
    }
}

impl Storage for ObjectStorage {
    fn place(&self) -> &str {
        &self.place
    }

    fn at(&self, name: &str) -> String {
        match name.strip_prefix(BESIDE) {
            Some(within) => format!("{}-vanished/{within}", self.place),
            None => format!("{}/{name}", self.place),
        }
    }

    fn beside(&self) -> Option<String> {
        Some(format!("../{}-vanished", self.prefix.rsplit('/').next()?))
    }

    fn probe(&self) -> Result<String, StorageError> {
        probe::probe(self)
    }

    fn lifecycle(&self) -> Lifecycle {
        wait(lifecycle::ask(&self.settings))
    }

    fn has_conditions(&self) -> bool {
        self.conditions == Conditions::Auto
    }

    fn lock(&self) -> Result<PlaceLock, StorageError> {
        Ok(PlaceLock::default())
    }

    fn scratch(&self) -> Result<File, StorageError> {
        scratch::create(&self.scratch).map_err(|error| StorageError::Failed {
            doing: format!("writing a scratch file in {}", self.scratch.display()),
            source: Box::new(error),
        })
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StorageError> {
        wait(self.size_now(name))
    }

    fn read(&self, name: &str) -> Result<Option<(Vec<u8>, Version)>, StorageError> {
        wait(self.read_now(name))
    }

    fn read_range(&self, name: &str, start: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let (key, failed) = (self.key(name)?, self.failed("reading", name));
        if length == 0 {
            return Ok(Vec::new());
        }
        let read = ranges::read(&*self.store, &key, start..start + length as u64);
        let bytes = wait(read).map_err(&failed)?;
        if bytes.len() != length {
            let said = format!("{} bytes at {start} instead of {length}", bytes.len());
            return Err(failed(Error::Generic { store: "archive", source: said.into() }));
        }
        Ok(bytes.into())
    }

    fn read_end(&self, name: &str, length: usize) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        let (key, failed) = (self.key(name)?, self.failed("reading", name));
        let read = wait(ranges::read_end(&*self.store, &key, length as u64)).map_err(failed)?;
        Ok(read.map(|(size, end)| (size, end.into())))
    }

    fn list(&self, below: &str, _lenient: bool) -> Result<Vec<Listed>, StorageError> {
        wait(self.list_now(below))
    }

    fn find_above(&self, name: &str) -> Result<Option<String>, StorageError> {
        wait(self.find_above_now(name))
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<Created, StorageError> {
        reach_rename(name);
        let created = wait(self.create_now(name, content));
        reach_fsync(name);
        created
    }

    fn replace(&self, name: &str, content: &[u8], read: Option<&Version>) -> Result<Replaced, StorageError> {
        reach_rename(name);
        let replaced = wait(self.replace_now(name, content, read));
        reach_fsync(name);
        replaced
    }

    fn stage(&self, name: &str) -> Result<Box<dyn StagedOutput>, StorageError> {
        Ok(Box::new(Upload::begin(self.clone(), name)?))
    }

    fn sync_staged(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn publish(&self, files: &[StagedFile]) -> Result<Vec<Published>, StorageError> {
        let publishing = files.iter().map(|file| self.publish_one(file));
        wait(futures_util::stream::iter(publishing).buffered(PUBLISHED_AT_ONCE).try_collect())
    }

    fn discard(&self, file: &StagedFile) -> Result<(), StorageError> {
        let name = &file.file.path;
        wait(self.give_up(name, &Token::read(file)?.upload, &note_of(name, self.ledger)))
    }

    fn clear(&self, is_given_up: &dyn Fn(&str) -> bool) -> Result<BTreeSet<String>, StorageError> {
        wait(self.clear_now(is_given_up))
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        wait(self.remove_now(name))
    }
}

/// Whether a store refused a condition. S3 also does so while another request for the same object is under way.
fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. })
}

/// Waits before the next try. Returns whether there is one.
async fn wait_for(next: Option<Duration>) -> bool {
    match next {
        Some(wait) => tokio::time::sleep(wait).await,
        None => return false,
    }
    true
}

/// An object's state: its ETag, and its generation where conditions name that.
fn version(e_tag: Option<String>, generation: Option<String>) -> Version {
    Version(format!("{}\n{}", e_tag.unwrap_or_default(), generation.unwrap_or_default()))
}

fn update(read: &Version) -> UpdateVersion {
    let (e_tag, generation) = read.0.split_once('\n').unwrap_or((&read.0, ""));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    UpdateVersion { e_tag: some(e_tag), version: some(generation) }
}
