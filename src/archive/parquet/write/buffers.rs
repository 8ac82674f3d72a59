//! A buffer for each partition, and when buffers go to disk.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use ::parquet::file::properties::WriterPropertiesPtr;
use tokio::task::JoinSet;

use super::encode::Encoder;
use super::file::PartFile;
use super::pack::{self, Packed};
use super::partition::{Key, Partitioner};
use super::scratch::{Scratch, Segment};
use crate::archive::parquet::blocking::{blocking, joined};
use crate::archive::parquet::properties;
use crate::archive::parquet::settings::Settings;
use crate::archive::{ArchiveError, RunStamp};
use crate::model::manifest::StagedFile;
use crate::model::message::MessageRows;
use crate::storage::Storage;

/// Rows and bytes (in packed form) at which a row group is complete.
const GROUP_ROWS: usize = 122_880;
const GROUP_BYTES: usize = 16 << 20;
/// Bytes in the scratch file at which a commit is due.
const SCRATCH_BYTES: u64 = 1 << 30;
/// The most row groups that are encoded at a time.
const WORKERS: usize = 4;

/// Everything that is accepted and not committed.
#[derive(Debug)]
pub(super) struct Buffers {
    output: Arc<Output>,
    bounds: Bounds,
    partitioner: Partitioner,
    partitions: Vec<Partition>,
    /// The index of each partition.
    indexes: HashMap<Key, usize>,
    /// Packed bytes in memory, without those that are being encoded.
    buffered: usize,
    encoding: JoinSet<Result<Encoded, ArchiveError>>,
    /// Packed bytes that are being encoded.
    encoding_bytes: usize,
    scratch: Option<Arc<Scratch>>,
    scratched: u64,
    finished: Vec<StagedFile>,
    /// How many files this run has begun.
    files: u32,
    due: bool,
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    buffer: usize,
    group: usize,
    /// The least that makes a fair row group when memory runs short.
    fair: usize,
    file: u64,
    workers: usize,
}

/// What writing files needs. All threads share it.
#[derive(Debug)]
struct Output {
    encoder: Encoder,
    properties: WriterPropertiesPtr,
    storage: Arc<dyn Storage>,
    /// What tells the files of this writer from all others.
    name: String,
}

#[derive(Debug)]
struct Partition {
    directory: String,
    packed: Packed,
    scratched_rows: usize,
    segments: Vec<Segment>,
    scratched: usize,
    file: CurrentFile,
}

/// The file that a partition's row groups go to.
#[derive(Debug)]
enum CurrentFile {
    None,
    Open(Box<PartFile>),
    /// A row group is being encoded, and the file is with it.
    Encoding,
}

/// A row group that is to be written, or a file that is to be finished, or both.
#[derive(Debug)]
struct RowGroup {
    partition: usize,
    directory: String,
    /// A full file, which is finished first.
    full: Option<Box<PartFile>>,
    file: Option<Box<PartFile>>,
    /// The number of the file to begin if there is none.
    number: u32,
    packed: Packed,
    segments: Vec<Segment>,
    scratch: Option<Arc<Scratch>>,
    /// Whether the file is finished afterwards.
    is_last: bool,
}

#[derive(Debug)]
struct Encoded {
    partition: usize,
    packed_bytes: usize,
    file: Option<Box<PartFile>>,
    finished: Vec<StagedFile>,
}

