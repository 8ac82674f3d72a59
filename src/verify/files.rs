//! A Parquet archive: its manifests, and every file that they name or do not name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use super::chain::{self, Held, Link};
use super::columns::{self, Apps, Unread};
use super::keys::{self, Keys};
use super::{Problem, Settings, TOLD, Verification, VerifyError, Wrong};
use crate::manifest::{FileRange, Manifest, ManifestFile};

const MANIFESTS: &str = "_manifests";
const TEMPORARY: &str = "_tmp";
const DEED: &str = "_archive.json";
const LIST: &str = "_manifests/SHA256SUMS";
/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// What a file that a manifest names holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Versions of messages, each once in the whole archive.
    Messages,
}

/// A file that a manifest names.
struct Named<'a> {
    manifest: &'a Link,
    file: &'a ManifestFile,
    content: Content,
}

/// The files of a manifest, of whatever content.
fn named(link: &Link) -> impl Iterator<Item = Named<'_>> {
    link.manifest.files.iter().map(move |file| Named { manifest: link, file, content: Content::Messages })
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
    let mut files: BTreeMap<&str, Named<'_>> = BTreeMap::new();
    for one in links.iter().flat_map(named) {
        // What leads out of the archive was told with its manifest.
        if !Path::new(&one.file.path).components().all(|component| matches!(component, Component::Normal(_))) {
            continue;
        }
        if let Some(first) = files.get(one.file.path.as_str()) {
            let message = format!("{} names it, and {} as well", first.manifest.name, one.manifest.name);
            out.wrong(Wrong::Sums, &one.file.path, message);
            continue;
        }
        files.insert(&one.file.path, one);
    }
    list(root, &links, &mut out)?;
    strays(&found, &files, &links, &mut out);
    let files: Vec<Named<'_>> = files.into_values().collect();
    contents(root, &files, settings, &mut out)?;
    out.problems.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
    Ok(out.done())
}

/// What lies in an archive's directories, by paths relative to it.
#[derive(Default)]
struct Found {
    manifests: BTreeSet<String>,
    signatures: BTreeSet<String>,
    data: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Found {
    fn in_archive(root: &Path) -> Result<Self, VerifyError> {
        let mut found = Self::default();
        let mut directories = vec![root.to_path_buf()];
        while let Some(directory) = directories.pop() {
            let failed = |error: io::Error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory if directory == root => VerifyError::Unusable(format!(
                    "{} is no directory; an archive of Parquet files is one",
                    root.display()
                )),
                _ => VerifyError::failed(format!("reading {}", directory.display()), error),
            };
            let entries = match std::fs::read_dir(&directory) {
                // Such as a file system's lost+found.
                Err(error) if error.kind() == ErrorKind::PermissionDenied && directory.ends_with("lost+found") => {
                    continue;
                }
                entries => entries.map_err(failed)?,
            };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let path = entry.path();
                let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                let is_directory = entry.file_type().map_err(failed)?.is_dir();
                let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
                let in_manifests = directory == root.join(MANIFESTS);
                if is_directory {
                    // What is written and not yet committed is no part of the archive.
                    if relative != TEMPORARY {
                        directories.push(path);
                    }
                } else if in_manifests && extension == "json" {
                    found.manifests.insert(relative);
                } else if in_manifests && extension == "sig" {
                    found.signatures.insert(relative);
                } else if extension == "parquet" {
                    found.data.insert(relative);
                } else {
                    found.others.insert(relative);
                }
            }
        }
        Ok(found)
    }
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

/// What is there and is named by nothing.
fn strays(found: &Found, files: &BTreeMap<&str, Named<'_>>, links: &[Link], out: &mut Verification) {
    let last = links.last().map(|link| link.manifest.run_id.as_str()).unwrap_or_default();
    for path in found.data.iter().filter(|path| !files.contains_key(path.as_str())) {
        // The name holds the run, whose ID tells its time.
        let run = path.rsplit('/').next().and_then(|name| name.strip_prefix("part-")).and_then(|name| name.get(..36));
        let why = match run {
            Some(run) if run > last => ": its run is going on, or died and the next run names it",
            _ => "",
        };
        out.wrong(Wrong::Unnamed, path, format!("no manifest names it{why}"));
    }
    for name in &found.signatures {
        if name.strip_suffix(".sig").is_none_or(|of| !found.manifests.contains(of)) {
            out.note(format!(
                "{name} is a signature without its manifest: of a run that died; the next writes it again"
            ));
        }
    }
    for name in found.others.iter().filter(|name| !matches!(name.as_str(), DEED | LIST)) {
        out.note(format!("{name} is no data and no part of the archive"));
    }
}

