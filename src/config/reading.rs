//! Reads written values one by one, and gathers every mistake instead of stopping at the first.

use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use secrecy::SecretString;

use super::mistake::Mistake;
use super::secret::{Elsewhere, Environment, Held, Reference};
use super::written::{Leaf, Position, Written};

/// What is being read, and what was found wrong so far.
pub(super) struct Reading<'a> {
    pub(super) base: &'a Path,
    pub(super) environment: &'a Environment,
    pub(super) mistakes: Vec<Mistake>,
    /// Things that are no mistake and yet worth a word.
    pub(super) notes: Vec<Mistake>,
}

/// A text, looked up where it was indirect.
pub(super) struct Text {
    pub(super) value: String,
    pub(super) at: Position,
    /// Where it came from; what comes from elsewhere is never quoted.
    from: Option<Elsewhere>,
}

impl Text {
    /// How a message names the value.
    pub(super) fn quoted(&self) -> String {
        match &self.from {
            Some(place) => format!("the value of {place}"),
            None if self.value.chars().count() > 60 => {
                format!("{:?}…", self.value.chars().take(60).collect::<String>())
            }
            None => format!("{:?}", self.value),
        }
    }
}

impl Reading<'_> {
    pub(super) fn mistake(&mut self, at: Position, key: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake { at, key: key.to_owned(), message: message.into() });
    }

    /// Says that a key must be written.
    pub(super) fn missing(&mut self, at: Position, key: &str, right: &str) {
        self.mistake(at, key, format!("is missing: {right}"));
    }

    /// A text that may be indirect; looked up now.
    pub(super) fn text(&mut self, leaf: &Written<String>, key: &str) -> Option<Text> {
        match Elsewhere::parse(&leaf.value, self.base) {
            None => Some(Text { value: leaf.value.clone(), at: leaf.at, from: None }),
            Some(Err(message)) => {
                self.mistake(leaf.at, key, message);
                None
            }
            Some(Ok(place)) => match place.read(self.environment) {
                Ok(value) => Some(Text { value, at: leaf.at, from: Some(place) }),
                Err(message) => {
                    self.mistake(leaf.at, key, message);
                    None
                }
            },
        }
    }

    /// A text that is understood by `parse`, which says what would be right. The default when absent or wrong.
    pub(super) fn value<T>(
        &mut self,
        leaf: &Leaf,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.optional(leaf, key, parse).unwrap_or(default)
    }

    /// A text that is understood by `parse`, if it is written.
    pub(super) fn optional<T>(
        &mut self,
        leaf: &Leaf,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(leaf.as_ref()?, key)?;
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(right) => {
                self.mistake(text.at, key, format!("{} {right}", text.quoted()));
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, leaf: &Leaf, key: &str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let Some(leaf) = leaf else { return default };
        match leaf.value.parse() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                let quoted = Text { value: leaf.value.clone(), at: leaf.at, from: None }.quoted();
                let (least, most) = (bounds.start(), bounds.end());
                self.mistake(leaf.at, key, format!("{quoted} is no whole number from {least} to {most}"));
                default
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, leaf: &Leaf, key: &str, default: bool) -> bool {
        let Some(leaf) = leaf else { return default };
        match leaf.value.as_str() {
            "true" => true,
            "false" => false,
            other => {
                self.mistake(leaf.at, key, format!("{other:?} is neither true nor false"));
                default
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, leaf: &Leaf, key: &str, default: T, choices: &[(&str, T)]) -> T {
        self.value(leaf, key, default, |text| choose(text, choices))
    }

    /// A time span with a unit; more than nothing.
    pub(super) fn duration(&mut self, leaf: &Leaf, key: &str, default: Duration) -> Duration {
        self.value(leaf, key, default, |text| match duration(text)? {
            Duration::ZERO => Err("is no time at all: write more than 0s".to_owned()),
            span => Ok(span),
        })
    }

    /// An IANA time zone.
    pub(super) fn timezone(&mut self, leaf: &Leaf, key: &str) -> TimeZone {
        self.value(leaf, key, TimeZone::UTC, |text| {
            TimeZone::get(text).map_err(|_| "is no IANA time zone, such as UTC or Asia/Shanghai".to_owned())
        })
    }

    /// A path, from the file's directory.
    pub(super) fn path(&mut self, leaf: &Leaf, key: &str, default: &str) -> PathBuf {
        let path = self.value(leaf, key, default.to_owned(), |text| path_text(text).map(str::to_owned));
        plain(&self.base.join(path))
    }

    /// A value that could be a secret: kept where it is, and never quoted.
    ///
    /// With `literal` a text that stands in the file itself is refused, for the reason it gives.
    pub(super) fn reference(
        &mut self,
        leaf: &Leaf,
        parent: Position,
        key: &str,
        right: &str,
        literal: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<Reference> {
        let Some(leaf) = leaf else {
            self.missing(parent, key, right);
            return None;
        };
        let held = match Elsewhere::parse(&leaf.value, self.base) {
            Some(Err(message)) => Err(message.to_owned()),
            Some(Ok(place)) => {
                if let Some(message) = place.warning() {
                    self.notes.push(Mistake { at: leaf.at, key: key.to_owned(), message });
                }
                Ok(Held::Elsewhere(place))
            }
            None => literal(&leaf.value).map(|()| Held::Literal(SecretString::from(leaf.value.as_str()))),
        };
        match held {
            Ok(held) => Some(Reference { key: key.to_owned(), at: leaf.at, held }),
            Err(message) => {
                self.mistake(leaf.at, key, message);
                None
            }
        }
    }
}

/// One of a few words.
pub(super) fn choose<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let one_of = if names.len() == 1 { "" } else { "one of " };
    Err(format!("is unknown here: expected is {one_of}{}", names.join(", ")))
}

/// A time span with a unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "is no duration: write numbers with units, such as 15s, 10m, 2h 30m, 7d".to_owned())
}

/// A size in bytes: a whole number, alone or with a decimal or binary unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "is no size: write a whole number with a unit, such as 256MB, 64MiB, 1GB".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000 * 1000,
        "gb" => 1000 * 1000 * 1000,
        "tb" => 1000 * 1000 * 1000 * 1000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(factor) {
        Some(0) => Err("is no size at all: write more than 0".to_owned()),
        Some(bytes) if bytes <= 1 << 50 => Ok(bytes),
        _ => Err("is more than any machine holds: at most 1024TiB".to_owned()),
    }
}

/// A text that can be a path.
pub(super) fn path_text(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.contains('\0') { Err("is no path".to_owned()) } else { Ok(text) }
}

/// The path without `.` in it.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(size("256MB"), Ok(256_000_000));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1 gib"), Ok(1 << 30));
        assert_eq!(size("4096"), Ok(4096));
        for wrong in ["", "MB", "0MB", "-1MB", "1.5GB", "256 megabytes", "99999999999TB", "18446744073709551616"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(duration("2h 30m"), Ok(Duration::from_mins(150)));
        assert_eq!(duration("400d"), Ok(Duration::from_hours(400 * 24)));
        assert!(duration("15").is_err());
        assert!(duration("soon").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_size_or_duration_panic(text in "\\PC{0,12}|[0-9]{1,21}[a-zA-Z]{0,3}") {
            let _ = size(&text);
            let _ = duration(&text);
        }

        #[test]
        fn a_size_is_its_number_times_its_unit(number in 1..1_000_000_u64) {
            prop_assert_eq!(size(&format!("{number}kB")), Ok(number * 1000));
            prop_assert_eq!(size(&format!("{number} KiB")), Ok(number * 1024));
        }
    }
}