impl Buffers {
    /// Files are called `part-<name>-<number>.parquet`.
    pub(super) fn new(settings: &Settings, stamp: &RunStamp, storage: Arc<dyn Storage>, name: String) -> Self {
        let run = stamp.run_id.to_string();
        let encoder = Encoder::new(&stamp.app_key, &run, settings.raw);
        let properties = Arc::new(properties::of_messages(settings, stamp));
        let buffer = (settings.memory / 4).max(1);
        Self {
            output: Arc::new(Output { encoder, properties, storage, name }),
            bounds: Bounds {
                buffer,
                group: GROUP_BYTES.min(buffer / 2),
                fair: buffer / 8,
                file: settings.max_file_size,
                workers: std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS),
            },
            partitioner: Partitioner::new(&settings.partition_by, settings.timezone.clone(), &stamp.app_key),
            partitions: Vec::new(),
            indexes: HashMap::new(),
            buffered: 0,
            encoding: JoinSet::new(),
            encoding_bytes: 0,
            scratch: None,
            scratched: 0,
            finished: Vec::new(),
            files: 0,
            due: false,
        }
    }

    /// Whether a file is full, or the scratch file is large.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Buffers rows, and makes room when there are too many.
    pub(super) async fn write(&mut self, rows: &MessageRows) -> Result<(), ArchiveError> {
        let mut last: Option<(Key, usize)> = None;
        for row in rows.rows() {
            let key = self.partitioner.key(row);
            let index = match last {
                Some((same, index)) if same == key => index,
                _ => self.index(key),
            };
            last = Some((key, index));
            let partition = &mut self.partitions[index];
            self.buffered += partition.packed.push(rows, row);
            if partition.is_complete(self.bounds.group) {
                self.encode(index, false).await?;
            } else if self.buffered > self.bounds.buffer {
                self.make_room().await?;
            }
        }
        // Errors of encoding are found here, and not only by the commit.
        while let Some(outcome) = self.encoding.try_join_next() {
            self.take_back(joined(outcome)?);
        }
        Ok(())
    }

    /// Finishes every file. The order of the files depends only on the rows and their order.
    pub(super) async fn finish(&mut self) -> Result<Vec<StagedFile>, ArchiveError> {
        while self.join_one().await? {}
        let mut indexes: Vec<usize> = (0..self.partitions.len()).collect();
        indexes.sort_unstable_by(|a, b| self.partitions[*a].directory.cmp(&self.partitions[*b].directory));
        for index in indexes {
            self.encode(index, true).await?;
        }
        while self.join_one().await? {}
        self.partitions.clear();
        self.indexes.clear();
        self.scratch = None;
        self.scratched = 0;
        self.due = false;
        let mut files = std::mem::take(&mut self.finished);
        files.sort_unstable_by(|a, b| a.file.path.cmp(&b.file.path));
        Ok(files)
    }

    fn index(&mut self, key: Key) -> usize {
        *self.indexes.entry(key).or_insert_with(|| {
            self.partitions.push(Partition {
                directory: self.partitioner.directory(key),
                packed: Packed::default(),
                scratched_rows: 0,
                segments: Vec::new(),
                scratched: 0,
                file: CurrentFile::None,
            });
            self.partitions.len() - 1
        })
    }

    /// Moves rows out of memory: the largest partition as a row group; or, if even that would make a small one, the largest
    /// partitions to the scratch file, until half of the buffer is free.
    async fn make_room(&mut self) -> Result<(), ArchiveError> {
        let mut indexes: Vec<usize> =
            (0..self.partitions.len()).filter(|index| !self.partitions[*index].packed.is_empty()).collect();
        indexes.sort_unstable_by_key(|index| std::cmp::Reverse(self.partitions[*index].packed.len()));
        let Some(largest) = indexes.first().copied() else { return Ok(()) };
        if self.partitions[largest].packed.len() >= self.bounds.fair {
            return self.encode(largest, false).await;
        }
        let mut moved = Vec::new();
        for index in indexes {
            if self.buffered <= self.bounds.buffer / 2 {
                break;
            }
            let packed = std::mem::take(&mut self.partitions[index].packed);
            self.buffered -= packed.len();
            moved.push((index, packed));
        }
        let (output, scratch, mut start) = (Arc::clone(&self.output), self.scratch.clone(), self.scratched);
        let (scratch, segments) = blocking(move || {
            let failed = |error| ArchiveError::failed("writing a scratch file", error);
            let scratch = match scratch {
                Some(scratch) => scratch,
                None => Arc::new(Scratch::new(&*output.storage)?),
            };
            let mut segments = Vec::with_capacity(moved.len());
            let mut bytes = Vec::new();
            for (index, packed) in moved {
                packed.write_into(&mut bytes);
                segments.push((index, packed.rows(), scratch.write(start, &bytes).map_err(failed)?));
                start += bytes.len() as u64;
            }
            Ok((scratch, segments))
        })
        .await?;
        self.scratch = Some(scratch);
        for (index, rows, segment) in segments {
            let partition = &mut self.partitions[index];
            partition.segments.push(segment);
            partition.scratched_rows += rows;
            partition.scratched += segment.len;
            self.scratched += segment.len as u64;
        }
        self.due |= self.scratched >= SCRATCH_BYTES;
        Ok(())
    }

    /// Has a partition's rows encoded. Waits only while too much is being encoded already.
    async fn encode(&mut self, index: usize, is_last: bool) -> Result<(), ArchiveError> {
        let bytes = self.partitions[index].packed.len() + self.partitions[index].scratched;
        while matches!(self.partitions[index].file, CurrentFile::Encoding)
            || self.encoding.len() >= self.bounds.workers
            || (self.encoding_bytes > 0 && self.encoding_bytes + bytes > self.bounds.buffer)
        {
            self.join_one().await?;
        }
        let limit = self.bounds.file;
        let partition = &mut self.partitions[index];
        let (full, file) = match std::mem::replace(&mut partition.file, CurrentFile::Encoding) {
            CurrentFile::Open(open) if bytes > 0 && open.bytes() + open.last_group() > limit => (Some(open), None),
            CurrentFile::Open(open) => (None, Some(open)),
            CurrentFile::None | CurrentFile::Encoding => (None, None),
        };
        if bytes == 0 && full.is_none() && file.is_none() {
            partition.file = CurrentFile::None;
            return Ok(());
        }
        let number = self.files;
        self.files += u32::from(file.is_none());
        let group = RowGroup {
            partition: index,
            directory: partition.directory.clone(),
            full,
            file,
            number,
            packed: std::mem::take(&mut partition.packed),
            segments: std::mem::take(&mut partition.segments),
            scratch: self.scratch.clone(),
            is_last,
        };
        self.buffered -= group.packed.len();
        partition.scratched_rows = 0;
        partition.scratched = 0;
        self.encoding_bytes += bytes;
        let output = Arc::clone(&self.output);
        self.encoding.spawn_blocking(move || output.write(group));
        Ok(())
    }

    /// Waits for one of the row groups that are being encoded. Returns `false` if there is none.
    async fn join_one(&mut self) -> Result<bool, ArchiveError> {
        let Some(outcome) = self.encoding.join_next().await else { return Ok(false) };
        self.take_back(joined(outcome)?);
        Ok(true)
    }

    fn take_back(&mut self, encoded: Encoded) {
        self.encoding_bytes -= encoded.packed_bytes;
        self.finished.extend(encoded.finished);
        self.partitions[encoded.partition].file = match encoded.file {
            Some(open) => {
                // One more row group, the rest of a commit, would make the file full.
                self.due |= open.bytes() + 2 * open.last_group() > self.bounds.file;
                CurrentFile::Open(open)
            }
            None => CurrentFile::None,
        };
    }
}

