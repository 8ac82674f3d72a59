//! Buffers per partition, and when they go to disk.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::coding::Layout;
use super::encode::Encoder;
use super::file::PartFile;
use super::pack::{self, Packed};
use super::partition::{Key, Partitioner};
use super::scratch::{Scratch, Segment};
use super::{Settings, blocking, disk, joined};
use crate::archive::{ArchiveError, ArchiveFile, RunStamp};
use crate::model::message::MessageRows;

/// Rows and bytes (in packed form) that make a row group complete.
const GROUP_ROWS: usize = 122_880;
const GROUP_BYTES: usize = 16 << 20;
/// Bytes in the scratch file from which on a commit is due.
const SCRATCH_BYTES: u64 = 1 << 30;
/// Row groups encoded at a time.
const WORKERS: usize = 4;

/// Everything accepted and not yet committed.
#[derive(Debug)]
pub(super) struct Writer {
    shop: Arc<Shop>,
    bounds: Bounds,
    partitioner: Partitioner,
    partitions: Vec<Partition>,
    places: HashMap<Key, usize>,
    /// Packed bytes in memory, without those being encoded.
    buffered: usize,
    encoding: JoinSet<Result<Done, ArchiveError>>,
    /// Packed bytes being encoded.
    encoding_bytes: usize,
    scratch: Option<Arc<Scratch>>,
    scratched: u64,
    finished: Vec<ArchiveFile>,
    parts: u32,
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

/// What encoding needs, shared by all who do it.
#[derive(Debug)]
struct Shop {
    encoder: Encoder,
    layout: Result<Layout, String>,
    temporary: PathBuf,
    /// [`Self::temporary`] relative to the archive.
    relative: String,
    run: String,
}

#[derive(Debug)]
struct Partition {
    directory: String,
    packed: Packed,
    scratched_rows: usize,
    segments: Vec<Segment>,
    scratched: usize,
    part: Part,
}

#[derive(Debug)]
enum Part {
    None,
    Open(Box<Open>),
    /// A worker has it.
    Away,
}

/// A file being written, and its number in the run.
#[derive(Debug)]
struct Open {
    number: u32,
    file: PartFile,
}

/// A row group to be written, or a file to be finished, or both.
#[derive(Debug)]
struct Work {
    partition: usize,
    directory: String,
    /// A full file, to be finished first.
    full: Option<Box<Open>>,
    part: Option<Box<Open>>,
    /// The number of the file to begin if there is none.
    number: u32,
    packed: Packed,
    segments: Vec<Segment>,
    scratch: Option<Arc<Scratch>>,
    finish: bool,
    /// Threads to encode with: those that no other row group takes.
    threads: usize,
}

#[derive(Debug)]
struct Done {
    partition: usize,
    packed_bytes: usize,
    part: Option<Box<Open>>,
    finished: Vec<ArchiveFile>,
}

impl Writer {
    /// A writer whose files come to be in `temporary`, given as path and relative to the archive.
    pub(super) fn new(settings: &Settings, stamp: &RunStamp, temporary: (PathBuf, String)) -> Self {
        let run = stamp.run_id.to_string();
        let encoder = Encoder::new(&stamp.app_key, &run, settings.raw);
        let layout = Layout::new(encoder.schema(), settings, stamp).map_err(|error| error.to_string());
        let buffer = (settings.memory / 4).max(1);
        Self {
            shop: Arc::new(Shop { encoder, layout, temporary: temporary.0, relative: temporary.1, run }),
            bounds: Bounds {
                buffer,
                group: GROUP_BYTES.min(buffer / 2),
                fair: buffer / 8,
                file: settings.max_file_size,
                workers: std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS),
            },
            partitioner: Partitioner::new(&settings.partition_by, settings.timezone.clone(), &stamp.app_key),
            partitions: Vec::new(),
            places: HashMap::new(),
            buffered: 0,
            encoding: JoinSet::new(),
            encoding_bytes: 0,
            scratch: None,
            scratched: 0,
            finished: Vec::new(),
            parts: 0,
            due: false,
        }
    }

