//! Tests of the cursor.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::source::settings::TimeUnit;

const NOW: i64 = 1_753_951_805_248_000;
const DAY: i64 = 86_400_000_000;
const ZONED: CursorKind = CursorKind::Timestamp { zoned: true };
const LOCAL: CursorKind = CursorKind::Timestamp { zoned: false };

fn cursor(start: Option<&str>, overlap: Option<Overlap>) -> Cursor {
    Cursor { column: "c".to_owned(), start: start.map(str::to_owned), overlap }
}

fn track(
    cursor: &Cursor,
    kind: CursorKind,
    prior: Option<CursorValue>,
    from: Option<&Begin>,
) -> Result<Tracker, String> {
    let times = Times { unit: TimeUnit::Milliseconds, zone: TimeZone::get("Asia/Shanghai").unwrap() };
    let now = Timestamp::from_microsecond(NOW).unwrap();
    Tracker::new(cursor, kind, prior.map(Checkpoint::Value), from, &times, now).map_err(|error| error.to_string())
}

fn after(
    start: Option<&str>,
    overlap: Option<Overlap>,
    kind: CursorKind,
    prior: Option<CursorValue>,
) -> Result<CursorValue, String> {
    track(&cursor(start, overlap), kind, prior, None).map(|tracker| tracker.after)
}

fn integer(number: i64) -> CursorValue {
    CursorValue::Integer(number)
}

fn text(text: &str) -> CursorValue {
    CursorValue::Text(text.to_owned())
}

fn zoned(micros: i64) -> CursorValue {
    CursorValue::Timestamp { micros, zoned: true }
}

#[test]
fn without_a_past_a_query_begins_at_its_start() {
    assert_eq!(after(None, None, CursorKind::Integer, None), Ok(integer(0)));
    assert_eq!(after(Some("-5"), None, CursorKind::Integer, None), Ok(integer(-5)));
    assert_eq!(after(None, None, ZONED, None), Ok(zoned(0)));
    assert_eq!(after(Some("2025-07-31T08:50:05.248Z"), None, ZONED, None), Ok(zoned(NOW)));
    assert_eq!(after(Some("2025-07-31 16:50:05.248"), None, ZONED, None), Ok(zoned(NOW)));
    assert_eq!(after(Some("1753951805248"), None, ZONED, None), Ok(zoned(NOW)));
    let local = CursorValue::Timestamp { micros: NOW + 8 * 3_600_000_000, zoned: false };
    assert_eq!(after(Some("2025-07-31T08:50:05.248Z"), None, LOCAL, None), Ok(local.clone()));
    assert_eq!(after(Some("2025-07-31 16:50:05.248"), None, LOCAL, None), Ok(local));
    let midnight = CursorValue::Timestamp { micros: 1_753_920_000_000_000, zoned: false };
    assert_eq!(after(Some("2025-07-31"), None, CursorKind::Date, None), Ok(midnight));
    assert_eq!(after(None, None, CursorKind::Dynamic, None), Ok(integer(0)));
    assert!(after(Some("soon"), None, CursorKind::Integer, None).unwrap_err().contains("give an integer"));
    assert!(after(Some("soon"), None, ZONED, None).unwrap_err().contains("give a time"));
}

#[test]
fn a_later_run_reaches_back_by_the_overlap_and_not_before_the_start() {
    assert_eq!(after(None, None, CursorKind::Integer, Some(integer(5000))), Ok(integer(4000)));
    assert_eq!(after(None, Some(Overlap::Number(0)), CursorKind::Integer, Some(integer(5000))), Ok(integer(5000)));
    assert_eq!(after(Some("4900"), None, CursorKind::Integer, Some(integer(5000))), Ok(integer(4900)));
    assert_eq!(
        after(None, Some(Overlap::Number(u64::MAX)), CursorKind::Integer, Some(integer(5))),
        Ok(integer(i64::MIN))
    );
    assert_eq!(after(None, None, ZONED, Some(zoned(NOW))), Ok(zoned(NOW - DAY)));
    let hour = Overlap::Duration(Duration::from_hours(1));
    assert_eq!(after(None, Some(hour), ZONED, Some(zoned(NOW + 7))), Ok(zoned(NOW + 7 - DAY / 24)));
    assert_eq!(
        after(None, Some(hour), CursorKind::Dynamic, Some(text("2025-07-31 08:50:05.123456"))),
        Ok(text("2025-07-31 07:50:05.123456"))
    );
}

