//! Files: which they are, what is in them once they are decompressed, and which were consumed before.

mod content;
mod list;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
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

impl Kind {
    /// What such files are commonly named.
    fn ending(self) -> &'static str {
        match self {
            Self::Csv { .. } => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// Begins to read the files that `files` names.
pub(super) async fn begin(
    files: &Files,
    kind: Kind,
    checkpoint: Option<Checkpoint>,
    from: Option<&Begin>,
    mut intake: Intake,
    stdin: Box<dyn Read + Send>,
) -> Result<Reading, SourceError> {
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
        return match kind {
            Kind::Parquet => Err(SourceError::Unusable(
                "Parquet cannot be read from the standard input: its index stands at its end; name a file".to_owned(),
            )),
            _ => Reading::on_thread(move |outlet| {
                let text = content::text(stdin, None, "stdin")?;
                read_text(kind, text, "stdin", &mut intake, outlet)?;
                Ok(None)
            }),
        };
    }
    let consumed = match checkpoint {
        Some(Checkpoint::Files(consumed)) if files.skip_consumed => consumed,
        _ => Vec::new(),
    };
    let paths = list::list(files, kind.ending()).await?;
    let (read_again, hash) = (from.is_some(), files.skip_consumed);
    Reading::on_thread(move |outlet| {
        // A directory that is not mounted today must not make tomorrow's run read everything again.
        let mut now_consumed = if paths.is_empty() { consumed.clone() } else { Vec::new() };
        let known: HashMap<&str, &ConsumedFile> = consumed.iter().map(|file| (file.path.as_str(), file)).collect();
        for path in &paths {
            let name = list::name(path);
            if let Some(&earlier) = known.get(name.as_str())
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
    if let Kind::Parquet = kind {
        // Parquet is read out of order, so it is hashed beforehand: this very file, whatever takes its name meanwhile.
        let tally = hash.then(|| tally_of(&file)).transpose().map_err(fail)?;
        parquet::read(file, name, intake, outlet)?;
        return Ok(tally.map(|(bytes, sha256)| ConsumedFile { path: name.to_owned(), bytes, sha256 }));
    }
    let tally = Rc::new(RefCell::new(Tally::default()));
    let input: Box<dyn Read> =
        if hash { Box::new(Tallied { reader: file, tally: Rc::clone(&tally) }) } else { Box::new(file) };
    let text = content::text(input, Some(path), name)?;
    read_text(kind, text, name, intake, outlet)?;
    let tally = tally.take();
    Ok(hash.then(|| ConsumedFile {
        path: name.to_owned(),
        bytes: tally.bytes,
        sha256: hex::encode(tally.sha256.finalize()),
    }))
}

/// Reads lines, and hands over what stands before an error before the error.
fn read_text(kind: Kind, text: impl Read, name: &str, intake: &mut Intake, outlet: &Outlet) -> Result<(), Stop> {
    let lines = Lines::new(text);
    let ended = match kind {
        Kind::Csv { delimiter } => csv::read(lines, delimiter, name, intake, outlet),
        _ => jsonl::read(lines, name, intake, outlet),
    };
    if !matches!(ended, Err(Stop::Unheard)) {
        outlet.send_blocking(intake.take())?;
    }
    ended
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
fn tally_of(mut file: &File) -> io::Result<(u64, String)> {
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
    let file = File::open(path)?;
    Ok(file.metadata()?.len() == earlier.bytes && tally_of(&file)? == (earlier.bytes, earlier.sha256.clone()))
}
