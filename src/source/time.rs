//! All forms of time, to milliseconds since the epoch.
//!
//! What is finer than a millisecond is cut off, never rounded. A local time that occurs twice, when clocks go back,
//! is taken as the earlier one; a local time that clocks skip is no time, because its zone must be wrong.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::settings::TimeUnit;
use super::value::{Value, digits, trim};

/// The times that milliseconds of 13 digits can tell: 2001-09-09 to 2286-11-20. An integer outside counts another unit.
const MILLISECONDS: std::ops::Range<i64> = 1_000_000_000_000..10_000_000_000_000;

/// Reads times as the settings say.
#[derive(Debug, Clone)]
pub(super) struct Times {
    unit: TimeUnit,
    zone: TimeZone,
    /// The zone's offset when it never changes, which spares the look-up.
    fixed: Option<Offset>,
}

impl Times {
    pub(super) fn new(unit: TimeUnit, zone: TimeZone) -> Self {
        let fixed = zone.to_fixed_offset().ok();
        Self { unit, zone, fixed }
    }

    /// Milliseconds since the epoch, or what is wrong.
    pub(super) fn read(&self, value: &Value<'_>) -> Result<i64, String> {
        let millis = match value {
            Value::Integer(number) => return self.integer(*number),
            Value::Text(bytes) => match digits(trim(bytes)) {
                Some(number) => return self.integer(number),
                None => self.text(trim(bytes))?,
            },
            Value::Timestamp { micros, zoned: true } => micros.div_euclid(1000),
            Value::Timestamp { micros, zoned: false } => {
                let local = civil(*micros).ok_or_else(|| format!("{value} is beyond all calendars"))?;
                self.local(local)?.as_millisecond()
            }
            Value::Null => return Err("is null".to_owned()),
            Value::Decimal(text) => return self.decimal(text),
            Value::Float(_) => {
                return Err(format!("{value} is a floating-point number: give an integer, a timestamp or text"));
            }
            Value::Unsigned(_) => return Err(format!("{value} is beyond all calendars")),
            Value::Date(_) => return Err(format!("{value} is a date without a time of day")),
            Value::Other(kind) => return Err(format!("is {kind}: give an integer, a timestamp or text")),
        };
        if millis > 0 { Ok(millis) } else { Err(format!("{value} is before 1970")) }
    }

    /// The same of an integer.
    pub(super) fn integer(&self, number: i64) -> Result<i64, String> {
        let millis = match self.unit {
            TimeUnit::Milliseconds => Some(number),
            TimeUnit::Seconds => number.checked_mul(1000),
        };
        match millis {
            Some(millis) if MILLISECONDS.contains(&millis) => Ok(millis),
            _ => Err(self.implausible(number)),
        }
    }

    fn implausible(&self, number: i64) -> String {
        let unit = match self.unit {
            TimeUnit::Milliseconds => "milliseconds",
            TimeUnit::Seconds => "seconds",
        };
        let hint = match number.checked_ilog10().map(|zeros| zeros + 1) {
            Some(9..=10) if self.unit == TimeUnit::Milliseconds => "; if it counts seconds, set `time_unit: s`",
            Some(12..=13) if self.unit == TimeUnit::Seconds => "; if it counts milliseconds, set `time_unit: ms`",
            Some(15..=16) => "; if it counts microseconds, divide it by 1000",
            Some(18..=19) => "; if it counts nanoseconds, divide it by 1000000",
            _ => "",
        };
        format!("{number} is no time in {unit}: not between 2001 and 2286{hint}")
    }

    /// An exact number of seconds may have a fraction, as `extract(epoch from …)` gives it.
    fn decimal(&self, text: &str) -> Result<i64, String> {
        if let (TimeUnit::Seconds, Some((whole, fraction))) = (self.unit, text.split_once('.'))
            && let Some(seconds) = digits(whole.as_bytes())
            && let Some(nanos) = fraction_nanos(fraction.as_bytes())
        {
            return Ok(self.integer(seconds)? + i64::from(nanos / 1_000_000));
        }
        Err(format!("{text} is no whole number"))
    }

