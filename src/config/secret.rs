//! Values that live elsewhere: `env:NAME` and `file:PATH`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;

use super::mistake::Mistake;
use super::written::Position;

/// How environment variables are looked up. A variable that is not Unicode counts as not set.
#[derive(Clone)]
pub(super) struct Environment(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

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

/// Where a value lives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Elsewhere {
    Env(String),
    File(PathBuf),
}

impl Elsewhere {
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

    /// What an operator should know about the file: that others can read it.
    pub(super) fn warning(&self) -> Option<String> {
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

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// A value that is looked up only when a command needs it, and is shown by no output.
#[derive(Clone)]
pub struct Reference {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) held: Held,
}

#[derive(Clone)]
pub(super) enum Held {
    Elsewhere(Elsewhere),
    Literal(SecretString),
}

impl Reference {
    /// Whether both name the same variable or file, or hold the same text.
    pub(super) fn same(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret as _;
        match (&self.held, &other.held) {
            (Held::Elsewhere(a), Held::Elsewhere(b)) => a == b,
            (Held::Literal(a), Held::Literal(b)) => a.expose_secret() == b.expose_secret(),
            _ => false,
        }
    }

    pub(super) fn resolve(&self, environment: &Environment) -> Result<SecretString, Mistake> {
        match &self.held {
            Held::Literal(text) => Ok(text.clone()),
            Held::Elsewhere(place) => {
                place.read(environment).map(SecretString::from).map_err(|message| self.mistake(message))
            }
        }
    }

    pub(super) fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { at: self.at, key: self.key.clone(), message: message.into() }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.held {
            Held::Elsewhere(Elsewhere::Env(name)) => write!(f, "env:{name}"),
            Held::Elsewhere(Elsewhere::File(path)) => write!(f, "file:{}", path.display()),
            Held::Literal(_) => f.write_str("[written out]"),
        }
    }
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
            assert_eq!(Elsewhere::File(path).read(&Environment::new(|_| None)).as_deref(), Ok(read));
        }
    }
}
