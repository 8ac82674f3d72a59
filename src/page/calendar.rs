//! Counts by day as stacked bars; by month or year if there are too many days.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};
use maud::Markup;

use super::drawing::{Drawing, Frame, chart};
use super::figures::count;

/// Counts by day.
pub(crate) struct Calendar<'a> {
    /// Days in order, with a count for every series.
    pub(crate) days: Vec<(Date, Vec<u64>)>,
    /// Colour class and name of every series, from bottom to top.
    pub(crate) series: Vec<(&'a str, &'a str)>,
    /// What is counted.
    pub(crate) what: &'a str,
    /// The time zone of the days.
    pub(crate) timezone: &'a str,
}

/// What a bar represents.
struct Grain {
    name: &'static str,
    format: &'static str,
    step: Span,
    /// The first day of the bar that a day belongs to.
    first: fn(Date) -> Date,
}

impl Grain {
    /// The finest grain with at most `most` bars between two days.
    fn between(first: Date, last: Date, most: i32) -> Self {
        let months = 12 * i32::from(last.year() - first.year()) + i32::from(last.month()) - i32::from(first.month());
        if last.duration_since(first).as_hours() / 24 < i64::from(most) {
            Self { name: "day", format: "%Y-%m-%d", step: 1.day(), first: |date| date }
        } else if months < most {
            Self { name: "month", format: "%Y-%m", step: 1.month(), first: Date::first_of_month }
        } else {
            Self { name: "year", format: "%Y", step: 1.year(), first: Date::first_of_year }
        }
    }

    fn label(&self, date: Date) -> String {
        date.strftime(self.format).to_string()
    }
}

impl Calendar<'_> {
    /// The chart; empty if there are no days.
    pub(crate) fn draw(&self) -> Markup {
        let (Some((first, _)), Some((last, _))) = (self.days.first(), self.days.last()) else {
            return Markup::default();
        };
        let total = self.days.iter().flat_map(|(_, counts)| counts).sum();
        let names: Vec<&str> = self.series.iter().map(|(_, name)| *name).collect();
        let what = self.what;
        let describe = format!("{} {what} by day, from {first} to {last}: {}.", count(total), names.join(", "));
        chart(&describe, |width| self.drawing(*first, *last, width))
    }

    fn drawing(&self, first: Date, last: Date, width: f64) -> Drawing {
        let grain = Grain::between(first, last, if width < 600.0 { 92 } else { 400 });
        let starts = (grain.first)(first).series(grain.step).take_while(|date| *date <= last);
        let mut bars: BTreeMap<Date, Vec<u64>> = starts.map(|date| (date, vec![0; self.series.len()])).collect();
        for (date, counts) in &self.days {
            let bar = bars.entry((grain.first)(*date)).or_insert_with(|| vec![0; self.series.len()]);
            bar.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
        let most = bars.values().map(|bar| bar.iter().sum::<u64>()).max().unwrap_or(0);
        let unit = format!("{} per {} ({})", self.what, grain.name, self.timezone);
        let (frame, mut drawing) = Frame::begin(width, 240.0, most as f64, &unit);
        let slot = (frame.right - frame.left) / bars.len().max(1) as f64;
        let bar_width = if slot > 4.0 { (slot * 0.8).min(48.0) } else { slot };
        let labels = if width < 600.0 { 3 } else { 9 };
        let every = bars.len().div_ceil(labels).max(1);
        for (index, (date, bar)) in bars.iter().enumerate() {
            let middle = frame.left + slot * (index as f64 + 0.5);
            let mut base = frame.bottom;
            let mut below = 0;
            for (n, (class, name)) in bar.iter().zip(&self.series).filter(|(n, _)| **n > 0) {
                below += n;
                let top = frame.y(below as f64);
                let tip = format!("{}: {} {name}", grain.label(*date), count(*n));
                drawing.rect([middle - bar_width / 2.0, top, bar_width, base - top], class, &tip);
                base = top;
            }
            if index % every == 0 {
                let label = grain.label(*date);
                let half = label.len() as f64 * 3.2;
                let x = middle.clamp(half, width - half);
                drawing.text((x, frame.bottom + 17.0), "middle", "tick", &label);
            }
        }
        drawing
    }
}