    fn text(&self, text: &[u8]) -> Result<i64, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        let shown = || Value::bytes(text);
        let Some(stamp) = Stamp::parse(text) else {
            return match std::str::from_utf8(text).ok().map(|text| self.decimal(text)) {
                Some(Ok(millis)) => Ok(millis),
                _ => Err(format!(
                    "{} is no time: give an integer since the epoch, or text such as 2025-07-31T08:50:05.248Z or \
                     2025-07-31 08:50:05.248",
                    shown()
                )),
            };
        };
        let time = match stamp.offset {
            Some(offset) => {
                offset.to_timestamp(stamp.civil).map_err(|_| format!("{} is beyond all calendars", shown()))?
            }
            None => self.local(stamp.civil)?,
        };
        Ok(time.as_millisecond())
    }

    /// The instant of a time without a zone.
    fn local(&self, local: DateTime) -> Result<Timestamp, String> {
        let beyond = |_| format!("{local} is beyond all calendars");
        if let Some(offset) = self.fixed {
            return offset.to_timestamp(local).map_err(beyond);
        }
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
            let zone = self.zone.iana_name().unwrap_or("the time zone");
            return Err(format!("{local} does not exist in {zone}: clocks skip it. Is `timezone` right?"));
        }
        ambiguous.earlier().map_err(beyond)
    }

    /// Microseconds of an instant as a column without a zone would hold it.
    pub(super) fn local_micros(&self, instant: Timestamp) -> i64 {
        let local = self.zone.to_datetime(instant);
        Offset::UTC.to_timestamp(local).map_or(i64::MAX, Timestamp::as_microsecond)
    }

    /// Microseconds of a time that a person wrote: since the epoch, or of a column without a zone, as if it were UTC.
    pub(super) fn column_micros(&self, text: &str, zoned: bool) -> Option<i64> {
        let text = text.trim();
        if let Some(number) = digits(text.as_bytes()) {
            let millis = if number == 0 { 0 } else { self.integer(number).ok()? };
            let instant = Timestamp::from_millisecond(millis).ok()?;
            return Some(if zoned { instant.as_microsecond() } else { self.local_micros(instant) });
        }
        let stamp = match Stamp::parse(text.as_bytes()) {
            Some(stamp) => stamp,
            None => Stamp { civil: text.parse::<jiff::civil::Date>().ok()?.at(0, 0, 0, 0), offset: None },
        };
        let instant = match (stamp.offset, zoned) {
            (None, false) => return Some(Offset::UTC.to_timestamp(stamp.civil).ok()?.as_microsecond()),
            (None, true) => self.local(stamp.civil).ok()?,
            (Some(offset), _) => offset.to_timestamp(stamp.civil).ok()?,
        };
        Some(if zoned { instant.as_microsecond() } else { self.local_micros(instant) })
    }

    /// Whether text is a time after `limit`; text that is no time is not.
    pub(super) fn is_after(&self, text: &[u8], limit: Timestamp) -> bool {
        let Some(stamp) = Stamp::parse(trim(text)) else { return false };
        let instant = match stamp.offset {
            Some(offset) => offset.to_timestamp(stamp.civil).ok(),
            None => self.local(stamp.civil).ok(),
        };
        // The last days of the year 9999, which often stand for forever, are beyond the calendar.
        instant.map_or(stamp.civil.year() == 9999, |instant| instant > limit)
    }
}

/// A time without a zone, from its microseconds as if it were UTC.
fn civil(micros: i64) -> Option<DateTime> {
    Timestamp::from_microsecond(micros).ok().map(|time| Offset::UTC.to_datetime(time))
}

/// The same time so much earlier, in the very form it is written in; `None` for text that is no time.
///
/// Text cursors are compared as text, so an earlier time must be spelled as its column spells them.
pub(super) fn earlier(text: &str, by: std::time::Duration) -> Option<String> {
    let stamp = Stamp::parse(text.as_bytes())?;
    let moved = stamp.civil.checked_sub(by).ok()?;
    let bytes = text.as_bytes();
    let mut out = format!(
        "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}",
        moved.year(),
        moved.month(),
        moved.day(),
        char::from(bytes[10]),
        moved.hour(),
        moved.minute(),
        moved.second()
    );
    let mut rest = &text[19..];
    if rest.starts_with('.') {
        let width = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        let nanos = format!("{:09}", moved.subsec_nanosecond());
        out.push('.');
        out.push_str(&nanos[..width.min(9)]);
        rest = &rest[1 + width..];
    }
    out.push_str(rest);
    Some(out)
}

/// `2025-07-31 08:50:05`, with `T` or a space between, up to nine decimals, and an offset or none.
struct Stamp {
    civil: DateTime,
    offset: Option<Offset>,
}