impl Partition {
    fn is_complete(&self, group_bytes: usize) -> bool {
        self.packed.rows() + self.scratched_rows >= GROUP_ROWS || self.packed.len() + self.scratched >= group_bytes
    }
}

impl Output {
    /// Writes a row group. Blocks.
    fn write(&self, group: RowGroup) -> Result<Encoded, ArchiveError> {
        let mut finished = Vec::new();
        if let Some(full) = group.full {
            finished.push(full.finish()?);
        }
        let mut open = if let Some(open) = group.file {
            open
        } else {
            let slash = if group.directory.is_empty() { "" } else { "/" };
            let path = format!("{}{slash}part-{}-{:05}.parquet", group.directory, self.name, group.number);
            Box::new(PartFile::new(&*self.storage, path, &self.encoder, &self.properties)?)
        };
        let scratched: usize = group.segments.iter().map(|segment| segment.len).sum();
        let packed_bytes = group.packed.len() + scratched;
        if packed_bytes > 0 {
            let segments = group.segments.iter().flat_map(|segment| blocks(group.scratch.as_deref(), *segment));
            open.append(&self.encoder, segments.chain(group.packed.into_blocks().map(Ok)))?;
        }
        let file = if group.is_last {
            finished.push(open.finish()?);
            None
        } else {
            Some(open)
        };
        Ok(Encoded { partition: group.partition, packed_bytes, file, finished })
    }
}

/// The blocks of a piece of the scratch file.
fn blocks(scratch: Option<&Scratch>, segment: Segment) -> Vec<io::Result<pack::Block>> {
    let bytes = match scratch {
        Some(scratch) => scratch.read(segment),
        None => Err(io::Error::other("the scratch file is gone")),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => return vec![Err(error)],
    };
    let mut input = bytes.as_slice();
    let mut blocks = Vec::new();
    while !input.is_empty() {
        match pack::read(&mut input) {
            Ok(block) => blocks.push(Ok(block)),
            Err(damaged) => {
                blocks.push(Err(io::Error::other(damaged)));
                break;
            }
        }
    }
    blocks
}
