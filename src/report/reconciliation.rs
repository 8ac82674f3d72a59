//! Where every reference went, as a chart and as two sums.

use maud::{Markup, html};

use super::Report;
use crate::page::blocks::none;
use crate::page::drawing::{Drawing, chart};
use crate::page::figures::count;

const TOP: f64 = 34.0;
const FLOW: f64 = 190.0;
const BAR: f64 = 10.0;
/// The smallest height of a state that is not empty.
const LEAST: f64 = 3.0;
/// The height of a label of two lines.
const LABEL: f64 = 34.0;
/// The gap between two states.
const GAP: f64 = 8.0;

/// A state of references, and its place in the chart.
struct Bar {
    name: &'static str,
    count: u64,
    class: &'static str,
    y: f64,
    height: f64,
}

pub(super) fn section(report: &Report) -> Markup {
    let r = &report.references;
    let describe = format!(
        "Of {} rows read, {} were skipped, {} invalid, {} duplicate and {} accepted. With {} resumed and {} retried, \
         {} references were to be fetched: {} archived, {} failed, {} pending.",
        count(r.read),
        count(r.skipped),
        count(r.invalid),
        count(r.duplicate),
        count(r.accepted),
        count(r.resumed),
        count(r.retried),
        count(report.to_fetch()),
        count(r.archived),
        count(r.failed),
        count(r.pending)
    );
    let (extras, again) = (&report.thread_extras, &report.refetched);
    html! {
        @if r.read == 0 && report.to_fetch() == 0 {
            (none("Nothing was read, and nothing was waiting to be fetched."))
        } @else {
            (chart(&describe, |width| draw(report, width)))
        }
        ul.sums {
            (sum(
                &[("read", r.read)],
                &[("skipped", r.skipped), ("invalid", r.invalid), ("duplicate", r.duplicate), ("accepted", r.accepted)],
            ))
            (sum(
                &[("accepted", r.accepted), ("resumed", r.resumed), ("retried", r.retried)],
                &[("archived", r.archived), ("failed", r.failed), ("pending", r.pending)],
            ))
            @if extras.planned > 0 {
                (sum(
                    &[("thread extras planned", extras.planned)],
                    &[("archived", extras.archived), ("failed", extras.failed), ("pending", extras.pending)],
                ))
            }
            @if again.planned > 0 {
                (sum(
                    &[("asked again", again.planned)],
                    &[
                        ("unchanged", again.unchanged),
                        ("edited", again.edited),
                        ("vanished", again.vanished),
                        ("failed", again.failed),
                        ("pending", again.pending),
                    ],
                ))
            }
        }
    }
}

/// A sum in words and numbers, and whether it adds up.
fn sum(left: &[(&str, u64)], right: &[(&str, u64)]) -> Markup {
    let side = |terms: &[(&str, u64)]| {
        html! {
            @for (index, (name, number)) in terms.iter().enumerate() {
                @if index > 0 { " + " }
                span.term { (name) " " b { (count(*number)) } }
            }
        }
    };
    let total = |terms: &[(&str, u64)]| terms.iter().map(|(_, number)| number).sum::<u64>();
    let (sign, class, word) =
        if total(left) == total(right) { ("=", "holds", "agrees") } else { ("≠", "fails", "disagrees") };
    html! { li { (side(left)) " " (sign) " " (side(right)) " " span.(class) { (word) } } }
}

