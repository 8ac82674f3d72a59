//! How the nights went, one quantity below the other, on one scale of days.

use std::collections::BTreeMap;

use jiff::civil::Date;
use maud::{Markup, html};

use super::History;
use super::nights::Days;
use crate::page::blocks::none;
use crate::page::figures::{counted, duration};
use crate::page::trend::Trend;

/// A quantity of a day, from its runs.
type Values = BTreeMap<Date, f64>;

pub(super) fn section(history: &History, days: &Days<'_>) -> Markup {
    let (Some((first, _)), Some((last, _))) = (days.first_key_value(), days.last_key_value()) else {
        return none("There is nothing to draw yet.");
    };
    let range = (*first, history.today().max(*last));
    let sum = |of: fn(super::Counts) -> u64| -> Values {
        let known = |runs: &Vec<&super::Run>| {
            let counts = runs.iter().filter_map(|run| run.references).map(|counts| of(counts) as f64);
            counts.reduce(|one, other| one + other)
        };
        days.iter().filter_map(|(day, runs)| Some((*day, known(runs)?))).collect()
    };
    let quota: Values = days
        .iter()
        .filter_map(|(day, runs)| {
            let used = runs.iter().filter_map(|run| run.quota_used).filter(|used| used.is_finite());
            Some((*day, used.reduce(f64::max)? * 100.0))
        })
        .collect();
    let pending: Values = days
        .iter()
        .filter_map(|(day, runs)| {
            let last = runs.iter().rev().find_map(|run| run.references)?;
            Some((*day, last.pending as f64))
        })
        .collect();
    let seconds: Values = days
        .iter()
        .filter_map(|(day, runs)| {
            Some((*day, runs.iter().filter_map(|run| run.seconds).reduce(|one, other| one + other)?))
        })
        .collect();
    let (unit, length, words): (_, _, fn(f64) -> String) = match seconds.values().copied().fold(0.0, f64::max) {
        ..180.0 => ("seconds", 1.0, duration),
        ..10_800.0 => ("minutes", 60.0, |minutes| duration(minutes * 60.0)),
        _ => ("hours", 3_600.0, |hours| duration(hours * 3_600.0)),
    };
    let lengths: Values = seconds.into_iter().map(|(day, seconds)| (day, seconds / length)).collect();
    let title = format!("duration ({unit})");
    let trends: [(&str, &str, Values, fn(f64) -> String, &str); 5] = [
        ("messages archived", "c-archived", sum(|counts| counts.archived), messages, "No message was archived."),
        ("references failed", "c-failed", sum(|counts| counts.failed), references, "No reference failed."),
        ("references left pending", "c-pending", pending, references, "No reference was left pending."),
        (
            "quota used (%)",
            "k-quota",
            quota,
            |percent| format!("{percent:.1}%"),
            "The use of the quota was not recorded.",
        ),
        (&title, "k-duration", lengths, words, "How long the runs took was not recorded."),
    ];
    html! {
        @for (title, class, values, words, nothing) in &trends {
            @if values.values().any(|value| *value > 0.0) {
                (Trend { title, class, days: range, values, words: *words }.draw())
            } @else {
                p.none { (nothing) }
            }
        }
        p.note {
            "By the day on which runs began (" (crate::page::figures::zone(&history.timezone)) "). Of several runs on one \
            day: archived, failed and duration are sums, pending is that of the last run, and the quota is the highest."
        }
    }
}

fn messages(count: f64) -> String {
    counted(count as u64, "message", "messages")
}

fn references(count: f64) -> String {
    counted(count as u64, "reference", "references")
}
