//! What an operator sees while a job runs: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{
    DecimalBytes, HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle,
};

/// The state of a run at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Rows read from the source.
    pub read: u64,
    /// Whether the source has been read to its end.
    pub read_to_end: bool,
    /// References that were archived, pending or failed before.
    pub duplicate: u64,
    /// References planned in this run, including resumed and retried ones.
    pub planned: u64,
    /// References that were answered with their message.
    pub fetched: u64,
    /// References whose message is committed.
    pub archived: u64,
    /// References that failed.
    pub failed: u64,
    /// Rows that are not valid references.
    pub invalid: u64,
    /// Requests planned.
    pub batches: u64,
    /// Batches that have ended.
    pub batches_done: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests a second over the last seconds, 0 while nothing is answered.
    pub rate: f64,
    /// Whether nothing has been answered for some seconds.
    pub unanswered: bool,
    /// The quota, requests a second.
    pub quota: u32,
    /// Requests in flight.
    pub in_flight: u64,
    /// Answers that said the rate limit was exceeded.
    pub throttled: u64,
    /// How much longer all requests pause.
    pub paused: Option<Duration>,
    /// Bytes received.
    pub received: u64,
}

impl Snapshot {
    /// How long the requests still to be sent will take. Unknown until the source is read, and while nothing is answered.
    pub fn remaining(&self) -> Option<Duration> {
        let rate = if self.rate > 0.5 { self.rate } else { f64::from(self.quota) };
        let left = self.batches.saturating_sub(self.batches_done) as f64;
        (self.read_to_end && !self.unanswered && rate > 0.0 && left > 0.0).then(|| Duration::from_secs_f64(left / rate))
    }
}

/// Shows how a run goes.
pub trait Progress: Send + Sync {
    /// Shows the state. Called several times a second.
    fn update(&self, snapshot: &Snapshot);

    /// Removes everything from the terminal.
    fn finish(&self);
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// Bars on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// Bars.
    Bar,
    /// A line every ten seconds.
    Plain,
    /// Nothing.
    None,
}

impl Style {
    /// Whether somebody watches a terminal. Then bars are drawn, and the end of a job is told in more than a line of the log.
    pub fn is_watched(self) -> bool {
        match self {
            Self::Bar => true,
            Self::Auto => std::io::stderr().is_terminal(),
            Self::Plain | Self::None => false,
        }
    }
}

/// The progress of `job` in this style, on stderr.
pub fn new(style: Style, job: &str, screen: &Screen) -> Box<dyn Progress> {
    match style {
        Style::None => Box::new(Silent),
        style if style.is_watched() => Box::new(Bars::new(job, screen)),
        Style::Auto | Style::Bar | Style::Plain => Box::new(Lines::new(job)),
    }
}

/// The part of the terminal that bars occupy; log lines go above it.
#[derive(Debug, Clone)]
pub struct Screen(MultiProgress);

impl Default for Screen {
    fn default() -> Self {
        Self(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)))
    }
}

impl Screen {
    /// Runs `write` while no bar is drawn.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        self.0.suspend(write)
    }
}

struct Silent;

impl Progress for Silent {
    fn update(&self, _: &Snapshot) {}

    fn finish(&self) {}
}

struct Lines {
    job: String,
    last: Mutex<Instant>,
}

const LINE_EVERY: Duration = Duration::from_secs(10);

impl Lines {
    fn new(job: &str) -> Self {
        Self { job: job.to_owned(), last: Mutex::new(Instant::now()) }
    }
}

impl Progress for Lines {
    fn update(&self, snapshot: &Snapshot) {
        let Ok(mut last) = self.last.lock() else { return };
        if last.elapsed() < LINE_EVERY {
            return;
        }
        *last = Instant::now();
        tracing::info!(
            job = self.job,
            read = snapshot.read,
            planned = snapshot.planned,
            archived = snapshot.archived,
            fetched = snapshot.fetched,
            failed = snapshot.failed,
            invalid = snapshot.invalid,
            requests = snapshot.requests,
            rate = format!("{:.1}/{}", snapshot.rate, snapshot.quota),
            throttled = snapshot.throttled,
            eta = if snapshot.unanswered {
                Some("unknown".to_owned())
            } else {
                snapshot.remaining().map(|left| format!("{}s", left.as_secs()))
            },
            "progress"
        );
    }

    fn finish(&self) {}
}

struct Bars {
    screen: MultiProgress,
    head: ProgressBar,
    references: ProgressBar,
    requests: ProgressBar,
    foot: ProgressBar,
}

