//! `init`: writes a commented jobs.yaml to start from.

use std::fs::OpenOptions;
use std::io::Write;

use clap::Args;

use super::{Context, Exit, output};
use crate::config::{self, SinkKind, SourceKind};

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The kind of source.
    #[arg(long, default_value = "postgres", value_name = "KIND", value_parser = source_kind)]
    pub source: SourceKind,

    /// The kind of sink.
    #[arg(long, default_value = "parquet", value_name = "KIND", value_parser = sink_kind)]
    pub sink: SinkKind,
}

fn source_kind(text: &str) -> Result<SourceKind, String> {
    let known = || SourceKind::ALL.map(SourceKind::as_str).join(", ");
    SourceKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("one of {}", known()))
}

fn sink_kind(text: &str) -> Result<SinkKind, String> {
    let known = || SinkKind::ALL.map(SinkKind::as_str).join(", ");
    SinkKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("one of {}", known()))
}

pub(super) fn init(context: &Context, arguments: &Init) -> Result<u8, Exit> {
    let text = config::template(arguments.source, arguments.sink);
    let path = &context.config;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            Exit::words(format!("{} already exists and is left as it is; -c FILE names another", path.display()))
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
