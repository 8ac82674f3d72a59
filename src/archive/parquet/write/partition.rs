//! Which Hive directory a message belongs in. Pure.

use std::fmt::Write as _;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::archive::parquet::settings::PartitionColumn;
use crate::model::message::Row;

/// What Hive calls the partition of rows without a value: with a time outside the calendar, or an empty text.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";
const DAY_MS: i64 = 86_400_000;
/// The days, counted from 1970-01-01, whose year has four digits.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

/// A partition, cheap to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The day since the epoch; or year × 12 + month − 1 if there is no partition by day.
    time: Option<i64>,
    conversation_type: i32,
}

/// Finds partitions. Remembers the last time zone offset and the last month: looking them up for every row would be slow.
#[derive(Debug)]
pub(super) struct Partitioner {
    columns: Vec<PartitionColumn>,
    zone: TimeZone,
    app_key: String,
    offset: Stretch,
    month: Stretch,
}

/// A value that is valid from `start` up to `end`.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    start: i64,
    end: i64,
    value: i64,
}

impl Stretch {
    const NONE: Self = Self { start: 0, end: 0, value: 0 };

    fn get(self, at: i64) -> Option<i64> {
        (self.start <= at && at < self.end).then_some(self.value)
    }
}

impl Partitioner {
    /// Partitions by these columns, with the dates of this time zone.
    pub(super) fn new(columns: &[PartitionColumn], zone: TimeZone, app_key: &str) -> Self {
        Self { columns: columns.to_vec(), zone, app_key: escape(app_key), offset: Stretch::NONE, month: Stretch::NONE }
    }

    /// The partition of a message.
    pub(super) fn key(&mut self, row: &Row) -> Key {
        let by = |column| self.columns.contains(&column);
        let (date, month) = (by(PartitionColumn::Date), by(PartitionColumn::Month));
        let conversation_type = if by(PartitionColumn::ConversationType) { row.conversation_type } else { 0 };
        let time = match (date, month) {
            (true, _) => self.day(row.create_time),
            (false, true) => self.day(row.create_time).and_then(|day| self.month(day)),
            (false, false) => None,
        };
        Key { time, conversation_type }
    }

