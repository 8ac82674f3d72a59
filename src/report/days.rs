//! Archived messages by day and by type.

use maud::{Markup, html};

use super::Report;
use crate::course::Messages;
use crate::message::type_name;
use crate::page::blocks::{details, legend, none, table};
use crate::page::calendar::Calendar;
use crate::page::figures::{count, counted, share};

/// Types with a colour of their own; the rest share one.
const COLOURS: [&str; 6] = ["k0", "k1", "k2", "k3", "k4", "k5"];
const REST: &str = "k6";
/// So many days need no folding away.
const FEW: usize = 40;

pub(super) fn section(report: &Report) -> Markup {
    let Some(messages) = report.course.as_ref().map(|course| &course.messages) else {
        return none("The days and types of this run's messages were not recorded.");
    };
    let total = messages.total();
    let archived = report.references.archived;
    html! {
        @if total == 0 {
            (none("No message is counted here."))
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
    let kinds = Kinds::of(messages);
    let by_type = html! {
        @for (name, n) in &kinds.all {
            tr { td { (name) } td.n { (count(*n)) } td.n { (share(*n, total)) } }
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
        @if days > 0 { (calendar(messages, &kinds, total)) }
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

fn calendar(messages: &Messages, kinds: &Kinds, total: u64) -> Markup {
    let series: Vec<(&str, &str)> = kinds.shown.iter().map(|kind| (kind.class, kind.name.as_str())).collect();
    let first = messages.days.first().map(|(date, _)| *date).unwrap_or_default();
    let last = messages.days.last().map(|(date, _)| *date).unwrap_or_default();
    let describe = format!("{} archived messages by day, from {first} to {last}, stacked by type.", count(total));
    let stack = |counts: &Vec<u64>| {
        let of = |kind: &Kind| kind.places.iter().filter_map(|place| counts.get(*place)).sum();
        kinds.shown.iter().map(of).collect()
    };
    let calendar = Calendar {
        days: messages.days.iter().map(|(date, counts)| (*date, stack(counts))).collect(),
        series: series.clone(),
        what: "messages",
        timezone: &messages.timezone,
    };
    html! { (legend(&series)) (calendar.draw(&describe)) }
}

struct Kind {
    name: String,
    class: &'static str,
    /// The places of its types in the counts of a day.
    places: Vec<usize>,
}

/// Types, those with the most messages first.
struct Kinds {
    shown: Vec<Kind>,
    all: Vec<(String, u64)>,
}

impl Kinds {
    fn of(messages: &Messages) -> Self {
        let total = |place: usize| -> u64 { messages.days.iter().filter_map(|(_, counts)| counts.get(place)).sum() };
        let mut places: Vec<(usize, u64)> =
            (0..messages.types.len()).map(|place| (place, total(place))).filter(|(_, n)| *n > 0).collect();
        places.sort_by_key(|(place, n)| (std::cmp::Reverse(*n), messages.types[*place]));
        let name = |place: usize| match messages.types[place] {
            Some(known) => type_name(known).map_or_else(|| format!("type {known}"), ToOwned::to_owned),
            None => "without a type".to_owned(),
        };
        let all = places.iter().map(|(place, n)| (name(*place), *n)).collect();
        let own = if places.len() <= COLOURS.len() + 1 { places.len() } else { COLOURS.len() };
        let classes = COLOURS.into_iter().chain([REST]);
        let mut shown: Vec<Kind> = places[..own]
            .iter()
            .zip(classes)
            .map(|((place, _), class)| Kind { name: name(*place), class, places: vec![*place] })
            .collect();
        if own < places.len() {
            let rest = places[own..].iter().map(|(place, _)| *place).collect();
            shown.push(Kind { name: "other types".to_owned(), class: REST, places: rest });
        }
        Self { shown, all }
    }
}
