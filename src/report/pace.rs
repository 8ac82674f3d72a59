//! How a run went over time: requests compared with what was allowed, and messages.

use maud::{Markup, html};

use super::Report;
use crate::model::timeline::{Sample, Timeline};
use crate::page::blocks::{legend, none};
use crate::page::drawing::{Drawing, Frame, chart};
use crate::page::figures::{count, counted, duration, rate, share};

/// The most stretches that are drawn.
const STRETCHES: f64 = 150.0;
/// The shortest stretch in seconds: a shorter one would say more about the sampling than about the run.
const SHORTEST: f64 = 0.5;

/// A stretch of the run between two samples. Times are in seconds, rates per second.
struct Stretch {
    from: f64,
    to: f64,
    requests: f64,
    messages: f64,
    throttled: u64,
    end: Sample,
}

pub(super) fn section(report: &Report) -> Markup {
    let Some(timeline) = &report.timeline else { return none("The run was not recorded over time.") };
    let stretches = stretches(timeline);
    let Some(last) = stretches.last() else { return none("The run ended before the first sample.") };
    if timeline.requests.sent == 0 {
        return none("No request was sent.");
    }
    html! {
        h3 { "Requests and the quota" }
        (requests(timeline, &stretches, last.to))
        h3 { "Messages" }
        (messages(&stretches, last))
    }
}

fn requests(timeline: &Timeline, stretches: &[Stretch], seconds: f64) -> Markup {
    let quota = f64::from(timeline.quota);
    let mean = timeline.requests.sent as f64 / seconds.max(0.001);
    let throttled = timeline.requests.throttled;
    let describe = format!(
        "Requests per second over {}: {} on average, {} at most, of {} allowed.",
        duration(seconds),
        rate(mean),
        rate(stretches.iter().map(|stretch| stretch.requests).fold(0.0, f64::max)),
        timeline.quota
    );
    let mut keys = vec![("k-rate", "requests sent"), ("k-allowed", "allowed at that moment")];
    if throttled > 0 {
        keys.push(("k-throttled", "refused for exceeding the rate"));
    }
    let lengths = || stretches.iter().map(|stretch| stretch.to - stretch.from);
    let (shortest, longest) = (lengths().fold(f64::MAX, f64::min), lengths().fold(0.0, f64::max));
    let up_to = if longest - shortest < 0.05 { "" } else { "up to " };
    html! {
        (legend(&keys))
        (chart(&describe, |width| draw_requests(stretches, quota, width)))
        p.note {
            (counted(timeline.requests.sent, "request", "requests")) " in " (duration(seconds)) ": "
            (rate(mean)) " requests per second on average, "
            (share((mean * 1000.0) as u64, (quota * 1000.0) as u64)) " of the quota of " (timeline.quota) " per second. \
            Each step is the mean of " (up_to) (duration(longest)) "; the average covers the whole run, including reading, \
            waiting for the last answers, and committing."
        }
        @if throttled > 0 {
            p.note {
                (counted(throttled, "answer said", "answers said"))
                " that the rate was exceeded. The whole app then pauses, and resumes more slowly."
            }
        }
    }
}

fn messages(stretches: &[Stretch], last: &Stretch) -> Markup {
    let (seconds, end) = (last.to, last.end);
    let describe = format!(
        "Messages over time, in total: after {} {} were received, {} archived and {} failed.",
        duration(seconds),
        count(end.fetched),
        count(end.archived),
        count(end.failed)
    );
    let fastest = stretches.iter().map(|stretch| stretch.messages).fold(0.0, f64::max);
    html! {
        (legend(&[("k-fetched", "received"), ("k-archived", "archived (committed)"), ("k-failed", "failed")]))
        (chart(&describe, |width| draw_messages(stretches, width)))
        p.note {
            (rate(end.archived as f64 / seconds.max(0.001))) " messages per second on average, "
            (rate(fastest)) " in the fastest stretch. Received messages become archived together, with the next commit."
        }
    }
}

