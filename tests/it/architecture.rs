//! Who may not know whom.

use std::path::Path;

use crate::support::circles::circles;
use crate::support::house::{Sources, breaches};

fn read(dir: &Path, below: &str, sources: &mut Sources) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), &format!("{name}/"), sources);
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "rs") {
            sources.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn the_rooms_keep_the_rules_of_the_house() {
    let mut sources = Sources::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
    assert!(sources.contains_key("lib.rs") && sources.contains_key("simulator/world.rs"), "{:?}", sources.keys());
    let breaches = breaches(&sources);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn files_do_not_import_each_other_in_a_loop() {
    let mut sources = Sources::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
    let circles = circles(&sources);
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn a_planted_circle_is_found_through_what_a_file_hands_on() {
    let circles_of = |files: &[(&str, &str)]| {
        circles(&files.iter().map(|(file, code)| ((*file).to_owned(), (*code).to_owned())).collect())
    };
    let room = ("room.rs", "mod a;\nmod b;\npub use a::A;\nuse b::B;\npub struct C;");
    let one_way = [room, ("room/a.rs", "use super::C;\nuse super::b::B;"), ("room/b.rs", "use super::C;")];
    assert!(circles_of(&one_way).is_empty());
    let loops = [room, ("room/a.rs", "use super::b::B;"), ("room/b.rs", "use super::{A, C};")];
    assert_eq!(circles_of(&loops), [["room::a", "room::b"]]);
    let rooms = [("room.rs", "use crate::other::x;"), ("other.rs", "mod x;"), ("other/x.rs", "use crate::room::C;")];
    assert_eq!(circles_of(&rooms), [["other::x", "room"]]);
}

fn breaches_of(file: &str, code: &str) -> Vec<String> {
    let rooms = "pub mod parquet;\npub use parquet::ParquetArchive;\npub trait ArchiveWriter {}\npub struct Opened;\n";
    let sources = [(file.to_owned(), code.to_owned()), ("archive.rs".to_owned(), rooms.to_owned())];
    breaches(&Sources::from(sources))
}

#[test]
fn a_planted_breach_is_found() {
    for (file, code, rule) in [
        ("plan.rs", "use tokio::sync::mpsc;", "names tokio, but its room is pure"),
        ("plan.rs", "fn f() { let t = std::time::Instant::now(); }", "names std::time"),
        ("model/reference/chunk.rs", "use std::{fmt, fs::File};", "names std::fs"),
        ("model/message.rs", "use crate::archive::ArchiveWriter;", "names archive, but its room is pure"),
        ("model/columns.rs", "use arrow::datatypes::DataType;", "names arrow, but its room is pure"),
        ("sql/lexeme.rs", "use sqlx::Row;", "names sqlx, but its room is pure"),
        ("model/failure.rs", "pub async fn f() {}", "is asynchronous"),
        (
            "source/files/csv.rs",
            "use crate::{model::reference::Reference, ledger::{Ledger}};",
            "names crate::ledger::Ledger",
        ),
        (
            "archive/parquet/storage.rs",
            "use super::super::super::yunxin::client::Client;",
            "names crate::yunxin::client::Client",
        ),
        ("ledger.rs", "fn f(x: crate::source::Checkpoint) {}", "do not know each other"),
        ("yunxin/client.rs", "use crate::simulator;", "share nothing"),
        ("export/html.rs", "use crate::ledger::Ledger;", "but export knows archives alone"),
        ("archive/verify/chain.rs", "use crate::ledger::Ledger;", "do not know each other"),
        ("completeness.rs", "use crate::yunxin::Client;", "completeness knows references, ledger and archive"),
        ("completeness/a.rs", "use crate::source::Settings;", "completeness knows sources by their trait"),
        (
            "completeness.rs",
            "use crate::archive::postgres::Settings;",
            "only cli/assemble.rs knows the kinds of archives",
        ),
        (
            "cli/export.rs",
            "use crate::archive::parquet::ParquetArchive;",
            "only cli/assemble.rs knows the kinds of archives",
        ),
        (
            "cli/files.rs",
            "fn f(sink: &Sink) { if let Sink::Parquet(_) = sink {} }",
            "only cli/assemble.rs matches on sinks",
        ),
        (
            "cli/threads.rs",
            "fn f(job: &Job) -> bool { job.sink.kind() == SinkKind::Postgres }",
            "only cli/assemble.rs matches on sinks",
        ),
        ("sort.rs", "use crate::export::record::Record;", "sorting knows nobody"),
        ("storage/local.rs", "use crate::archive::ArchiveError;", "a storage knows files"),
        ("notify/file.rs", "use crate::ledger::Ledger;", "who is told of a run knows values alone"),
        ("metrics.rs", "use std::fs;", "names std::fs, but its room is pure"),
        ("simulator.rs", "use crate::model::reference::ConversationId;", "shares nothing"),
        ("config/job.rs", "use crate::run::Settings;", "config knows only pure rooms"),
        ("run.rs", "use crate::archive::parquet::ParquetArchive;", "run knows sources and archives by their traits"),
        ("source/files.rs", "use crate::config::Config;", "rooms take values of the configuration"),
        (
            "run/write.rs",
            "use crate::archive::{ArchiveWriter, ParquetArchive};",
            "crate::archive::ParquetArchive, but run knows",
        ),
        ("report/page.rs", "use crate::ledger::RunRow;", "a report is made of values"),
        ("report.rs", "use std::fs;", "a report is made of values"),
        ("page/blocks.rs", "use crate::report::Report;", "names report, but its room is pure"),
        ("export/html.rs", "use maud::{Markup, PreEscaped};", "only page.rs writes what is not escaped"),
        ("config.rs", "use clap::Parser;", "only cli and main know clap"),
        ("run.rs", "fn f() { println!(\"x\"); }", "prints with println!"),
        ("archive/parquet.rs", "fn f() { std::eprintln!(\"x\"); }", "prints with eprintln!"),
        ("ledger.rs", "fn f() { std::process::exit(1) }", "only cli and main exit"),
        ("cli/run.rs", "use indicatif::ProgressBar;", "names indicatif"),
        ("fleet/worker.rs", "use async_nats::Client;", "names async_nats"),
        ("run/asking.rs", "use crate::fleet::Fleet;", "by their trait"),
        ("yunxin/utils.rs", "", "has a name that says nothing: utils"),
        ("archive/common/parts.rs", "", "has a name that says nothing: common"),
        ("run.rs", &"\n".repeat(451), "has 451 lines"),
    ] {
        let found = breaches_of(file, code);
        assert!(found.len() == 1 && found[0].starts_with(file) && found[0].contains(rule), "{file}: {code}: {found:?}");
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    for (file, code) in [
        ("plan.rs", "use std::fmt;\nuse crate::model::reference::ConversationKey;"),
        ("plan.rs", "// use tokio::sync;\n/* std::fs::read */ const A: &str = \"std::fs\"; const B: char = '\"';"),
        ("plan.rs", "const A: &str = r#\"a \" use tokio::x; \"#; fn f<'a>(x: &'a str) -> char { '\\'' }"),
        ("plan.rs", "fn f() {}\n\n#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests {\n    use std::fs;\n}\n"),
        ("run.rs", "use crate::archive::{Opened, ArchiveWriter};\nuse crate::{ledger::Ledger, yunxin::Client};"),
        ("source/files/csv.rs", "use super::Source;\nuse crate::model::reference::Reference;"),
        ("config/query.rs", "use crate::sql::Dialect;"),
        ("source/settings.rs", "pub use crate::config::{Files, Query};"),
        ("simulator/world.rs", "use super::message::Message;\nuse crate::simulator::Fate;"),
        ("cli/simulate.rs", "use clap::Args;\nfn f() { println!(\"x\"); std::process::exit(1) }"),
        ("progress.rs", "use indicatif::ProgressBar;"),
    ] {
        assert_eq!(breaches_of(file, code), [""; 0], "{file}: {code}");
    }
}
