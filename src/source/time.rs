//! All forms of time, to milliseconds since the epoch.
//!
//! What is finer than a millisecond is cut off, never rounded. A local time that occurs twice, when clocks go back,
//! is taken as the earlier one; a local time that clocks skip is no time, because its zone must be wrong.
//!
//! Whatever form a time has, no message was created before 2010 or will be created more than a day from now: such a
//! time was written in another unit than it is read in, and the API would only say that the message does not exist.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::settings::TimeUnit;
use super::value::{Value, digits, trim};

/// No message is older: 2010-01-01.
const EARLIEST: i64 = 1_262_304_000_000;
/// How far ahead of this host's clock a message may be, in milliseconds.
const AHEAD: i64 = 24 * 3_600_000;

/// The start of a cursor that is an integer has 13 digits in milliseconds: 2001-09-09 to 2286-11-20.
const STARTS: std::ops::Range<i64> = 1_000_000_000_000..10_000_000_000_000;

/// The units in which times are counted, in nanoseconds, and what to do about an integer that counts them.
const UNITS: [(&str, i128, &str); 4] = [
    ("seconds", 1_000_000_000, "set `time_unit: s`"),
    ("milliseconds", 1_000_000, "set `time_unit: ms`"),
    ("microseconds", 1_000, "divide it by 1000, and leave `time_unit` at ms"),
    ("nanoseconds", 1, "divide it by 1000000, and leave `time_unit` at ms"),
];

/// What makes a time so many times too late; the inverse makes it as many times too early.
const SLIPS: [(i128, &str, &str); 2] = [
    (
        1_000,
        "seconds that were taken for milliseconds, or milliseconds for microseconds",
        "milliseconds that were taken for seconds, or microseconds for milliseconds",
    ),
    (
        1_000_000,
        "seconds that were taken for microseconds, or milliseconds for nanoseconds",
        "microseconds that were taken for seconds, or nanoseconds for milliseconds",
    ),
];

/// Reads times as the settings say.
#[derive(Debug, Clone)]
pub(super) struct Times {
    unit: TimeUnit,
    zone: TimeZone,
    /// The zone's offset when it never changes, which spares the look-up.
    fixed: Option<Offset>,
    /// The latest create time there could be when the source was opened.
    latest: i64,
}

impl Times {
    pub(super) fn new(unit: TimeUnit, zone: TimeZone) -> Self {
        let fixed = zone.to_fixed_offset().ok();
        Self { unit, zone, fixed, latest: latest() }
    }

    /// Milliseconds since the epoch, or what is wrong.
    pub(super) fn read(&self, value: &Value<'_>) -> Result<i64, String> {
        if let Some(lack) = value.lack() {
            return Err(lack.to_owned());
        }
        let millis = match value {
            Value::Integer(number) => return self.integer(*number),
            Value::Text(bytes) => match digits(trim(bytes)) {
                Some(number) => return self.integer(number),
                None => self.text(trim(bytes))?,
            },
            Value::Timestamp { micros, zoned: true } => micros.div_euclid(1000),
            Value::Timestamp { micros, zoned: false } => match civil(*micros) {
                Some(local) => self.local(local)?.as_millisecond(),
                None => micros.div_euclid(1000),
            },
            Value::Decimal(text) => {
                return self.decimal(text).unwrap_or_else(|| Err(format!("{text} is no whole number")));
            }
            Value::Float(_) => {
                return Err(format!("{value} is a floating-point number: give an integer, a timestamp or text"));
            }
            Value::Unsigned(_) => return Err(format!("{value} is beyond all calendars")),
            Value::Date(_) => return Err(format!("{value} is a date without a time of day")),
            other => return Err(format!("is {other}: give an integer, a timestamp or text")),
        };
        if self.is_plausible(millis.into()) { Ok(millis) } else { Err(self.implausible(value, millis.into())) }
    }

    /// The same of an integer.
    pub(super) fn integer(&self, number: i64) -> Result<i64, String> {
        let millis = self.millis(number);
        if self.is_plausible(millis) { Ok(millis as i64) } else { Err(self.implausible_integer(number, millis)) }
    }

