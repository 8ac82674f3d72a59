//! What an operator sees while a job runs: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The state of a run at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Rows read from the source.
    pub read: u64,
    /// Whether the source was read to its end.
    pub read_to_end: bool,
    /// References already archived, pending or failed.
    pub duplicate: u64,
    /// References planned in this run, resumed ones and retried ones included.
    pub planned: u64,
    /// References whose message the sink has accepted.
    pub fetched: u64,
    /// References whose message is committed.
    pub archived: u64,
    /// References that failed.
    pub failed: u64,
    /// Requests planned.
    pub batches: u64,
    /// Batches that ended.
    pub batches_done: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests a second over the last seconds.
    pub rate: f64,
    /// The quota, requests a second.
    pub quota: u32,
    /// Requests in flight.
    pub in_flight: u64,
    /// Answers that said the rate limit was exceeded.
    pub throttled: u64,
    /// How long all requests still pause.
    pub paused: Option<Duration>,
    /// Bytes received.
    pub received: u64,
}

impl Snapshot {
    /// The time that the requests still to be sent take at the quota, once the source was read.
    pub fn remaining(&self) -> Option<Duration> {
        let rate = if self.rate > 0.5 { self.rate } else { f64::from(self.quota) };
        let left = self.batches.saturating_sub(self.batches_done) as f64;
        (self.read_to_end && rate > 0.0 && left > 0.0).then(|| Duration::from_secs_f64(left / rate))
    }
}

/// Shows how a run goes.
pub trait Progress: Send + Sync {
    /// Shows the state; called several times a second.
    fn update(&self, snapshot: &Snapshot);

    /// Takes everything off the terminal.
    fn finish(&self);
}

/// How progress is to be shown.
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

/// The progress of `job` in this style, on stderr.
pub fn new(style: Style, job: &str, screen: &Screen) -> Box<dyn Progress> {
    match style {
        Style::None => Box::new(Silent),
        Style::Bar => Box::new(Bars::new(job, screen)),
        Style::Auto if std::io::stderr().is_terminal() => Box::new(Bars::new(job, screen)),
        Style::Auto | Style::Plain => Box::new(Lines::new(job)),
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
    /// Lets `write` use the terminal while no bar is drawn.
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
            requests = snapshot.requests,
            rate = format!("{:.1}/{}", snapshot.rate, snapshot.quota),
            throttled = snapshot.throttled,
            eta = snapshot.remaining().map(|left| format!("{}s", left.as_secs())),
            "progress"
        );
    }

    fn finish(&self) {}
}

struct Bars {
    screen: MultiProgress,
    references: ProgressBar,
    requests: ProgressBar,
}

impl Bars {
    fn new(job: &str, screen: &Screen) -> Self {
        // Dressed before they are shown: the screen draws them as they are added.
        let references = style("{prefix:>12.bold} {bar:32.cyan/dim} {pos:>9}/{len} references  {msg}");
        let references = screen.0.add(ProgressBar::new(0).with_prefix(job.to_owned()).with_style(references));
        let requests = style("{prefix:>12} {bar:32.green/dim} {pos:>9}/{len} requests    {msg}");
        let requests = screen.0.add(ProgressBar::new(0).with_style(requests));
        Self { screen: screen.0.clone(), references, requests }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}

impl Progress for Bars {
    fn update(&self, snapshot: &Snapshot) {
        self.references.set_length(snapshot.planned);
        self.references.set_position(snapshot.fetched + snapshot.failed);
        let mut message = if snapshot.read_to_end {
            format!("{} read", HumanCount(snapshot.read))
        } else {
            format!("reading: {}", HumanCount(snapshot.read))
        };
        if snapshot.duplicate > 0 {
            message.push_str(&format!(" · {} known", HumanCount(snapshot.duplicate)));
        }
        if snapshot.failed > 0 {
            message.push_str(&format!(" · {} failed", HumanCount(snapshot.failed)));
        }
        self.references.set_message(message);
        self.requests.set_length(snapshot.batches);
        self.requests.set_position(snapshot.batches_done);
        let mut message = format!(
            "{:.0}/{} per s · {} in flight · {}",
            snapshot.rate,
            snapshot.quota,
            snapshot.in_flight,
            HumanBytes(snapshot.received)
        );
        if snapshot.throttled > 0 {
            message.push_str(&format!(" · throttled {}×", snapshot.throttled));
        }
        if let Some(pause) = snapshot.paused {
            message.push_str(&format!(" · pausing {} s", pause.as_secs() + 1));
        } else if let Some(left) = snapshot.remaining() {
            message.push_str(&format!(" · {} left", HumanDuration(left)));
        }
        self.requests.set_message(message);
    }

    fn finish(&self) {
        self.references.finish_and_clear();
        self.requests.finish_and_clear();
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
    }
}
