//! The single values that settings of several rooms have: numbers, flags, times, sizes, paths.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::reader::Reader;
use super::setting::{Scalar, Setting, text};

/// A whole number from `LEAST` to `MOST`.
pub(super) struct Whole<T, const LEAST: u64, const MOST: u64>(PhantomData<T>);

impl<T: TryFrom<u64> + serde::Serialize, const LEAST: u64, const MOST: u64> Scalar for Whole<T, LEAST, MOST> {
    type Value = T;

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }

    fn parse(text: &str) -> Result<T, String> {
        let number = text.parse().ok().filter(|number| (LEAST..=MOST).contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("is no whole number from {LEAST} to {MOST}"))
    }

    fn canonical(value: &T) -> Json {
        json!(value)
    }
}

impl Scalar for bool {
    type Value = Self;

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is neither true nor false".to_owned())
    }

    fn canonical(value: &Self) -> Json {
        json!(value)
    }
}

/// A duration, more than zero.
impl Scalar for Duration {
    type Value = Self;

    fn schema() -> Json {
        text("duration")
    }

    fn parse(text: &str) -> Result<Self, String> {
        match duration(text)? {
            Self::ZERO => Err("is no time at all: write more than 0s".to_owned()),
            span => Ok(span),
        }
    }

    fn canonical(value: &Self) -> Json {
        seconds(*value)
    }
}

/// A duration that may be zero.
pub(super) struct DurationOrZero;

impl Scalar for DurationOrZero {
    type Value = Duration;

    fn schema() -> Json {
        text("duration")
    }

    fn parse(text: &str) -> Result<Duration, String> {
        duration(text)
    }

    fn canonical(value: &Duration) -> Json {
        seconds(*value)
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "is no duration: write numbers with units, such as 15s, 10m, 2h 30m, 7d".to_owned())
}

/// A duration in the digest: `300` seconds, or `0.250000000` where they are not whole.
pub(super) fn seconds(span: Duration) -> Json {
    json!(match span.subsec_nanos() {
        0 => span.as_secs().to_string(),
        nanos => format!("{}.{nanos:09}", span.as_secs()),
    })
}

/// A size in bytes: a whole number, alone or with a decimal or binary unit.
pub(super) struct Size;

impl Scalar for Size {
    type Value = u64;

    fn schema() -> Json {
        json!({ "type": ["integer", "string"], "title": "size" })
    }

    fn parse(text: &str) -> Result<u64, String> {
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

    fn canonical(value: &u64) -> Json {
        json!(value)
    }
}

/// An IANA time zone.
impl Scalar for TimeZone {
    type Value = Self;

    fn schema() -> Json {
        text("time zone")
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::get(text).map_err(|_| "is no IANA time zone, such as UTC or Asia/Shanghai".to_owned())
    }

    fn canonical(value: &Self) -> Json {
        json!(value.iana_name())
    }
}

/// A path, absolute once it is read.
impl Setting for PathBuf {
    type Written = String;
    type Value = Self;

    fn schema() -> Json {
        text("path")
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<Self> {
        reader.path(written, key)
    }

    fn canonical(value: &Self) -> Json {
        json!(value.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(Size::parse("256MB"), Ok(256_000_000));
        assert_eq!(Size::parse("64MiB"), Ok(64 << 20));
        assert_eq!(Size::parse("1 gib"), Ok(1 << 30));
        assert_eq!(Size::parse("4096"), Ok(4096));
        for wrong in ["", "MB", "0MB", "-1MB", "1.5GB", "256 megabytes", "99999999999TB", "18446744073709551616"] {
            assert!(Size::parse(wrong).is_err(), "{wrong}");
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
            let _ = Size::parse(&text);
            let _ = duration(&text);
        }

        #[test]
        fn a_size_is_its_number_times_its_unit(number in 1..1_000_000_u64) {
            prop_assert_eq!(Size::parse(&format!("{number}kB")), Ok(number * 1000));
            prop_assert_eq!(Size::parse(&format!("{number} KiB")), Ok(number * 1024));
        }
    }
}
