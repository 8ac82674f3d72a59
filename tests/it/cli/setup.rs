//! `init`, `check`, `schema`, `completions`, `man`, and what later versions bring.

use std::io::Write as _;
use std::process::Stdio;

use clap::{Command, CommandFactory as _, ValueEnum as _};
use yunxin_archiver::cli::Arguments;
use yunxin_archiver::config::{SinkKind, SourceKind};
use yunxin_archiver::simulator::{Fate, World};

use crate::support::postgres;
use crate::support::site::{NIGHTLY, Running, Site, csv, dialogue, id, message, reference, time};

#[test]
fn init_writes_a_file_that_passes_check_for_every_source_and_sink() {
    let dir = tempfile::tempdir().unwrap();
    for source in SourceKind::ALL.map(SourceKind::as_str) {
        for sink in SinkKind::ALL.map(SinkKind::as_str) {
            let name = format!("{source}-{sink}.yaml");
            let run = |arguments: &[&str]| {
                let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
                command.args(["-c", &name]).args(arguments).current_dir(dir.path()).output().unwrap()
            };
            let init = run(&["init", "--source", source, "--sink", sink]);
            assert!(init.status.success());
            assert!(String::from_utf8_lossy(&init.stderr).contains(&format!("wrote {name}")));
            let check = run(&["check"]);
            assert!(check.status.success(), "{name}: {}", String::from_utf8_lossy(&check.stderr));
            let written = std::fs::read_to_string(dir.path().join(&name)).unwrap();
            let zone = written.lines().any(|line| line.trim_start().starts_with("timezone: Asia/Shanghai"));
            assert_eq!(zone, sink == "parquet", "the days of an archive must not be UTC's unnoticed: {written}");
            let file = written.contains(&format!("path: refs.{source} "));
            assert_eq!(file, ["csv", "jsonl", "parquet"].contains(&source), "{written}");
            let again = run(&["init"]);
            assert_eq!(again.status.code(), Some(2));
            assert!(String::from_utf8_lossy(&again.stderr).contains("already exists and is left as it is"));
        }
    }
}

#[test]
fn check_looks_at_the_file_alone_unless_it_shall_connect() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..5));
    std::fs::remove_file(site.path("refs.csv")).unwrap();
    let ended = site.run(&["check"]).exits(0);
    assert_eq!(ended.stdout, "jobs.yaml: ok, 1 of 1 job selected\n");
    assert!(ended.stderr.contains("--connect also checks source, sink and credentials"));
    site.write("jobs.yaml", site.read("jobs.yaml").replace("rate_limit", "rate_limits"));
    let wrong = site.run(&["check"]).exits(2);
    assert!(wrong.stderr.contains("jobs.yaml:4:") && wrong.stderr.contains("rate_limit"), "{}", wrong.stderr);
    let none = site.run(&["-c", "none.yaml", "check"]).exits(2);
    assert!(none.stderr.contains("there is no none.yaml"), "{}", none.stderr);
}

#[test]
fn a_configuration_that_can_be_read_but_once_is_enough() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..5));
    let here = site.path("").display().to_string();
    let mut text = site.read("jobs.yaml").replace("state: state", &format!("state: {here}state"));
    for (path, whole) in
        [("file:secret", "file:{}secret"), ("path: refs.csv", "path: {}refs.csv"), ("path: archive", "path: {}archive")]
    {
        text = text.replace(path, &whole.replace("{}", &here));
    }
    for (command, archived) in [(["run", "--json"].as_slice(), 5), (&["retry", "nightly", "--all", "--json"], 0)] {
        let arguments = [&["-c", "/dev/stdin"], command].concat();
        let mut running = Running::start(site.command(&arguments).stdin(Stdio::piped()));
        running.stdin().write_all(text.as_bytes()).unwrap();
        assert_eq!(running.end().exits(0).refs("archived"), archived);
    }
    assert_eq!(site.ids("archive").len(), 5);
}

