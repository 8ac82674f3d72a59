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
mod verify;
mod vouch;

use clap::Parser;

pub use arguments::{Arguments, Command};

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
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("the runtime cannot start: {error}"));
            return 1;
        }
    };
    let result = runtime.block_on(dispatch(&context, arguments.command));
    // Requests that were given up are not waited for.
    runtime.shutdown_background();
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

async fn dispatch(context: &Context, command: Command) -> Result<u8, Exit> {
    match command {
        Command::Run(run) => run::run(context, run).await,
        Command::Retry(retry) => run::retry(context, retry).await,
        Command::Plan(plan) => plan::plan(context, &plan).await,
        Command::Status(status) => status::status(context, &status).await,
        Command::Failures(failures) => failures::failures(context, &failures).await,
        Command::Files(files) => files::files(context, &files).await,
        Command::Adopt(adopt) => adopt::adopt(context, &adopt).await,
        Command::Check(check) => check::check(context, &check).await,
        Command::Init(init) => init::init(context, &init),
        Command::Schema(schema) => schema::schema(&schema),
        Command::Simulate(simulate) => simulate::simulate(simulate).await,
        Command::Demo(demo) => demo::demo(context, demo).await,
        Command::Completions(completions) => completions::completions(&completions),
        Command::Report(arguments) => report::report(context, &arguments).await,
        Command::Export(export) => export::export(context, export).await,
        Command::Verify(verify) => verify::verify(context, &verify).await,
    }
}
