//! A quantity by day as bars, low enough for several to stand below each other.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{ToSpan as _, Unit};
use maud::Markup;

use super::drawing::{Drawing, Frame, chart};

/// The fewest days that are drawn, so that a bar is never as wide as the page.
const LEAST: i64 = 14;

/// A quantity by day.
pub(crate) struct Trend<'a> {
    /// What it is, with its unit.
    pub(crate) title: &'a str,
    /// The colour class of the bars.
    pub(crate) class: &'a str,
    /// The first and the last day to draw.
    pub(crate) days: (Date, Date),
    /// The quantity on the days that have it.
    pub(crate) values: &'a BTreeMap<Date, f64>,
    /// A value in words.
    pub(crate) words: fn(f64) -> String,
}

impl Trend<'_> {
    /// The chart.
    pub(crate) fn draw(&self) -> Markup {
        let (first, last) = self.days;
        let most = self.values.values().copied().fold(0.0, f64::max);
        let latest = self.values.last_key_value().map(|(day, value)| format!(", {} on {day}", (self.words)(*value)));
        let describe = format!(
            "{} by day from {first} to {last}: at most {}{}.",
            self.title,
            (self.words)(most),
            latest.unwrap_or_default()
        );
        chart(&describe, |width| self.drawing(most, width))
    }

    fn drawing(&self, most: f64, width: f64) -> Drawing {
        let (first, last) = self.days;
        let days = days_between(first, last) + 1;
        let (bars, labels) = if width < 600.0 { (92, 3) } else { (400, 9) };
        // Where there are too many days, a bar is the highest of some.
        let per_bar = (days.max(LEAST) as usize).div_ceil(bars);
        let count = (days.max(LEAST) as usize).div_ceil(per_bar);
        // The last bar ends with the last day.
        let start = last.saturating_sub((count as i64 * per_bar as i64 - 1).days());
        let mut title = self.title.to_owned();
        if per_bar > 1 {
            title.push_str(&format!(" (each bar: the highest of {per_bar} days)"));
        }
        let (frame, mut drawing) = Frame::begin(width, 112.0, most, &title);
        let slot = (frame.right - frame.left) / count as f64;
        let bar_width = if slot > 4.0 { (slot * 0.8).min(36.0) } else { slot };
        let mut highest: BTreeMap<usize, (Date, f64)> = BTreeMap::new();
        for (day, value) in self.values.range(start..=last) {
            let bar = highest.entry(days_between(start, *day) as usize / per_bar).or_insert((*day, *value));
            if *value > bar.1 {
                *bar = (*day, *value);
            }
        }
        for (index, (day, value)) in highest.into_iter().filter(|(_, (_, value))| *value > 0.0) {
            let middle = frame.left + slot * (index as f64 + 0.5);
            let top = frame.y(value).min(frame.bottom - 1.5);
            let tip = format!("{day}: {}", (self.words)(value));
            drawing.rect([middle - bar_width / 2.0, top, bar_width, frame.bottom - top], self.class, &tip);
        }
        let every = count.div_ceil(labels);
        for index in (0..count).rev().step_by(every) {
            let label = start.saturating_add((index as i64 * per_bar as i64).days()).to_string();
            let half = label.len() as f64 * 3.2;
            let x = (frame.left + slot * (index as f64 + 0.5)).clamp(half, width - half);
            drawing.text((x, frame.bottom + 17.0), "middle", "tick", &label);
        }
        drawing
    }
}

/// How many days a day is after another.
pub(crate) fn days_between(first: Date, last: Date) -> i64 {
    first.until((Unit::Day, last)).map_or(0, |span| i64::from(span.get_days()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn trend(values: &BTreeMap<Date, f64>, days: (Date, Date)) -> String {
        Trend { title: "pending", class: "c-pending", days, values, words: |value| format!("{value}") }
            .draw()
            .into_string()
    }

    #[test]
    fn many_days_share_bars_and_the_highest_stands() {
        let (first, last) = (date(2018, 1, 1), date(2026, 12, 31));
        let values: BTreeMap<Date, f64> =
            first.series(1.day()).take_while(|day| *day <= last).map(|day| (day, f64::from(day.day()))).collect();
        let chart = trend(&values, (first, last));
        assert!(chart.matches("<rect").count() <= 492, "{}", chart.matches("<rect").count());
        assert!(chart.contains("the highest of 9 days") && chart.contains("2026-12-31: 31"));
        assert!(chart.contains("at most 31, 31 on 2026-12-31"), "{chart}");
    }

    #[test]
    fn one_day_is_one_bar() {
        let day = date(2026, 11, 2);
        let chart = trend(&BTreeMap::from([(day, 7.0)]), (day, day));
        assert_eq!(chart.matches("<rect").count(), 2, "one for wide and one for narrow screens");
        assert!(!chart.contains("NaN") && !chart.contains("highest of"));
    }
}
