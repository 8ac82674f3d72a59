//! How long answers took.

use maud::{Markup, html};

use super::Report;
use crate::page::blocks::none;
use crate::page::drawing::{Drawing, Frame, chart};
use crate::page::figures::{count, counted, share};

pub(super) fn section(report: &Report) -> Markup {
    let buckets: &[u64] = report.timeline.as_ref().map_or(&[], |timeline| &timeline.latency);
    let all: u64 = buckets.iter().sum();
    let (Some(first), Some(last)) = (buckets.iter().position(|n| *n > 0), buckets.iter().rposition(|n| *n > 0)) else {
        return none("No answer arrived.");
    };
    let within = |percent: u64| {
        let mut seen = 0;
        let at = buckets.iter().position(|n| {
            seen += n;
            u128::from(seen) * 100 >= u128::from(all) * u128::from(percent)
        });
        match at {
            Some(at) if at + 1 < buckets.len() => format!("within {}", bound(at)),
            _ => format!("after more than {}", bound(buckets.len().saturating_sub(2))),
        }
    };
    let words = format!(
        "Of {}, half arrived {}, 95% {}, 99% {}.",
        counted(all, "answer", "answers"),
        within(50),
        within(95),
        within(99)
    );
    // An empty bucket at either end shows that there is nothing beyond it.
    let first = first.saturating_sub(1);
    let last = (last + 1).min(buckets.len() - 1);
    let shown: Vec<(usize, u64)> = (first..=last).map(|at| (at, buckets[at])).collect();
    html! {
        (chart(&words, |width| draw(&shown, buckets.len(), all, width)))
        p.note { (words) " These are upper bounds: each bar covers twice the time of the one before it." }
    }
}

/// The upper bound of a bucket.
fn bound(at: usize) -> String {
    match at {
        0..10 => format!("{} ms", 1_u64 << at),
        // 1,024 ms and its doublings, rounded.
        _ => format!("{:.1} s", (1_u64 << at.min(40)) as f64 / 1000.0),
    }
}

fn draw(shown: &[(usize, u64)], buckets: usize, all: u64, width: f64) -> Drawing {
    let most = shown.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let (frame, mut drawing) = Frame::begin(width, 200.0, most as f64, "answers by the time they took");
    let slot = (frame.right - frame.left) / shown.len().max(1) as f64;
    let every = if slot < 34.0 { 2 } else { 1 };
    for (index, (at, n)) in shown.iter().enumerate() {
        let name = if at + 1 == buckets { format!("> {}", bound(at - 1)) } else { format!("≤ {}", bound(*at)) };
        let bar = slot.min(110.0) * 0.86;
        let top = frame.y(*n as f64);
        let middle = frame.left + slot * (index as f64 + 0.5);
        let tip = format!("{name}: {}, {}", counted(*n, "answer", "answers"), share(*n, all));
        drawing.rect([middle - bar / 2.0, top, bar, frame.bottom - top], "k-latency", &tip);
        if *n > 0 && slot > 60.0 {
            drawing.text((middle, top - 4.0), "middle", "tick", &count(*n));
        }
        if index % every == 0 {
            let label = if slot < 60.0 { name.trim_start_matches("≤ ").to_owned() } else { name };
            drawing.text((middle, frame.bottom + 17.0), "middle", "tick", &label);
        }
    }
    drawing
}
