//! Whether a store allows all that is needed, and heeds conditions.

use std::sync::Arc;
use std::time::Duration;

use object_store::{Error, PutMode};
use uuid::Uuid;

use super::blocking::wait;
use super::connect::{Conditions, OFF};
use super::{ObjectStorage, update, version};
use crate::storage::{StorageError, TEMPORARY};

/// How long a request of a probe is tried: whoever checks a configuration waits for the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn probe(storage: &ObjectStorage) -> Result<String, StorageError> {
    let patient = ObjectStorage { store: Arc::clone(&storage.probed), ..storage.clone() };
    wait(try_all(&patient))?;
    let place = &storage.place;
    Ok(match storage.conditions {
        Conditions::Auto => format!("{place} can be written, and its store heeds conditions"),
        Conditions::Off => {
            format!(
                "{place} can be written. `conditional_writes: off`: nothing but your word keeps a second writer out"
            )
        }
    })
}

/// Writes an object, tries to write it again against conditions that do not hold, and begins an upload.
async fn try_all(storage: &ObjectStorage) -> Result<(), StorageError> {
    // With the files of its ledger, so that the next run removes one that a dead run left.
    let name = format!("{TEMPORARY}/{}/{}.probe", storage.ledger, Uuid::now_v7());
    let key = storage.key(&name)?;
    let failed = storage.failed("writing", &name);
    let first = storage.put(&key, b"first", PutMode::Overwrite).await.map_err(&failed)?;
    if storage.conditions == Conditions::Auto {
        let created = storage.put(&key, b"second", PutMode::Create).await;
        storage.put(&key, b"third", PutMode::Overwrite).await.map_err(&failed)?;
        let stale = PutMode::Update(update(&version(first.e_tag, first.version)));
        let replaced = storage.put(&key, b"fourth", stale).await;
        storage.remove_now(&name).await?;
        for (put, condition) in [(created, "created only if there was none"), (replaced, "replaced only if unchanged")]
        {
            match put {
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                Err(error) => return Err(failed(error)),
                Ok(_) => {
                    return Err(StorageError::Unusable(format!(
                        "{} ignores conditions: it replaced an object that was to be {condition}, so it cannot keep a second \
                         writer out. {OFF}",
                        storage.place
                    )));
                }
            }
        }
    } else {
        storage.remove_now(&name).await?;
    }
    let upload = storage.store.create_multipart(&key).await.map_err(storage.failed("beginning an upload to", &name))?;
    storage.store.abort_multipart(&key, &upload).await.map_err(storage.failed("giving up an upload to", &name))
}