#[test]
fn an_overlap_that_does_not_fit_its_column_is_refused() {
    let day = Some(Overlap::Duration(Duration::from_hours(24)));
    let number = Some(Overlap::Number(5));
    assert!(after(None, day, CursorKind::Integer, None).unwrap_err().contains("its overlap is a number"));
    assert!(after(None, number, ZONED, None).unwrap_err().contains("its overlap is a duration"));
    assert!(after(None, number, CursorKind::Date, None).is_err());
    assert!(after(None, day, CursorKind::Dynamic, Some(integer(5))).is_err());
    assert!(after(None, number, CursorKind::Dynamic, Some(text("2025-07-31 08:50:05"))).is_err());
}

#[test]
fn a_column_that_changed_its_type_needs_a_word() {
    let message = after(None, None, ZONED, Some(integer(5))).unwrap_err();
    assert!(message.contains("another type than when 5 was reached") && message.contains("--from"), "{message}");
    assert!(after(None, None, LOCAL, Some(zoned(NOW))).is_err());
    let tracker = track(&cursor(None, None), ZONED, Some(integer(5)), Some(&Begin::Start)).unwrap();
    assert_eq!(tracker.checkpoint(), None);
}

#[test]
fn a_query_can_be_told_where_to_begin() {
    let begin = |from: &Begin| track(&cursor(Some("10"), None), CursorKind::Integer, Some(integer(5000)), Some(from));
    assert_eq!(begin(&Begin::Start).unwrap().after, integer(10));
    let mut tracker = begin(&Begin::Value("7".to_owned())).unwrap();
    assert_eq!(tracker.after, integer(7));
    tracker.observe(&Value::Integer(100)).unwrap();
    assert_eq!(tracker.checkpoint(), Some(Checkpoint::Value(integer(5000))));
    assert!(begin(&Begin::Value("x".to_owned())).unwrap_err().contains("--from"));
}

#[test]
fn null_and_the_future_never_move_the_cursor() {
    let mut tracker = track(&cursor(None, None), ZONED, None, None).unwrap();
    for micros in [NOW, NOW + 59_000_000, NOW + 61_000_000, i64::MAX, NOW - 5] {
        tracker.observe(&Value::Timestamp { micros, zoned: true }).unwrap();
    }
    tracker.observe(&Value::Null).unwrap();
    assert_eq!(tracker.checkpoint(), Some(Checkpoint::Value(zoned(NOW + 59_000_000))));

    let mut tracker = track(&cursor(None, None), LOCAL, None, None).unwrap();
    let local = NOW + 8 * 3_600_000_000;
    for micros in [local, local + 61_000_000] {
        tracker.observe(&Value::Timestamp { micros, zoned: false }).unwrap();
    }
    assert_eq!(tracker.checkpoint(), Some(Checkpoint::Value(CursorValue::Timestamp { micros: local, zoned: false })));

    let mut tracker = track(&cursor(None, None), CursorKind::Dynamic, None, None).unwrap();
    for value in
        ["2025-07-31 16:50:05.248001", "2025-07-31 16:52:05", "9999-12-31 00:00:00Z", "2025-07-31 16:50:05.248"]
    {
        tracker.observe(&Value::text(value)).unwrap();
    }
    assert_eq!(tracker.checkpoint(), Some(Checkpoint::Value(text("2025-07-31 16:50:05.248001"))));
}

