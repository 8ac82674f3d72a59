//! Commands: what was typed, what it means, and what is printed.
//!
//! Results go to stdout, progress and logs to stderr. This is the only room that prints.

mod adopt;
mod arguments;
mod assemble;
mod assembly;
mod check;
mod completeness;
mod completions;
mod demo;
mod descriptors;
mod doctor;
mod ending;
mod export;
mod failures;
mod files;
mod fleet;
mod init;
mod man;
mod notices;
mod output;
mod period;
mod plan;
mod provenance;
mod report;
mod run;
mod schema;
mod signals;
mod simulate;
mod status;
mod threads;
mod verify;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::Parser;
use futures_util::FutureExt as _;

pub use arguments::{Arguments, Command};

use threads::on_all;

use crate::panics::{Panicked, caught};
use crate::progress::{self, Screen};
use crate::{failpoint, telemetry};

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

    /// A panic.
    fn defect(panicked: &Panicked) -> Self {
        Self::failed(anyhow::anyhow!("the program {panicked}; this is a defect, please report it"))
    }
}

/// Does a piece of work. A panic becomes its error and stops nothing else.
pub(crate) fn contained<T>(work: impl Future<Output = Result<T, Exit>>) -> impl Future<Output = Result<T, Exit>> {
    caught(work).map(|ended| ended.unwrap_or_else(|panicked| Err(Exit::defect(&panicked))))
}

impl<E: Into<anyhow::Error>> From<E> for Exit {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

/// What every command needs.
pub(crate) struct Context {
    pub(crate) config: std::path::PathBuf,
    pub(crate) screen: Screen,
    pub(crate) progress: progress::Style,
    /// Whether `run` prints a closing block on a terminal; false if the caller does.
    pub(crate) sums_up: bool,
    /// Whether errors must be JSON lines, because a log collector cannot read anything else.
    pub(crate) json_lines: bool,
}

impl Context {
    /// Reports why something did not work.
    fn complain(&self, Exit { code, error }: &Exit, of: &str) {
        if self.json_lines {
            tracing::error!(exit_code = code, "{of}{error:#}");
        } else {
            output::complain(&format!("{of}{error:#}"));
        }
    }
}

/// Runs the command that was typed. Returns the exit code.
pub fn main() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            output::usage(&error);
            // Help and version are not errors.
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    let screen = Screen::default();
    let json_lines = arguments.log_format() == telemetry::Format::Json;
    telemetry::start(arguments.log_format(), arguments.log_level(), &screen);
    let (config, progress) = (arguments.config.clone(), arguments.progress());
    let context = Context { config, screen, progress, sums_up: true, json_lines };
    let result = catch_unwind(AssertUnwindSafe(|| dispatch(&context, arguments.command)))
        .unwrap_or_else(|payload| Err(Exit::defect(&Panicked::of(&*payload))));
    match result {
        Ok(code) => code,
        Err(Exit { error, .. }) if output::is_broken_pipe(&error) => 0,
        Err(exit) => {
            context.complain(&exit, "");
            exit.code
        }
    }
}

fn dispatch(context: &Context, command: Command) -> Result<u8, Exit> {
    failpoint::reach("command.before");
    match command {
        Command::Run(run) => run::start(context, run),
        Command::Retry(retry) => run::retry(context, retry),
        Command::Worker(worker) => worker::start(context, &worker),
        Command::Plan(plan) => on_all(plan::plan(context, &plan)),
        Command::Status(status) => on_all(status::status(context, &status)),
        Command::Failures(failures) => on_all(failures::failures(context, &failures)),
        Command::Files(files) => on_all(files::files(context, &files)),
        Command::Adopt(adopt) => on_all(adopt::adopt(context, &adopt)),
        Command::Check(check) => on_all(check::check(context, &check)),
        Command::Doctor(jobs) => on_all(doctor::doctor(context, &jobs)),
        Command::Init(init) => init::init(context, &init),
        Command::Schema(schema) => schema::schema(&schema),
        Command::Simulate(simulate) => on_all(simulate::simulate(simulate)),
        Command::Demo(demo) => on_all(demo::demo(context, demo)),
        Command::Completions(completions) => completions::completions(&completions),
        Command::Man(man) => man::man(&man),
        Command::Report(arguments) => on_all(report::report(context, &arguments)),
        Command::Export(export) => on_all(export::export(context, export)),
        Command::Verify(verify) => on_all(verify::verify(context, &verify)),
    }
}
