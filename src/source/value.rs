//! One value of an input row, whatever source it comes from.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::tz::Offset;

/// A value as its source knows it. Nothing has been rounded.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Value<'a> {
    /// The row has no such member or column.
    #[default]
    Missing,
    /// Null.
    Null,
    /// An integer.
    Integer(i64),
    /// An integer above 2^63 - 1.
    Unsigned(u64),
    /// An exact number that is no 64-bit integer: digits with an optional sign and point.
    Decimal(String),
    /// A floating-point number, whose digits may be damaged already.
    Float(f64),
    /// Text, which may not be UTF-8.
    Text(Cow<'a, [u8]>),
    /// A date and time.
    Timestamp {
        /// Microseconds since the epoch; without a zone, as if it were UTC.
        micros: i64,
        /// Whether it carries a zone.
        zoned: bool,
    },
    /// A date: days since the epoch.
    Date(i32),
    /// Something that no field can be, by the name of its kind.
    Other(&'static str),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::bytes(text.as_bytes())
    }

    pub(super) fn bytes(bytes: &'a [u8]) -> Self {
        Self::Text(Cow::Borrowed(bytes))
    }

    /// What this value lacks if it holds nothing: it is missing, null, or blank text.
    pub(super) fn lack(&self) -> Option<&'static str> {
        match self {
            Self::Missing => Some("is missing"),
            Self::Null => Some("is null"),
            Self::Text(bytes) if bytes.trim_ascii().is_empty() => Some("is empty"),
            _ => None,
        }
    }
}

impl Value<'static> {
    pub(super) fn owned(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    pub(super) fn unsigned(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Unsigned(number), Self::Integer)
    }

    /// An exact number, written with digits, an optional sign and an optional point.
    pub(super) fn decimal(text: &str) -> Self {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.bytes().all(|byte| byte == b'0') {
            if let Ok(small) = whole.parse() {
                return Self::Integer(small);
            }
            if let Ok(large) = whole.parse() {
                return Self::Unsigned(large);
            }
        }
        Self::Decimal(text.to_owned())
    }
}

/// How many characters of a value a message quotes.
const QUOTED: usize = 80;

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Null => f.write_str("null"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Unsigned(number) => write!(f, "{number}"),
            Self::Decimal(text) => f.write_str(text),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                match text.char_indices().nth(QUOTED) {
                    None => write!(f, "{text:?}"),
                    Some((end, _)) => write!(f, "{:?}…", &text[..end]),
                }
            }
            Self::Timestamp { micros, zoned } => match Timestamp::from_microsecond(*micros) {
                Ok(time) if *zoned => write!(f, "{time}"),
                Ok(time) => write!(f, "{}", Offset::UTC.to_datetime(time)),
                Err(_) => f.write_str("a time beyond all calendars"),
            },
            Self::Date(days) => match Timestamp::from_second(i64::from(*days) * 86_400) {
                Ok(time) => write!(f, "{}", Offset::UTC.to_datetime(time).date()),
                Err(_) => f.write_str("a date beyond all calendars"),
            },
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// A whole number written in nothing but digits, if it fits.
pub(super) fn digits(text: &[u8]) -> Option<i64> {
    // `parse` alone would take a sign.
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_and_nothing_else_are_a_whole_number(number in 0..=i64::MAX, text in "[0-9+.e-]{0,22}") {
            prop_assert_eq!(digits(format!("000{number}").as_bytes()), Some(number));
            prop_assert!(digits(text.as_bytes()).is_none() || text.bytes().all(|byte| byte.is_ascii_digit()));
        }

        #[test]
        fn decimals_that_are_integers_are_exactly_those(number: i64, zeros in 0..6_usize) {
            let text = format!("{number}.{}", "0".repeat(zeros));
            prop_assert_eq!(Value::decimal(&text), Value::Integer(number));
        }
    }

    #[test]
    fn decimals_keep_their_fraction() {
        assert_eq!(Value::decimal("-1.050"), Value::Decimal("-1.050".to_owned()));
        assert_eq!(Value::decimal("1753951805.248"), Value::Decimal("1753951805.248".to_owned()));
        assert_eq!(Value::decimal("9223372036854775808"), Value::Unsigned(1 << 63));
    }

    #[test]
    fn long_text_is_quoted_in_part() {
        assert_eq!(Value::text(&"ü".repeat(100)).to_string(), format!("\"{}\"…", "ü".repeat(80)));
    }
}
