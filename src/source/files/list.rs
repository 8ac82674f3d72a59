//! Which files a path or a pattern names.
//!
//! Patterns mean what those of the `glob` crate mean. The walk is ours, over `walkdir`, because the crate's own panics on
//! names that are not UTF-8, goes round in loops of links, and cannot be stopped.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use rustix::io::Errno;
use tokio::sync::oneshot;
use walkdir::WalkDir;

use super::failed;
use crate::source::SourceError;
use crate::source::settings::Files;

/// What a dot hides is often still being written.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The files in the order of their paths, each once, however many links lead to it. Whoever no longer waits for them
/// stops the search.
pub(super) async fn list(files: &Files, ending: &'static str) -> Result<Vec<PathBuf>, SourceError> {
    let (sender, receiver) = oneshot::channel();
    let files = files.clone();
    let search = move || {
        let found = find(&files, ending, &|| sender.is_closed());
        // Nobody listening is no error: the run was told to stop.
        let _ = sender.send(found);
    };
    // Not one of the runtime's threads, which it waits for at its end: a file system may keep silent for ever.
    let started = std::thread::Builder::new().name("files".to_owned()).spawn(search);
    let cannot = |error: Box<dyn std::error::Error + Send + Sync>| SourceError::Failed {
        context: "the files cannot be listed".to_owned(),
        source: error,
    };
    started.map_err(|error| cannot(error.into()))?;
    receiver.await.map_err(|error| cannot(error.into()))?
}

/// A path as it is shown and remembered. What is not UTF-8, and what a terminal would obey, is escaped.
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
        Err(error) if !files.path.contains(['*', '?', '[']) => return Err(failed(&name(path), error)),
        Err(_) => {}
    }
    let steps =
        steps(&files.path).map_err(|error| SourceError::Unusable(format!("{}: is no glob: {error}", name(path))))?;
    let mut search = Search { entered: HashSet::new(), found: BTreeMap::new(), directory: None, is_cancelled };
    let start = Path::new(if path.is_absolute() { "/" } else { "." });
    require_directory(start, &steps)?;
    search.enter(start, &steps)?;
    // A pattern such as `*` meets directories as a matter of course; one such as `*.csv` does not.
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

/// Refuses a pattern whose directories do not exist down to its first wildcard: a share that is not mounted, or a slip of
/// the pen, is no night without files.
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

/// Whether a directory is there. One that cannot be looked at is not taken for one that is not there.
fn is_directory(path: &Path) -> Result<bool, SourceError> {
    let error = match std::fs::metadata(path) {
        Ok(found) => return Ok(found.is_dir()),
        Err(error) => error,
    };
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Some(Errno::ACCESS) if path.parent().is_some_and(is_lost_and_found) => Ok(false),
        _ => Err(failed(&shown(path), error)),
    }
}

/// Every file system of Linux has one, for its own use.
fn is_lost_and_found(directory: &Path) -> bool {
    directory.file_name() == Some(OsStr::new("lost+found"))
}

/// One component of a pattern.
enum Step {
    /// This name, which need not be looked for.
    Name(OsString),
    /// The names that match.
    Match(Pattern),
    /// `**`: the directory and all below it.
    Tree,
}

fn steps(pattern: &str) -> Result<Vec<Step>, glob::PatternError> {
    // The whole must be valid too: `a**` is not, and neither is `***`.
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

/// A path as messages name it: without the `.` that relative ones begin with here.
fn shown(path: &Path) -> String {
    name(path.strip_prefix(".").unwrap_or(path))
}

struct Search<'a> {
    /// The directories that were entered, behind all links, each with the number of steps that were left.
    entered: HashSet<(PathBuf, usize)>,
    /// What was found: the files behind all links, and the paths that lead to them.
    found: BTreeMap<PathBuf, PathBuf>,
    /// A directory that the whole pattern matches.
    directory: Option<PathBuf>,
    is_cancelled: &'a dyn Fn() -> bool,
}

impl Search<'_> {
    /// Takes the steps that are left from a directory.
    fn enter(&mut self, directory: &Path, steps: &[Step]) -> Result<(), SourceError> {
        match steps {
            [] => Ok(()),
            [Step::Name(name), left @ ..] => self.meet(directory.join(name), left),
            [Step::Match(pattern), left @ ..] => {
                if !self.is_first(directory, steps) {
                    return Ok(());
                }
                for entry in WalkDir::new(directory).min_depth(1).max_depth(1).sort_by_file_name() {
                    let Some(entry) = self.passed(entry)? else { continue };
                    let name = entry.file_name().to_string_lossy();
                    let marker = is_marker(entry.file_name()) && !pattern.as_str().starts_with('_');
                    if !marker && pattern.matches_with(&name, OPTIONS) {
                        self.meet(directory.join(entry.file_name()), left)?;
                    }
                }
                Ok(())
            }
            [Step::Tree, left @ ..] => {
                // Links come last, so that what they lead to is found by its own path if it has one here.
                let mut roots = VecDeque::from([directory.to_owned()]);
                while let Some(root) = roots.pop_front() {
                    let mut entries = WalkDir::new(&root).sort_by_file_name().into_iter();
                    while let Some(entry) = entries.next() {
                        let Some(entry) = self.passed(entry)? else { continue };
                        let (below, is_dir) = (entry.depth() > 0, entry.file_type().is_dir());
                        let is_hidden = entry.file_name().as_bytes().starts_with(b".") || is_marker(entry.file_name());
                        let is_link = below && !is_hidden && entry.path_is_symlink();
                        if is_link && is_directory(entry.path())? {
                            roots.push_back(entry.into_path());
                        } else if !below || is_dir {
                            if below && is_hidden || !self.is_first(entry.path(), steps) {
                                entries.skip_current_dir();
                            } else {
                                self.enter(entry.path(), left)?;
                            }
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes what a step led to: a directory on the way, or a file at its end.
    fn meet(&mut self, path: PathBuf, left: &[Step]) -> Result<(), SourceError> {
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
            // Nothing is there; but a link that leads nowhere is told when its turn comes.
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

    /// Whether nothing led to this directory before with the same steps left.
    fn is_first(&mut self, directory: &Path, steps: &[Step]) -> bool {
        let real = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        self.entered.insert((real, steps.len()))
    }

    /// An entry of a directory; `None` for one that does not matter.
    fn passed(&self, entry: walkdir::Result<walkdir::DirEntry>) -> Result<Option<walkdir::DirEntry>, SourceError> {
        if (self.is_cancelled)() {
            return Err(SourceError::Unusable("nobody waits for the files any more".to_owned()));
        }
        let error = match entry {
            Ok(entry) => return Ok(Some(entry)),
            Err(error) => error,
        };
        let path = error.path().unwrap_or(Path::new("")).to_owned();
        match error.io_error().map(std::io::Error::kind) {
            // It is gone since its name was read.
            Some(ErrorKind::NotFound) | None => Ok(None),
            Some(ErrorKind::PermissionDenied) if is_lost_and_found(&path) => Ok(None),
            Some(kind) => Err(failed(&shown(&path), kind.into())),
        }
    }
}

/// What other programs put beside the files of a data set to speak about it, and where they write before they commit.
fn is_marker(name: &OsStr) -> bool {
    let name = name.as_bytes();
    [b"_SUCCESS".as_slice(), b"_metadata", b"_common_metadata", b"_temporary"].contains(&name)
        || [b"_committed_".as_slice(), b"_started_"].iter().any(|start| name.starts_with(start))
}

/// A directory in the place of a file, with a pattern of what is in it.
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