    /// What an integer counts, in milliseconds.
    fn millis(&self, number: i64) -> i128 {
        match self.unit {
            TimeUnit::Milliseconds => number.into(),
            TimeUnit::Seconds => i128::from(number) * 1000,
        }
    }

    /// Whether a message can have been created then.
    fn is_plausible(&self, millis: i128) -> bool {
        (EARLIEST.into()..=self.latest.into()).contains(&millis)
            // A source may be read for days.
            || (millis > self.latest.into() && millis <= latest().into())
    }

    #[cold]
    fn implausible_integer(&self, number: i64, millis: i128) -> String {
        let unit = match self.unit {
            TimeUnit::Milliseconds => "milliseconds",
            TimeUnit::Seconds => "seconds",
        };
        let likely = UNITS.iter().find(|(_, nanos, _)| self.is_plausible(i128::from(number) * nanos / 1_000_000));
        let hint = likely.map_or_else(String::new, |(unit, _, advice)| format!("; it looks like {unit}: {advice}"));
        format!("{number} is no time in {unit}: {} {}{hint}", shown(millis), outside(millis))
    }

    #[cold]
    fn implausible(&self, value: &Value<'_>, millis: i128) -> String {
        // The mistake was made before any zone came into it.
        let counted = if let Value::Timestamp { micros, .. } = value { i128::from(*micros) / 1000 } else { millis };
        let likely = SLIPS.iter().find_map(|(times, early, late)| {
            let early = self.is_plausible(counted * times).then_some(early);
            early.or_else(|| self.is_plausible(counted / times).then_some(late))
        });
        let hint = likely.map_or_else(String::new, |likely| format!("; it looks like {likely}"));
        let value = if in_calendar(millis).is_some() { value.to_string() } else { shown(millis) };
        format!("{value} {}{hint}", outside(millis))
    }

    /// An exact number of seconds may have a fraction, as `extract(epoch from …)` gives it.
    fn decimal(&self, text: &str) -> Option<Result<i64, String>> {
        let (whole, fraction) = text.split_once('.').filter(|_| self.unit == TimeUnit::Seconds)?;
        let (seconds, nanos) = (digits(whole.as_bytes())?, fraction_nanos(fraction.as_bytes())?);
        Some(self.integer(seconds).map(|millis| millis + i64::from(nanos / 1_000_000)))
    }

    fn text(&self, text: &[u8]) -> Result<i64, String> {
        let shown = || Value::bytes(text);
        let Some(stamp) = Stamp::parse(text) else {
            let decimal = std::str::from_utf8(text).ok().and_then(|text| self.decimal(text));
            return decimal.unwrap_or_else(|| {
                Err(format!(
                    "{} is no time: give an integer since the epoch, or text such as 2025-07-31T08:50:05.248Z or \
                     2025-07-31 08:50:05.248",
                    shown()
                ))
            });
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
            let millis = if number == 0 { 0 } else { i64::try_from(self.millis(number)).ok()? };
            if number != 0 && !STARTS.contains(&millis) {
                return None;
            }
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

/// The latest create time there can be now.
fn latest() -> i64 {
    Timestamp::now().as_millisecond() + AHEAD
}

fn in_calendar(millis: i128) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()
}

/// So many milliseconds since the epoch, for people.
fn shown(millis: i128) -> String {
    // The mean year is exact enough for one that no calendar has.
    let year = || format!("the year {}", 1970 + millis.div_euclid(31_556_952_000));
    in_calendar(millis).map_or_else(year, |time| time.to_string())
}

/// Why no message was created then.
fn outside(millis: i128) -> String {
    if millis < EARLIEST.into() {
        "is before 2010".to_owned()
    } else {
        let now = Timestamp::now().round(jiff::Unit::Second).unwrap_or_default();
        format!("is more than a day ahead of this host's clock ({now})")
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
#[path = "time_tests.rs"]
mod tests;
