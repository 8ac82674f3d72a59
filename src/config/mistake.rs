//! What is wrong with the file, and what would be right. No mistake quotes what could be a secret.

use std::fmt;
use std::path::PathBuf;

use serde_saphyr::Error as YamlError;

use super::written::Position;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub at: Position,
    /// The path of its key, such as `jobs.nightly.fetch.timeout`; empty for a mistake of syntax or of the whole file.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Why a configuration cannot be used. Exit 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there.
    #[error("there is no {}: name one with -c, or let `yunxin-archiver init` write one", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that is wrong, or names something that is not there. One line each, in the order of the file.
    #[error("{}", Lines(file, mistakes))]
    Mistakes {
        /// The file.
        file: PathBuf,
        /// At least one.
        mistakes: Vec<Mistake>,
    },
}

struct Lines<'a>(&'a PathBuf, &'a [Mistake]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.1.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.0.display())?;
            if mistake.at.line > 0 {
                write!(f, ":{}:{}", mistake.at.line, mistake.at.column)?;
            }
            if !mistake.key.is_empty() {
                write!(f, ": {}", mistake.key)?;
            }
            write!(f, ": {}", mistake.message)?;
        }
        Ok(())
    }
}

/// A mistake of syntax or shape, in our own words: those of the library would quote values. `trail` are the keys that lead
/// to it.
pub(super) fn from_yaml(error: &YamlError, trail: &[String]) -> Mistake {
    let at = error.location().map(Position::from).unwrap_or_default();
    let mut error = error;
    while let YamlError::AliasError { error: inner, .. } | YamlError::WithSnippet { error: inner, .. } = error {
        error = inner;
    }
    // A mistake of syntax may have been found far behind its cause.
    let is_of_shape = matches!(
        error,
        YamlError::DuplicateMappingKey { .. }
            | YamlError::Unexpected { .. }
            | YamlError::NullIntoString { .. }
            | YamlError::SerdeInvalidType { .. }
            | YamlError::SerdeInvalidValue { .. }
            | YamlError::InvalidScalar { .. }
            | YamlError::TaggedScalarCannotDeserializeIntoString { .. }
    );
    let names: Vec<&str> = trail.iter().map(String::as_str).take_while(|key| is_of_shape && is_name(key)).collect();
    Mistake { at, key: names.join("."), message: explain(error) }
}

fn explain(error: &YamlError) -> String {
    match error {
        YamlError::DuplicateMappingKey { key, .. } => match key.as_deref().filter(|key| is_name(key)) {
            Some(key) => format!("the key `{key}` stands here a second time"),
            None => "this key stands here a second time".to_owned(),
        },
        YamlError::Unexpected { expected, .. } => {
            let expected = if expected.contains("mapping") {
                "a mapping (`key: value` lines, indented)"
            } else if expected.contains("sequence") {
                "a list (`[a, b]`, or lines that begin with `- `)"
            } else {
                "a single value"
            };
            format!("{expected} is expected here")
        }
        YamlError::NullIntoString { .. } => "a value is expected here, and there is none".to_owned(),
        YamlError::SerdeInvalidType { .. }
        | YamlError::SerdeInvalidValue { .. }
        | YamlError::InvalidScalar { .. }
        | YamlError::TaggedScalarCannotDeserializeIntoString { .. } => {
            "a value of another type is expected here".to_owned()
        }
        YamlError::UnknownAnchor { .. } => "this alias names no anchor that stands before it".to_owned(),
        YamlError::MultipleDocuments { .. } => "a second document begins here: one file holds one".to_owned(),
        YamlError::Eof { .. } => "the file is empty, or ends too soon".to_owned(),
        YamlError::ExternalMessage { msg, .. } => format!("this is no YAML: {msg}"),
        _ => "this is no YAML that can be understood: check indentation, quotes and brackets".to_owned(),
    }
}

/// Says of an unknown key which known one is the nearest, or else which there are.
pub(super) fn unknown(what: &str, found: &str, known: &[&str]) -> String {
    let nearest = nearest(found, known);
    // A key far from all others may be a secret in the wrong place, such as `app_secret:x` without its space.
    let may_hold_secret = nearest.is_none() && ["app_secret", "app_key", "url"].iter().any(|key| known.contains(key));
    let found = if is_name(found) && !may_hold_secret { format!("`{found}`") } else { "here".to_owned() };
    match nearest {
        Some(nearest) => format!("unknown {what} {found}: did you mean `{nearest}`?"),
        None => format!("unknown {what} {found}: write one of {}", known.join(", ")),
    }
}

/// Whether text can be the name of a key.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 40 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The known name that a typing mistake most likely meant.
pub(super) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let found = found.to_lowercase().replace('-', "_");
    let (distance, name) =
        known.iter().map(|name| (strsim::osa_distance(&found, name), *name)).min_by_key(|(d, _)| *d)?;
    (distance <= name.len().div_ceil(4)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_the_key_that_was_meant() {
        let known = ["app_key", "app_secret", "rate_limit", "region"];
        assert_eq!(nearest("app_secrett", &known), Some("app_secret"));
        assert_eq!(nearest("rate-limit", &known), Some("rate_limit"));
        assert_eq!(nearest("Region", &known), Some("region"));
        assert_eq!(nearest("regoin", &known), Some("region"));
        assert_eq!(nearest("hunter2", &known), None);
    }
}
