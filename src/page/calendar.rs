//! Counts by day as stacked bars; by month or year where there are too many days.

use std::collections::BTreeMap;

use jiff::civil::Date;
use maud::Markup;

use super::drawing::{Drawing, Frame, chart};
use super::figures::count;

/// Counts by day.
pub(crate) struct Calendar<'a> {
    /// Days in order, with a count for every series.
    pub(crate) days: Vec<(Date, Vec<u64>)>,
    /// Colour class and name of every series, the lowest first.
    pub(crate) series: Vec<(&'a str, &'a str)>,
    /// What is counted.
    pub(crate) what: &'a str,
    /// The zone of the days.
    pub(crate) timezone: &'a str,
}

/// What a bar stands for.
#[derive(Clone, Copy)]
enum Span {
    Day,
    Month,
    Year,
}

impl Span {
    /// The first day of the span that holds a date.
    fn first(self, date: Date) -> Date {
        match self {
            Self::Day => date,
            Self::Month => date.first_of_month(),
            Self::Year => date.first_of_year(),
        }
    }

    fn next(self, date: Date) -> Option<Date> {
        use jiff::ToSpan as _;
        let span = match self {
            Self::Day => 1.day(),
            Self::Month => 1.month(),
            Self::Year => 1.year(),
        };
        date.checked_add(span).ok()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    fn label(self, date: Date) -> String {
        match self {
            Self::Day => date.to_string(),
            Self::Month => date.strftime("%Y-%m").to_string(),
            Self::Year => date.strftime("%Y").to_string(),
        }
    }
}

/// The finest span of which no more than `most` lie between two dates.
fn span(first: Date, last: Date, most: i32) -> Span {
    let days = i32::try_from(first.duration_until(last).as_hours() / 24).unwrap_or(i32::MAX);
    let months =
        (i32::from(last.year()) - i32::from(first.year())) * 12 + i32::from(last.month()) - i32::from(first.month());
    match () {
        () if days < most => Span::Day,
        () if months < most => Span::Month,
        () => Span::Year,
    }
}

impl Calendar<'_> {
    /// The chart. `describe` is what a screen reader reads instead.
    pub(crate) fn draw(&self, describe: &str) -> Markup {
        chart(describe, |width| self.drawing(width))
    }

    fn drawing(&self, width: f64) -> Drawing {
        const HEIGHT: f64 = 240.0;
        let (Some((first, _)), Some((last, _))) = (self.days.first(), self.days.last()) else {
            return Drawing::new(HEIGHT);
        };
        let span = span(*first, *last, if width < 600.0 { 92 } else { 400 });
        let mut bars: BTreeMap<Date, Vec<u64>> = BTreeMap::new();
        let mut date = span.first(*first);
        while date <= *last && bars.len() < 10_000 {
            bars.insert(date, vec![0; self.series.len()]);
            let Some(next) = span.next(date) else { break };
            date = next;
        }
        for (date, counts) in &self.days {
            let bar = bars.entry(span.first(*date)).or_insert_with(|| vec![0; self.series.len()]);
            for (sum, n) in bar.iter_mut().zip(counts) {
                *sum += n;
            }
        }
        let most = bars.values().map(|bar| bar.iter().sum::<u64>()).max().unwrap_or(0);
        let unit = format!("{} per {} ({})", self.what, span.name(), self.timezone);
        let (frame, mut drawing) = Frame::begin(width, HEIGHT, most as f64, &unit);
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
                let tip = format!("{}: {} {name}", span.label(*date), count(*n));
                drawing.rect([middle - bar_width / 2.0, top, bar_width, base - top], class, &tip);
                base = top;
            }
            if index % every == 0 {
                let label = span.label(*date);
                let half = label.len() as f64 * 3.2;
                let x = middle.clamp(half, width - half);
                drawing.text((x, frame.bottom + 17.0), "middle", "tick", &label);
            }
        }
        drawing
    }
}
