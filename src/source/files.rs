//! Files: which they are, what is in them once they are decompressed, and which were consumed before.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::intake::Intake;
use super::lines::{Lines, failed};
use super::reading::{Outlet, Reading, Stop};
use super::settings::{Begin, Files};
use super::{Checkpoint, ConsumedFile, SourceError, csv, jsonl, parquet};

/// What files hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Csv { delimiter: u8 },
    Jsonl,
    Parquet,
}

/// Begins to read the files that `files` names.
pub(super) fn begin(
    files: &Files,
    kind: Kind,
    checkpoint: Option<Checkpoint>,
    from: Option<&Begin>,
    mut intake: Intake,
    stdin: Box<dyn Read + Send>,
) -> Result<Reading, SourceError> {
    if let Some(Begin::Value(value)) = from {
        return Err(SourceError::Unusable(format!(
            "--from {value}: only a query with a cursor can begin at a value; `start` reads files again"
        )));
    }
    if files.path == "-" {
        if files.skip_consumed {
            return Err(SourceError::Unusable("the standard input cannot have `cursor: files`".to_owned()));
        }
        return match kind {
            Kind::Parquet => Err(SourceError::Unusable(
                "Parquet cannot be read from the standard input: its index stands at its end; name a file".to_owned(),
            )),
            _ => Reading::on_thread(move |outlet| {
                let plain = decompress(stdin, None).map_err(|error| failed("stdin", error))?;
                read_text(kind, plain, "stdin", &mut intake, outlet)?;
                Ok(None)
            }),
        };
    }
    let consumed = match checkpoint {
        Some(Checkpoint::Files(consumed)) if files.skip_consumed => consumed,
        _ => Vec::new(),
    };
    let paths = list(files)?;
    let (read_again, hash) = (from.is_some(), files.skip_consumed);
    Reading::on_thread(move |outlet| {
        // A directory that is not mounted today must not make tomorrow's run read everything again.
        let mut now_consumed = if paths.is_empty() { consumed.clone() } else { Vec::new() };
        for path in &paths {
            let name = path.display().to_string();
            if let Some(earlier) = consumed.iter().find(|earlier| earlier.path == name)
                && !read_again
                && is_unchanged(path, earlier).map_err(|error| failed(&name, error))?
            {
                tracing::debug!(path = name, "consumed before and unchanged");
                now_consumed.push(earlier.clone());
                continue;
            }
            let read = read_file(kind, path, &name, hash, &mut intake, outlet)?;
            now_consumed.extend(read);
        }
        Ok(hash.then_some(Checkpoint::Files(now_consumed)))
    })
}

/// The files in the order of their paths.
fn list(files: &Files) -> Result<Vec<PathBuf>, SourceError> {
    let path = Path::new(&files.path);
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(failed(&files.path, io::ErrorKind::IsADirectory.into())),
        Ok(_) => return Ok(vec![path.to_owned()]),
        Err(error) if !files.path.contains(['*', '?', '[']) => return Err(failed(&files.path, error)),
        Err(_) => {}
    }
    // What a dot hides is often still being written.
    let options =
        glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let matches = glob::glob_with(&files.path, options)
        .map_err(|error| SourceError::Unusable(format!("{}: is no glob: {error}", files.path)))?;
    let mut paths = Vec::new();
    for path in matches {
        let path = path.map_err(|error| failed(&error.path().display().to_string(), error.into()))?;
        if !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() && !files.skip_consumed {
        return Err(SourceError::Unusable(format!("{}: no file matches", files.path)));
    }
    Ok(paths)
}

fn read_file(
    kind: Kind,
    path: &Path,
    name: &str,
    hash: bool,
    intake: &mut Intake,
    outlet: &Outlet,
) -> Result<Option<ConsumedFile>, Stop> {
    let fail = |error| Stop::Error(failed(name, error));
    let file = File::open(path).map_err(fail)?;
    if file.metadata().map_err(fail)?.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    if let Kind::Parquet = kind {
        // Parquet is read out of order, so what is read is hashed beforehand.
        let tally = hash.then(|| tally_of(path)).transpose().map_err(fail)?;
        parquet::read(file, name, intake, outlet)?;
        return Ok(tally.map(|(bytes, sha256)| ConsumedFile { path: name.to_owned(), bytes, sha256 }));
    }
    let tally = Rc::new(RefCell::new(Tally::default()));
    let plain: Box<dyn Read> = if hash {
        decompress(Tallied { reader: file, tally: Rc::clone(&tally) }, Some(path)).map_err(fail)?
    } else {
        decompress(file, Some(path)).map_err(fail)?
    };
    read_text(kind, plain, name, intake, outlet)?;
    let tally = tally.take();
    Ok(hash.then(|| ConsumedFile {
        path: name.to_owned(),
        bytes: tally.bytes,
        sha256: hex::encode(tally.sha256.finalize()),
    }))
}

/// Reads lines, and hands over what stands before an error before the error.
fn read_text(kind: Kind, plain: impl Read, name: &str, intake: &mut Intake, outlet: &Outlet) -> Result<(), Stop> {
    let lines = Lines::new(plain, name)?;
    let ended = match kind {
        Kind::Csv { delimiter } => csv::read(lines, delimiter, name, intake, outlet),
        _ => jsonl::read(lines, name, intake, outlet),
    };
    if !matches!(ended, Err(Stop::Unheard)) {
        outlet.send_blocking(intake.take())?;
    }
    ended
}

/// Decompresses what begins as gzip or Zstandard does. What is named `.gz` or `.zst` must begin so.
fn decompress<'a>(mut reader: impl Read + 'a, path: Option<&Path>) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut head)?;
    let gzip = head.starts_with(&[0x1F, 0x8B]);
    let zstandard = head.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]);
    let ending = path.and_then(Path::extension).map(std::ffi::OsStr::to_ascii_lowercase);
    if (ending.as_deref().is_some_and(|ending| ending == "gz") && !gzip)
        || (ending.as_deref().is_some_and(|ending| ending == "zst") && !zstandard)
    {
        let kind = if head.len() < 4 { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::InvalidData };
        return Err(io::Error::new(kind, "it does not begin as its ending says it does"));
    }
    let whole = Cursor::new(head).chain(reader);
    if gzip {
        Ok(Box::new(flate2::read::MultiGzDecoder::new(whole)))
    } else if zstandard {
        Ok(Box::new(zstd::stream::read::Decoder::new(whole)?))
    } else {
        Ok(Box::new(whole))
    }
}

/// What was read of a file, as it stands on disk.
#[derive(Default)]
struct Tally {
    bytes: u64,
    sha256: Sha256,
}

struct Tallied<R> {
    reader: R,
    tally: Rc<RefCell<Tally>>,
}

impl<R: Read> Read for Tallied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let mut tally = self.tally.borrow_mut();
        tally.bytes += read as u64;
        tally.sha256.update(&buffer[..read]);
        Ok(read)
    }
}

/// Size and SHA-256 of a file.
fn tally_of(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex::encode(sha256.finalize())));
        }
        bytes += read as u64;
        sha256.update(&buffer[..read]);
    }
}

fn is_unchanged(path: &Path, earlier: &ConsumedFile) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.len() == earlier.bytes && tally_of(path)? == (earlier.bytes, earlier.sha256.clone()))
}