/// Whether the list of hashes says what the manifests say.
fn list(root: &Path, links: &[Link], out: &mut Verification) -> Result<(), VerifyError> {
    let text = match std::fs::read_to_string(root.join(LIST)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if links.iter().any(|link| link.manifest.version >= 2) {
                out.wrong(Wrong::List, LIST, "it is missing; the next run writes it");
            }
            return Ok(());
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            out.wrong(Wrong::List, LIST, "it is no text");
            return Ok(());
        }
        Err(error) => return Err(VerifyError::failed(format!("reading {LIST}"), error)),
    };
    let mut listed = BTreeMap::new();
    for line in text.lines() {
        let (line, escaped) = line.strip_prefix('\\').map_or((line, false), |line| (line, true));
        if let Some((sha256, path)) = line.split_once("  ") {
            let path = if escaped {
                path.replace("\\n", "\n").replace("\\r", "\r").replace("\\\\", "\\")
            } else {
                path.to_owned()
            };
            listed.insert(path, sha256.to_owned());
        }
    }
    for link in links {
        let files = link.manifest.files.iter().map(|file| (file.path.as_str(), file.sha256.as_str()));
        for (path, sha256) in files.chain([(link.name.as_str(), link.sha256.as_str())]) {
            match listed.remove(path) {
                Some(said) if said == sha256 => {}
                Some(said) => {
                    out.wrong(Wrong::List, LIST, format!("it says {said} of {path}, which is to be {sha256}"));
                }
                None => out.wrong(Wrong::List, LIST, format!("{path} is not in it")),
            }
        }
    }
    for path in listed.into_keys() {
        out.wrong(Wrong::List, LIST, format!("it names {path}, which no manifest names"));
    }
    Ok(())
}

/// What one thread found.
struct Part {
    keys: Keys,
    files: u64,
    bytes: u64,
    rows: u64,
    problems: Vec<Problem>,
}

/// Hashes every file, reads its keys, and looks for those that are there twice.
fn contents(root: &Path, files: &[Named<'_>], settings: &Settings, out: &mut Verification) -> Result<(), VerifyError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len()).max(1);
    let (apps, next) = (Apps::default(), AtomicUsize::new(0));
    let parts = std::thread::scope(|scope| {
        let work = || {
            let mut part = Part {
                keys: Keys::new(settings.memory / threads, &settings.temporary),
                files: 0,
                bytes: 0,
                rows: 0,
                problems: Vec::new(),
            };
            let mut piece = vec![0; PIECE];
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(named) = files.get(index) else { return Ok(part) };
                one(root, named, index as u32, &apps, &mut piece, &mut part)?;
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
        out.problems.extend(part.problems);
        all.push(part.keys);
    }
    let apps = apps.names();
    let mut twice = Vec::new();
    let mut count = 0_u64;
    let told = keys::several(all, |same| {
        count += 1;
        if twice.len() < TOLD {
            twice.push(same.to_vec());
        }
    });
    told.map_err(|error| VerifyError::failed("sorting the keys of messages", error))?;
    out.twice = count;
    for same in &twice {
        let first = same[0];
        let mut places: Vec<&str> = same.iter().map(|key| files[key.file as usize].file.path.as_str()).collect();
        places.dedup();
        let message = format!(
            "message {} of {}, revision {}, is there {} times: in {}",
            first.id,
            apps.get(first.app as usize).map_or("?", String::as_str),
            first.revision,
            same.len(),
            places.join(", ")
        );
        out.wrong(Wrong::Twice, places[0], message);
    }
    if count > TOLD as u64 {
        out.note(format!("{} messages more are there twice, and not told one by one", count - TOLD as u64));
    }
    Ok(())
}

/// One file: its hash, then its content if it is the one that was written.
fn one(
    root: &Path,
    named: &Named<'_>,
    index: u32,
    apps: &Apps,
    piece: &mut [u8],
    part: &mut Part,
) -> Result<(), VerifyError> {
    let (path, file) = (root.join(&named.file.path), named.file);
    let mut wrong = |kind, message: String| part.problems.push(Problem { kind, subject: file.path.clone(), message });
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
    match named.content {
        Content::Messages => match columns::read(&path, index, apps, &mut part.keys) {
            Ok((rows, range)) => {
                part.rows += rows;
                if rows != file.rows {
                    let message = format!("{} says {} messages, and it holds {rows}", named.manifest.name, file.rows);
                    wrong(Wrong::Content, message);
                }
                if let (Some(said), Some(found)) = (file.range, range)
                    && said != found
                {
                    wrong(Wrong::Content, differs(&named.manifest.name, said, found));
                }
            }
            Err(Unread::File(message)) => wrong(Wrong::Content, message),
            Err(Unread::Keys(error)) => {
                return Err(VerifyError::failed("keeping the keys of messages in temporary files", error));
            }
        },
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
