//! A Parquet archive: its manifests, and every file that they name or do not name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use super::chain::{self, Held, Link};
use super::columns::{self, Apps, Content, Unread};
use super::found::{DEED, Found, MANIFESTS, Places, strays};
use super::keys::{self, Key, Keys};
use super::{Problem, Settings, TOLD, Verification, VerifyError, Wrong, list};
use crate::model::manifest::{FileRange, Manifest, ManifestFile};

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// A file that a manifest names.
struct Named<'a> {
    manifest: &'a Link,
    file: &'a ManifestFile,
    content: Content,
}

/// The files of a manifest, of whatever content.
fn named(link: &Link) -> impl Iterator<Item = Named<'_>> {
    let of = move |content| move |file| Named { manifest: link, file, content };
    let messages = link.manifest.files.iter().map(of(Content::Messages));
    messages.chain(link.manifest.vanished.iter().map(of(Content::Vanished)))
}

/// Verifies the archive in this directory. Blocks, and reads every byte.
///
/// # Errors
///
/// There is no archive, or it cannot be read at all.
pub fn verify(root: &Path, settings: &Settings) -> Result<Verification, VerifyError> {
    let mut out = Verification::new(root.display().to_string(), "parquet");
    let found = Found::in_archive(root)?;
    if found.manifests.is_empty() && found.data.is_empty() && !found.others.contains(DEED) {
        return Err(VerifyError::Unusable(format!(
            "{} is no archive of Parquet files: it holds neither manifests (_manifests/*.json) nor data",
            root.display()
        )));
    }
    let links = chain::follow(held(root, &found)?, settings, is_called, &mut out);
    if links.is_empty() {
        out.wrong(Wrong::Sequence, MANIFESTS, "there is no manifest, and what no manifest names is no data");
    }
    let places = Places::of(root);
    let mut files: BTreeMap<(Content, &str), Named<'_>> = BTreeMap::new();
    for one in links.iter().flat_map(named) {
        // What leads out of the archive was told with its manifest.
        if !Path::new(&one.file.path).components().all(|component| matches!(component, Component::Normal(_))) {
            continue;
        }
        let key = (one.content, one.file.path.as_str());
        if let Some(first) = files.get(&key) {
            let message = format!("{} names it, and {} as well", first.manifest.name, one.manifest.name);
            out.wrong(Wrong::Sums, places.told(key.0, key.1), message);
            continue;
        }
        files.insert(key, one);
    }
    list::check(&places, &links, &mut out)?;
    let is_named = |content, path: &str| files.contains_key(&(content, path));
    strays([&found, &Found::beside(&places)?], &places, is_named, &links, &mut out);
    let files: Vec<Named<'_>> = files.into_values().collect();
    contents(&places, &files, settings, &mut out)?;
    out.problems.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
    Ok(out.done())
}

fn held(root: &Path, found: &Found) -> Result<Vec<Held>, VerifyError> {
    let read = |name: &str| {
        std::fs::read(root.join(name)).map_err(|error| VerifyError::failed(format!("reading {name}"), error))
    };
    let held = found.manifests.iter().map(|name| {
        let signature = format!("{name}.sig");
        let signature = found.signatures.contains(&signature).then(|| read(&signature)).transpose()?;
        Ok(Held { name: name.clone(), bytes: read(name)?, signature })
    });
    held.collect()
}

fn is_called(name: &str, manifest: &Manifest) -> bool {
    name.strip_prefix(MANIFESTS).and_then(|name| name.strip_prefix('/')) == Some(manifest.file_name().as_str())
}

/// What one thread found.
struct Part {
    keys: Keys,
    files: u64,
    bytes: u64,
    rows: u64,
    vanished: u64,
    problems: Vec<Problem>,
}

/// Hashes every file, reads its keys, and looks for those that are there twice.
fn contents(
    places: &Places,
    files: &[Named<'_>],
    settings: &Settings,
    out: &mut Verification,
) -> Result<(), VerifyError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len()).max(1);
    let (apps, next) = (Apps::default(), AtomicUsize::new(0));
    let parts = std::thread::scope(|scope| {
        let work = || {
            let mut part = Part {
                keys: Keys::new(settings.memory / threads, &settings.temporary),
                files: 0,
                bytes: 0,
                rows: 0,
                vanished: 0,
                problems: Vec::new(),
            };
            let mut piece = vec![0; PIECE];
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(named) = files.get(index) else { return Ok(part) };
                one(places, named, index as u32, &apps, &mut piece, &mut part)?;
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(VerifyError::failed("reading the archive", "a thread of it died")))
            })
            .collect::<Result<Vec<Part>, VerifyError>>()
    })?;
    let mut all = Vec::with_capacity(parts.len());
    for part in parts {
        out.files += part.files;
        out.bytes += part.bytes;
        out.rows += part.rows;
        out.vanished += part.vanished;
        out.problems.extend(part.problems);
        all.push(part.keys);
    }
    twice(places, files, &apps.names(), all, out)
}

