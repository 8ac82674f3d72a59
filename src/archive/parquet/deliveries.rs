//! What the workers of a fleet deliver: small objects below `_fleet/<ledger>/`.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::blocking::blocking;
use super::places::{FLEET, last_part};
use crate::archive::{ArchiveError, Deliveries};
use crate::model::manifest::StagedFile;
use crate::storage::{Created, Storage};

/// The deliveries for one ledger.
#[derive(Debug)]
pub(super) struct ParquetDeliveries {
    storage: Arc<dyn Storage>,
    ledger: Uuid,
}

impl ParquetDeliveries {
    pub(super) fn new(storage: Arc<dyn Storage>, ledger: Uuid) -> Self {
        Self { storage, ledger }
    }

    fn path(&self, name: &str) -> String {
        format!("{FLEET}/{}/{name}", self.ledger)
    }
}

#[async_trait]
impl Deliveries for ParquetDeliveries {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), ArchiveError> {
        let (storage, path) = (Arc::clone(&self.storage), self.path(name));
        blocking(move || match storage.create(&path, &content)? {
            Created::Yes => Ok(()),
            Created::Taken => {
                Err(ArchiveError::failed(format!("writing {}", storage.at(&path)), "another object has this name"))
            }
        })
        .await
    }

    async fn names(&self) -> Result<Vec<String>, ArchiveError> {
        let (storage, below) = (Arc::clone(&self.storage), self.path(""));
        let listed = blocking(move || Ok(storage.list(&below, false)?)).await?;
        Ok(listed.iter().map(|found| last_part(&found.name).to_owned()).collect())
    }

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        let (storage, path) = (Arc::clone(&self.storage), self.path(name));
        blocking(move || Ok(storage.read(&path)?.map(|(content, _)| content))).await
    }

    async fn refuse(&self, name: &str, files: Vec<StagedFile>) -> Result<(), ArchiveError> {
        let (storage, path) = (Arc::clone(&self.storage), self.path(name));
        blocking(move || {
            files.iter().try_for_each(|file| storage.discard(file))?;
            Ok(storage.remove(&path)?)
        })
        .await
    }

    async fn clear(&self) -> Result<(), ArchiveError> {
        let (storage, own) = (Arc::clone(&self.storage), self.ledger.to_string());
        blocking(move || {
            storage.clear(&|ledger| ledger == own)?;
            // An archive has one owner: what was delivered to former ones is of no use.
            for found in storage.list(&format!("{FLEET}/"), false)? {
                storage.remove(&found.name)?;
            }
            Ok(())
        })
        .await
    }
}
