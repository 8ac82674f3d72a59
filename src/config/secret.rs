//! Values that live elsewhere: `env:NAME` and `file:PATH`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::mistake::Mistake;
use super::reader::Reader;
use super::setting::{INDIRECT, Setting, Told, text};
use super::written::Position;

/// How environment variables are looked up. A variable that is not Unicode counts as not set.
#[derive(Clone)]
pub(super) struct Environment(Arc<Variables>);

type Variables = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    pub(super) fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// Where a value is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Indirect {
    Env(String),
    File(PathBuf),
}

impl Indirect {
    /// Understands `env:NAME` and `file:PATH`; `None` for any other text, which is the value itself.
    pub(super) fn parse(text: &str, base: &Path) -> Option<Result<Self, &'static str>> {
        if let Some(name) = text.strip_prefix("env:") {
            let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            return Some(if starts && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                Ok(Self::Env(name.to_owned()))
            } else {
                Err("`env:` names no variable: letters, digits and _, such as env:YUNXIN_APP_SECRET")
            });
        }
        let path = text.strip_prefix("file:")?;
        Some(if path.is_empty() || path.contains('\0') {
            Err("`file:` names no file, such as file:/run/secrets/yunxin")
        } else {
            Ok(Self::File(base.join(path)))
        })
    }

    /// Looks the value up; a file without its last line break. The error never holds the value.
    pub(super) fn read(&self, environment: &Environment) -> Result<String, String> {
        let value = match self {
            Self::Env(name) => {
                environment.get(name).ok_or_else(|| format!("the environment variable {name} is not set"))?
            }
            Self::File(path) => {
                let bytes =
                    std::fs::read(path).map_err(|e| format!("the file {} cannot be read: {e}", path.display()))?;
                let mut text =
                    String::from_utf8(bytes).map_err(|_| format!("the file {} is not UTF-8", path.display()))?;
                if text.ends_with('\n') {
                    text.pop();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                text
            }
        };
        if value.is_empty() { Err(format!("{self} is empty")) } else { Ok(value) }
    }

    /// Warns of a file that others can read.
    fn warning(&self) -> Option<String> {
        #[cfg(unix)]
        if let Self::File(path) = self {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
            if mode & 0o027 != 0 {
                return Some(format!(
                    "the file {} holds a secret and is open to others (mode {mode:04o}): chmod 600 it",
                    path.display()
                ));
            }
        }
        None
    }
}

impl fmt::Display for Indirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// A value that is looked up only when a command needs it, and that no output shows.
#[derive(Clone)]
pub struct Secret {
    pub(super) key: String,
    pub(super) at: Position,
    origin: Origin,
    check: fn(&str) -> Result<(), String>,
}

#[derive(Clone)]
enum Origin {
    Indirect(Indirect),
    Literal(SecretString),
}

impl Secret {
    /// Whether both name the same variable or file, or hold the same text.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (&self.origin, &other.origin) {
            (Origin::Indirect(a), Origin::Indirect(b)) => a == b,
            (Origin::Literal(a), Origin::Literal(b)) => a.expose_secret() == b.expose_secret(),
            _ => false,
        }
    }

    /// Looks the value up, and checks it.
    pub(super) fn resolve(&self, environment: &Environment) -> Result<SecretString, Mistake> {
        let text = match &self.origin {
            Origin::Literal(text) => text.clone(),
            Origin::Indirect(place) => place.read(environment).map_err(|message| self.mistake(message))?.into(),
        };
        (self.check)(text.expose_secret()).map_err(|message| self.mistake(message))?;
        Ok(text)
    }

    pub(super) fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { at: self.at, key: self.key.clone(), message: message.into() }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Indirect(Indirect::Env(name)) => write!(f, "env:{name}"),
            Origin::Indirect(Indirect::File(path)) => write!(f, "file:{}", path.display()),
            Origin::Literal(_) => f.write_str("[written out]"),
        }
    }
}

/// A kind of [`Secret`].
pub(super) trait Kind {
    /// Whether the value may stand in the file itself.
    const MAY_BE_LITERAL: bool = true;

    /// What the documentation calls the type.
    const FORM: &'static str;

    /// Checks a value that stands in the file itself. The error never quotes it.
    fn literal(text: &str) -> Result<(), String>;

    /// Checks the value when it is looked up. The error never quotes it.
    fn check(_: &str) -> Result<(), String> {
        Ok(())
    }
}

/// The setting of a [`Secret`]. The digest does not tell it, not even as a hash, which could be guessed at.
pub(super) struct Lookup<K>(std::marker::PhantomData<K>);

impl<K: Kind> Setting for Lookup<K> {
    type Written = String;
    type Value = Secret;

    fn schema() -> serde_json::Value {
        let mut schema = text(K::FORM);
        if !K::MAY_BE_LITERAL {
            schema["pattern"] = serde_json::json!(INDIRECT);
        }
        schema
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<Secret> {
        let origin = match Indirect::parse(&written, reader.base) {
            Some(Err(message)) => Err(message.to_owned()),
            Some(Ok(place)) => {
                if let Some(message) = place.warning() {
                    reader.notes.push(Mistake { at: reader.place(key), key: key.to_owned(), message });
                }
                Ok(Origin::Indirect(place))
            }
            None => K::literal(&written).map(|()| Origin::Literal(written.into())),
        };
        match origin {
            Ok(origin) => Some(Secret { key: key.to_owned(), at: reader.place(key), origin, check: K::check }),
            Err(message) => {
                reader.mistake(key, message);
                None
            }
        }
    }

    fn tell(_: &Secret, _: &str, _: &mut Told) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_loses_one_line_break_and_no_more() {
        let dir = tempfile::tempdir().expect("a directory");
        for (written, read) in [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s\n"), (" s ", " s ")] {
            let path = dir.path().join("secret");
            std::fs::write(&path, written).expect("a file");
            assert_eq!(Indirect::File(path).read(&Environment::new(|_| None)).as_deref(), Ok(read));
        }
    }
}
