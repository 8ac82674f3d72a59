//! Charts in SVG. Every chart is drawn twice, for wide and for narrow screens; the page shows the one that fits.

use maud::{Markup, html};

use super::figures::brief;

/// The widths of the drawings, in pixels.
const WIDE: f64 = 920.0;
const NARROW: f64 = 340.0;

/// Both drawings of a chart. A screen reader reads `describe` instead.
pub(crate) fn chart(describe: &str, draw: impl Fn(f64) -> Drawing) -> Markup {
    html! {
        @for (class, width) in [("wide", WIDE), ("narrow", NARROW)] {
            @let Drawing { height, marks } = draw(width);
            svg.chart.(class) viewBox={ "0 0 " (width) " " (height.round()) } role="img" aria-label=(describe) {
                @for mark in &marks { (mark) }
            }
        }
    }
}

/// A drawing. Coordinates are pixels from the top left.
pub(crate) struct Drawing {
    height: f64,
    marks: Vec<Markup>,
}

impl Drawing {
    pub(crate) fn new(height: f64) -> Self {
        Self { height, marks: Vec::new() }
    }

    /// A rectangle. `tip` is shown when the pointer rests on it.
    pub(crate) fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &str, tip: &str) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        self.marks.push(html! {
            rect x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) class=(class) { title { (tip) } }
        });
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.marks.push(html! { line x1=(px(from.0)) y1=(px(from.1)) x2=(px(to.0)) y2=(px(to.1)) class=(class) {} });
    }

    pub(crate) fn path(&mut self, path: &str, class: &str) {
        self.marks.push(html! { path d=(path) class=(class) {} });
    }

    /// Text whose start, middle or end (`anchor`) is at this point.
    pub(crate) fn text(&mut self, (x, y): (f64, f64), anchor: &str, class: &str, text: &str) {
        self.marks.push(html! { text x=(px(x)) y=(px(y)) text-anchor=(anchor) class=(class) { (text) } });
    }
}

fn px(pixels: f64) -> String {
    format!("{pixels:.2}")
}

/// At most four round steps of at least 1, from 0 to `most` or just above it.
fn steps(most: f64) -> Vec<f64> {
    let rough = (most / 4.0).max(1.0);
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().map(|n| n * magnitude).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * magnitude);
    let count = (most / step).ceil().clamp(0.0, 10.0) as u32;
    (0..=count).map(|n| f64::from(n) * step).collect()
}

/// The frame of a chart: maps values to points of a drawing.
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
    top: f64,
    /// The largest value that fits.
    most: f64,
}

impl Frame {
    /// Starts a drawing with a line and a label for every step of values up to `most`, and their unit above.
    pub(crate) fn begin(width: f64, height: f64, most: f64, unit: &str) -> (Self, Drawing) {
        let ticks = steps(most);
        let most = ticks.last().copied().unwrap_or_default().max(1.0);
        let frame = Self { left: 48.0, right: width - 8.0, bottom: height - 24.0, top: 22.0, most };
        let mut drawing = Drawing::new(height);
        for tick in ticks {
            let y = frame.y(tick);
            drawing.line((frame.left, y), (frame.right, y), if tick == 0.0 { "axis" } else { "grid" });
            drawing.text((frame.left - 6.0, y + 4.0), "end", "tick", &brief(tick as u64));
        }
        drawing.text((0.0, 11.0), "start", "unit", unit);
        (frame, drawing)
    }

    /// The height of a value.
    pub(crate) fn y(&self, value: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * (value / self.most).clamp(0.0, 1.0)
    }

    /// The position of a share (0 to 1) of the width.
    pub(crate) fn x(&self, share: f64) -> f64 {
        self.left + (self.right - self.left) * share.clamp(0.0, 1.0)
    }

    /// Draws a scale of seconds below the chart.
    pub(crate) fn draw_times(&self, drawing: &mut Drawing, seconds: f64) {
        const STEPS: [f64; 19] = [
            0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0,
            14_400.0, 28_800.0, 86_400.0, 864_000.0,
        ];
        let room = ((self.right - self.left) / 70.0).max(2.0);
        let step = STEPS.into_iter().find(|step| seconds / step <= room).unwrap_or(seconds.max(1.0));
        let mut at = 0.0;
        while at <= seconds * 1.0001 {
            let x = self.x(at / seconds.max(1e-9));
            let anchor = if at == 0.0 {
                "start"
            } else if self.right - x < 20.0 {
                "end"
            } else {
                "middle"
            };
            drawing.line((x, self.bottom), (x, self.bottom + 4.0), "axis");
            drawing.text((x, self.bottom + 17.0), anchor, "tick", &moment(at, step));
            at += step;
        }
    }
}

fn moment(at: f64, step: f64) -> String {
    match step {
        _ if at == 0.0 => "0".to_owned(),
        ..1.0 => format!("{at:.1} s"),
        ..60.0 => format!("{at:.0} s"),
        ..3_600.0 => format!("{:.0} min", at / 60.0),
        ..86_400.0 => format!("{:.0} h", at / 3_600.0),
        _ => format!("{:.0} d", at / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_cover_the_most() {
        assert_eq!(steps(100.0), [0.0, 50.0, 100.0]);
        assert_eq!(steps(3.0), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(steps(0.0), [0.0]);
        assert_eq!(steps(1_234.0), [0.0, 500.0, 1_000.0, 1_500.0]);
        assert!(steps(1e18).len() < 10 && steps(f64::INFINITY).len() < 20);
    }
}
