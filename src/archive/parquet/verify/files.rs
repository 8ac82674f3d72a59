//! Whether the content of every file is what its manifest says, and whether a message is there twice.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::keys::Key;
use crate::archive::ArchiveError;
use crate::archive::parquet::data_file::{APP, ID, ParquetFile, REVISION, TIME, Unreadable};
use crate::archive::parquet::places::display;
use crate::archive::parquet::ranges::{RangedFile, Unread};
use crate::archive::verify::{LISTED, Problem, Settings, Verification, Wrong};
use crate::model::manifest::{DataFile, FileRange, is_vanished};
use crate::sort::Sorter;
use crate::storage::Storage;

/// Rows decoded at once.
const ROWS: usize = 32_768;

/// A file that a manifest names.
pub(super) struct Named<'a> {
    /// Its path, which also says whether it is beside the archive.
    pub(super) path: String,
    /// The manifest's name.
    pub(super) manifest: &'a str,
    /// What the manifest says about it.
    pub(super) file: &'a DataFile,
}

/// What all threads share.
struct Work<'a> {
    storage: &'a Arc<dyn Storage>,
    files: &'a [Named<'a>],
    next: AtomicUsize,
    apps: Mutex<HashMap<App, u32>>,
    keys: Mutex<Sorter<Key>>,
}

/// An application, and whether its messages or the notes of what vanished are meant: each is there once.
type App = (bool, String);

/// What one thread found.
#[derive(Default)]
struct Part {
    files: u64,
    bytes: u64,
    rows: u64,
    vanished: u64,
    problems: Vec<Problem>,
}

/// Hashes every file, reads its keys, and looks for keys that are there twice.
pub(super) fn check(
    storage: &Arc<dyn Storage>,
    files: &[Named<'_>],
    settings: &Settings,
    out: &mut Verification,
) -> Result<(), ArchiveError> {
    let keys = Mutex::new(Sorter::new(settings.temporary.clone(), settings.memory));
    let work = Work { storage, files, next: AtomicUsize::new(0), apps: Mutex::default(), keys };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len()).max(1);
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.run())).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<Part>, ArchiveError>>()
    })?;
    for part in parts {
        out.files += part.files;
        out.bytes += part.bytes;
        out.rows += part.rows;
        out.vanished += part.vanished;
        out.problems.extend(part.problems);
    }
    work.report_duplicates(out)
}

