//! Commands: what was typed, what it means, and what is printed.
//!
//! Results go to stdout, progress and logs to stderr. This is the only room that prints.

mod adopt;
mod arguments;
mod assemble;
mod check;
mod completeness;
mod completions;
mod demo;
mod descriptors;
mod ending;
mod export;
mod failures;
mod files;
mod init;
mod output;
mod plan;
mod report;
mod run;
mod schema;
mod signals;
mod simulate;
mod status;
mod threads;
mod verify;
mod vouch;

use clap::Parser;

pub use arguments::{Arguments, Command};

use threads::on_all;

use crate::progress::{self, Screen};
use crate::telemetry;

/// Why a command ended without doing its work, with the exit code that says so.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: u8,
    pub(crate) error: anyhow::Error,
}

impl Exit {
    /// Usage or configuration.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 2, error: error.into() }
    }

    /// Usage or configuration, in words.
    pub(crate) fn words(message: impl std::fmt::Display) -> Self {
        Self { code: 2, error: anyhow::anyhow!("{message}") }
    }

    /// Anything that failed.
    pub(crate) fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 1, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Exit {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

/// What every command works with.
pub(crate) struct Context {
    pub(crate) config: std::path::PathBuf,
    pub(crate) screen: Screen,
    pub(crate) progress: progress::Style,
    /// Whether `run` sums up on a terminal; not when the caller does.
    pub(crate) sums_up: bool,
}

/// Does what was typed. Returns the exit code.
pub fn main() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors.
            error.print().ok();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    let screen = Screen::default();
    // Who collects JSON lines cannot read any other.
    let json = arguments.log_format() == telemetry::Format::Json;
    telemetry::start(arguments.log_format(), arguments.log_level(), &screen);
    let context = Context { config: arguments.config.clone(), screen, progress: arguments.progress(), sums_up: true };
    let result = dispatch(&context, arguments.command);
    match result {
        Ok(code) => code,
        Err(Exit { error, .. }) if output::is_broken_pipe(&error) => 0,
        Err(Exit { code, error }) => {
            if json {
                tracing::error!(exit_code = code, "{error:#}");
            } else {
                output::complain(&format!("{error:#}"));
            }
            code
        }
    }
}

fn dispatch(context: &Context, command: Command) -> Result<u8, Exit> {
    match command {
        Command::Run(run) => run::start(context, run),
        Command::Retry(retry) => run::retry(context, retry),
        Command::Plan(plan) => on_all(plan::plan(context, &plan)),
        Command::Status(status) => on_all(status::status(context, &status)),
        Command::Failures(failures) => on_all(failures::failures(context, &failures)),
        Command::Files(files) => on_all(files::files(context, &files)),
        Command::Adopt(adopt) => on_all(adopt::adopt(context, &adopt)),
        Command::Check(check) => on_all(check::check(context, &check)),
        Command::Init(init) => init::init(context, &init),
        Command::Schema(schema) => schema::schema(&schema),
        Command::Simulate(simulate) => on_all(simulate::simulate(simulate)),
        Command::Demo(demo) => on_all(demo::demo(context, demo)),
        Command::Completions(completions) => completions::completions(&completions),
        Command::Report(arguments) => on_all(report::report(context, &arguments)),
        Command::Export(export) => on_all(export::export(context, export)),
        Command::Verify(verify) => on_all(verify::verify(context, &verify)),
    }
}
