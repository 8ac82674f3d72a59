//! Reads a file by ranges: few requests for a store that is far away, and little memory.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::storage::{Storage, StorageError};

/// Bytes of a request, at most.
const PIECE: u64 = 4 << 20;
/// Pieces of a file that are kept: it is read column by column, and rows need all columns.
const PIECES: usize = 8;
/// Ranges that are so near to each other are read as one.
const GAP: u64 = 256 << 10;
/// The end of a file that is read at once. It has the footer, and a small file as a whole.
const TAIL: u64 = 64 << 10;

/// A file that is read piece by piece.
#[derive(Debug, Clone)]
pub(super) struct RangedFile {
    storage: Arc<dyn Storage>,
    name: String,
    size: u64,
    /// What will be read, in order.
    spans: Vec<Range<u64>>,
    pieces: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl RangedFile {
    /// A file of this size.
    pub(super) fn new(storage: Arc<dyn Storage>, name: &str, size: u64) -> Self {
        let tail = size.saturating_sub(TAIL)..size;
        Self { storage, name: name.to_owned(), size, spans: vec![tail], pieces: Arc::default() }
    }

    /// Opens a file, of which the end is read at once. `None` if it is not there.
    pub(super) fn open(storage: &Arc<dyn Storage>, name: &str) -> Result<Option<Self>, StorageError> {
        let Some((size, end)) = storage.read_end(name, TAIL as usize)? else { return Ok(None) };
        let file = Self::new(Arc::clone(storage), name, size);
        let piece = (size - end.len() as u64, Bytes::from(end));
        file.pieces.lock().unwrap_or_else(PoisonError::into_inner).push_back(piece);
        Ok(Some(file))
    }

    /// The SHA-256 of the content, lower-case hex.
    pub(super) fn hash(&self) -> Result<String, StorageError> {
        let (mut digest, mut at) = (Sha256::new(), 0);
        while at < self.size {
            let bytes = self.some(at, PIECE)?;
            digest.update(&bytes);
            at += bytes.len() as u64;
        }
        Ok(hex::encode(digest.finalize()))
    }

    /// Says what will be read, so that neighbours are read together. The ranges are in order.
    pub(super) fn plan(&mut self, ranges: impl IntoIterator<Item = Range<u64>>) {
        self.spans.clear();
        for range in ranges {
            match self.spans.last_mut() {
                Some(last) if range.start <= last.end + GAP => last.end = last.end.max(range.end),
                _ => self.spans.push(range),
            }
        }
    }

    /// The piece that holds the byte `at`, with its start. `length` bytes are wanted.
    fn piece(&self, at: u64, length: u64) -> Result<(u64, Bytes), StorageError> {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |(start, bytes): &(u64, Bytes)| (*start..*start + bytes.len() as u64).contains(&at);
        if let Some(piece) = pieces.iter().position(holds).and_then(|index| pieces.remove(index)) {
            pieces.push_back(piece.clone());
            return Ok(piece);
        }
        let range = match self.spans.iter().find(|span| span.contains(&at)) {
            Some(span) => {
                let start = span.start + (at - span.start) / PIECE * PIECE;
                start..(start + PIECE).min(span.end)
            }
            None => at..(at + length.clamp(1 << 10, PIECE)).min(self.size),
        };
        let bytes = self.storage.read_range(&self.name, range.start, (range.end - range.start) as usize)?;
        let piece = (range.start, Bytes::from(bytes));
        pieces.push_back(piece.clone());
        if pieces.len() > PIECES {
            pieces.pop_front();
        }
        Ok(piece)
    }

    /// Bytes from `at`, at least one and at most `length`.
    fn some(&self, at: u64, length: u64) -> Result<Bytes, StorageError> {
        let (start, bytes) = self.piece(at, length)?;
        let from = (at - start) as usize;
        Ok(bytes.slice(from..bytes.len().min(from.saturating_add(length as usize))))
    }
}

impl Length for RangedFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for RangedFile {
    type T = BufReader<RangeRead>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::with_capacity(1 << 10, RangeRead { file: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start + length as u64;
        if end > self.size {
            return Err(ParquetError::EOF(format!("the file ends at {}, before {end}", self.size)));
        }
        let outside = |error| ParquetError::External(Box::new(Unread::from(error)));
        let first = if length == 0 { Bytes::new() } else { self.some(start, length as u64).map_err(outside)? };
        if first.len() == length {
            return Ok(first);
        }
        let mut all = Vec::with_capacity(length);
        all.extend_from_slice(&first);
        while all.len() < length {
            let left = (length - all.len()) as u64;
            all.extend_from_slice(&self.some(end - left, left).map_err(outside)?);
        }
        Ok(all.into())
    }
}

/// Reads a file from some place on.
#[derive(Debug)]
pub(super) struct RangeRead {
    file: RangedFile,
    at: u64,
}

impl Read for RangeRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (self.file.size.saturating_sub(self.at)).min(buffer.len() as u64);
        if length == 0 {
            return Ok(0);
        }
        let bytes = self.file.some(self.at, length).map_err(|error| io::Error::other(Unread::from(error)))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// Why a range could not be read, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unread(pub(super) String);

impl From<StorageError> for Unread {
    fn from(error: StorageError) -> Self {
        Self(match error {
            StorageError::Failed { doing, source } => format!("{doing}: {source}"),
            other => other.to_string(),
        })
    }
}
