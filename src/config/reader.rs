//! Reads settings one by one, and gathers every mistake instead of stopping at the first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::{Environment, Indirect};
use super::mistake::Mistake;
use super::written::Position;

/// What was read so far, and what was found wrong with it.
pub(super) struct Reader<'a> {
    /// The directory that relative paths start from.
    pub(super) base: &'a Path,
    pub(super) environment: &'a Environment,
    pub(super) mistakes: Vec<Mistake>,
    /// Warnings: no mistakes, but worth telling.
    pub(super) notes: Vec<Mistake>,
    /// Where each key stands whose value was read, by its path.
    pub(super) places: BTreeMap<String, Position>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(base: &'a Path, environment: &'a Environment) -> Self {
        Self { base, environment, mistakes: Vec::new(), notes: Vec::new(), places: BTreeMap::new() }
    }

    /// Where `key` stands; for a key that is not written, where the nearest key above it does.
    pub(super) fn place(&self, key: &str) -> Position {
        let mut key = key;
        loop {
            match (self.places.get(key), key.rfind(['.', '['])) {
                (Some(at), _) => return *at,
                (None, Some(end)) => key = &key[..end],
                (None, None) => return Position { line: 1, column: 1 },
            }
        }
    }

    pub(super) fn is_written(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    pub(super) fn mistake(&mut self, key: &str, message: impl Into<String>) {
        self.mistake_at(self.place(key), key, message);
    }

    pub(super) fn mistake_at(&mut self, at: Position, key: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake { at, key: key.to_owned(), message: message.into() });
    }

    /// Looks up a text that may be indirect, and lets `parse` understand it; its error says what would be right.
    pub(super) fn text<T>(
        &mut self,
        written: String,
        key: &str,
        quoted: bool,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let from = match Indirect::parse(&written, self.base).transpose() {
            Ok(from) => from,
            Err(message) => {
                self.mistake(key, message);
                return None;
            }
        };
        let text = match from.as_ref().map_or(Ok(written), |from| from.read(self.environment)) {
            Ok(text) => text,
            Err(message) => {
                self.mistake(key, message);
                return None;
            }
        };
        match parse(&text) {
            Ok(value) => Some(value),
            Err(right) => {
                // A value from elsewhere is never quoted.
                let what = match from {
                    _ if !quoted => String::new(),
                    Some(place) => format!("the value of {place} "),
                    None if text.chars().count() > 60 => {
                        format!("{:?}… ", text.chars().take(60).collect::<String>())
                    }
                    None => format!("{text:?} "),
                };
                self.mistake(key, format!("{what}{right}"));
                None
            }
        }
    }

    /// A path, from the file's directory.
    pub(super) fn path(&mut self, written: String, key: &str) -> Option<PathBuf> {
        let path = self.text(written, key, true, |text| path_text(text).map(PathBuf::from))?;
        Some(self.base.join(path).components().collect())
    }
}

/// The path of a key in the mapping `parent`.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// A text that can be a path.
pub(super) fn path_text(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.contains('\0') { Err("is no path".to_owned()) } else { Ok(text) }
}
