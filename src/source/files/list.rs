//! The files that a path or a pattern names.
//!
//! Patterns mean what they mean to the `glob` crate. Its own walk is not used, because it panics on names that are not
//! UTF-8, follows loops of links for ever, and cannot be stopped.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::DirEntry;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use rustix::io::Errno;
use tokio::sync::oneshot;
use walkdir::WalkDir;

use crate::source::error::SourceError;
use crate::source::settings::Files;

/// Files that a dot hides are often still being written.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The files in the order of their paths, each once, however many links lead to it. Dropping the future stops the search.
pub(super) async fn list(files: &Files, ending: &'static str) -> Result<Vec<PathBuf>, SourceError> {
    let (sender, receiver) = oneshot::channel();
    let files = files.clone();
    let search = move || {
        let found = find(&files, ending, &|| sender.is_closed());
        // If nobody listens any more, the run was told to stop.
        let _ = sender.send(found);
    };
    // The runtime waits for its own threads when it ends, and a file system may never answer.
    let started = std::thread::Builder::new().name("files".to_owned()).spawn(search);
    let cannot = "the files cannot be listed";
    started.map_err(|error| SourceError::failed(cannot.to_owned(), error))?;
    receiver.await.map_err(|error| SourceError::failed(cannot.to_owned(), error))?
}

/// A path as it is shown and remembered. Bytes that are not UTF-8, and characters that a terminal would obey, are escaped.
pub(super) fn name(path: &Path) -> String {
    let mut name = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                name.extend(character.escape_default());
            } else {
                name.push(character);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(name, "\\x{byte:02x}");
        }
    }
    name
}

fn find(files: &Files, ending: &str, is_cancelled: &dyn Fn() -> bool) -> Result<Vec<PathBuf>, SourceError> {
    let path = Path::new(&files.path);
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(directory_itself(path, ending)),
        Ok(_) => return Ok(vec![path.to_owned()]),
        Err(error) if !files.path.contains(['*', '?', '[']) => return Err(SourceError::of_file(&name(path), error)),
        Err(_) => {}
    }
    let steps =
        steps(&files.path).map_err(|error| SourceError::Unusable(format!("{}: is no glob: {error}", name(path))))?;
    let mut search = Search {
        links: VecDeque::new(),
        entered: HashSet::new(),
        found: BTreeMap::new(),
        directory: None,
        is_cancelled,
    };
    let start = Path::new(if path.is_absolute() { "/" } else { "." });
    require_directory(start, &steps)?;
    search.enter(start, &steps)?;
    while let Some((link, steps)) = search.links.pop_front() {
        search.enter(&link, steps)?;
    }
    // A pattern such as `*` is expected to match directories; one such as `*.csv` is not.
    let particular = matches!(steps.last(), Some(Step::Match(last)) if last.as_str().contains(|c| c != '*'));
    match search.directory.filter(|_| particular) {
        Some(directory) if search.found.is_empty() => return Err(directory_itself(&directory, ending)),
        Some(directory) => {
            tracing::warn!("{} is a directory, which {} matches; it is passed over", name(&directory), files.path);
        }
        None if search.found.is_empty() && !files.skip_consumed => {
            return Err(SourceError::Unusable(format!("{}: no file matches", name(path))));
        }
        None => {}
    }
    let mut paths: Vec<PathBuf> = search.found.into_values().collect();
    paths.sort();
    Ok(paths)
}

/// Refuses a pattern whose directories before its first wildcard do not exist: a share that is not mounted, or a typing
/// mistake, must not look like a night without files.
fn require_directory(start: &Path, steps: &[Step]) -> Result<(), SourceError> {
    let mut directory = start.to_owned();
    for step in steps {
        let Step::Name(name) = step else { break };
        directory.push(name);
    }
    if is_directory(&directory)? {
        return Ok(());
    }
    let directory = shown(&directory);
    Err(SourceError::Unusable(format!("{directory}: there is no such directory; is it mounted, and spelled so?")))
}

