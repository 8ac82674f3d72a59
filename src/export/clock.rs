//! Formats times in the chosen time zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Formats times of one time zone.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    zone: TimeZone,
}

impl Clock {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone }
    }

    /// The name of the time zone.
    pub(super) fn name(&self) -> String {
        self.zone.iana_name().map_or_else(
            || self.zone.to_fixed_offset().map_or_else(|_| "local".to_owned(), |offset| offset.to_string()),
            ToOwned::to_owned,
        )
    }

    fn format(&self, time: i64, form: &str) -> String {
        match Timestamp::from_millisecond(time) {
            Ok(time) => time.to_zoned(self.zone.clone()).strftime(form).to_string(),
            // Beyond any calendar, but the archive has it.
            Err(_) => format!("{time} ms"),
        }
    }

    /// RFC 3339 with milliseconds and offset.
    pub(super) fn exact(&self, time: i64) -> String {
        if self.zone == TimeZone::UTC { utc(time) } else { self.format(time, "%Y-%m-%dT%H:%M:%S.%3f%:z") }
    }

    /// Date and time to the second.
    pub(super) fn second(&self, time: i64) -> String {
        self.format(time, "%Y-%m-%d %H:%M:%S")
    }

    /// The time of day.
    pub(super) fn time(&self, time: i64) -> String {
        self.format(time, "%H:%M:%S")
    }

    /// The date.
    pub(super) fn date(&self, time: i64) -> String {
        self.format(time, "%Y-%m-%d")
    }

    /// The date with its weekday.
    pub(super) fn day(&self, time: i64) -> String {
        self.format(time, "%Y-%m-%d, %A")
    }
}

/// RFC 3339 with milliseconds in UTC.
pub(super) fn utc(time: i64) -> String {
    match Timestamp::from_millisecond(time) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{time} ms"),
    }
}