/// The samples as stretches that are neither too many nor too short.
fn stretches(timeline: &Timeline) -> Vec<Stretch> {
    let Some(end) = timeline.samples.iter().last() else { return Vec::new() };
    let seconds = |sample: &Sample| sample.at as f64 / 1000.0;
    // Samples are a little early or late.
    let shortest = (seconds(&end) / STRETCHES).max(SHORTEST) * 0.98;
    let mut bounds = vec![Sample::default()];
    let since = |bounds: &[Sample], sample: &Sample| seconds(sample) - bounds.last().map_or(0.0, seconds);
    for sample in timeline.samples.iter().filter(|sample| sample.at < end.at) {
        if since(&bounds, &sample) >= shortest {
            bounds.push(sample);
        }
    }
    // The last stretch may be shorter, but not so short that its rate is noise.
    if bounds.len() > 1 && since(&bounds, &end) < shortest / 2.0 {
        bounds.pop();
    }
    bounds.push(end);
    let stretch = |pair: &[Sample]| {
        let (start, end) = (pair[0], pair[1]);
        let length = seconds(&end) - seconds(&start);
        (length > 0.0).then(|| Stretch {
            from: seconds(&start),
            to: seconds(&end),
            requests: end.sent.saturating_sub(start.sent) as f64 / length,
            messages: end.fetched.saturating_sub(start.fetched) as f64 / length,
            throttled: end.throttled.saturating_sub(start.throttled),
            end,
        })
    };
    bounds.windows(2).filter_map(stretch).collect()
}

fn draw_requests(stretches: &[Stretch], quota: f64, width: f64) -> Drawing {
    let most = stretches.iter().map(|stretch| stretch.requests).fold(quota, f64::max);
    let (frame, mut drawing) = Frame::begin(width, 220.0, most, "requests per second");
    let seconds = stretches.last().map_or(1.0, |last| last.to).max(1e-3);
    frame.draw_times(&mut drawing, seconds);
    let x = |at: f64| frame.x(at / seconds);
    for stretch in stretches {
        let (left, right, top) = (x(stretch.from), x(stretch.to), frame.y(stretch.requests));
        let tip = format!(
            "{:.1} to {:.1} s: {} requests per second, {} in flight at the end",
            stretch.from,
            stretch.to,
            rate(stretch.requests),
            stretch.end.in_flight
        );
        drawing.rect([left, top, right - left, frame.bottom - top], "k-rate", &tip);
    }
    let mut allowed = String::new();
    for (index, stretch) in stretches.iter().enumerate() {
        let y = frame.y(stretch.end.allowed_milli as f64 / 1000.0);
        if index == 0 {
            allowed.push_str(&format!("M{:.1} {y:.1}", x(stretch.from)));
        }
        allowed.push_str(&format!("V{y:.1}H{:.1}", x(stretch.to)));
    }
    drawing.path(&allowed, "allowed");
    for stretch in stretches.iter().filter(|stretch| stretch.throttled > 0) {
        let middle = x(f64::midpoint(stretch.from, stretch.to));
        let y = frame.bottom - 12.0;
        drawing.path(&format!("M{middle:.1} {y:.1}l5 9h-10Z"), "k-throttled");
    }
    drawing
}

fn draw_messages(stretches: &[Stretch], width: f64) -> Drawing {
    let ends = || stretches.iter().map(|stretch| stretch.end);
    let most = ends().map(|end| end.fetched.max(end.archived).max(end.failed)).max().unwrap_or(0);
    let (frame, mut drawing) = Frame::begin(width, 200.0, most as f64, "messages, in total");
    let seconds = stretches.last().map_or(1.0, |last| last.to).max(1e-3);
    frame.draw_times(&mut drawing, seconds);
    let curve = |value: fn(&Sample) -> u64, is_step: bool| {
        let mut path = format!("M{:.1} {:.1}", frame.x(0.0), frame.y(0.0));
        for stretch in stretches {
            let (x, y) = (frame.x(stretch.to / seconds), frame.y(value(&stretch.end) as f64));
            if is_step {
                path.push_str(&format!("H{x:.1}V{y:.1}"));
            } else {
                path.push_str(&format!("L{x:.1} {y:.1}"));
            }
        }
        path
    };
    drawing.path(&curve(|end| end.fetched, false), "curve fetched");
    drawing.path(&curve(|end| end.archived, true), "curve archived");
    drawing.path(&curve(|end| end.failed, true), "curve failed");
    drawing
}