/// Whether there is such a directory. It is an error if that cannot be found out.
fn is_directory(path: &Path) -> Result<bool, SourceError> {
    let error = match std::fs::metadata(path) {
        Ok(found) => return Ok(found.is_dir()),
        Err(error) => error,
    };
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Some(Errno::ACCESS) if path.parent().is_some_and(is_lost_and_found) => Ok(false),
        _ => Err(SourceError::of_file(&shown(path), error)),
    }
}

/// Linux file systems have one for their own use.
fn is_lost_and_found(directory: &Path) -> bool {
    directory.file_name() == Some(OsStr::new("lost+found"))
}

/// One component of a pattern.
enum Step {
    /// Exactly this name.
    Name(OsString),
    /// The names that match.
    Match(Pattern),
    /// `**`: the directory and all below it.
    Tree,
}

fn steps(pattern: &str) -> Result<Vec<Step>, glob::PatternError> {
    // The components of `a**` are valid by themselves, but the whole is not.
    Pattern::new(pattern)?;
    let components = Path::new(pattern).components().filter(|c| !matches!(c, Component::RootDir | Component::CurDir));
    components
        .map(|component| {
            Ok(match component.as_os_str().to_str() {
                Some("**") => Step::Tree,
                Some(text) if text.contains(['*', '?', '[']) => Step::Match(Pattern::new(text)?),
                _ => Step::Name(component.as_os_str().to_owned()),
            })
        })
        .collect()
}

/// A path as messages name it: without the `.` that relative paths begin with here.
fn shown(path: &Path) -> String {
    name(path.strip_prefix(".").unwrap_or(path))
}

struct Search<'a> {
    /// Links to directories below a `**`, with the steps from there. They come last, so that a file is found by its own
    /// path if the pattern matches it.
    links: VecDeque<(PathBuf, &'a [Step])>,
    /// The directories that were entered, with links resolved, and how many steps were left in each.
    entered: HashSet<(PathBuf, usize)>,
    /// The files that were found, by their paths with links resolved.
    found: BTreeMap<PathBuf, PathBuf>,
    /// The first directory that the whole pattern matches.
    directory: Option<PathBuf>,
    is_cancelled: &'a dyn Fn() -> bool,
}