impl Stamp {
    fn parse(text: &[u8]) -> Option<Self> {
        let (fixed, mut rest) = text.split_at_checked(19)?;
        for (place, expected) in [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')] {
            if fixed[place] != expected {
                return None;
            }
        }
        if !matches!(fixed[10], b'T' | b't' | b' ') {
            return None;
        }
        let number = |from: usize, to: usize| digits(&fixed[from..to]);
        // A leap second has no place in milliseconds since the epoch; it counts as the second before it.
        let second = number(17, 19)?.min(if &fixed[17..] == b"60" { 59 } else { 60 });
        let mut nanos = 0;
        if let Some((b'.', fraction)) = rest.split_first() {
            let width = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            nanos = fraction_nanos(&fraction[..width])?;
            rest = &fraction[width..];
        }
        let civil = DateTime::new(
            number(0, 4)? as i16,
            number(5, 7)? as i8,
            number(8, 10)? as i8,
            number(11, 13)? as i8,
            number(14, 16)? as i8,
            second as i8,
            nanos,
        )
        .ok()?;
        Some(Self { civil, offset: parse_offset(trim(rest)).ok()? })
    }
}

/// One to nine decimals (more are cut off) as nanoseconds.
fn fraction_nanos(decimals: &[u8]) -> Option<i32> {
    if decimals.is_empty() || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let kept = &decimals[..decimals.len().min(9)];
    Some(digits(kept)? as i32 * 10_i32.pow(9 - kept.len() as u32))
}