#[test]
fn check_shows_rows_how_they_are_understood_and_one_real_message() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..5));
    let text = site.read("refs.csv");
    site.write("refs.csv", text.replace(&format!("{},", id(1)), "x,"));
    let ended = site.run(&["check", "--connect", "--sample", "2"]).exits(0);
    for shown in [
        "source csv: ok",
        &format!("refs.csv:2: conversation_id=\"alice|1|bob\" message_server_id=\"{}\"", id(0)),
        &format!("→ message {} of alice|1|bob, created 2026-10-02T00:00:00.007Z", id(0)),
        "→ not a reference: message_server_id",
        "API: ok, credentials accepted",
        &format!("message {} from alice, type 0: \"hello\"", id(0)),
        "sink parquet: ",
    ] {
        assert!(ended.stdout.contains(shown), "{shown:?} is not in\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("refs.csv:4"), "two rows were asked for");
    assert_eq!(site.api.stats().requests, 1, "one that is there is enough");
    assert!(!site.path("archive").exists() && !site.path("state").exists(), "a check writes nothing");
}

#[test]
fn check_tells_what_is_wrong_with_source_sink_and_credentials() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..1));
    site.write_secret("secret", "not-the-secret");
    let ended = site.run(&["check", "--connect"]).exits(4);
    assert!(ended.stdout.contains("wrong: API") && ended.stdout.contains("AppSecret"), "{}", ended.stdout);
    assert!(ended.stdout.contains("sink parquet: "), "the rest is checked all the same");
    site.write_secret("secret", yunxin_archiver::simulator::APP_SECRET);
    site.api.world(|world| *world = World::explicit());
    let ended = site.run(&["check", "--connect"]).exits(3);
    assert!(ended.stdout.contains("does not exist: message not exist (code 107404)"), "{}", ended.stdout);
    assert!(ended.stdout.contains("wrong: the message that the first reference names does not exist"));
    std::fs::remove_file(site.path("refs.csv")).unwrap();
    site.write("archive", "a file where a directory should be");
    let ended = site.run(&["check", "--connect"]).exits(2);
    assert_eq!(ended.stdout.matches("wrong: ").count(), 2, "{}", ended.stdout);
}

#[test]
fn check_tells_what_is_wrong_with_what_a_run_needs_besides_source_and_sink() {
    let site = Site::new(World::explicit());
    site.write("refs.csv", csv(&[]));
    site.write_secret("key", "no key");
    site.jobs(&NIGHTLY.replace("app: main,", "app: main, sign: 'file:key',"));
    let ended = site.run(&["check", "--connect"]).exits(2);
    assert!(
        ended.stdout.contains("wrong: jobs.yaml:") && ended.stdout.contains("jobs.nightly.sign: "),
        "{}",
        ended.stdout
    );
    site.jobs(NIGHTLY);
    site.run(&["check", "--connect"]).exits(0);
    std::fs::remove_file(site.path("secret")).unwrap();
    let ended = site.run(&["check", "--connect"]).exits(2);
    assert!(ended.stdout.contains("apps.main.app_secret: the file"), "{}", ended.stdout);
}

#[test]
fn check_warns_of_times_that_lost_their_milliseconds() {
    let site = Site::new(World::explicit());
    let refs: Vec<_> = (0..20).map(|n| ("alice|1|bob".to_owned(), id(n), time(n) / 1000 * 1000)).collect();
    site.write("refs.csv", csv(&refs));
    let ended = site.run(&["check", "--connect"]);
    assert!(ended.stdout.contains("warning: 20 of 20 times are whole seconds"), "{}", ended.stdout);
}

#[test]
fn check_does_not_read_standard_input() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..1));
    site.jobs(&NIGHTLY.replace("refs.csv", "'-'"));
    assert!(site.run(&["check", "--connect"]).exits(0).stdout.contains("standard input, which check does not read"));
}

#[tokio::test]
async fn the_schemas_are_printed_and_that_of_postgres_can_be_run() {
    let site = Site::new(World::explicit());
    let config = site.run(&["schema", "config"]).exits(0).summary;
    assert!(config["properties"]["jobs"].is_object(), "{config}");
    let parquet = site.run(&["schema", "parquet"]).exits(0).stdout;
    assert!(parquet.contains("message_server_id") && parquet.contains("thread_reply_create_time"), "{parquet}");
    let script = site.run(&["schema", "postgres"]).exits(0).stdout;
    let database = postgres::database().await;
    database.execute(&script).await;
    // The tables that it makes are those that a job writes.
    let (refs, world) = dialogue("alice|1|bob", 0..3);
    site.api.world(|served| *served = world);
    site.write("refs.csv", csv(&refs));
    site.write_secret("url", &database.url());
    site.jobs(&NIGHTLY.replace("parquet: { path: archive }", "postgres: { url: 'file:url' }"));
    assert_eq!(site.night().exits(0).refs("archived"), 3);
}

