//! `man DIR`: writes the man pages.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::builder::Resettable;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, roman};

use super::arguments::{Arguments, EXIT_CODES, Man};
use super::{Exit, output};

const NAME: &str = "yunxin-archiver";

pub(super) fn man(arguments: &Man) -> Result<u8, Exit> {
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    let mut names = vec![NAME.to_owned()];
    names.extend(program.get_subcommands().map(|command| format!("{NAME}-{}", command.get_name())));
    let commands = program.get_subcommands().cloned().collect::<Vec<_>>();
    for (command, name) in std::iter::once(program).chain(commands).zip(&names) {
        let path = arguments.directory.join(format!("{name}.1"));
        let others = names.iter().filter(|other| *other != name).map(String::as_str).collect::<Vec<_>>();
        write(&path, command, &others)
            .with_context(|| format!("cannot write {}", path.display()))
            .map_err(Exit::usage)?;
    }
    output::say(&format!("wrote {} man pages to {}", names.len(), arguments.directory.display()));
    Ok(0)
}

fn write(path: &Path, command: Command, others: &[&str]) -> io::Result<()> {
    let version = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    // The list of exit codes keeps its lines, which clap's pages would fill.
    let command = command.after_help(Resettable::Reset).version(Resettable::Reset);
    let mut file = File::create(path)?;
    Page::new(command).source(version).manual("User Commands").render(&mut file)?;
    let mut more = Roff::new();
    more.control("SH", ["EXIT STATUS"]).control("nf", []);
    for line in EXIT_CODES.lines().skip(1) {
        more.text([roman(line)]);
    }
    more.control("fi", []).control("SH", ["SEE ALSO"]);
    more.text([roman(others.iter().map(|other| format!("{other}(1)")).collect::<Vec<_>>().join(", "))]);
    more.to_writer(&mut file)?;
    file.flush()
}
