//! Messages as Parquet files in Hive directories.

mod adopt;
mod blocking;
mod contents;
mod data_file;
mod deliveries;
mod existing;
mod manifests;
mod owner;
mod places;
mod properties;
mod pruning;
mod ranges;
mod read;
mod records;
pub mod schema;
mod settings;
mod sums;
mod verify;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use self::adopt::ParquetTakeover;
use self::blocking::blocking;
use self::deliveries::ParquetDeliveries;
use self::owner::OwnerRecord;
use self::read::ParquetReader;
pub use self::settings::{Compression, Encodings, PartitionColumn, Settings};
use self::write::{ParquetStager, ParquetWriter};
use super::read::ArchiveReader;
use super::verify::Verification;
use super::{Archive, ArchiveError, ArchiveOwner, ArchiveWriter, Deliveries, RunStamp, Stager, Takeover, Upkeep};
use crate::storage::{Listed, Place, Storage, TEMPORARY};

/// An archive of Parquet files.
#[derive(Debug, Clone)]
pub struct ParquetArchive {
    settings: Settings,
}

impl ParquetArchive {
    /// The archive of these settings. Only writing needs more of them than the place.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The storage, to read it or to see whether it can be written.
    fn storage(&self) -> Result<Arc<dyn Storage>, ArchiveError> {
        Ok(self.settings.place.open(Uuid::nil())?)
    }
}

#[async_trait]
impl Archive for ParquetArchive {
    fn writer(&self, stamp: RunStamp) -> Result<Box<dyn ArchiveWriter>, ArchiveError> {
        Ok(Box::new(ParquetWriter::new(self.settings.clone(), stamp)?))
    }

    fn takeover(&self, stamp: RunStamp) -> Result<Box<dyn Takeover>, ArchiveError> {
        Ok(Box::new(ParquetTakeover::new(self.settings.place.open(stamp.ledger_id)?, stamp)))
    }

    fn stager(&self, stamp: RunStamp, part: Uuid) -> Result<Box<dyn Stager>, ArchiveError> {
        Ok(Box::new(ParquetStager::new(&self.settings, &stamp, part)?))
    }

    fn deliveries(&self, ledger_id: Uuid) -> Result<Arc<dyn Deliveries>, ArchiveError> {
        if matches!(self.settings.place, Place::Directory(_)) {
            let why = "a fleet archives in a bucket, which all of its workers reach, and this archive is a directory: \
                       write s3://bucket/prefix as the sink's path, or run without --fleet";
            return Err(ArchiveError::Unusable(why.to_owned()));
        }
        Ok(Arc::new(ParquetDeliveries::new(self.settings.place.open(ledger_id)?, ledger_id)))
    }

    async fn verify(&self, settings: super::verify::Settings) -> Result<Verification, ArchiveError> {
        let storage = self.storage()?;
        blocking(move || verify::verify(&storage, &settings)).await
    }

    async fn reader(&self) -> Result<Box<dyn ArchiveReader>, ArchiveError> {
        let storage = self.storage()?;
        Ok(Box::new(blocking(move || ParquetReader::open(storage)).await?))
    }

    async fn probe(&self) -> Result<String, ArchiveError> {
        let storage = self.storage()?;
        blocking(move || Ok(storage.probe()?)).await
    }

    async fn owner(&self) -> Result<Option<ArchiveOwner>, ArchiveError> {
        let storage = self.storage()?;
        let record = blocking(move || owner::read(&*storage, "JOB")).await?;
        Ok(record.map(|(OwnerRecord { ledger_id, job, commit, .. }, _)| ArchiveOwner { ledger_id, job, commit }))
    }

    async fn upkeep(&self) -> Result<Upkeep, ArchiveError> {
        let storage = self.storage()?;
        let look = move || {
            let below = format!("{TEMPORARY}/");
            let mut temporary = BTreeMap::new();
            for Listed { name, .. } in storage.list(&below, true)? {
                if let Some((ledger, _)) = name[below.len()..].split_once('/') {
                    *temporary.entry(ledger.to_owned()).or_default() += 1;
                }
            }
            Ok(Upkeep { lifecycle: storage.lifecycle(), temporary })
        };
        blocking(look).await
    }
}