impl<'a> Search<'a> {
    /// Follows the remaining steps from a directory.
    fn enter(&mut self, directory: &Path, steps: &'a [Step]) -> Result<(), SourceError> {
        match steps {
            [] => Ok(()),
            [Step::Name(name), left @ ..] => self.reach(directory.join(name), left),
            _ if !self.is_first(directory, steps) => Ok(()),
            [Step::Match(pattern), left @ ..] => {
                for entry in self.entries(directory)? {
                    let name = entry.file_name();
                    let is_marker = is_marker(&name) && !pattern.as_str().starts_with('_');
                    if !is_marker && pattern.matches_with(&name.to_string_lossy(), OPTIONS) {
                        self.reach(entry.path(), left)?;
                    }
                }
                Ok(())
            }
            [Step::Tree, left @ ..] => {
                self.enter(directory, left)?;
                for entry in self.entries(directory)? {
                    let (path, name) = (entry.path(), entry.file_name());
                    if name.as_bytes().starts_with(b".") || is_marker(&name) {
                        continue;
                    }
                    let kind = entry.file_type().map_err(|error| SourceError::of_file(&shown(&path), error))?;
                    if kind.is_dir() {
                        self.enter(&path, steps)?;
                    } else if kind.is_symlink() && is_directory(&path)? {
                        self.links.push_back((path, steps));
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes what a step led to: a directory on the way, or a file at the end.
    fn reach(&mut self, path: PathBuf, left: &'a [Step]) -> Result<(), SourceError> {
        if !left.is_empty() {
            return if is_directory(&path)? { self.enter(&path, left) } else { Ok(()) };
        }
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => {
                self.directory.get_or_insert(path);
            }
            Ok(found) if !found.is_file() => {
                tracing::warn!("{} is a pipe, a socket or a device; a pattern passes it over", name(&path));
            }
            // A link that leads nowhere is an error when it is its turn; here, nothing is there.
            Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => {}
            _ => {
                let path = path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
                let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
                let known = self.found.entry(real).or_insert_with(|| path.clone());
                if known.is_symlink() && !path.is_symlink() {
                    *known = path;
                }
            }
        }
        Ok(())
    }

    /// Whether this directory is reached for the first time with these steps left.
    fn is_first(&mut self, directory: &Path, steps: &[Step]) -> bool {
        let real = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        self.entered.insert((real, steps.len()))
    }

    /// The entries of a directory, in the order of their names.
    fn entries(&self, directory: &Path) -> Result<Vec<DirEntry>, SourceError> {
        if (self.is_cancelled)() {
            return Err(SourceError::Unusable("nobody waits for the files any more".to_owned()));
        }
        let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        match entries {
            Ok(mut entries) => {
                entries.sort_by_key(DirEntry::file_name);
                Ok(entries)
            }
            // It was removed after its name was read.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied && is_lost_and_found(directory) => Ok(Vec::new()),
            Err(error) => Err(SourceError::of_file(&shown(directory), error)),
        }
    }
}

/// Files that other programs put beside a data set to describe it, and where they write before they commit.
fn is_marker(name: &OsStr) -> bool {
    let name = name.as_bytes();
    [b"_SUCCESS".as_slice(), b"_metadata", b"_common_metadata", b"_temporary"].contains(&name)
        || [b"_committed_".as_slice(), b"_started_"].iter().any(|start| name.starts_with(start))
}

/// The error of a directory in the place of a file, with a pattern for the files in it.
fn directory_itself(directory: &Path, ending: &str) -> SourceError {
    let is_visible = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !(entry.file_name().as_bytes().starts_with(b".") || is_marker(entry.file_name()))
    };
    let entries = WalkDir::new(directory).sort_by_file_name().into_iter().filter_entry(is_visible);
    let first = entries.filter_map(Result::ok).find(|entry| entry.file_type().is_file());
    let tree = if first.as_ref().is_some_and(|file| file.depth() > 1) { "**/" } else { "" };
    let extension = |path: &Path| path.extension().map(|extension| extension.to_string_lossy().into_owned());
    let endings = first.map_or_else(
        || format!(".{ending}"),
        |file| match (extension(file.path()), file.path().file_stem().and_then(|stem| extension(Path::new(stem)))) {
            (Some(outer), Some(inner)) if outer == "gz" || outer == "zst" => format!(".{inner}.{outer}"),
            (Some(only), _) => format!(".{only}"),
            (None, _) => String::new(),
        },
    );
    SourceError::Unusable(format!(
        "{}: is a directory; name the files in it by a glob, such as {}/{tree}*{endings}",
        name(directory),
        Pattern::escape(&name(directory)).trim_end_matches('/'),
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_search_that_nobody_waits_for_stops_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..100 {
            std::fs::create_dir_all(directory.path().join(format!("{n}/in"))).unwrap();
        }
        let path = format!("{}/**/in/*/*.csv", directory.path().display());
        let files = Files { path, skip_consumed: true };
        let asked = Cell::new(0);
        let found = find(&files, "csv", &|| {
            asked.set(asked.get() + 1);
            asked.get() > 7
        });
        assert!(found.is_err());
        assert_eq!(asked.get(), 8);
        assert!(find(&files, "csv", &|| false).unwrap().is_empty());
    }

    #[test]
    fn a_name_shows_what_it_holds_and_nothing_that_acts() {
        let shown = |bytes: &[u8]| name(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(shown("a b/ü天.csv".as_bytes()), "a b/ü天.csv");
        assert_eq!(shown(b"a\x1b[2J\n\xffb"), "a\\u{1b}[2J\\n\\xffb");
    }
}
