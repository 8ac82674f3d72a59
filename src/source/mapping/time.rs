//! Every form of time, as milliseconds since the epoch.
//!
//! Anything finer than a millisecond is cut off, never rounded. A local time that occurs twice, when clocks go back, is
//! taken as the earlier one. A local time that clocks skip is an error, because its zone must be wrong.
//!
//! No message was created before 2010 or more than a day from now. A time outside of this was written in another unit
//! than it is read in, and the API would only answer that the message does not exist.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::source::settings::TimeUnit;
use crate::source::value::{Value, digits};

/// No message is older: 2010-01-01.
const EARLIEST: i64 = 1_262_304_000_000;
/// How far ahead of this host's clock a message may be, in milliseconds.
const AHEAD: i64 = 24 * 3_600_000;

/// A cursor that starts at an integer of milliseconds starts at one of 13 digits: 2001-09-09 to 2286-11-20.
const STARTS: std::ops::Range<i64> = 1_000_000_000_000..10_000_000_000_000;

/// The units that an integer may count, in nanoseconds, and what to do about such an integer.
const UNITS: [(&str, i128, &str); 4] = [
    ("seconds", 1_000_000_000, "set `time_unit: s`"),
    ("milliseconds", 1_000_000, "set `time_unit: ms`"),
    ("microseconds", 1_000, "divide it by 1000, and leave `time_unit` at ms"),
    ("nanoseconds", 1, "divide it by 1000000, and leave `time_unit` at ms"),
];

/// Mistakes that make a time so many times too early, and those that make it as many times too late.
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
pub(in crate::source) struct Times {
    /// What an integer counts.
    pub(in crate::source) unit: TimeUnit,
    /// The zone of times that carry none.
    pub(in crate::source) zone: TimeZone,
}

impl Times {
    /// How far clocks went back if this time, in microseconds of a column without a zone, occurs twice; else nothing.
    pub(in crate::source) fn repeated(&self, local: i64) -> Duration {
        civil(local).map_or(Duration::ZERO, |local| self.repeated_civil(local))
    }

    /// The same of a time in text, if it has no offset.
    pub(in crate::source) fn repeated_text(&self, text: &str) -> Duration {
        let stamp = Stamp::parse(text).filter(|stamp| stamp.offset.is_none());
        stamp.map_or(Duration::ZERO, |stamp| self.repeated_civil(stamp.civil))
    }

    fn repeated_civil(&self, local: DateTime) -> Duration {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Fold { before, after } => {
                Duration::from_secs(u64::from((before.seconds() - after.seconds()).unsigned_abs()))
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => Duration::ZERO,
        }
    }

