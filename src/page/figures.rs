//! Numbers, sizes and times for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A count with thousands separators.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A short count for an axis.
pub(crate) fn brief(number: u64) -> String {
    let scaled = |unit: f64, name: &str| {
        let text = format!("{:.1}", number as f64 / unit);
        format!("{}{name}", text.trim_end_matches(".0"))
    };
    match number {
        0..10_000 => count(number),
        10_000..1_000_000 => scaled(1e3, "k"),
        1_000_000..1_000_000_000 => scaled(1e6, "M"),
        _ => scaled(1e9, "G"),
    }
}

/// A size in decimal units.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A rate, with one decimal below 100.
pub(crate) fn rate(per_second: f64) -> String {
    if !per_second.is_finite() {
        "–".to_owned()
    } else if per_second < 99.95 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
}

/// A share in percent, never rounded to 0% or 100%.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    if part > 0 && percent < 0.1 {
        "< 0.1%".to_owned()
    } else if part < whole && percent > 99.9 {
        "> 99.9%".to_owned()
    } else if part == whole || part == 0 {
        format!("{percent:.0}%")
    } else {
        format!("{percent:.1}%")
    }
}

/// A duration in its two largest units.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {seconds} s"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A time to the second, without its time zone.
pub(crate) fn time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The name of a time zone.
pub(crate) fn zone(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_never_rounded_to_all_or_nothing() {
        assert_eq!(share(1, 1_000_000), "< 0.1%");
        assert_eq!(share(999_999, 1_000_000), "> 99.9%");
        assert_eq!(share(5, 5), "100%");
        assert_eq!(share(0, 5), "0%");
        assert_eq!(share(0, 0), "–");
        assert_eq!(share(1, 3), "33.3%");
    }

    #[test]
    fn numbers_are_short_and_exact_enough() {
        assert_eq!(brief(9_999), "9,999");
        assert_eq!(brief(20_000), "20k");
        assert_eq!(brief(1_500_000), "1.5M");
        assert_eq!(duration(4.26), "4.3 s");
        assert_eq!(duration(61.0), "1 min 1 s");
        assert_eq!(duration(90_061.0), "1 d 1 h");
        assert_eq!(rate(f64::NAN), "–");
        assert_eq!(rate(12_345.6), "12,346");
    }
}
