//! Archived messages by day and by type.

use super::Report;
use super::calendar::Calendar;
use super::figures::{count, counted, share};
use super::markup::{details, escape, legend, table};
use crate::course::Messages;

/// Types with a colour of their own; the rest share one.
const COLOURS: [&str; 6] = ["k0", "k1", "k2", "k3", "k4", "k5"];
const REST: &str = "k6";

/// A type's name, as the API has it.
fn type_name(message_type: Option<i32>) -> String {
    let name = match message_type {
        Some(0) => "text",
        Some(1) => "image",
        Some(2) => "audio",
        Some(3) => "video",
        Some(4) => "location",
        Some(5) => "notification",
        Some(6) => "file",
        Some(7) => "call (old)",
        Some(10) => "tip",
        Some(11) => "robot",
        Some(12) => "call record",
        Some(100) => "custom",
        Some(other) => return format!("type {other}"),
        None => "without a type",
    };
    name.to_owned()
}

pub(super) fn section(report: &Report) -> String {
    let Some(messages) = report.course.as_ref().map(|course| &course.messages) else {
        return "<p class=\"none\">Nothing was noted of this run's messages.</p>".to_owned();
    };
    let total = messages.total();
    let mut out = String::new();
    if total == 0 {
        out.push_str("<p class=\"none\">No message is counted here.</p>");
    } else {
        out.push_str(&charts(messages, total));
    }
    let archived = report.references.archived;
    if archived > total {
        out.push_str(&format!(
            "<p class=\"note\">{} archived as the run ended without noting their days and types.</p>",
            counted(archived - total, "more message was", "more messages were")
        ));
    }
    out
}

fn charts(messages: &Messages, total: u64) -> String {
    let kinds = Kinds::of(messages);
    let mut out = String::new();
    if !messages.days.is_empty() {
        let names: Vec<(&str, &str)> = kinds.shown.iter().map(|kind| (kind.class, kind.name.as_str())).collect();
        out.push_str(&legend(&names));
        let first = messages.days.first().map(|(date, _)| *date).unwrap_or_default();
        let last = messages.days.last().map(|(date, _)| *date).unwrap_or_default();
        let describe = format!("{} archived messages by day, from {first} to {last}, stacked by type.", count(total));
        let stack = |counts: &Vec<u64>| {
            let of = |kind: &Kind| kind.places.iter().filter_map(|place| counts.get(*place)).sum();
            kinds.shown.iter().map(of).collect()
        };
        let calendar = Calendar {
            days: messages.days.iter().map(|(date, counts)| (*date, stack(counts))).collect(),
            series: names,
            what: "messages",
            timezone: &messages.timezone,
        };
        out.push_str(&calendar.draw(&describe));
    }
    let rows: Vec<Vec<String>> = kinds
        .all
        .iter()
        .map(|(name, n)| vec![escape(name), count(*n), share(*n, total)])
        .chain((messages.elsewhere > 0).then(|| {
            vec![
                "days and types beyond what is kept".to_owned(),
                count(messages.elsewhere),
                share(messages.elsewhere, total),
            ]
        }))
        .collect();
    out.push_str("<div class=\"columns\">");
    out.push_str(&table("Messages by type", &[("type", false), ("messages", true), ("share", true)], &rows));
    let days: Vec<Vec<String>> =
        messages.days.iter().rev().map(|(date, counts)| vec![date.to_string(), count(counts.iter().sum())]).collect();
    out.push_str(&details(
        &counted(days.len() as u64, "day, as a table", "days, as a table"),
        days.len() <= 40,
        &table("Messages by day", &[("day", false), ("messages", true)], &days),
    ));
    out.push_str("</div>");
    out
}

struct Kind {
    name: String,
    class: &'static str,
    /// The places of its types in the counts of a day.
    places: Vec<usize>,
}

/// Types by how many messages they have.
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
        let all = places.iter().map(|(place, n)| (type_name(messages.types[*place]), *n)).collect();
        let own = if places.len() <= COLOURS.len() + 1 { places.len() } else { COLOURS.len() };
        let classes = COLOURS.into_iter().chain([REST]);
        let mut shown: Vec<Kind> = places[..own]
            .iter()
            .zip(classes)
            .map(|((place, _), class)| Kind { name: type_name(messages.types[*place]), class, places: vec![*place] })
            .collect();
        if own < places.len() {
            let rest = places[own..].iter().map(|(place, _)| *place).collect();
            shown.push(Kind { name: "other types".to_owned(), class: REST, places: rest });
        }
        Self { shown, all }
    }
}