#[test]
fn completions_and_help_name_every_command() {
    let site = Site::new(World::explicit());
    let help = site.run(&["--help"]).exits(0).stdout;
    let commands = Arguments::command();
    for command in commands.get_subcommands().map(Command::get_name) {
        assert!(help.contains(&format!("  {command} ")), "{command}");
        let help = site.run(&[command, "--help"]).exits(0).stdout;
        let (own, global) = help.split_once("Global options:").unwrap();
        assert!(global.contains("--config") && global.contains("--quiet") && !own.contains("--config"), "{help}");
    }
    assert!(help.contains("75  the job, or another process of its app, is running"));
    for shell in clap_complete::Shell::value_variants() {
        let script = site.run(&["completions", &shell.to_string()]).exits(0).stdout;
        assert!(script.contains("yunxin-archiver"), "{shell}");
        for command in commands.get_subcommands().map(Command::get_name) {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(site.run(&["--version"]).exits(0).stdout, format!("yunxin-archiver {}\n", env!("CARGO_PKG_VERSION")));
    site.run(&[]).exits(2);
    site.run(&["archive"]).exits(2);
}

#[test]
fn every_command_has_a_man_page_that_man_reads_without_a_warning() {
    let site = Site::new(World::explicit());
    std::fs::create_dir(site.path("man")).unwrap();
    site.run(&["man", "man"]).exits(0);
    let mut program = Arguments::command();
    program.build();
    let mut commands = vec![("yunxin-archiver".to_owned(), program.clone())];
    let named = |command: &Command| (format!("yunxin-archiver-{}", command.get_name()), command.clone());
    commands.extend(program.get_subcommands().filter(|command| command.get_name() != "help").map(named));
    for (name, command) in &commands {
        let mut man = std::process::Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l"]).arg(site.path(&format!("man/{name}.1")));
        man.env("MANWIDTH", "100").env("LC_ALL", "C.UTF-8");
        let output = man.output().expect("man, of Debian's package man-db; tests/run.sh installs it");
        let (page, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
        let options = command.get_arguments().filter_map(clap::Arg::get_long).map(|long| format!("--{long}"));
        let others =
            commands.iter().map(|(other, _)| format!("{other}(1)")).filter(|other| *other != format!("{name}(1)"));
        // Lines are filled, so what is looked for may be broken at a space, at a hyphen, or by one.
        let letters = |text: &str| {
            text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{2010}')).collect::<String>()
        };
        let told = letters(&page);
        let about = command.get_about().unwrap().to_string();
        for part in options.chain(others).chain([name.clone(), about, "75  the job, or another".to_owned()]) {
            assert!(told.contains(&letters(&part)), "{name}: {part} is missing: {page}");
        }
    }
    assert_eq!(std::fs::read_dir(site.path("man")).unwrap().count(), commands.len());
    let nowhere = site.run(&["man", "nowhere"]).exits(2);
    assert!(nowhere.stderr.contains("cannot write nowhere/yunxin-archiver.1"), "{}", nowhere.stderr);
}

#[test]
fn simulate_serves_what_generated_references_ask_for() {
    use std::io::BufRead as _;
    let site = Site::new(World::explicit());
    let mut command = site.command(&["simulate", "--port", "0", "--rate-limit", "1000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut url = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let mut text = Vec::new();
    let shape = yunxin_archiver::simulator::ReferenceShape { count: 50, conversations: 3, ..Default::default() };
    yunxin_archiver::simulator::write_references(&mut text, &shape).unwrap();
    site.write("refs.csv", text);
    let config = site.read("jobs.yaml").replace(&site.api.url(), url.trim()).replace("2000", "500");
    site.write("jobs.yaml", config);
    let ended = site.night();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ended.exits(0).refs("archived"), 50);
}

#[test]
fn jobs_that_fail_to_find_anything_say_so_in_their_failures() {
    for (named, shown) in [("jobs.yaml", ""), ("./jobs.yaml", " -c ./jobs.yaml")] {
        let mut world = World::explicit();
        world.insert(message("alice|1|bob", 0).fate(Fate::Missing));
        let site = Site::nightly((vec![reference("alice|1|bob", 0)], world));
        let ended = site.run(&["-c", named, "run"]).exits(3);
        let command = format!("`yunxin-archiver{shown} failures nightly` lists them");
        assert!(ended.stderr.contains(&command), "{}", ended.stderr);
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_once() {
    let site = Site::new(World::explicit());
    std::fs::remove_file(site.path("jobs.yaml")).unwrap();
    let said = site.run(&["run"]).exits(2).stderr;
    let right = "there is no jobs.yaml: name one with -c, or let `yunxin-archiver init` write one";
    assert_eq!(said, format!("yunxin-archiver: {right}\n"));
    let said = site.run(&["-c", ".", "run"]).exits(2).stderr;
    assert_eq!(said.matches("Is a directory").count(), 1, "{said}");
}

#[test]
fn simulate_refuses_shares_that_are_none() {
    let site = Site::new(World::explicit());
    for option in ["--chaos", "--missing"] {
        for share in ["5", "-0.1", "NaN", "x"] {
            let said = site.run(&["simulate", &format!("{option}={share}")]).exits(2).stderr;
            assert!(said.contains("a number from 0 to 1"), "{said}");
        }
    }
    let rule = r#"{"faults": {"rules": [{"fault": "reset", "probability": 5}]}}"#;
    for (settings, key) in [(r#"{"missing": 5}"#, "missing"), (rule, "probability")] {
        site.write("settings.json", settings);
        let said = site.run(&["simulate", "--settings", "settings.json"]).exits(2).stderr;
        assert!(said.contains(&format!("settings.json: {key} is 5")), "{said}");
    }
}
