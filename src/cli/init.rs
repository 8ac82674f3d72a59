//! `init`: a commented jobs.yaml to begin with.

use std::fs::OpenOptions;
use std::io::Write;

use super::arguments::Init;
use super::{Context, Exit, output};
use crate::config;

pub(super) fn init(context: &Context, arguments: &Init) -> Result<u8, Exit> {
    let text = config::template(arguments.source, arguments.sink);
    let path = &context.config;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            Exit::words(format!("{} exists already and stays as it is; -c FILE names another", path.display()))
        } else {
            Exit::words(format!("{} cannot be written: {error}", path.display()))
        }
    })?;
    file.write_all(text.as_bytes())?;
    output::say(&format!(
        "wrote {}\nnext: edit it, then `yunxin-archiver check --connect`, `yunxin-archiver plan`, `yunxin-archiver run`",
        path.display()
    ));
    Ok(0)
}
