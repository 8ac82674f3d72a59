//! Tests of the forms of time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn utc() -> Times {
    Times { unit: TimeUnit::Milliseconds, zone: TimeZone::UTC }
}

fn berlin() -> Times {
    Times { unit: TimeUnit::Milliseconds, zone: TimeZone::get("Europe/Berlin").unwrap() }
}

fn seconds() -> Times {
    Times { unit: TimeUnit::Seconds, zone: TimeZone::UTC }
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
        "2025-07-31 16:55:48.248+08:05:43",
    ] {
        assert_eq!(text(&utc(), spelling), Ok(1_753_951_805_248), "{spelling}");
    }
    assert_eq!(text(&seconds(), "1753951805"), Ok(1_753_951_805_000));
    assert_eq!(text(&seconds(), "1753951805.2489"), Ok(1_753_951_805_248));
    assert_eq!(seconds().read(&Value::decimal("1753951805.248000")), Ok(1_753_951_805_248));
    assert_eq!(utc().read(&Value::Timestamp { micros: 1_753_951_805_248_999, zoned: true }), Ok(1_753_951_805_248));
    assert_eq!(utc().read(&Value::Timestamp { micros: 1_753_951_805_248_999, zoned: false }), Ok(1_753_951_805_248));
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
    assert!(text(&seconds(), "1753951805248000").unwrap_err().contains("microseconds"));
    for number in [i64::MIN, -1, 0, 1, i64::MAX] {
        assert!(utc().read(&Value::Integer(number)).is_err());
        assert!(seconds().read(&Value::Integer(number)).is_err());
    }
}

#[test]
fn a_time_in_any_form_is_from_2010_to_a_day_ahead() {
    let now = Timestamp::now().as_millisecond();
    for (millis, expected) in [
        (EARLIEST, true),
        (EARLIEST - 1, false),
        (now, true),
        (now + AHEAD - 60_000, true),
        (now + AHEAD + 60_000, false),
    ] {
        let instant = Timestamp::from_millisecond(millis).unwrap();
        let written = instant.to_string();
        let decimal = format!("{}.{:03}", millis / 1000, millis % 1000);
        for (times, value) in [
            (utc(), Value::Integer(millis)),
            (utc(), Value::text(&millis.to_string())),
            (utc(), Value::text(&written)),
            (utc(), Value::text(written.trim_end_matches('Z'))),
            (utc(), Value::Timestamp { micros: millis * 1000, zoned: true }),
            (utc(), Value::Timestamp { micros: millis * 1000, zoned: false }),
            (seconds(), Value::text(&decimal)),
            (seconds(), Value::decimal(&decimal)),
        ] {
            assert_eq!(times.read(&value).is_ok(), expected, "{value}");
        }
    }
}

#[test]
fn the_unit_that_was_mistaken_is_said_of_every_form() {
    let moment = 1_753_951_805_248;
    let of = |micros: i64| utc().read(&Value::Timestamp { micros, zoned: true }).unwrap_err();
    assert!(of(moment).contains("is before 2010; it looks like seconds that were taken for milliseconds, or milli"));
    assert!(of(moment / 1000).contains("seconds that were taken for microseconds"));
    let late = of(moment * 1_000_000);
    assert!(late.contains("the year 57550 is more than a day ahead of this host's clock"), "{late}");
    assert!(late.contains("it looks like milliseconds that were taken for seconds"), "{late}");
    let unzoned = utc().read(&Value::Timestamp { micros: moment * 1_000_000, zoned: false }).unwrap_err();
    assert!(unzoned.starts_with("the year 57550 is"), "{unzoned}");
    let written = text(&utc(), "1970-01-21 07:12:31.805").unwrap_err();
    assert!(written.contains("it looks like seconds"), "{written}");
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
    for micros in [i64::MIN, i64::MAX] {
        assert!(utc().read(&Value::Timestamp { micros, zoned: false }).is_err());
    }
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
    fn every_time_is_read_as_jiff_writes_it(millis in EARLIEST..1_790_000_000_000, offset in -50_000..50_000_i32) {
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
    fn an_earlier_time_is_earlier_as_text_too(millis in EARLIEST + 10_000_000..1_790_000_000_000, by in 1..10_000_000_u64) {
        let later = Timestamp::from_millisecond(millis).unwrap().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let before = earlier(&later, Duration::from_millis(by)).unwrap();
        prop_assert!(before < later);
        prop_assert_eq!(text(&utc(), &before), Ok(millis - by as i64));
    }
}
