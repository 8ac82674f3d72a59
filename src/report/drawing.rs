//! Drawing in SVG: every chart is drawn twice, for wide and for narrow screens, and the page shows the one that fits.

use std::fmt::Write as _;

use super::markup::escape;

/// Widths of the drawings, in pixels.
pub(super) const WIDE: f64 = 920.0;
pub(super) const NARROW: f64 = 340.0;

/// Both drawings of a chart. `describe` is what is read out instead.
pub(super) fn both(describe: &str, draw: impl Fn(f64) -> Drawing) -> String {
    let mut out = String::new();
    for (class, width) in [("wide", WIDE), ("narrow", NARROW)] {
        let drawing = draw(width);
        let _ = write!(
            out,
            "<svg class=\"chart {class}\" viewBox=\"0 0 {width:.0} {:.0}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            drawing.height,
            escape(describe),
            drawing.body
        );
    }
    out
}

/// A drawing of some height. Coordinates are pixels, from the top left.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    pub(super) height: f64,
    body: String,
}

impl Drawing {
    pub(super) fn new(height: f64) -> Self {
        Self { height, body: String::new() }
    }

    /// A rectangle; the tip is shown where a pointer rests.
    pub(super) fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &str, tip: Option<&str>) {
        let _ = write!(
            self.body,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{:.2}\" class=\"{class}\"",
            width.max(0.0),
            height.max(0.0)
        );
        match tip {
            Some(tip) => {
                let _ = write!(self.body, "><title>{}</title></rect>", escape(tip));
            }
            None => self.body.push_str("/>"),
        }
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ = write!(
            self.body,
            "<line x1=\"{:.2}\" y1=\"{:.2}\" x2=\"{:.2}\" y2=\"{:.2}\" class=\"{class}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    pub(super) fn path(&mut self, path: &str, class: &str) {
        let _ = write!(self.body, "<path d=\"{path}\" class=\"{class}\"/>");
    }

    /// Text whose start, middle or end is at this place.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: &str, class: &str, text: &str) {
        let _ = write!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>",
            escape(text)
        );
    }
}

/// Steps from 0 that are easy to read and cover `most`, `about` so many. The last is at least `most`.
pub(super) fn steps(most: f64, about: usize, whole: bool) -> Vec<f64> {
    let rough = (most.max(f64::MIN_POSITIVE) / about.max(1) as f64).max(if whole { 1.0 } else { 1e-9 });
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * magnitude).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * magnitude);
    let mut steps = vec![0.0];
    while steps.last().is_some_and(|last| *last < most) && steps.len() < 50 {
        steps.push(steps.len() as f64 * step);
    }
    steps
}

/// The frame of a chart: where values lie in a drawing.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    ticks: Vec<f64>,
}

impl Frame {
    /// A frame for values up to `most`.
    pub(super) fn new(width: f64, height: f64, most: f64, whole: bool) -> Self {
        let ticks = steps(most, 4, whole);
        Self { left: 48.0, right: width - 8.0, top: 22.0, bottom: height - 24.0, ticks }
    }

    /// Where a value lies.
    pub(super) fn y(&self, value: f64) -> f64 {
        let most = self.ticks.last().copied().filter(|most| *most > 0.0).unwrap_or(1.0);
        self.bottom - (self.bottom - self.top) * (value / most).clamp(0.0, 1.0)
    }

    /// Where a share (0 to 1) of the width lies.
    pub(super) fn x(&self, share: f64) -> f64 {
        self.left + (self.right - self.left) * share.clamp(0.0, 1.0)
    }

    /// Draws the lines and labels of values, and the unit above them.
    pub(super) fn draw(&self, drawing: &mut Drawing, unit: &str, label: impl Fn(f64) -> String) {
        for tick in &self.ticks {
            let y = self.y(*tick);
            drawing.line((self.left, y), (self.right, y), if *tick == 0.0 { "axis" } else { "grid" });
            drawing.text((self.left - 6.0, y + 4.0), "end", "tick", &label(*tick));
        }
        drawing.text((0.0, 11.0), "start", "unit", unit);
    }

    /// Draws times below, for so many seconds.
    pub(super) fn draw_times(&self, drawing: &mut Drawing, seconds: f64) {
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
        assert_eq!(steps(100.0, 4, true), [0.0, 50.0, 100.0]);
        assert_eq!(steps(3.0, 4, true), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(steps(0.0, 4, true), [0.0]);
        assert_eq!(steps(1_234.0, 4, true), [0.0, 500.0, 1_000.0, 1_500.0]);
        assert!(steps(1e18, 4, true).len() < 10);
    }
}