fn meet(tracker: &mut Tracker, values: &[&str]) -> Result<(), String> {
    values.iter().try_for_each(|value| tracker.observe(&Value::text(value)).map_err(|error| error.to_string()))
}

#[test]
fn text_whose_order_is_not_that_of_time_is_no_cursor() {
    for value in ["AbQ01I", "9", "10000", "1753951805", "2025-07-31", "31.07.2025 08:50:05"] {
        let mut tracker = track(&cursor(None, None), CursorKind::Dynamic, None, None).unwrap();
        let message = meet(&mut tracker, &[value]).unwrap_err();
        assert!(message.contains(value) && message.contains("rows would be passed over"), "{message}");
        let message = after(None, None, CursorKind::Dynamic, Some(text(value))).unwrap_err();
        assert!(message.contains(value) && message.contains("--from start"), "{message}");
        let tracker = track(&cursor(None, None), CursorKind::Dynamic, Some(text(value)), Some(&Begin::Start));
        let mut tracker = tracker.unwrap();
        tracker.observe(&Value::Integer(5)).unwrap();
        assert_eq!(tracker.checkpoint(), Some(Checkpoint::Value(integer(5))));
    }
    let mut tracker = track(&cursor(None, None), CursorKind::Dynamic, None, None).unwrap();
    assert!(tracker.observe(&Value::Other("a blob")).is_err());
}

#[test]
fn times_as_text_are_of_one_form_and_never_among_integers() {
    for (first, second, fits) in [
        ("2025-07-30 08:50:05", "2025-07-31 08:50:05", true),
        ("2025-07-30 08:50:05", "2025-07-31 08:50:05.5", true),
        ("2025-07-30T08:50:05+08:00", "2025-07-31T08:50:05.000001+08:00", true),
        ("2025-07-30T08:50:05Z", "2025-07-31T08:50:05.5Z", false),
        ("2025-07-30 08:50:05", "2025-07-31T08:50:05", false),
        ("2025-07-30 08:50:05", "2025-07-31 08:50:05Z", false),
        ("2025-07-30 08:50:05+08:00", "2025-07-31 08:50:05+09:00", false),
    ] {
        let mut tracker = track(&cursor(None, None), CursorKind::Dynamic, None, None).unwrap();
        assert_eq!(meet(&mut tracker, &[first, second]).is_ok(), fits, "{first} {second}");
        let mut tracker = track(&cursor(None, None), CursorKind::Dynamic, Some(text(first)), None).unwrap();
        assert_eq!(meet(&mut tracker, &[second]).is_ok(), fits, "{first} {second}");
        assert!(tracker.observe(&Value::Integer(5)).unwrap_err().to_string().contains("holds both 5 and"));
    }
    let time = "2025-07-31 08:50:05";
    let mut tracker = track(&cursor(None, None), CursorKind::Dynamic, Some(integer(5)), None).unwrap();
    assert!(meet(&mut tracker, &[time]).unwrap_err().contains("holds both"));
    let mut tracker = track(&cursor(None, None), CursorKind::Dynamic, Some(integer(5)), Some(&Begin::Start)).unwrap();
    meet(&mut tracker, &[time]).unwrap();
    assert_eq!(tracker.checkpoint(), Some(Checkpoint::Value(text(time))));
}

#[test]
fn a_cursor_of_fractions_is_refused_or_cut_down() {
    let mut tracker = track(&cursor(None, None), CursorKind::Integer, None, None).unwrap();
    tracker.observe(&Value::decimal("7.5")).unwrap();
    assert!(tracker.observe(&Value::Float(1.5)).unwrap_err().to_string().contains("1.5, which a cursor cannot be"));
    assert_eq!(tracker.checkpoint(), Some(Checkpoint::Value(integer(7))));
}