/// Tells what is there twice: versions of messages, and notes of what vanished.
fn twice(
    places: &Places,
    files: &[Named<'_>],
    apps: &[(Content, String)],
    all: Vec<Keys>,
    out: &mut Verification,
) -> Result<(), VerifyError> {
    let app = |key: &Key| apps.get(key.app as usize).map_or((Content::Messages, "?"), |(of, app)| (*of, app));
    let (mut messages, mut noted): (u64, u64) = (0, 0);
    let mut twice: Vec<Vec<Key>> = Vec::new();
    let told = keys::several(all, |same| {
        let count = match app(&same[0]).0 {
            Content::Messages => &mut messages,
            Content::Vanished => &mut noted,
        };
        *count += 1;
        if *count <= TOLD as u64 {
            twice.push(same.to_vec());
        }
    });
    told.map_err(|error| VerifyError::failed("sorting the keys of messages", error))?;
    out.twice = messages;
    for same in &twice {
        let (first, times) = (same[0], same.len());
        let mut at: Vec<String> = same
            .iter()
            .map(|key| &files[key.file as usize])
            .map(|named| places.told(named.content, &named.file.path))
            .collect();
        at.dedup();
        let (id, places) = (first.id, at.join(", "));
        let message = match app(&first) {
            (Content::Messages, app) => {
                format!("message {id} of {app}, revision {}, is there {times} times: in {places}", first.revision)
            }
            (Content::Vanished, app) => {
                format!("message {id} of {app} is noted as vanished {times} times: in {places}")
            }
        };
        out.wrong(Wrong::Twice, &at[0], message);
    }
    for (count, what) in [(messages, "there"), (noted, "noted as vanished")] {
        if let Some(more @ 1..) = count.checked_sub(TOLD as u64) {
            out.note(format!("{more} messages more are {what} twice, and not told one by one"));
        }
    }
    Ok(())
}

/// One file: its hash, then its content if it is the one that was written.
fn one(
    places: &Places,
    named: &Named<'_>,
    index: u32,
    apps: &Apps,
    piece: &mut [u8],
    part: &mut Part,
) -> Result<(), VerifyError> {
    let file = named.file;
    let subject = || places.told(named.content, &file.path);
    let mut wrong = |kind, message: String| part.problems.push(Problem { kind, subject: subject(), message });
    let Some(path) = places.file(named.content, &file.path) else {
        wrong(Wrong::Missing, format!("{} names it, and nothing can stand beside this archive", named.manifest.name));
        return Ok(());
    };
    let (bytes, sha256) = match hash(&path, piece) {
        Ok(hashed) => hashed,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            wrong(Wrong::Missing, format!("{} names it, and it is not there", named.manifest.name));
            return Ok(());
        }
        Err(error) => {
            wrong(Wrong::Altered, format!("it cannot be read: {error}"));
            return Ok(());
        }
    };
    if bytes != file.bytes || sha256 != file.sha256 {
        let (name, said) = (&named.manifest.name, file);
        let message = if bytes == file.bytes {
            format!("{name} says it has the SHA-256 {}, and it has {sha256}: its content was changed", said.sha256)
        } else {
            format!("{name} says it has {} bytes, and it has {bytes}: its content was changed", said.bytes)
        };
        wrong(Wrong::Altered, message);
        return Ok(());
    }
    match columns::read(&path, named.content, index, apps, &mut part.keys) {
        Ok((rows, range)) => {
            if rows != file.rows {
                let message = format!("{} says {} messages, and it holds {rows}", named.manifest.name, file.rows);
                wrong(Wrong::Content, message);
            }
            if let (Some(said), Some(found)) = (file.range, range)
                && said != found
            {
                wrong(Wrong::Content, differs(&named.manifest.name, said, found));
            }
            match named.content {
                Content::Messages => part.rows += rows,
                Content::Vanished => part.vanished += rows,
            }
        }
        Err(Unread::File(message)) => wrong(Wrong::Content, message),
        Err(Unread::Keys(error)) => {
            return Err(VerifyError::failed("keeping the keys of messages in temporary files", error));
        }
    }
    part.files += 1;
    part.bytes += bytes;
    Ok(())
}

fn differs(manifest: &str, said: FileRange, found: FileRange) -> String {
    let (what, said, found) = if said.create_time == found.create_time {
        ("IDs", said.message_server_id, found.message_server_id)
    } else {
        ("times", said.create_time, found.create_time)
    };
    format!("{manifest} says its {what} are {} to {}, and they are {} to {}", said.min, said.max, found.min, found.max)
}

fn hash(path: &PathBuf, piece: &mut [u8]) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    loop {
        match file.read(piece) {
            Ok(0) => return Ok((bytes, hex::encode(digest.finalize()))),
            Ok(read) => {
                digest.update(&piece[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