fn draw(report: &Report, width: f64) -> Drawing {
    let r = &report.references;
    let (read, to_fetch) = (r.read, report.to_fetch());
    let most = read.max(to_fetch).max(1) as f64;
    let stack = |states: &[(&'static str, u64, &'static str)]| {
        let mut y = TOP;
        let mut bars = Vec::new();
        for (name, count, class) in states.iter().copied().filter(|(_, count, _)| *count > 0) {
            let height = (FLOW * count as f64 / most).max(LEAST);
            bars.push(Bar { name, count, class, y, height });
            y += height.max(LABEL) + GAP;
        }
        (bars, y)
    };
    let (middle, middle_end) = stack(&[
        ("resumed", r.resumed, "c-resumed"),
        ("retried", r.retried, "c-retried"),
        ("accepted", r.accepted, "c-accepted"),
        ("duplicate", r.duplicate, "c-duplicate"),
        ("invalid", r.invalid, "c-invalid"),
        ("skipped", r.skipped, "c-skipped"),
    ]);
    let (ends, ends_end) = stack(&[
        ("archived", r.archived, "c-archived"),
        ("failed", r.failed, "c-failed"),
        ("pending", r.pending, "c-pending"),
    ]);
    let of_read: Vec<&Bar> = middle.iter().filter(|bar| !matches!(bar.name, "resumed" | "retried")).collect();
    let of_fetched: Vec<&Bar> =
        middle.iter().filter(|bar| matches!(bar.name, "resumed" | "retried" | "accepted")).collect();
    let of_ends: Vec<&Bar> = ends.iter().collect();
    let height = |bars: &[&Bar]| bars.iter().map(|bar| bar.height).sum::<f64>();
    let (read_height, fetch_height) = (height(&of_read), height(&of_fetched).max(height(&of_ends)));
    let read_top = of_read.first().map_or(TOP, |bar| bar.y);
    let bottom = middle_end.max(ends_end).max(TOP + fetch_height + GAP).max(read_top + read_height + GAP);
    let mut drawing = Drawing::new(bottom);

    let columns = if width < 600.0 { [0.0, 74.0, 190.0, 258.0] } else { [0.0, 250.0, 520.0, 760.0] };
    for (bars, column, top, is_split) in
        [(&of_read, 0, read_top, true), (&of_fetched, 1, TOP, false), (&of_ends, 2, TOP, true)]
    {
        let mut y = top;
        for bar in bars {
            let (from, to) = if is_split { (y, bar.y) } else { (bar.y, y) };
            let path = ribbon((columns[column] + BAR, from), (columns[column + 1], to), bar.height);
            drawing.path(&path, &format!("ribbon {}", bar.class));
            y += bar.height;
        }
    }
    for (name, n, class, x, y, height) in [
        ("read", read, "bar c-read", columns[0], read_top, read_height),
        ("to fetch", to_fetch, "bar c-fetch", columns[2], TOP, fetch_height),
    ] {
        if n > 0 {
            drawing.rect([x, y, BAR, height], class, &format!("{name}: {}", count(n)));
            label(&mut drawing, (x, y - 20.0), name, n);
        }
    }
    for (x, bars) in [(columns[1], &middle), (columns[3], &ends)] {
        for bar in bars {
            let tip = format!("{}: {}", bar.name, count(bar.count));
            drawing.rect([x, bar.y, BAR, bar.height], &format!("bar {}", bar.class), &tip);
            let y = bar.y + (bar.height.max(LABEL) - LABEL) / 2.0;
            label(&mut drawing, (x + BAR + 6.0, y + 12.0), bar.name, bar.count);
        }
    }
    drawing
}

/// A band of constant height from one place to another.
fn ribbon((left, from): (f64, f64), (right, to): (f64, f64), height: f64) -> String {
    let bend = f64::midpoint(left, right);
    let (low, high) = (from + height, to + height);
    format!(
        "M{left:.1} {from:.1}C{bend:.1} {from:.1} {bend:.1} {to:.1} {right:.1} {to:.1}V{high:.1}\
         C{bend:.1} {high:.1} {bend:.1} {low:.1} {left:.1} {low:.1}Z"
    )
}

/// A name and, below it, its number.
fn label(drawing: &mut Drawing, (x, y): (f64, f64), name: &str, number: u64) {
    drawing.text((x, y), "start", "name", name);
    drawing.text((x, y + 15.0), "start", "number", &count(number));
}
