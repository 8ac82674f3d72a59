//! Logs on stderr: text for people or JSON for collectors, never through a progress bar.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::panics::Panicked;
use crate::progress::Screen;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Errors only.
    Quiet,
    /// What an operator wants to know.
    #[default]
    Normal,
    /// Every batch.
    Verbose,
    /// Everything, including what libraries log.
    Trace,
}

/// Starts logging, including panics, for the rest of the process. A second call changes nothing.
pub fn start(format: Format, level: Level, screen: &Screen) {
    let (libraries, ours) = match level {
        Level::Quiet => (LevelFilter::ERROR, LevelFilter::ERROR),
        Level::Normal => (LevelFilter::WARN, LevelFilter::INFO),
        Level::Verbose => (LevelFilter::WARN, LevelFilter::DEBUG),
        Level::Trace => (LevelFilter::INFO, LevelFilter::TRACE),
    };
    let filter = Targets::new().with_default(libraries).with_target("yunxin_archiver", ours);
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt::layer().with_writer(AboveBars(screen.clone())).with_target(false).with_ansi(color);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => registry.with(lines).try_init().ok(),
        Format::Json => registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init().ok(),
    };
    std::panic::set_hook(Box::new(log_panic));
}

/// Logs where a panic happened. Its text is logged only if it cannot quote anything.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let said = Panicked::of(panic.payload()).said().unwrap_or("its text is withheld, for it may quote a secret");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(backtrace));
    tracing::error!(
        thread = thread.name(),
        backtrace,
        "panicked at {place}: {said}; this is a defect, please report it"
    );
}

#[derive(Debug, Clone)]
struct AboveBars(Screen);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // A closed stderr must not end a run. A panic may happen while a bar is drawn, with the bar's lock held.
        if std::thread::panicking() {
            std::io::stderr().write_all(bytes).ok();
        } else {
            self.0.suspend(|| std::io::stderr().write_all(bytes)).ok();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush().ok();
        Ok(())
    }
}
