//! The workers of a fleet: how many requests each made over time.

use maud::{Markup, html};

use crate::model::fleet::Lane;
use crate::model::timeline::Timeline;
use crate::page::blocks::{none, table};
use crate::page::drawing::{Drawing, chart};
use crate::page::figures::{count, counted, duration, rate};

/// The height of a lane, and of what is below the last one, in pixels.
const LANE: f64 = 34.0;
const BELOW: f64 = 6.0;
/// The most steps of a lane.
const STEPS: usize = 150;

pub(super) fn section(timeline: &Timeline) -> Markup {
    let Some(fleet) = timeline.fleet.as_ref().filter(|fleet| !fleet.workers.is_empty()) else {
        return none("No worker asked for a share of the quota.");
    };
    let seconds = timeline.noted_at as f64 / 1000.0;
    let columns = [("worker", false), ("requests", true), ("batches", true), ("refused for the rate", true)];
    let rows = html! {
        @for worker in &fleet.workers {
            tr {
                td { bdi { (worker.worker) } }
                td.n { (count(worker.sent)) }
                td.n { (count(worker.batches)) }
                td.n { (count(worker.throttled)) }
            }
        }
    };
    let describe = format!(
        "Requests per second of {} over {}, a lane for each.",
        counted(timeline.lanes.len() as u64, "worker", "workers"),
        duration(seconds)
    );
    html! {
        (chart(&describe, |width| draw(timeline, width)))
        p.note {
            (counted(fleet.redelivered, "batch", "batches")) " redelivered, "
            (counted(fleet.refused, "result", "results")) " refused because one of its batches was done already."
            @if timeline.lanes.len() < fleet.workers.len() {
                " The first " (count(timeline.lanes.len() as u64)) " workers have a lane."
            }
        }
        (table("Workers of this run", &columns, &rows))
    }
}

/// The mean requests per second of a lane: from, to (milliseconds), rate.
fn steps(at: &[u64], lane: &Lane) -> Vec<(u64, u64, f64)> {
    let every = at.len().div_ceil(STEPS).max(1);
    let points: Vec<(u64, u64)> = at.iter().copied().zip(lane.sent.iter().copied()).step_by(every).collect();
    points
        .windows(2)
        .filter(|pair| pair[1].0 > pair[0].0)
        .map(|pair| {
            let seconds = (pair[1].0 - pair[0].0) as f64 / 1000.0;
            (pair[0].0, pair[1].0, pair[1].1.saturating_sub(pair[0].1) as f64 / seconds)
        })
        .collect()
}

fn draw(timeline: &Timeline, width: f64) -> Drawing {
    let lanes: Vec<_> = timeline.lanes.iter().map(|lane| (lane, steps(&timeline.samples.at, lane))).collect();
    let most = lanes.iter().flat_map(|(_, steps)| steps).map(|step| step.2).fold(1.0, f64::max);
    let end = timeline.noted_at.max(1) as f64;
    let mut drawing = Drawing::new(LANE * lanes.len() as f64 + BELOW);
    for (index, (lane, steps)) in lanes.iter().enumerate() {
        let bottom = LANE * (index + 1) as f64;
        drawing.text((0.0, bottom - LANE + 11.0), "start", "tick", &lane.worker);
        for (from, to, requests) in steps.iter().filter(|step| step.2 > 0.0) {
            let (left, right) = (*from as f64 / end * width, *to as f64 / end * width);
            let height = (LANE - 15.0) * requests / most;
            let tip = format!(
                "{}, {:.1} to {:.1} s: {} requests per second",
                lane.worker,
                *from as f64 / 1000.0,
                *to as f64 / 1000.0,
                rate(*requests)
            );
            drawing.rect([left, bottom - height, right - left, height], "k-rate", &tip);
        }
        drawing.line((0.0, bottom), (width, bottom), "axis");
    }
    drawing
}