    /// Milliseconds since the epoch, or what is wrong.
    pub(in crate::source) fn read(&self, value: &Value<'_>) -> Result<i64, String> {
        if let Some(lack) = value.lack() {
            return Err(lack.to_owned());
        }
        let millis = match value {
            Value::Integer(number) => return self.integer(*number),
            Value::Text(bytes) => match digits(bytes.trim_ascii()) {
                Some(number) => return self.integer(number),
                None => self.text(bytes.trim_ascii())?,
            },
            Value::Timestamp { micros, zoned } => match civil(*micros) {
                Some(local) if !zoned => self.local(local)?.as_millisecond(),
                _ => micros.div_euclid(1000),
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
        if is_plausible(millis.into()) { Ok(millis) } else { Err(implausible(value, millis.into())) }
    }

    fn integer(&self, number: i64) -> Result<i64, String> {
        let millis = self.millis(number);
        if is_plausible(millis) {
            return Ok(millis as i64);
        }
        let unit = match self.unit {
            TimeUnit::Milliseconds => "milliseconds",
            TimeUnit::Seconds => "seconds",
        };
        let likely = UNITS.iter().find(|(_, nanos, _)| is_plausible(i128::from(number) * nanos / 1_000_000));
        let hint = likely.map_or_else(String::new, |(unit, _, advice)| format!("; it looks like {unit}: {advice}"));
        Err(format!("{number} is no time in {unit}: {} {}{hint}", shown(millis), outside(millis)))
    }

    /// What an integer counts, in milliseconds.
    fn millis(&self, number: i64) -> i128 {
        match self.unit {
            TimeUnit::Milliseconds => number.into(),
            TimeUnit::Seconds => i128::from(number) * 1000,
        }
    }

    /// Seconds with a fraction, such as `extract(epoch from …)` gives; `None` for anything else.
    fn decimal(&self, text: &str) -> Option<Result<i64, String>> {
        let (whole, fraction) = text.split_once('.').filter(|_| self.unit == TimeUnit::Seconds)?;
        let (seconds, nanos) = (digits(whole.as_bytes())?, fraction_nanos(fraction)?);
        Some(self.integer(seconds).map(|millis| millis + i64::from(nanos / 1_000_000)))
    }

    fn text(&self, bytes: &[u8]) -> Result<i64, String> {
        let shown = || Value::bytes(bytes);
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let Some(stamp) = Stamp::parse(text) else {
            return self.decimal(text).unwrap_or_else(|| {
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
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
            let zone = self.zone.iana_name().unwrap_or("the time zone");
            return Err(format!("{local} does not exist in {zone}: clocks skip it. Is `timezone` right?"));
        }
        ambiguous.earlier().map_err(|_| format!("{local} is beyond all calendars"))
    }

    /// Microseconds of an instant as a column without a zone would hold it.
    pub(in crate::source) fn local_micros(&self, instant: Timestamp) -> i64 {
        let local = self.zone.to_datetime(instant);
        Offset::UTC.to_timestamp(local).map_or(i64::MAX, Timestamp::as_microsecond)
    }

    /// Microseconds of a time that a person wrote: since the epoch, or for a column without a zone, as if it were UTC.
    pub(in crate::source) fn column_micros(&self, text: &str, zoned: bool) -> Option<i64> {
        let text = text.trim();
        let instant = if let Some(number) = digits(text.as_bytes()) {
            let millis = i64::try_from(self.millis(number)).ok()?;
            Timestamp::from_millisecond(millis).ok().filter(|_| millis == 0 || STARTS.contains(&millis))?
        } else {
            let stamp = match Stamp::parse(text) {
                Some(stamp) => stamp,
                None => Stamp { civil: text.parse::<Date>().ok()?.at(0, 0, 0, 0), offset: None },
            };
            match (stamp.offset, zoned) {
                (None, false) => return Some(Offset::UTC.to_timestamp(stamp.civil).ok()?.as_microsecond()),
                (None, true) => self.local(stamp.civil).ok()?,
                (Some(offset), _) => offset.to_timestamp(stamp.civil).ok()?,
            }
        };
        Some(if zoned { instant.as_microsecond() } else { self.local_micros(instant) })
    }

    /// Whether text is a time after `limit`. Text that is no time is not.
    pub(in crate::source) fn is_after(&self, text: &str, limit: Timestamp) -> bool {
        let Some(stamp) = Stamp::parse(text.trim()) else { return false };
        let instant = match stamp.offset {
            Some(offset) => offset.to_timestamp(stamp.civil).ok(),
            None => self.local(stamp.civil).ok(),
        };
        // The last days of the year 9999, which often stand for "forever", are beyond the calendar.
        instant.map_or(stamp.civil.year() == 9999, |instant| instant > limit)
    }
}

/// Whether a message can have been created then.
fn is_plausible(millis: i128) -> bool {
    (EARLIEST.into()..=i128::from(Timestamp::now().as_millisecond() + AHEAD)).contains(&millis)
}

/// What is wrong with an implausible time that is no integer.
fn implausible(value: &Value<'_>, millis: i128) -> String {
    // The unit was mistaken before a zone was applied.
    let counted = if let Value::Timestamp { micros, .. } = value { i128::from(*micros) / 1000 } else { millis };
    let likely = SLIPS.iter().find_map(|(times, early, late)| {
        let early = is_plausible(counted * times).then_some(early);
        early.or_else(|| is_plausible(counted / times).then_some(late))
    });
    let hint = likely.map_or_else(String::new, |likely| format!("; it looks like {likely}"));
    let value = if in_calendar(millis).is_some() { value.to_string() } else { shown(millis) };
    format!("{value} {}{hint}", outside(millis))
}

fn in_calendar(millis: i128) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()
}

/// Milliseconds since the epoch, for people.
fn shown(millis: i128) -> String {
    // The mean year is exact enough for a year beyond the calendar.
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

/// The same time so much earlier, written in the same form; `None` for text that is no time.
///
/// Databases compare text as text, so an earlier time must be spelled the way its column spells times.
pub(in crate::source) fn earlier(text: &str, by: Duration) -> Option<String> {
    let moved = Stamp::parse(text)?.civil.checked_sub(by).ok()?;
    let (seconds, rest) = text.split_at(19);
    let mut out = moved.strftime(&format!("%Y-%m-%d{}%H:%M:%S", &seconds[10..11])).to_string();
    let (decimals, zone) = rest.split_at(decimals(rest));
    if !decimals.is_empty() {
        let nanos = format!(".{:09}", moved.subsec_nanosecond());
        out.push_str(&nanos[..decimals.len().min(nanos.len())]);
    }
    Some(out + zone)
}

/// The length of the point and the digits that text begins with.
pub(in crate::source) fn decimals(text: &str) -> usize {
    text.strip_prefix('.').map_or(0, |rest| 1 + rest.bytes().take_while(u8::is_ascii_digit).count())
}

/// `2025-07-31 08:50:05`, with `T` or a space between, decimals or none, and an offset or none.
struct Stamp {
    civil: DateTime,
    offset: Option<Offset>,
}

impl Stamp {
    fn parse(text: &str) -> Option<Self> {
        let (seconds, rest) = text.split_at_checked(19)?;
        // `jiff` takes many more forms, some of which two people would read differently.
        let is_of_this_form = seconds.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            10 => matches!(byte, b'T' | b't' | b' '),
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
        // It takes a leap second as the second before.
        let mut civil: DateTime = seconds.parse().ok().filter(|_| is_of_this_form)?;
        let (fraction, offset) = rest.split_at(decimals(rest));
        if let Some(fraction) = fraction.strip_prefix('.') {
            civil = civil.with().subsec_nanosecond(fraction_nanos(fraction)?).build().ok()?;
        }
        let offset = match offset.trim() {
            "" => None,
            "Z" | "z" | "UTC" => Some(Offset::UTC),
            text if text.starts_with(['+', '-']) => {
                Some(DateTimeParser::new().parse_time_zone(text).ok()?.to_fixed_offset().ok()?)
            }
            _ => return None,
        };
        Some(Self { civil, offset })
    }
}

/// Decimals of a second as nanoseconds. Decimals beyond the ninth are cut off.
fn fraction_nanos(decimals: &str) -> Option<i32> {
    let is_number = !decimals.is_empty() && decimals.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("{decimals:0<9}")[..9].parse().ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
