//! Values that live elsewhere: `env:NAME` and `file:PATH`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mistake::{ConfigError, Mistake};

/// What surrounds the settings: the file that they are in, and the variables that it may name.
#[derive(Clone)]
pub(super) struct Environment {
    /// The file, as messages name it.
    file: PathBuf,
    variables: Arc<Variables>,
}

type Variables = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// `lookup` knows the environment variables. One that is not Unicode counts as not set.
    pub(super) fn new(file: &Path, lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { file: file.to_owned(), variables: Arc::new(lookup) }
    }

    /// No file and no variables.
    pub(super) fn empty() -> Self {
        Self::new(Path::new(""), |_| None)
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.variables)(name)
    }

    /// The error that a mistake in the file is.
    pub(super) fn error(&self, mistake: Mistake) -> ConfigError {
        ConfigError::Mistakes { file: self.file.clone(), mistakes: vec![mistake] }
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

impl fmt::Display for Indirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
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
            assert_eq!(Indirect::File(path).read(&Environment::empty()).as_deref(), Ok(read));
        }
    }
}
