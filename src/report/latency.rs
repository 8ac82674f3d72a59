//! How long answers took.

use super::Report;
use super::drawing::{Drawing, Frame, both};
use super::figures::{brief, count, counted, share};

pub(super) fn section(report: &Report) -> String {
    let buckets: &[u64] = report.course.as_ref().map_or(&[], |course| &course.latency);
    let all: u64 = buckets.iter().sum();
    let (Some(first), Some(last)) = (buckets.iter().position(|n| *n > 0), buckets.iter().rposition(|n| *n > 0)) else {
        return "<p class=\"none\">No answer came.</p>".to_owned();
    };
    let within = |percent: u64| {
        let mut seen = 0;
        let at = buckets.iter().position(|n| {
            seen += n;
            u128::from(seen) * 100 >= u128::from(all) * u128::from(percent)
        });
        match at {
            Some(at) if at + 1 < buckets.len() => format!("within {}", bound(at)),
            _ => format!("over {}", bound(buckets.len().saturating_sub(2))),
        }
    };
    let words = format!(
        "Of {}, half came {}, 95% {}, 99% {}",
        counted(all, "answer", "answers"),
        within(50),
        within(95),
        within(99)
    );
    let first = first.saturating_sub(1);
    let last = (last + 1).min(buckets.len() - 1);
    let shown: Vec<(usize, u64)> = (first..=last).map(|at| (at, buckets[at])).collect();
    let chart = both(&format!("{words}."), |width| draw(&shown, buckets.len(), all, width));
    format!(
        "{chart}<p class=\"note\">{words}: the upper ends of the bars, each of which spans twice the time of the one before.</p>"
    )
}

/// The end of a bucket.
fn bound(at: usize) -> String {
    match at {
        0..10 => format!("{} ms", 1_u64 << at),
        // 1,024 ms and its doublings, named as what they are to within 3%.
        _ => format!("{:.1} s", (1_u64 << at.min(40)) as f64 / 1000.0),
    }
}

fn draw(shown: &[(usize, u64)], buckets: usize, all: u64, width: f64) -> Drawing {
    let height = 200.0;
    let mut drawing = Drawing::new(height);
    let most = shown.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let frame = Frame::new(width, height, most as f64, true);
    frame.draw(&mut drawing, "answers, by the time they took", |value| brief(value as u64));
    let slot = (frame.right - frame.left) / shown.len().max(1) as f64;
    let every = if slot < 34.0 { 2 } else { 1 };
    for (index, (at, n)) in shown.iter().enumerate() {
        let left = frame.left + slot * index as f64;
        let name = if at + 1 == buckets { format!("> {}", bound(at - 1)) } else { format!("≤ {}", bound(*at)) };
        let bar = slot.min(110.0) * 0.86;
        let top = frame.y(*n as f64);
        let middle = left + slot / 2.0;
        let tip = format!("{name}: {} answers, {}", count(*n), share(*n, all));
        drawing.rect([middle - bar / 2.0, top, bar, frame.bottom - top], "k-latency", Some(&tip));
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
