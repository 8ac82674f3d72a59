//! Secrets reach no output, and what others wrote reaches nothing but its place.

use std::process::Stdio;

use clap::CommandFactory as _;
use yunxin_archiver::cli::Arguments;
use yunxin_archiver::simulator::{APP_KEY, APP_SECRET, App, Fate, Fault, Message, Rule, Settings, World, start_with};

use crate::support::storm::{Site, To, database, files_below, ran};

const PASSWORD: &str = "hunter2-postgres";

#[test]
fn no_secret_is_in_any_output_of_any_night() {
    let mut heard = String::new();
    let url = database();
    let mut site = Site::of(To::Postgres(url.clone()), 60);
    let levels: [&[&str]; 5] = [&[], &["-v"], &["-vv"], &["-q"], &["-vv", "--log-format", "json"]];
    let run = |site: &Site, heard: &mut String| {
        for level in levels {
            let mut arguments = level.to_vec();
            arguments.extend(["run", "--json", "--summary", "summary.json"]);
            let ran = ran(site.command(&arguments).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full"));
            heard.push_str(&ran.stdout);
            heard.push_str(&ran.stderr);
        }
    };
    run(&site, &mut heard);
    // Faults of every kind, then a server that refuses, a database that refuses, and one that is not there.
    site.night(60);
    site.api.faults(|faults| {
        for fault in ["500", "http 502", "reset", "garbage", "html", "redirect http://127.0.0.1:9/"] {
            faults.rules.push(Rule::chance(fault.parse().unwrap(), 0.1));
        }
    });
    run(&site, &mut heard);
    site.night(60);
    site.api.faults(|faults| faults.rules = vec![Rule::chance(Fault::Code(403), 1.0)]);
    run(&site, &mut heard);
    let wrong = url.url().replace(PASSWORD, "hunter2-postgres-wrong");
    let nowhere = format!("postgres://postgres:{PASSWORD}@127.0.0.1:1/nothing");
    let broken = format!("postgres://postgres:{PASSWORD}@127.0.0.1:notaport/nothing");
    for archive in [wrong, nowhere, broken] {
        site.write_secret("archive-url", &archive);
        run(&site, &mut heard);
    }
    // A run that panics in the middle, and what looks at the archive and the ledger afterwards.
    site.configure();
    site.api.faults(|faults| faults.rules.clear());
    let mut panicking = site.command(&["-vv", "run", "--json"]);
    panicking.env("YUNXIN_ARCHIVER_DIE_AT", "prepare.after!").env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace");
    let panicked = ran(&mut panicking);
    assert!(panicked.stderr.contains("panicked at") && panicked.code() != 0, "{panicked:?}");
    heard.push_str(&panicked.stdout);
    heard.push_str(&panicked.stderr);
    run(&site, &mut heard);
    let looks = [
        &["report", "nightly", "-o", "report.html"][..],
        &["report", "--all", "-o", "pages"],
        &["export", "nightly", "--all", "--format", "html", "-o", "out"],
        &["export", "nightly", "--all", "--format", "jsonl", "-o", "lines"],
        &["adopt", "nightly"],
        &["files", "nightly"],
        &["check", "--connect"],
        &["-vv", "retry", "nightly", "--all"],
        &["failures", "nightly", "--format", "jsonl"],
        &["verify", "nightly"],
        &["completions", "bash"],
        &["man", "."],
    ];
    for command in looks {
        let ran = ran(site.command(command).env("RUST_LOG", "trace"));
        assert!(ran.code() == 0 || ["files", "verify"].contains(&command[0]), "{command:?}: {ran:?}");
        heard.push_str(&ran.stdout);
        heard.push_str(&ran.stderr);
    }
    // A secret that is written out where it must not be.
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    for (good, bad) in [
        ("file:archive-url", format!("postgres://postgres:{PASSWORD}@127.0.0.1/x")),
        ("file:secret", APP_SECRET.to_owned()),
        ("file:secret", format!("[{APP_SECRET}")),
    ] {
        std::fs::write(site.path("jobs.yaml"), text.replace(good, &bad)).unwrap();
        run(&site, &mut heard);
    }
    std::fs::write(site.path("jobs.yaml"), &text).unwrap();
    let more = [
        &["status", "--json"][..],
        &["doctor"],
        &["doctor", "--json"],
        &["worker"],
        &["failures", "nightly"],
        &["check"],
        &["plan"],
        &["schema", "postgres"],
    ];
    // Those that are left have no secret to tell.
    let heard_of = [&looks[..], &more, &[&["run"], &["init"], &["simulate"], &["demo"]]].concat();
    for command in Arguments::command().get_subcommands() {
        let name = command.get_name();
        assert!(heard_of.iter().any(|typed| typed.contains(&name)), "{name} was not listened to");
    }
    for command in more {
        let ran = ran(site.command(command).stdin(Stdio::null()));
        heard.push_str(&ran.stdout);
        heard.push_str(&ran.stderr);
    }
    for path in files_below(site.directory.path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !["secret", "archive-url", "jobs.yaml"].contains(&name) {
            heard.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
    assert!(heard.len() > 10_000);
    for secret in [APP_SECRET, PASSWORD] {
        assert!(!heard.contains(secret), "{}", around(&heard, secret));
    }
    // Nor what a proof of the secret would be: every log is silent about checksums.
    assert!(!heard.to_lowercase().contains("checksum:"));
}

fn around(text: &str, word: &str) -> String {
    let at = text.find(word).unwrap_or(0);
    let from = text.char_indices().map(|(at, _)| at).rfind(|from| *from + 200 <= at).unwrap_or(0);
    text[from..].chars().take(600).collect()
}

#[test]
fn a_redirect_carries_no_header_anywhere() {
    let trap = start_with(Settings::default(), World::any()).unwrap();
    let mut site = Site::new(To::Parquet);
    site.fetch = "batch_size: 20, attempts: 2".to_owned();
    site.night(20);
    site.api.faults(|faults| faults.rules.push(Rule::chance(Fault::Redirect(trap.url()), 1.0)));
    site.plain();
    assert!(site.api.stats().requests > 0);
    assert_eq!((trap.stats().requests, trap.stats().probes), (0, 0));
}

#[test]
fn http_is_spoken_to_loopback_alone() {
    let mut site = Site::of(To::Parquet, 20);
    for url in ["http://192.0.2.1", "http://api.example.com", "http://127.0.0.1.example.com", "http://0.0.0.0:1"] {
        site.endpoints = Some(format!("[\"{url}\"]"));
        site.configure();
        let ran = site.run(&["run"]).exits(2);
        assert!(ran.stderr.contains("https"), "{url}: {}", ran.stderr);
    }
}

#[test]
fn no_value_of_a_reference_or_an_answer_leaves_its_place() {
    let apps = [APP_KEY, "../../simulated"].map(|key| App { key: key.to_owned(), secret: APP_SECRET.to_owned() });
    let settings = Settings { rate_limit: 0, batch_limit: 12, apps: apps.to_vec(), ..Settings::default() };
    let mut site = Site::with(To::Parquet, settings);
    site.night(20);
    let before = outside(&site);
    let mut lines = std::fs::read_to_string(site.path("refs.csv")).unwrap();
    let names = ["../../../escape", "/etc/passwd", "..", "a%2F..%2Fb", "x;drop table messages", "=cmd()", "$(touch x)"];
    for (n, name) in names.into_iter().enumerate() {
        let (conversation, id) = (format!("{name}|1|bob"), 8_000_000 + n as i64);
        let time = 1_792_800_000_000;
        let message = Message::text(&conversation, id, time, "=HYPERLINK(\"http://evil\")")
            .field("message_client_id", "\"../../../../tmp/escape\"")
            .field("attachment", r#"{"path":"../../escape","name":"/etc/cron.d/x"}"#)
            .fate(if n % 2 == 0 { Fate::Found } else { Fate::Failed(107_404) });
        site.api.world(|world| world.insert(message));
        lines.push_str(&format!("\"{conversation}\",{id},{time}\n"));
    }
    lines.push_str("=1+1|1|bob,not-a-number,1\n");
    std::fs::write(site.path("refs.csv"), lines).unwrap();
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    let keyed = text
        .replace("path: archive", "path: archive, partition_by: [app_key, date]")
        .replace("simulated-app-key", "\"../../simulated\"");
    std::fs::write(site.path("jobs.yaml"), &text).unwrap();
    let ran = site.plain();
    assert!([0, 3].contains(&ran.code()), "{ran:?}");
    assert_eq!(outside(&site), before, "something was written elsewhere");
    let csv = site.run(&["failures", "nightly", "--format", "csv"]).exits(0).stdout;
    for record in csv::ReaderBuilder::new().from_reader(csv.as_bytes()).records() {
        for (cell, name) in record.unwrap().iter().zip(0..) {
            let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
            assert!(!formula, "column {name}: {cell}");
        }
    }
    // An app key that would climb out of the archive.
    std::fs::write(site.path("jobs.yaml"), keyed.replace("path: archive,", "path: archive-of-keys,")).unwrap();
    std::fs::remove_dir_all(site.path("state")).unwrap();
    let ran = site.plain();
    assert!([0, 3].contains(&ran.code()), "{ran:?}");
    let keys: Vec<String> = std::fs::read_dir(site.path("archive-of-keys"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("app_key="))
        .collect();
    assert_eq!(keys, ["app_key=..%2F..%2Fsimulated"]);
    std::fs::remove_dir_all(site.path("archive-of-keys")).unwrap();
    assert_eq!(outside(&site), before, "something was written elsewhere");
}

/// What is in the site's directory beside state and archive, and in the one above it by this site's hand.
fn outside(site: &Site) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(site.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["state", "archive"].contains(&name.as_str()))
        .collect();
    names.extend(["escape", "simulated"].map(|name| {
        let above = site.directory.path().parent().unwrap();
        format!("{name} above: {}", above.join(name).exists())
    }));
    names.sort();
    names
}