/// `Z`, `UTC`, `+08:00`, `+0800`, `+08`, or nothing.
fn parse_offset(text: &[u8]) -> Result<Option<Offset>, ()> {
    let (sign, rest) = match text {
        [] => return Ok(None),
        b"Z" | b"z" | b"UTC" => return Ok(Some(Offset::UTC)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return Err(()),
    };
    let (hours, minutes): (&[u8], &[u8]) = match rest.len() {
        2 => (rest, b"00"),
        4 => (&rest[..2], &rest[2..]),
        5 if rest[2] == b':' => (&rest[..2], &rest[3..]),
        _ => return Err(()),
    };
    let (hours, minutes) = (digits(hours).ok_or(())?, digits(minutes).ok_or(())?);
    if minutes > 59 {
        return Err(());
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60) as i32).map(Some).map_err(|_| ())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn utc() -> Times {
        Times::new(TimeUnit::Milliseconds, TimeZone::UTC)
    }

    fn berlin() -> Times {
        Times::new(TimeUnit::Milliseconds, TimeZone::get("Europe/Berlin").unwrap())
    }

    fn seconds() -> Times {
        Times::new(TimeUnit::Seconds, TimeZone::UTC)
    }

    fn text(times: &Times, text: &str) -> Result<i64, String> {
        times.read(&Value::text(text))
    }

    #[test]
    fn one_moment_has_many_spellings() {
        for spelling in [
            "1753951805248",
            " 1753951805248 ",
            "2025-07-31T08:50:05.248Z",
            "2025-07-31t08:50:05.248z",
            "2025-07-31 08:50:05.248",
            "2025-07-31T08:50:05.248",
            "2025-07-31 08:50:05.248999999",
            "2025-07-31 16:50:05.248+08",
            "2025-07-31 16:50:05.248+0800",
            "2025-07-31T16:50:05.248+08:00",
            "2025-07-31 08:50:05.248 UTC",
            "2025-07-31T03:20:05.248-05:30",
        ] {
            assert_eq!(text(&utc(), spelling), Ok(1_753_951_805_248), "{spelling}");
        }
        assert_eq!(text(&seconds(), "1753951805"), Ok(1_753_951_805_000));
        assert_eq!(text(&seconds(), "1753951805.2489"), Ok(1_753_951_805_248));
        assert_eq!(seconds().read(&Value::decimal_text("1753951805.248000")), Ok(1_753_951_805_248));
        assert_eq!(utc().read(&Value::Timestamp { micros: 1_753_951_805_248_999, zoned: true }), Ok(1_753_951_805_248));
        assert_eq!(
            utc().read(&Value::Timestamp { micros: 1_753_951_805_248_999, zoned: false }),
            Ok(1_753_951_805_248)
        );
        assert_eq!(text(&utc(), "2016-12-31T23:59:60Z"), Ok(1_483_228_799_000));
    }

    #[test]
    fn times_without_a_zone_are_of_the_zone_that_is_set() {
        assert_eq!(text(&berlin(), "2025-07-31 10:50:05.248"), Ok(1_753_951_805_248));
        let micros = 1_753_951_805_248_000 + 7_200_000_000;
        assert_eq!(berlin().read(&Value::Timestamp { micros, zoned: false }), Ok(1_753_951_805_248));
        assert_eq!(text(&berlin(), "2025-07-31 08:50:05.248Z"), Ok(1_753_951_805_248));
    }

    #[test]
    fn of_two_equal_local_times_the_earlier_is_taken() {
        assert_eq!(text(&berlin(), "2025-10-26 02:30:00"), text(&utc(), "2025-10-26 00:30:00"));
    }

    #[test]
    fn a_local_time_that_clocks_skip_is_refused() {
        let message = text(&berlin(), "2025-03-30 02:30:00").unwrap_err();
        assert!(message.contains("does not exist in Europe/Berlin"), "{message}");
    }

    #[test]
    fn a_time_in_another_unit_is_refused_with_the_right_unit() {
        assert!(text(&utc(), "1753951805").unwrap_err().contains("`time_unit: s`"));
        assert!(text(&seconds(), "1753951805248").unwrap_err().contains("`time_unit: ms`"));
        assert!(text(&utc(), "1753951805248000").unwrap_err().contains("microseconds"));
        assert!(text(&utc(), "1753951805248000000").unwrap_err().contains("nanoseconds"));
        for number in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert!(utc().read(&Value::Integer(number)).is_err());
            assert!(seconds().read(&Value::Integer(number)).is_err());
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "yesterday",
            "2025-07-31",
            "2025-07-31 08:50",
            "2025-13-01 00:00:00",
            "2025-02-30 00:00:00",
            "2025-07-31 25:00:00",
            "2025-07-31 08:50:61",
            "2025-07-31 08:50:05.",
            "2025-07-31 08:50:05+8",
            "2025-07-31 08:50:05+08:99",
            "31/07/2025 08:50:05",
            "1.753951805248E12",
            "1753951805248.5",
            "1960-01-01 00:00:00",
        ] {
            assert!(text(&utc(), wrong).is_err(), "{wrong}");
        }
        assert!(utc().read(&Value::Float(1_753_951_805_248.0)).unwrap_err().contains("floating-point"));
        assert!(utc().read(&Value::Date(20_300)).unwrap_err().contains("2025-07-31 is a date"));
        assert!(utc().read(&Value::Timestamp { micros: i64::MAX, zoned: false }).is_err());
    }

    #[test]
    fn an_earlier_time_keeps_its_spelling() {
        let day = Duration::from_hours(24);
        for (given, expected) in [
            ("2025-03-01 08:50:05", "2025-02-28 08:50:05"),
            ("2025-03-01T08:50:05.248001Z", "2025-02-28T08:50:05.248001Z"),
            ("2025-03-01 08:50:05.2+08:00", "2025-02-28 08:50:05.2+08:00"),
        ] {
            assert_eq!(earlier(given, day).as_deref(), Some(expected));
        }
        assert_eq!(earlier("ulid", day), None);
        assert_eq!(
            earlier("2025-03-01 00:00:00.000", Duration::from_millis(1)).as_deref(),
            Some("2025-02-28 23:59:59.999")
        );
    }

    proptest! {
        #[test]
        fn every_time_is_read_as_jiff_writes_it(millis in 1_i64..10_000_000_000_000, offset in -50_000..50_000_i32) {
            let instant = Timestamp::from_millisecond(millis).unwrap();
            prop_assert_eq!(text(&utc(), &instant.to_string()), Ok(millis));
            let offset = Offset::from_seconds(offset / 60 * 60).unwrap();
            let zoned = instant.to_zoned(offset.to_time_zone()).strftime("%Y-%m-%d %H:%M:%S%.f%:z").to_string();
            prop_assert_eq!(text(&berlin(), &zoned), Ok(millis));
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>, noise in "[0-9TZ:. +-]{0,40}") {
            let _ = utc().read(&Value::bytes(&bytes));
            let _ = text(&berlin(), &noise);
            let _ = earlier(&noise, Duration::from_secs(1));
            let _ = utc().column_micros(&noise, true);
        }

        #[test]
        fn an_earlier_time_is_earlier_as_text_too(millis in 1_000_000_000_000_i64..4_000_000_000_000, by in 1..10_000_000_u64) {
            let later = Timestamp::from_millisecond(millis).unwrap().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            let before = earlier(&later, Duration::from_millis(by)).unwrap();
            prop_assert!(before < later);
            prop_assert_eq!(text(&utc(), &before), Ok(millis - by as i64));
        }
    }
}