proptest! {
    #[test]
    fn a_cursor_is_the_highest_value_and_never_goes_back(prior: Option<i64>, met: Vec<i64>) {
        let mut tracker = track(&cursor(None, None), CursorKind::Integer, prior.map(integer), None).unwrap();
        for number in &met {
            tracker.observe(&Value::Integer(*number)).unwrap();
        }
        let highest = met.iter().copied().chain(prior).max();
        prop_assert_eq!(tracker.checkpoint(), highest.map(|number| Checkpoint::Value(integer(number))));
    }

    #[test]
    fn what_is_bound_is_never_behind_what_was_reached(prior: i64, overlap: u64, start: Option<i64>) {
        let start = start.map(|start| start.to_string());
        let bound = after(start.as_deref(), Some(Overlap::Number(overlap)), CursorKind::Integer, Some(integer(prior)));
        let Ok(CursorValue::Integer(bound)) = bound else { panic!("{bound:?}") };
        prop_assert!(bound <= prior || Some(bound.to_string()) == start);
    }

    #[test]
    fn what_is_of_one_form_is_sorted_as_text_as_it_is_as_time(
        a in 0..4_000_000_000_000_i64, by in 0..100_000_i64, widths: (bool, bool), zone in "|Z|UTC| UTC|[+]08:00|-03:30| [+]08"
    ) {
        let spelt = |micros: i64, is_long: bool| {
            let format = if is_long { "%Y-%m-%dT%H:%M:%S%.6f" } else { "%Y-%m-%dT%H:%M:%S%.f" };
            Timestamp::from_microsecond(micros).unwrap().strftime(format).to_string() + &zone
        };
        let (earlier, later) = (spelt(a * 1000, widths.0), spelt(a * 1000 + by * 10, widths.1));
        if is_of_one_form(&earlier, &later) {
            prop_assert!(earlier <= later || by == 0, "{} {}", earlier, later);
        }
    }
}

#[test]
fn a_local_time_that_occurs_twice_reaches_back_to_before_clocks_went_back() {
    let times = |zone| Times { unit: TimeUnit::Milliseconds, zone: TimeZone::get(zone).unwrap() };
    let local = |text: &str| {
        let at: jiff::civil::DateTime = text.parse().unwrap();
        let micros = at.to_zoned(TimeZone::UTC).unwrap().timestamp().as_microsecond();
        CursorValue::Timestamp { micros, zoned: false }
    };
    let cursor = cursor(None, Some(Overlap::Duration(Duration::from_mins(1))));
    for (zone, prior, begins) in [
        ("Europe/Berlin", "2026-10-25T01:59:59", "2026-10-25T01:58:59"),
        ("Europe/Berlin", "2026-10-25T02:00:00", "2026-10-25T00:59:00"),
        ("Europe/Berlin", "2026-10-25T02:59:59", "2026-10-25T01:58:59"),
        ("Europe/Berlin", "2026-10-25T03:00:00", "2026-10-25T02:59:00"),
        ("Australia/Lord_Howe", "2026-04-05T01:45:00", "2026-04-05T01:14:00"),
        ("UTC", "2026-10-25T02:30:00", "2026-10-25T02:29:00"),
    ] {
        let (times, prior) = (times(zone), local(prior));
        assert_eq!(reach_back(&prior, &cursor, &times).unwrap(), local(begins), "{zone}");
    }
    let berlin = times("Europe/Berlin");
    let in_text = |prior: &str| reach_back(&text(prior), &cursor, &berlin).unwrap();
    assert_eq!(in_text("2026-10-25 02:30:00"), text("2026-10-25 01:29:00"));
    assert_eq!(in_text("2026-10-25 02:30:00+01:00"), text("2026-10-25 02:29:00+01:00"));
    let zoned = CursorValue::Timestamp { micros: 0, zoned: true };
    assert_eq!(reach_back(&zoned, &cursor, &berlin).unwrap(), zoned);
}