impl Bars {
    fn new(job: &str, screen: &Screen) -> Self {
        // The style comes first, because the screen draws a bar as soon as it is added.
        let line = |template: &str, prefix: &str| {
            screen.0.add(ProgressBar::new(0).with_style(style(template)).with_prefix(prefix.to_owned()))
        };
        Self {
            screen: screen.0.clone(),
            head: line("  {prefix:.bold}  {wide_msg}", job),
            references: line("  references  {bar:30.cyan/238} {percent:>4}%  {wide_msg}", ""),
            requests: line("  requests    {bar:30.green/238} {percent:>4}%  {wide_msg}", ""),
            foot: line("  {wide_msg:.dim}", ""),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}

/// The texts above the bars, beside each, and below.
struct Words {
    head: String,
    references: String,
    requests: String,
    foot: String,
}

impl Words {
    fn of(snapshot: &Snapshot) -> Self {
        let count = |number: u64| HumanCount(number).to_string();
        let mut head = if snapshot.read_to_end {
            format!("{} rows read", count(snapshot.read))
        } else {
            format!("reading: {} rows", count(snapshot.read))
        };
        if snapshot.duplicate > 0 {
            head.push_str(&format!(" · {} known already", count(snapshot.duplicate)));
        }
        if snapshot.invalid > 0 {
            head.push_str(&format!(" · {} invalid", count(snapshot.invalid)));
        }
        let mut references = format!("{} of {}", count(snapshot.fetched), count(snapshot.planned));
        if snapshot.failed > 0 {
            references.push_str(&format!(" · {} failed", count(snapshot.failed)));
        }
        let mut requests = format!("{} of {}", count(snapshot.batches_done), count(snapshot.batches));
        if let Some(pause) = snapshot.paused {
            requests.push_str(&format!(" · pausing {} s: over the rate", pause.as_secs() + 1));
        } else if snapshot.unanswered {
            requests.push_str(" · nobody answers");
        } else if let Some(left) = snapshot.remaining() {
            requests.push_str(&format!(" · {} left", HumanDuration(left)));
        } else if snapshot.read_to_end && snapshot.fetched > snapshot.archived {
            requests.push_str(" · committing");
        }
        let mut foot = format!(
            "{:.0} of {} a second · {} in flight · {} received · {} archived",
            snapshot.rate,
            snapshot.quota,
            snapshot.in_flight,
            DecimalBytes(snapshot.received),
            count(snapshot.archived)
        );
        if snapshot.throttled > 0 {
            foot.push_str(&format!(" · throttled {}×", snapshot.throttled));
        }
        Self { head, references, requests, foot }
    }
}

impl Progress for Bars {
    fn update(&self, snapshot: &Snapshot) {
        let Words { head, references, requests, foot } = Words::of(snapshot);
        self.head.set_message(head);
        self.references.set_length(snapshot.planned);
        self.references.set_position(snapshot.fetched + snapshot.failed);
        self.references.set_message(references);
        self.requests.set_length(snapshot.batches);
        self.requests.set_position(snapshot.batches_done);
        self.requests.set_message(requests);
        self.foot.set_message(foot);
    }

    fn finish(&self) {
        for bar in [&self.head, &self.references, &self.requests, &self.foot] {
            bar.finish_and_clear();
        }
        self.screen.clear().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_remains_is_known_once_the_source_was_read() {
        let mut snapshot = Snapshot { batches: 1_000, batches_done: 500, quota: 100, ..Snapshot::default() };
        assert_eq!(snapshot.remaining(), None);
        snapshot.read_to_end = true;
        assert_eq!(snapshot.remaining(), Some(Duration::from_secs(5)));
        snapshot.rate = 50.0;
        assert_eq!(snapshot.remaining(), Some(Duration::from_secs(10)));
        snapshot.unanswered = true;
        assert_eq!(snapshot.remaining(), None);
    }

    #[test]
    fn what_stands_beside_the_bars_tells_rows_rates_and_pauses() {
        let mut snapshot = Snapshot {
            read: 20_000,
            read_to_end: true,
            duplicate: 68,
            planned: 19_920,
            fetched: 9_000,
            failed: 12,
            invalid: 296,
            batches: 420,
            batches_done: 90,
            rate: 99.6,
            quota: 100,
            in_flight: 4,
            received: 5_200_000,
            ..Snapshot::default()
        };
        let words = Words::of(&snapshot);
        assert_eq!(words.head, "20,000 rows read · 68 known already · 296 invalid");
        assert_eq!(words.references, "9,000 of 19,920 · 12 failed");
        assert_eq!(words.requests, "90 of 420 · 3 seconds left");
        assert_eq!(words.foot, "100 of 100 a second · 4 in flight · 5.20 MB received · 0 archived");
        snapshot.throttled = 1;
        snapshot.paused = Some(Duration::from_millis(5_500));
        let words = Words::of(&snapshot);
        assert_eq!(words.requests, "90 of 420 · pausing 6 s: over the rate");
        assert!(words.foot.ends_with("throttled 1×"));
        snapshot.paused = None;
        snapshot.unanswered = true;
        assert_eq!(Words::of(&snapshot).requests, "90 of 420 · nobody answers");
        snapshot.unanswered = false;
        snapshot.batches_done = 420;
        assert!(Words::of(&snapshot).requests.ends_with("420 of 420 · committing"));
    }
}