    /// Whether a file is full or too much waits on disk.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Buffers rows, and makes room when they are too many.
    pub(super) async fn write(&mut self, rows: &MessageRows) -> Result<(), ArchiveError> {
        let mut last: Option<(Key, usize)> = None;
        for row in rows.rows() {
            let key = self.partitioner.key(row);
            let place = match last {
                Some((same, place)) if same == key => place,
                _ => self.place(key),
            };
            last = Some((key, place));
            let partition = &mut self.partitions[place];
            self.buffered += partition.packed.push(rows, row);
            if partition.is_complete(self.bounds.group) {
                self.encode(place, false).await?;
            } else if self.buffered > self.bounds.buffer {
                self.make_room().await?;
            }
        }
        // What was encoded meanwhile comes back here, or its errors would stay unseen until the commit.
        while let Some(outcome) = self.encoding.try_join_next() {
            self.take_back(joined(outcome)?);
        }
        Ok(())
    }

    /// Finishes every file. Their order depends on nothing but the rows and the order in which they came.
    pub(super) async fn finish(&mut self) -> Result<Vec<ArchiveFile>, ArchiveError> {
        while self.join_one().await? {}
        let mut places: Vec<usize> = (0..self.partitions.len()).collect();
        places.sort_unstable_by(|a, b| self.partitions[*a].directory.cmp(&self.partitions[*b].directory));
        for place in places {
            self.encode(place, true).await?;
        }
        while self.join_one().await? {}
        self.partitions.clear();
        self.places.clear();
        self.scratch = None;
        self.scratched = 0;
        self.due = false;
        let mut files = std::mem::take(&mut self.finished);
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn place(&mut self, key: Key) -> usize {
        *self.places.entry(key).or_insert_with(|| {
            self.partitions.push(Partition {
                directory: self.partitioner.directory(key),
                packed: Packed::default(),
                scratched_rows: 0,
                segments: Vec::new(),
                scratched: 0,
                part: Part::None,
            });
            self.partitions.len() - 1
        })
    }

    /// Gets rows out of memory: the largest partition as a row group, or, when even that would make a poor one, the
    /// largest partitions to the scratch file until half of the buffer is free.
    async fn make_room(&mut self) -> Result<(), ArchiveError> {
        let mut places: Vec<usize> =
            (0..self.partitions.len()).filter(|place| !self.partitions[*place].packed.is_empty()).collect();
        places.sort_unstable_by_key(|place| std::cmp::Reverse(self.partitions[*place].packed.len()));
        let Some(largest) = places.first().copied() else { return Ok(()) };
        if self.partitions[largest].packed.len() >= self.bounds.fair {
            return self.encode(largest, false).await;
        }
        let mut moved = Vec::new();
        for place in places {
            if self.buffered <= self.bounds.buffer / 2 {
                break;
            }
            let packed = std::mem::take(&mut self.partitions[place].packed);
            self.buffered -= packed.len();
            moved.push((place, packed));
        }
        let (shop, scratch, mut start) = (Arc::clone(&self.shop), self.scratch.clone(), self.scratched);
        let (scratch, segments) = blocking(move || {
            let failed = |error| disk::failure("writing a scratch file in", &shop.temporary, error);
            let scratch = match scratch {
                Some(scratch) => scratch,
                None => Arc::new(Scratch::new(&shop.temporary).map_err(failed)?),
            };
            let mut segments = Vec::with_capacity(moved.len());
            let mut bytes = Vec::new();
            for (place, packed) in moved {
                packed.write_into(&mut bytes);
                segments.push((place, packed.rows(), scratch.write(start, &bytes).map_err(failed)?));
                start += bytes.len() as u64;
            }
            Ok((scratch, segments))
        })
        .await?;
        self.scratch = Some(scratch);
        for (place, rows, segment) in segments {
            let partition = &mut self.partitions[place];
            partition.segments.push(segment);
            partition.scratched_rows += rows;
            partition.scratched += segment.len;
            self.scratched += segment.len as u64;
        }
        self.due |= self.scratched >= SCRATCH_BYTES;
        Ok(())
    }

    /// Sends a partition's rows to be encoded, and waits only while too much is being encoded already.
    async fn encode(&mut self, place: usize, finish: bool) -> Result<(), ArchiveError> {
        let bytes = self.partitions[place].packed.len() + self.partitions[place].scratched;
        while matches!(self.partitions[place].part, Part::Away)
            || self.encoding.len() >= self.bounds.workers
            || (self.encoding_bytes > 0 && self.encoding_bytes + bytes > self.bounds.buffer)
        {
            self.join_one().await?;
        }
        let limit = self.bounds.file;
        let partition = &mut self.partitions[place];
        let (full, part) = match std::mem::replace(&mut partition.part, Part::Away) {
            Part::Open(open) if bytes > 0 && open.file.bytes() + open.file.last_group() > limit => (Some(open), None),
            Part::Open(open) => (None, Some(open)),
            Part::None | Part::Away => (None, None),
        };
        if bytes == 0 && full.is_none() && part.is_none() {
            partition.part = Part::None;
            return Ok(());
        }
        let number = self.parts;
        self.parts += u32::from(part.is_none());
        let work = Work {
            partition: place,
            directory: partition.directory.clone(),
            full,
            part,
            number,
            packed: std::mem::take(&mut partition.packed),
            segments: std::mem::take(&mut partition.segments),
            scratch: self.scratch.clone(),
            finish,
            threads: self.bounds.workers - self.encoding.len(),
        };
        self.buffered -= work.packed.len();
        partition.scratched_rows = 0;
        partition.scratched = 0;
        self.encoding_bytes += bytes;
        let shop = Arc::clone(&self.shop);
        self.encoding.spawn_blocking(move || shop.work(work));
        Ok(())
    }

    /// Waits for one of the row groups being encoded; `false` when there is none.
    async fn join_one(&mut self) -> Result<bool, ArchiveError> {
        let Some(outcome) = self.encoding.join_next().await else { return Ok(false) };
        self.take_back(joined(outcome)?);
        Ok(true)
    }

    fn take_back(&mut self, done: Done) {
        self.encoding_bytes -= done.packed_bytes;
        self.finished.extend(done.finished);
        self.partitions[done.partition].part = match done.part {
            Some(open) => {
                // With one more row group, the rest of a commit, it would be full.
                self.due |= open.file.bytes() + 2 * open.file.last_group() > self.bounds.file;
                Part::Open(open)
            }
            None => Part::None,
        };
    }
}

impl Partition {
    fn is_complete(&self, group_bytes: usize) -> bool {
        self.packed.rows() + self.scratched_rows >= GROUP_ROWS || self.packed.len() + self.scratched >= group_bytes
    }
}

impl Shop {
    fn work(&self, work: Work) -> Result<Done, ArchiveError> {
        let mut finished = Vec::new();
        if let Some(full) = work.full {
            finished.push(self.finish(&work.directory, *full)?);
        }
        let mut part = match work.part {
            Some(part) => part,
            None => Box::new(Open { number: work.number, file: self.begin(work.number)? }),
        };
        let scratched: usize = work.segments.iter().map(|segment| segment.len).sum();
        let packed_bytes = work.packed.len() + scratched;
        if packed_bytes > 0 {
            let segments = work.segments.iter().flat_map(|segment| blocks(work.scratch.as_deref(), *segment));
            part.file.append(&self.encoder, segments.chain(work.packed.into_blocks().map(Ok)), work.threads)?;
        }
        let part = if work.finish {
            finished.push(self.finish(&work.directory, *part)?);
            None
        } else {
            Some(part)
        };
        Ok(Done { partition: work.partition, packed_bytes, part, finished })
    }

    fn begin(&self, number: u32) -> Result<PartFile, ArchiveError> {
        let layout = self.layout.as_ref().map_err(|error| ArchiveError::Failed {
            context: "laying out the Parquet schema".to_owned(),
            source: error.as_str().into(),
        })?;
        PartFile::new(&self.temporary.join(self.name(number) + ".inprogress"), layout)
    }

    fn finish(&self, directory: &str, part: Open) -> Result<ArchiveFile, ArchiveError> {
        let name = self.name(part.number);
        let done = part.file.finish()?;
        let slash = if directory.is_empty() { "" } else { "/" };
        Ok(ArchiveFile {
            path: format!("{directory}{slash}{name}.parquet"),
            temporary: format!("{}/{name}.inprogress", self.relative),
            rows: done.rows,
            bytes: done.bytes,
            sha256: done.sha256,
            range: done.range,
        })
    }

    fn name(&self, number: u32) -> String {
        format!("part-{}-{number:05}", self.run)
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
