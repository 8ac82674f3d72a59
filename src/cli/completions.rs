//! `completions SHELL`

use clap::CommandFactory;

use super::arguments::{Arguments, Completions};
use super::{Exit, output};

pub(super) fn completions(arguments: &Completions) -> Result<u8, Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "yunxin-archiver", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(0)
}
