//! One value of an input row, whatever it came from.

use std::borrow::Cow;
use std::fmt;

/// A value as its source knows it. Nothing is rounded on the way here.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Value<'a> {
    /// Not even a place for a value: a JSON member or a column that is not there.
    #[default]
    Missing,
    /// No value.
    Null,
    /// An integer.
    Integer(i64),
    /// An integer above 2^63 - 1.
    Unsigned(u64),
    /// An exact decimal number that is no integer of 64 bits: digits with an optional sign and point.
    Decimal(Cow<'a, str>),
    /// A floating-point number: its digits may be damaged already.
    Float(f64),
    /// Text, hopefully UTF-8.
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
        Self::Text(Cow::Borrowed(text.as_bytes()))
    }

    pub(super) fn bytes(bytes: &'a [u8]) -> Self {
        Self::Text(Cow::Borrowed(bytes))
    }

    /// An exact number `unscaled / 10^scale`.
    pub(super) fn decimal(unscaled: i128, scale: u32) -> Self {
        let divisor = 10_i128.checked_pow(scale).unwrap_or(i128::MAX);
        if unscaled % divisor == 0 {
            let whole = unscaled / divisor;
            return match (i64::try_from(whole), u64::try_from(whole)) {
                (Ok(small), _) => Self::Integer(small),
                (_, Ok(large)) => Self::Unsigned(large),
                _ => Self::Decimal(Cow::Owned(whole.to_string())),
            };
        }
        let sign = if unscaled < 0 { "-" } else { "" };
        let (whole, rest) =
            (unscaled.unsigned_abs() / divisor.unsigned_abs(), unscaled.unsigned_abs() % divisor.unsigned_abs());
        let width = scale as usize;
        Self::Decimal(Cow::Owned(format!("{sign}{whole}.{rest:0width$}")))
    }

    /// An exact number written with digits, an optional sign and an optional point.
    pub(super) fn decimal_text(text: &'a str) -> Self {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.bytes().all(|byte| byte == b'0') {
            if let Ok(small) = whole.parse::<i64>() {
                return Self::Integer(small);
            }
            if let Ok(large) = whole.parse::<u64>() {
                return Self::Unsigned(large);
            }
        }
        Self::Decimal(Cow::Borrowed(text))
    }

    /// In which way there is nothing here, if so: missing, null, or text of nothing but white space.
    pub(super) fn lack(&self) -> Option<&'static str> {
        match self {
            Self::Missing => Some("is missing"),
            Self::Null => Some("is null"),
            Self::Text(bytes) if trim(bytes).is_empty() => Some("is empty"),
            _ => None,
        }
    }
}

/// The longest piece of a value that a message quotes, in characters.
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
            Self::Timestamp { micros, zoned } => match jiff::Timestamp::from_microsecond(*micros) {
                Ok(time) if *zoned => write!(f, "{time}"),
                Ok(time) => write!(f, "{}", jiff::tz::Offset::UTC.to_datetime(time)),
                Err(_) => f.write_str("a time beyond all calendars"),
            },
            Self::Date(days) => match jiff::Timestamp::from_second(i64::from(*days) * 86_400) {
                Ok(time) => write!(f, "{}", jiff::tz::Offset::UTC.to_datetime(time).date()),
                Err(_) => f.write_str("a date beyond all calendars"),
            },
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// White space at the ends is no part of an ID, a time or a name.
#[inline]
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// A whole number of nothing but digits; `None` also when it does not fit.
pub(super) fn digits(bytes: &[u8]) -> Option<i64> {
    let is_number = bytes.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(bytes).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_is_read_from_its_digits(number in 0..=i64::MAX) {
            prop_assert_eq!(digits(number.to_string().as_bytes()), Some(number));
            prop_assert_eq!(digits(format!("000{number}").as_bytes()), Some(number));
        }

        #[test]
        fn digits_agree_with_the_standard_library(text in "[0-9+.e-]{0,22}") {
            let expected = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
            prop_assert_eq!(digits(text.as_bytes()), expected);
        }

        #[test]
        fn decimals_that_are_integers_are_exactly_those(number: i64, zeros in 0..6_usize) {
            let text = format!("{number}.{}", "0".repeat(zeros));
            prop_assert_eq!(Value::decimal_text(&text), Value::Integer(number));
            let unscaled = i128::from(number) * 10_i128.pow(zeros as u32);
            prop_assert_eq!(Value::decimal(unscaled, zeros as u32), Value::Integer(number));
        }
    }

    #[test]
    fn decimals_with_a_fraction_keep_it() {
        assert_eq!(Value::decimal(-1_050, 3), Value::Decimal("-1.050".into()));
        assert_eq!(Value::decimal_text("1753951805.248"), Value::Decimal("1753951805.248".into()));
        assert_eq!(Value::decimal(1 << 63, 0), Value::Unsigned(1 << 63));
    }

    #[test]
    fn long_text_is_quoted_in_part() {
        assert_eq!(Value::text(&"ü".repeat(100)).to_string(), format!("\"{}\"…", "ü".repeat(80)));
    }
}
