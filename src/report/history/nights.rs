//! The calendar of nights.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use jiff::civil::Date;
use maud::{Markup, html};

use super::mark::{self, Mark};
use super::{History, Run};
use crate::page::blocks::{details, none};
use crate::page::figures::{count, counted};

/// The months that are shown unfolded.
const MONTHS: usize = 8;
/// The most months that are shown: 16 years.
const MOST: i64 = 192;

/// Runs by the day on which they began, in the history's time zone, earliest first.
pub(super) type Days<'a> = BTreeMap<Date, Vec<&'a Run>>;

impl History {
    /// The runs that took references, by day.
    pub(super) fn days(&self) -> Days<'_> {
        let mut days = Days::new();
        for run in self.runs.iter().rev().filter(|run| run.is_of_references()) {
            days.entry(self.day(run)).or_default().push(run);
        }
        days
    }

    /// The day on which a run began.
    pub(super) fn day(&self, run: &Run) -> Date {
        run.started_at.to_zoned(self.timezone.clone()).date()
    }

    /// The day on which the pages are made.
    pub(super) fn today(&self) -> Date {
        self.made_at.to_zoned(self.timezone.clone()).date()
    }
}

/// The gravest ending of a day.
pub(super) fn gravest<'a>(runs: &[&'a Run]) -> Option<&'a Run> {
    runs.iter().copied().min_by_key(|run| run.mark)
}

pub(super) fn section(history: &History, days: &Days<'_>) -> Markup {
    let (Some((first, _)), Some((last, _))) = (days.first_key_value(), days.last_key_value()) else {
        return none("No run has been recorded yet.");
    };
    let today = history.today();
    let last = today.max(*last);
    let first = (*first).max(last.saturating_sub(MOST.months()));
    let months: Vec<Date> = first.first_of_month().series(1.month()).take_while(|month| *month <= last).collect();
    let (older, recent) = months.split_at(months.len().saturating_sub(MONTHS));
    let mut years: BTreeMap<i16, Vec<Date>> = BTreeMap::new();
    for month in older {
        years.entry(month.year()).or_default().push(*month);
    }
    let grid = |months: &[Date]| html! { div.months { @for from in months { (month(*from, (first, today), days)) } } };
    html! {
        (mark::legend())
        (grid(recent))
        p.note { "If several runs began on one day, the day has the mark of the one that needs a look most." }
        @for (year, months) in years.iter().rev() {
            (details(&summary(*year, months), false, &grid(months)))
        }
    }
}

/// A year and which of its months these are.
fn summary(year: i16, months: &[Date]) -> String {
    let name = |month: Option<&Date>| month.map(|month| month.strftime("%B").to_string()).unwrap_or_default();
    match months.len() {
        1 => format!("{year}: {}", name(months.first())),
        _ => format!("{year}: {} to {}", name(months.first()), name(months.last())),
    }
}

/// A month. Days without a run have a mark from the day of the first run to the day before today.
fn month(from: Date, (first, today): (Date, Date), days: &Days<'_>) -> Markup {
    let before = usize::from(from.weekday().to_monday_zero_offset().unsigned_abs());
    let dates: Vec<Date> = from.series(1.day()).take(usize::from(from.days_in_month().unsigned_abs())).collect();
    let cells: Vec<Option<Date>> = std::iter::repeat_n(None, before).chain(dates.into_iter().map(Some)).collect();
    html! {
        table.month {
            caption { (from.strftime("%B %Y")) }
            thead {
                tr {
                    @for (short, long) in [
                        ("Mo", "Monday"), ("Tu", "Tuesday"), ("We", "Wednesday"), ("Th", "Thursday"), ("Fr", "Friday"),
                        ("Sa", "Saturday"), ("Su", "Sunday"),
                    ] {
                        th scope="col" abbr=(long) { (short) }
                    }
                }
            }
            tbody {
                @for week in cells.chunks(7) {
                    tr {
                        @for cell in week {
                            td class=[(*cell == Some(today)).then_some("today")] {
                                @if let Some(date) = cell {
                                    (day(*date, (first, today), days.get(date).map_or(&[], Vec::as_slice)))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn day(date: Date, (first, today): (Date, Date), runs: &[&Run]) -> Markup {
    let Some(run) = gravest(runs) else {
        let is_missed = date >= first && date < today;
        return html! {
            span.off { (date.day()) }
            @if is_missed { (mark::no_run()) span.unseen { ", no run" } }
        };
    };
    html! {
        a href=(run.page) title=(tip(date, run, runs)) {
            (date.day()) (run.mark.draw()) span.unseen { ", " (run.mark.words()) }
            @if runs.len() > 1 { span.several { (count(runs.len() as u64)) span.unseen { " runs" } } }
        }
    }
}

fn tip(date: Date, run: &Run, runs: &[&Run]) -> String {
    let mut tip = format!("{date}: {}", run.mark.words());
    if runs.len() > 1 {
        let complete = runs.iter().filter(|run| run.mark == Mark::Complete).count();
        tip.push_str(&format!(" ({}, {complete} complete)", counted(runs.len() as u64, "run", "runs")));
    }
    let known: Vec<_> = runs.iter().filter_map(|run| run.references).collect();
    if !known.is_empty() {
        let archived: u64 = known.iter().map(|counts| counts.archived).sum();
        let failed: u64 = known.iter().map(|counts| counts.failed).sum();
        tip.push_str(&format!("; {} archived, {} failed", count(archived), count(failed)));
    }
    tip
}
