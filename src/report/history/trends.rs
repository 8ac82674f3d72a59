//! How the nights went, one quantity below the other, on one scale of days.

use std::collections::BTreeMap;

use jiff::civil::Date;
use maud::{Markup, html};

use super::nights::Days;
use super::{History, Run};
use crate::page::blocks::none;
use crate::page::figures::{counted, duration, zone};
use crate::page::trend::Trend;

/// A quantity in words.
type Words = fn(f64) -> String;

/// A quantity of the days.
struct Quantity {
    title: &'static str,
    class: &'static str,
    values: BTreeMap<Date, f64>,
    words: Words,
    /// What is said if it is nothing on every day.
    nothing: &'static str,
}

pub(super) fn section(history: &History, days: &Days<'_>) -> Markup {
    let (Some((first, _)), Some((last, _))) = (days.first_key_value(), days.last_key_value()) else {
        return none("There is nothing to draw yet.");
    };
    let range = (*first, history.today().max(*last));
    html! {
        @for quantity in &quantities(days) {
            @if quantity.values.values().any(|value| *value > 0.0) {
                @let Quantity { title, class, values, words, .. } = quantity;
                (Trend { title, class, days: range, values, words: *words }.draw())
            } @else {
                p.none { (quantity.nothing) }
            }
        }
        p.note {
            "By the day on which runs began (" (zone(&history.timezone)) "). Of several runs on one day: archived, failed \
            and duration are sums, pending is that of the last run, and the quota is the highest."
        }
    }
}

fn quantities(days: &Days<'_>) -> [Quantity; 5] {
    let by_day = |of: fn(&[&Run]) -> Option<f64>| -> BTreeMap<Date, f64> {
        days.iter().filter_map(|(day, runs)| Some((*day, of(runs)?))).collect()
    };
    let seconds = by_day(|runs| sum(runs.iter().filter_map(|run| run.seconds)));
    let (title, unit, words): (_, _, Words) = match seconds.values().copied().fold(0.0, f64::max) {
        ..180.0 => ("duration (seconds)", 1.0, duration),
        ..10_800.0 => ("duration (minutes)", 60.0, |minutes| duration(minutes * 60.0)),
        _ => ("duration (hours)", 3_600.0, |hours| duration(hours * 3_600.0)),
    };
    let messages = |count| counted(count as u64, "message", "messages");
    let references = |count| counted(count as u64, "reference", "references");
    [
        Quantity {
            title: "messages archived",
            class: "c-archived",
            values: by_day(|runs| sum(runs.iter().filter_map(|run| Some(run.references?.archived as f64)))),
            words: messages,
            nothing: "No message was archived.",
        },
        Quantity {
            title: "references failed",
            class: "c-failed",
            values: by_day(|runs| sum(runs.iter().filter_map(|run| Some(run.references?.failed as f64)))),
            words: references,
            nothing: "No reference failed.",
        },
        Quantity {
            title: "references left pending",
            class: "c-pending",
            values: by_day(|runs| Some(runs.iter().rev().find_map(|run| run.references)?.pending as f64)),
            words: references,
            nothing: "No reference was left pending.",
        },
        Quantity {
            title: "quota used (%)",
            class: "k-quota",
            values: by_day(|runs| {
                let used = runs.iter().filter_map(|run| run.quota_used).filter(|used| used.is_finite());
                Some(used.reduce(f64::max)? * 100.0)
            }),
            words: |percent| format!("{percent:.1}%"),
            nothing: "No quota was used.",
        },
        Quantity {
            title,
            class: "k-duration",
            values: seconds.into_iter().map(|(day, seconds)| (day, seconds / unit)).collect(),
            words,
            nothing: "How long the runs took was not recorded.",
        },
    ]
}

/// The sum of what is known, if anything is.
fn sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(|one, other| one + other)
}
