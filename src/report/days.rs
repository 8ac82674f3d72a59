//! Archived messages by day and by type.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::Report;
use crate::model::message::type_name;
use crate::model::timeline::Messages;
use crate::page::blocks::{details, legend, none, table};
use crate::page::calendar::Calendar;
use crate::page::figures::{count, counted, share};

/// The colours of types. If there are more types, those with the fewest messages share the last colour.
const COLOURS: [&str; 7] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6"];
/// Up to this many days the table is shown unfolded.
const FEW: usize = 40;

pub(super) fn section(report: &Report) -> Markup {
    let Some(messages) = report.timeline.as_ref().map(|timeline| &timeline.messages) else {
        return none("The days and types of this run's messages were not recorded.");
    };
    let total = messages.total();
    let archived = report.references.archived;
    html! {
        @if total == 0 {
            (none("There are no messages to show."))
        } @else {
            (charts(messages, total))
        }
        @if archived > total {
            p.note {
                (counted(archived - total, "more message was", "more messages were"))
                " archived, but the run ended before it recorded their days and types."
            }
        }
    }
}

fn charts(messages: &Messages, total: u64) -> Markup {
    let kinds = kinds(messages);
    let by_type = html! {
        @for kind in &kinds {
            tr { td { (kind.name) } td.n { (count(kind.messages)) } td.n { (share(kind.messages, total)) } }
        }
        @if messages.elsewhere > 0 {
            tr {
                td { "other days and types" }
                td.n { (count(messages.elsewhere)) }
                td.n { (share(messages.elsewhere, total)) }
            }
        }
    };
    let by_day = html! {
        @for (date, counts) in messages.days.iter().rev() {
            tr { td { (date.to_string()) } td.n { (count(counts.iter().sum())) } }
        }
    };
    let days = messages.days.len();
    html! {
        @if days > 0 { (calendar(messages, &kinds)) }
        div.columns {
            (table("Messages by type", &[("type", false), ("messages", true), ("share", true)], &by_type))
            (details(
                &counted(days as u64, "day, as a table", "days, as a table"),
                days <= FEW,
                &table("Messages by day", &[("day", false), ("messages", true)], &by_day),
            ))
        }
    }
}

fn calendar(messages: &Messages, kinds: &[Kind]) -> Markup {
    let own = if kinds.len() <= COLOURS.len() { kinds.len() } else { COLOURS.len() - 1 };
    let (own, others) = kinds.split_at(own);
    let mut series: Vec<(&str, &str)> = COLOURS.into_iter().zip(own.iter().map(|kind| kind.name.as_str())).collect();
    if !others.is_empty() {
        series.push((COLOURS[COLOURS.len() - 1], "other types"));
    }
    let stack = |counts: &Vec<u64>| {
        let of = |kind: &Kind| counts.get(kind.place).copied().unwrap_or(0);
        own.iter().map(of).chain([others.iter().map(of).sum()]).collect()
    };
    let calendar = Calendar {
        days: messages.days.iter().map(|(date, counts)| (*date, stack(counts))).collect(),
        series: series.clone(),
        what: "messages",
        timezone: &messages.timezone,
    };
    html! { (legend(&series)) (calendar.draw()) }
}

/// A type that messages are of.
struct Kind {
    name: String,
    messages: u64,
    /// Its place in the counts of a day.
    place: usize,
}

/// The types, those with the most messages first.
fn kinds(messages: &Messages) -> Vec<Kind> {
    let kind = |(place, number): (usize, &Option<i32>)| Kind {
        name: match number {
            Some(number) => type_name(*number).map_or_else(|| format!("type {number}"), ToOwned::to_owned),
            None => "without a type".to_owned(),
        },
        messages: messages.days.iter().filter_map(|(_, counts)| counts.get(place)).sum(),
        place,
    };
    let mut kinds: Vec<Kind> = messages.types.iter().enumerate().map(kind).filter(|kind| kind.messages > 0).collect();
    kinds.sort_by_key(|kind| (Reverse(kind.messages), messages.types[kind.place]));
    kinds
}
