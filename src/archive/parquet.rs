//! Messages as Parquet files in Hive directories.

mod adopt;
mod blocking;
mod contents;
mod data_file;
mod existing;
mod manifests;
mod owner;
mod places;
mod properties;
mod pruning;
mod read;
mod records;
pub mod schema;
mod settings;
mod storage;
mod sums;
mod verify;
mod write;

use async_trait::async_trait;

use self::adopt::ParquetTakeover;
use self::blocking::blocking;
use self::read::ParquetReader;
pub use self::settings::{Compression, Encodings, PartitionColumn, Settings};
use self::write::ParquetWriter;
use super::read::ArchiveReader;
use super::verify::Verification;
use super::{Archive, ArchiveError, ArchiveWriter, RunStamp, Takeover};

/// An archive of Parquet files.
#[derive(Debug, Clone)]
pub struct ParquetArchive {
    settings: Settings,
}

impl ParquetArchive {
    /// The archive of these settings. Only writing needs more of them than the path.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

#[async_trait]
impl Archive for ParquetArchive {
    fn writer(&self, stamp: RunStamp) -> Result<Box<dyn ArchiveWriter>, ArchiveError> {
        Ok(Box::new(ParquetWriter::new(self.settings.clone(), stamp)))
    }

    fn takeover(&self, stamp: RunStamp) -> Result<Box<dyn Takeover>, ArchiveError> {
        Ok(Box::new(ParquetTakeover::new(&self.settings.path, stamp)))
    }

    async fn verify(&self, settings: super::verify::Settings) -> Result<Verification, ArchiveError> {
        let root = self.settings.path.clone();
        blocking(move || verify::verify(&root, &settings)).await
    }

    async fn reader(&self) -> Result<Box<dyn ArchiveReader>, ArchiveError> {
        Ok(Box::new(ParquetReader::open(&self.settings.path)?))
    }

    async fn probe(&self) -> Result<String, ArchiveError> {
        storage::probe(&self.settings.path)
    }
}
