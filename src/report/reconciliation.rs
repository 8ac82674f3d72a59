//! Where every reference went, as a picture and as two sums.

use maud::{Markup, html};

use super::Report;
use crate::page::blocks::none;
use crate::page::drawing::{Drawing, chart};
use crate::page::figures::count;

const TOP: f64 = 34.0;
const FLOW: f64 = 190.0;
const BAR: f64 = 10.0;
/// The least height of what is not nothing.
const LEAST: f64 = 3.0;
/// The room that a label of two lines takes.
const LABEL: f64 = 34.0;

/// A state of references: name, count, colour.
#[derive(Clone, Copy)]
struct State {
    name: &'static str,
    count: u64,
    class: &'static str,
}

/// A state with its place in the picture.
struct Placed {
    state: State,
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

/// A sum in words and numbers, and whether it holds.
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
    let state = |name, count, class| State { name, count, class };
    let entering = [state("resumed", r.resumed, "c-resumed"), state("retried", r.retried, "c-retried")];
    let accepted = state("accepted", r.accepted, "c-accepted");
    let ended_early = [
        state("duplicate", r.duplicate, "c-duplicate"),
        state("invalid", r.invalid, "c-invalid"),
        state("skipped", r.skipped, "c-skipped"),
    ];
    let ends = [
        state("archived", r.archived, "c-archived"),
        state("failed", r.failed, "c-failed"),
        state("pending", r.pending, "c-pending"),
    ];
    let most = r.read.max(report.to_fetch()).max(1) as f64;
    let height = |count: u64| if count == 0 { 0.0 } else { (FLOW * count as f64 / most).max(LEAST) };
    let narrow = width < 600.0;
    let columns = if narrow { [0.0, 74.0, 190.0, 258.0] } else { [0.0, 250.0, 520.0, 760.0] };

    let stack = |states: &[State]| {
        let mut y = TOP;
        let mut placed = Vec::new();
        for state in states.iter().filter(|state| state.count > 0) {
            let height = height(state.count);
            placed.push(Placed { state: *state, y, height });
            y += height.max(LABEL) + 8.0;
        }
        (placed, y)
    };
    let middle: Vec<State> = entering.into_iter().chain([accepted]).chain(ended_early).collect();
    let (middle, middle_end) = stack(&middle);
    let (ends, ends_end) = stack(&ends);
    let is_read = |placed: &&Placed| !matches!(placed.state.name, "resumed" | "retried");
    let is_fetched = |placed: &&Placed| matches!(placed.state.name, "resumed" | "retried" | "accepted");
    let read_height: f64 = middle.iter().filter(is_read).map(|placed| placed.height).sum();
    let in_height: f64 = middle.iter().filter(is_fetched).map(|placed| placed.height).sum();
    let out_height: f64 = ends.iter().map(|placed| placed.height).sum();
    let fetch_height = in_height.max(out_height);
    let read_top = middle.iter().find(is_read).map_or(TOP, |placed| placed.y);
    let bottom =
        [middle_end, ends_end, TOP + fetch_height + 8.0, read_top + read_height + 8.0].into_iter().fold(0.0, f64::max);
    let mut drawing = Drawing::new(bottom);

    let ribbon = |drawing: &mut Drawing, from: (f64, f64), to: (f64, f64), height: f64, class: &str| {
        let bend = f64::midpoint(from.0, to.0);
        let (low, high) = (from.1 + height, to.1 + height);
        let path = format!(
            "M{:.1} {:.1}C{bend:.1} {:.1} {bend:.1} {:.1} {:.1} {:.1}V{high:.1}C{bend:.1} {high:.1} {bend:.1} {low:.1} {:.1} {low:.1}Z",
            from.0, from.1, from.1, to.1, to.0, to.1, from.0
        );
        drawing.path(&path, &format!("ribbon {class}"));
    };
    let mut y = read_top;
    for placed in middle.iter().filter(is_read) {
        ribbon(&mut drawing, (columns[0] + BAR, y), (columns[1], placed.y), placed.height, placed.state.class);
        y += placed.height;
    }
    let mut y = TOP;
    for placed in middle.iter().filter(is_fetched) {
        ribbon(&mut drawing, (columns[1] + BAR, placed.y), (columns[2], y), placed.height, placed.state.class);
        y += placed.height;
    }
    let mut y = TOP;
    for placed in &ends {
        ribbon(&mut drawing, (columns[2] + BAR, y), (columns[3], placed.y), placed.height, placed.state.class);
        y += placed.height;
    }
    if r.read > 0 {
        drawing.rect([columns[0], read_top, BAR, read_height], "bar c-read", &format!("read: {}", count(r.read)));
        label(&mut drawing, (columns[0], read_top - 20.0), "read", r.read);
    }
    if report.to_fetch() > 0 {
        let tip = format!("to fetch: {}", count(report.to_fetch()));
        drawing.rect([columns[2], TOP, BAR, fetch_height], "bar c-fetch", &tip);
        label(&mut drawing, (columns[2], TOP - 20.0), "to fetch", report.to_fetch());
    }
    for (x, column) in [(columns[1], &middle), (columns[3], &ends)] {
        for placed in column {
            let tip = format!("{}: {}", placed.state.name, count(placed.state.count));
            drawing.rect([x, placed.y, BAR, placed.height], &format!("bar {}", placed.state.class), &tip);
            let y = placed.y + (placed.height.max(LABEL) - LABEL) / 2.0;
            label(&mut drawing, (x + BAR + 6.0, y + 12.0), placed.state.name, placed.state.count);
        }
    }
    drawing
}

/// A name and, below it, its number.
fn label(drawing: &mut Drawing, (x, y): (f64, f64), name: &str, number: u64) {
    drawing.text((x, y), "start", "name", name);
    drawing.text((x, y + 15.0), "start", "number", &count(number));
}