    /// The directory of a partition, relative to the archive, with `/` and without one at the end.
    pub(super) fn directory(&self, key: Key) -> String {
        let by_date = self.columns.contains(&PartitionColumn::Date);
        let date = key.time.filter(|_| by_date).and_then(date);
        let month = if by_date { date.map(month_number) } else { key.time };
        let mut directory = String::new();
        for column in &self.columns {
            if !directory.is_empty() {
                directory.push('/');
            }
            let _ = match column {
                PartitionColumn::Date => match date {
                    Some(date) => write!(directory, "date={date}"),
                    None => write!(directory, "date={NO_VALUE}"),
                },
                PartitionColumn::Month => match month {
                    Some(month) => {
                        write!(directory, "month={:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1)
                    }
                    None => write!(directory, "month={NO_VALUE}"),
                },
                PartitionColumn::ConversationType => write!(directory, "conversation_type={}", key.conversation_type),
                PartitionColumn::AppKey => write!(directory, "app_key={}", self.app_key),
            };
        }
        directory
    }

    fn day(&mut self, time: i64) -> Option<i64> {
        let offset = if let Some(offset) = self.offset.get(time) {
            offset
        } else {
            self.offset = offset_around(&self.zone, time)?;
            self.offset.value
        };
        Some((time + offset).div_euclid(DAY_MS)).filter(|day| DAYS.contains(day))
    }

    fn month(&mut self, day: i64) -> Option<i64> {
        if let Some(month) = self.month.get(day) {
            return Some(month);
        }
        let date = date(day)?;
        let start = day - i64::from(date.day()) + 1;
        self.month = Stretch { start, end: start + i64::from(date.days_in_month()), value: month_number(date) };
        Some(self.month.value)
    }
}

/// The zone's offset in milliseconds at a time, and from when to when it is valid; `None` outside the calendar.
///
/// The stretches of offsets are remembered, not those of dates: a clock that is set back over midnight makes a day come
/// twice.
fn offset_around(zone: &TimeZone, time: i64) -> Option<Stretch> {
    let at = Timestamp::from_millisecond(time).ok()?;
    // Transitions are whole seconds: the last one before the next millisecond may be at this very time.
    let just_after = Timestamp::from_millisecond(time.checked_add(1)?).unwrap_or(at);
    let start = zone.preceding(just_after).next().map(|step| step.timestamp());
    let end = zone.following(at).next().map(|step| step.timestamp());
    Some(Stretch {
        start: start.unwrap_or(Timestamp::MIN).as_millisecond(),
        end: end.map_or(Timestamp::MAX.as_millisecond() + 1, Timestamp::as_millisecond),
        value: i64::from(zone.to_offset(at).seconds()) * 1000,
    })
}

fn date(day: i64) -> Option<Date> {
    let days = Span::new().try_days(day).ok()?;
    Date::constant(1970, 1, 1).checked_add(days).ok()
}

fn month_number(date: Date) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

/// A value as Hive writes it in a path: characters with a meaning to a file system, a URL or Hive become `%XX`.
pub(super) fn escape(value: &str) -> String {
    if value.is_empty() {
        return NO_VALUE.to_owned();
    }
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\0'..='\x1f'
            | '\x7f'
            | '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '['
            | ']'
            | '^' => {
                let _ = write!(escaped, "%{:02X}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn directory(columns: &[PartitionColumn], zone: &str, time: i64) -> String {
        let mut partitioner = Partitioner::new(columns, TimeZone::get(zone).unwrap(), "key");
        let key = partitioner.key(&Row::new(1, time, 2, 0));
        partitioner.directory(key)
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_date_is_that_of_the_configured_zone() {
        use PartitionColumn::Date;
        let time = at("2026-11-21T16:30:00Z");
        assert_eq!(directory(&[Date], "UTC", time), "date=2026-11-21");
        assert_eq!(directory(&[Date], "Asia/Shanghai", time), "date=2026-11-22");
    }

    #[test]
    fn columns_come_in_the_order_asked_for() {
        use PartitionColumn::{AppKey, ConversationType, Date, Month};
        let time = at("2024-02-29T23:59:59.999Z");
        assert_eq!(
            directory(&[Month, AppKey, ConversationType, Date], "UTC", time),
            "month=2024-02/app_key=key/conversation_type=2/date=2024-02-29"
        );
        assert_eq!(directory(&[Month], "UTC", time + 1), "month=2024-03");
        assert_eq!(directory(&[], "UTC", time), "");
    }

    #[test]
    fn a_time_that_no_calendar_holds_has_the_partition_of_no_value() {
        use PartitionColumn::{Date, Month};
        for time in [i64::MAX, i64::MIN, at("-009998-01-01T00:00:00Z")] {
            assert_eq!(directory(&[Date], "UTC", time), "date=__HIVE_DEFAULT_PARTITION__");
            assert_eq!(directory(&[Month], "Asia/Shanghai", time), "month=__HIVE_DEFAULT_PARTITION__");
        }
    }

    #[test]
    fn a_day_that_comes_twice_is_one_partition() {
        // The clock went from 00:01 back to 23:01 of the day before.
        let mut partitioner =
            Partitioner::new(&[PartitionColumn::Date], TimeZone::get("America/St_Johns").unwrap(), "key");
        let mut dates = Vec::new();
        let start = at("2010-11-07T02:29:30Z");
        for minute in 0..62 {
            let key = partitioner.key(&Row::new(1, start + minute * 60_000, 1, 0));
            dates.push(partitioner.directory(key));
        }
        dates.dedup();
        assert_eq!(dates, ["date=2010-11-06", "date=2010-11-07", "date=2010-11-06", "date=2010-11-07"]);
    }

    #[test]
    fn values_are_escaped_as_hive_does() {
        assert_eq!(escape("a/b=c%d e:ü"), "a%2Fb%3Dc%25d e%3Aü");
        assert_eq!(escape(""), NO_VALUE);
    }

    proptest! {
        #[test]
        fn dates_and_months_are_those_of_the_calendar(
            times in proptest::collection::vec(-62_000_000_000_000_i64..253_000_000_000_000, 1..50),
            zone in prop::sample::select(vec!["UTC", "Asia/Shanghai", "America/New_York", "America/St_Johns", "Pacific/Apia"]),
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let columns = [PartitionColumn::Date, PartitionColumn::Month];
            let mut both = Partitioner::new(&columns, zone.clone(), "key");
            let mut months = Partitioner::new(&[PartitionColumn::Month], zone.clone(), "key");
            for time in times {
                let date = Timestamp::from_millisecond(time).unwrap().to_zoned(zone.clone()).date();
                let month = format!("month={:04}-{:02}", date.year(), date.month());
                let key = both.key(&Row::new(1, time, 1, 0));
                prop_assert_eq!(both.directory(key), format!("date={date}/{month}"));
                let key = months.key(&Row::new(1, time, 1, 0));
                prop_assert_eq!(months.directory(key), month);
            }
        }

        #[test]
        fn no_value_leaves_its_directory(value in any::<String>()) {
            let partitioner = Partitioner::new(&[PartitionColumn::AppKey], TimeZone::UTC, &value);
            let directory = partitioner.directory(Key { time: None, conversation_type: 0 });
            let components: Vec<_> = Path::new(&directory).components().collect();
            prop_assert_eq!(components, vec![Component::Normal(directory.as_ref())]);
            prop_assert!(!directory.contains('\0'));
            let bytes: Vec<u8> = url::form_urlencoded::parse(directory.replace('+', "%2B").replace('&', "%26").as_bytes())
                .flat_map(|(_, value)| value.into_owned().into_bytes())
                .collect();
            if !value.is_empty() {
                prop_assert_eq!(String::from_utf8(bytes).unwrap(), value);
            }
        }
    }
}