impl Work<'_> {
    fn run(&self) -> Result<Part, ArchiveError> {
        let mut part = Part::default();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(named) = self.files.get(index) else { return Ok(part) };
            self.check_file(index as u32, named, &mut part)?;
        }
    }

    /// Checks the hash of a file, and its content if it is the file that was written.
    fn check_file(&self, index: u32, named: &Named<'_>, part: &mut Part) -> Result<(), ArchiveError> {
        let Named { path, manifest, file } = named;
        let subject = display(&**self.storage, path);
        let problems = &mut part.problems;
        let mut wrong = |kind, message| problems.push(Problem { kind, subject: subject.clone(), message });
        let content = RangedFile::new(Arc::clone(self.storage), path, file.bytes);
        let sha256 = match content.hash() {
            Ok(sha256) => sha256,
            Err(error) => {
                wrong(Wrong::Altered, format!("it cannot be read: {}", Unread::from(error)));
                return Ok(());
            }
        };
        if sha256 != file.sha256 {
            let said = &file.sha256;
            let message =
                format!("{manifest} says it has the SHA-256 {said}, and it has {sha256}: its content was changed");
            wrong(Wrong::Altered, message);
            return Ok(());
        }
        part.files += 1;
        part.bytes += file.bytes;
        let (keys, range) = match self.read_keys(index, is_vanished(path), content) {
            Ok(read) => read,
            Err(error) => {
                wrong(Wrong::Content, error.to_string());
                return Ok(());
            }
        };
        let rows = keys.len() as u64;
        if rows != file.rows {
            wrong(Wrong::Content, format!("{manifest} says it has {} messages, and it has {rows}", file.rows));
        }
        if let (Some(said), Some(found)) = (file.range, range)
            && said != found
        {
            wrong(Wrong::Content, range_differs(manifest, said, found));
        }
        *(if is_vanished(path) { &mut part.vanished } else { &mut part.rows }) += rows;
        let mut sorter = locked(&self.keys);
        keys.into_iter().try_for_each(|key| sorter.push(key)).map_err(sorting)
    }

    /// The keys in a file, and the range of its times and IDs.
    fn read_keys(
        &self,
        file: u32,
        notes: bool,
        content: RangedFile,
    ) -> Result<(Vec<Key>, Option<FileRange>), Unreadable> {
        let columns: &[&str] = if notes { &[APP, ID, TIME] } else { &[APP, ID, TIME, REVISION] };
        let (mut keys, mut range): (Vec<Key>, Option<FileRange>) = (Vec::new(), None);
        for rows in ParquetFile::of(content)?.batches(columns, ROWS, |_| true)? {
            let rows = rows?;
            let (apps, ids, times) = (rows.texts(APP)?, rows.int64s(ID)?, rows.times(TIME)?);
            let revisions = if notes { None } else { Some(rows.int32s(REVISION)?) };
            let mut last: Option<(&str, u32)> = None;
            for row in 0..rows.len() {
                let (name, id) = (apps.value(row), ids[row]);
                let app = match last {
                    Some((same, app)) if same == name => app,
                    _ => self.app(notes, name),
                };
                last = Some((name, app));
                range = range.into_iter().chain([FileRange::of(times[row], id)]).reduce(FileRange::with);
                keys.push(Key { id, app, revision: revisions.map_or(0, |revisions| revisions[row]), file });
            }
        }
        Ok((keys, range))
    }

    /// The number of an application.
    fn app(&self, notes: bool, name: &str) -> u32 {
        let mut apps = locked(&self.apps);
        let next = apps.len() as u32;
        *apps.entry((notes, name.to_owned())).or_insert(next)
    }

    /// Reports versions of messages, and notes of what vanished, that are there twice.
    fn report_duplicates(self, out: &mut Verification) -> Result<(), ArchiveError> {
        let apps = self.apps.into_inner().unwrap_or_else(PoisonError::into_inner);
        let apps: HashMap<u32, App> = apps.into_iter().map(|(app, number)| (number, app)).collect();
        let keys = self.keys.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut keys = keys.finish().map_err(sorting)?.peekable();
        let (mut messages, mut notes) = (0, 0);
        while let Some(first) = keys.next().transpose().map_err(sorting)? {
            let mut same = vec![first];
            let is_same = |next: &io::Result<Key>| next.as_ref().map_or(true, |next| next.is_same(&first));
            while let Some(next) = keys.next_if(is_same).transpose().map_err(sorting)? {
                same.push(next);
            }
            if same.len() == 1 {
                continue;
            }
            let (is_note, app) = &apps[&first.app];
            let count: &mut u64 = if *is_note { &mut notes } else { &mut messages };
            *count += 1;
            if *count > LISTED as u64 {
                continue;
            }
            let places = same.iter().map(|key| display(&**self.storage, &self.files[key.file as usize].path));
            let mut places: Vec<String> = places.collect();
            places.dedup();
            let (id, times) = (first.id, same.len());
            let what = if *is_note {
                format!("message {id} of {app} is noted as vanished {times} times")
            } else {
                format!("message {id} of {app}, revision {}, is there {times} times", first.revision)
            };
            out.wrong(Wrong::Twice, &places[0], format!("{what}: in {}", places.join(", ")));
        }
        out.twice = Some(messages);
        for (count, what) in [(messages, "are there twice"), (notes, "are noted as vanished twice")] {
            if let Some(more @ 1..) = count.checked_sub(LISTED as u64) {
                out.note(format!("{more} more messages {what}, and are not listed one by one"));
            }
        }
        Ok(())
    }
}

fn range_differs(manifest: &str, said: FileRange, found: FileRange) -> String {
    let (what, said, found) = if said.create_time == found.create_time {
        ("IDs", said.message_server_id, found.message_server_id)
    } else {
        ("times", said.create_time, found.create_time)
    };
    format!("{manifest} says its {what} are {} to {}, and they are {} to {}", said.min, said.max, found.min, found.max)
}

fn sorting(error: io::Error) -> ArchiveError {
    ArchiveError::failed("sorting the keys of messages in temporary files", error)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
