//! Archived messages by day and by type.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::Report;
use super::drawing::{Drawing, Frame, both};
use super::figures::{brief, count, counted, share};
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
        out.push_str(&both(&describe, |width| draw(messages, &kinds, width)));
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

fn draw(messages: &Messages, kinds: &Kinds, width: f64) -> Drawing {
    let height = 240.0;
    let mut drawing = Drawing::new(height);
    let (Some((first, _)), Some((last, _))) = (messages.days.first(), messages.days.last()) else { return drawing };
    let span = span(*first, *last, if width < 600.0 { 92 } else { 400 });
    let mut bars: BTreeMap<Date, Vec<u64>> = BTreeMap::new();
    let mut date = span.first(*first);
    while date <= *last && bars.len() < 10_000 {
        bars.insert(date, vec![0; kinds.shown.len()]);
        let Some(next) = span.next(date) else { break };
        date = next;
    }
    for (date, counts) in &messages.days {
        let bar = bars.entry(span.first(*date)).or_insert_with(|| vec![0; kinds.shown.len()]);
        for (sum, kind) in bar.iter_mut().zip(&kinds.shown) {
            *sum += kind.places.iter().filter_map(|place| counts.get(*place)).sum::<u64>();
        }
    }
    let most = bars.values().map(|bar| bar.iter().sum::<u64>()).max().unwrap_or(0);
    let frame = Frame::new(width, height, most as f64, true);
    let zone = if messages.timezone == "UTC" { "UTC" } else { messages.timezone.as_str() };
    frame.draw(&mut drawing, &format!("messages per {} ({zone})", span.name()), |value| brief(value as u64));
    let slot = (frame.right - frame.left) / bars.len().max(1) as f64;
    let bar_width = if slot > 4.0 { (slot * 0.8).min(48.0) } else { slot };
    let labels = if width < 600.0 { 3 } else { 9 };
    let every = bars.len().div_ceil(labels).max(1);
    for (index, (date, bar)) in bars.iter().enumerate() {
        let middle = frame.left + slot * (index as f64 + 0.5);
        let mut base = frame.bottom;
        let mut below = 0;
        for (n, kind) in bar.iter().zip(&kinds.shown).filter(|(n, _)| **n > 0) {
            below += n;
            let top = frame.y(below as f64);
            let tip = format!("{}: {} {}", span.label(*date), count(*n), kind.name);
            drawing.rect([middle - bar_width / 2.0, top, bar_width, base - top], kind.class, Some(&tip));
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
