//! Files: lists them, passes over those that were consumed before, and reads the others.

mod content;
mod csv;
mod json_values;
mod jsonl;
mod lines;
mod list;
mod parquet;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::checkpoint::{Checkpoint, ConsumedFile};
use super::error::SourceError;
use super::read_ahead::{ChunkSender, ReadAhead};
use super::rows::RowCollector;
use super::settings::{Begin, Files};

/// What files hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum FileFormat {
    Csv { delimiter: u8 },
    Jsonl,
    Parquet,
}

impl FileFormat {
    /// The usual ending of such a file's name.
    fn ending(self) -> &'static str {
        match self {
            Self::Csv { .. } => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// Begins to read the files that `files` names.
pub(super) async fn read(
    files: &Files,
    format: FileFormat,
    checkpoint: Option<Checkpoint>,
    from: Option<&Begin>,
    mut rows: RowCollector,
    stdin: Box<dyn Read + Send>,
) -> Result<ReadAhead, SourceError> {
    if let Some(Begin::Value(value)) = from {
        return Err(SourceError::Unusable(format!(
            "--from {}: only a query with a cursor can begin at a value; `start` reads files again",
            value.escape_debug()
        )));
    }
    if files.path == "-" {
        if files.skip_consumed {
            return Err(SourceError::Unusable("the standard input cannot have `cursor: files`".to_owned()));
        }
        if let FileFormat::Parquet = format {
            return Err(SourceError::Unusable(
                "Parquet cannot be read from the standard input: its index stands at its end; name a file".to_owned(),
            ));
        }
        return ReadAhead::on_thread(move |sender| {
            read_text(format, stdin, None, "stdin", &mut rows, sender)?;
            Ok(None)
        });
    }
    let consumed = match checkpoint {
        Some(Checkpoint::Files(consumed)) if files.skip_consumed => consumed,
        _ => Vec::new(),
    };
    let paths = list::list(files, format.ending()).await?;
    let (read_again, remember) = (from.is_some(), files.skip_consumed);
    ReadAhead::on_thread(move |sender| {
        // A directory that is not mounted today must not make tomorrow's run read everything again.
        let mut now_consumed = if paths.is_empty() { consumed.clone() } else { Vec::new() };
        let known: HashMap<&str, &ConsumedFile> = consumed.iter().map(|file| (file.path.as_str(), file)).collect();
        for path in &paths {
            let name = list::name(path);
            let fail = |error| SourceError::of_file(&name, error);
            let file = File::open(path).map_err(fail)?;
            if let Some(&earlier) = known.get(name.as_str()).filter(|_| !read_again)
                && file.metadata().map_err(fail)?.len() == earlier.bytes
                && Hashing::whole(&file, &name).map_err(fail)? == *earlier
            {
                tracing::debug!(path = name, "consumed before and unchanged");
                now_consumed.push(earlier.clone());
                continue;
            }
            now_consumed.extend(read_file(format, file, path, &name, remember, &mut rows, sender)?);
        }
        Ok(remember.then_some(Checkpoint::Files(now_consumed)))
    })
}

/// Reads a file; returns what to remember of it.
fn read_file(
    format: FileFormat,
    file: File,
    path: &Path,
    name: &str,
    remember: bool,
    rows: &mut RowCollector,
    sender: &ChunkSender,
) -> Result<Option<ConsumedFile>, SourceError> {
    if let FileFormat::Parquet = format {
        // Parquet is not read from front to back, so it is hashed beforehand, through the same open file.
        let consumed = remember.then(|| Hashing::whole(&file, name)).transpose();
        let consumed = consumed.map_err(|error| SourceError::of_file(name, error))?;
        let ended = parquet::read(file, name, rows, sender);
        sender.send_blocking(rows.take())?;
        return ended.map(|()| consumed);
    }
    if !remember {
        return read_text(format, file, Some(path), name, rows, sender).map(|()| None);
    }
    let mut input = Hashing { reader: file, bytes: 0, sha256: Sha256::new() };
    read_text(format, &mut input, Some(path), name, rows, sender)?;
    Ok(Some(input.consumed(name)))
}

/// Reads a text, and hands over what stands before an error before the error.
fn read_text(
    format: FileFormat,
    input: impl Read,
    path: Option<&Path>,
    name: &str,
    rows: &mut RowCollector,
    sender: &ChunkSender,
) -> Result<(), SourceError> {
    let text = content::text(input, path, name)?;
    let ended = match format {
        FileFormat::Csv { delimiter } => csv::read(text, delimiter, name, rows, sender),
        _ => jsonl::read(text, name, rows, sender),
    };
    sender.send_blocking(rows.take())?;
    ended
}

/// A reader that counts and hashes what is read.
struct Hashing<R> {
    reader: R,
    bytes: u64,
    sha256: Sha256,
}

impl Hashing<&File> {
    /// Counts and hashes a whole file.
    fn whole(mut file: &File, name: &str) -> io::Result<ConsumedFile> {
        let mut input = Hashing { reader: file, bytes: 0, sha256: Sha256::new() };
        io::copy(&mut input, &mut io::sink())?;
        let consumed = input.consumed(name);
        io::Seek::rewind(&mut file)?;
        Ok(consumed)
    }
}

impl<R> Hashing<R> {
    fn consumed(self, name: &str) -> ConsumedFile {
        ConsumedFile { path: name.to_owned(), bytes: self.bytes, sha256: hex::encode(self.sha256.finalize()) }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.bytes += read as u64;
        self.sha256.update(&buffer[..read]);
        Ok(read)
    }
}
