//! Where output goes: summaries, logs, progress, closed pipes, terminals.

use std::io::Read as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use yunxin_archiver::simulator::Fate;

use crate::support::site::{NIGHTLY, Ref, Site, dialogue, dialogues, message, names, reference};

#[test]
fn the_summary_is_written_as_a_whole_whatever_becomes_of_the_run() {
    let site = Site::nightly(dialogues(3, 4));
    let ended = site.run(&["run", "--json", "--summary", "summary.json"]).exits(0);
    let written: Value = serde_json::from_str(&site.read("summary.json")).unwrap();
    assert_eq!(written, ended.summary);
    assert_eq!(written["version"], 1);
    let job = &written["jobs"][0];
    let mut keys: Vec<&str> = job.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "bytes",
            "codes",
            "error",
            "exit_code",
            "failures",
            "files",
            "finished_at",
            "job",
            "looks_wrong",
            "manifest",
            "not_tolerated",
            "outcome",
            "rates",
            "references",
            "refetched",
            "requests",
            "retention",
            "run_id",
            "started_at",
            "thread_extras"
        ]
    );
    assert_eq!(job["thread_extras"], json!({ "planned": 0, "archived": 0, "failed": 0, "pending": 0 }));
    assert_eq!(
        job["bytes"]["written"].as_u64(),
        job["files"].as_array().unwrap().iter().map(|f| f["bytes"].as_u64()).sum()
    );
    assert_eq!(job["bytes"]["received"], site.api.stats().bytes);
    for (spoil, code) in [("wrong secret", 4), ("no source", 2)] {
        if spoil == "wrong secret" {
            site.write_secret("secret", "not-the-secret");
            site.write("refs.csv", "conversation_id,message_server_id,create_time\na|1|b,5,1790899200000\n");
        } else {
            std::fs::remove_file(site.path("refs.csv")).unwrap();
        }
        site.run(&["run", "--summary", "summary.json"]).exits(code);
        let written: Value = serde_json::from_str(&site.read("summary.json")).unwrap();
        assert_eq!(written["jobs"][0]["exit_code"], code, "{spoil}");
        assert_eq!(written["jobs"][0]["outcome"], "failed");
    }
    assert_eq!(names(&site.path("")).iter().filter(|name| name.contains("summary")).count(), 1, "no temporary is left");
    let before = site.api.stats().requests;
    let nowhere = site.run(&["run", "--summary", "no/such/place.json"]).exits(2);
    assert!(nowhere.stderr.contains("its directory does not exist"), "{}", nowhere.stderr);
    assert!(site.run(&["run", "--summary", "state"]).exits(2).stderr.contains("is a directory"));
    assert_eq!(site.api.stats().requests, before);
}

#[test]
fn the_log_tells_what_was_asked_again_and_advises_to_keep_a_hash_only_where_something_was_archived() {
    let site = Site::nightly(dialogues(1, 3));
    let log = |arguments: &[&str]| site.run(arguments).exits(0).stderr;
    assert!(log(&["run"]).contains("keep this hash"));
    let again = log(&["run", "--refetch", "all"]);
    assert!(again.contains("refetched=3 refetch_failed=0") && !again.contains("keep this hash"), "{again}");
}

#[test]
fn a_summary_that_cannot_be_written_stops_no_job() {
    let site = Site::nightly(dialogues(3, 4));
    site.jobs(&format!("{NIGHTLY}\n{}", NIGHTLY.replace("nightly", "second").replace("archive", "archive-2")));
    // A name so long that there is no room for a temporary beside it.
    let name = "s".repeat(250);
    let ended = site.run(&["run", "--json", "--summary", &name]).exits(1);
    let outcomes: Vec<&str> =
        ended.summary["jobs"].as_array().unwrap().iter().map(|job| job["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["complete", "complete"]);
    assert!(ended.stderr.contains("cannot be written"), "{}", ended.stderr);
}

/// Runs the binary with a standard output whose reader has gone.
fn unheard(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = site.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn a_reader_that_has_had_enough_is_no_error_and_hides_none() {
    let mut world = yunxin_archiver::simulator::World::explicit();
    let refs: Vec<Ref> = (0..300).map(|n| reference("alice|1|bob", n)).collect();
    world.extend((0..300).map(|n| message("alice|1|bob", n).fate(Fate::Missing)));
    let site = Site::nightly((refs, world));
    assert_eq!(unheard(&site, &["run", "--json", "-q"]), (Some(3), String::new()), "the run ends as it ends");
    for arguments in [
        &["failures", "nightly"][..],
        &["failures", "nightly", "--format", "csv"],
        &["failures", "nightly", "--format", "jsonl"],
        &["status"],
        &["status", "--json"],
        &["plan"],
        &["schema", "config"],
        &["completions", "bash"],
    ] {
        assert_eq!(unheard(&site, arguments), (Some(0), String::new()), "{arguments:?}");
    }
    site.write_secret("secret", "not-the-secret");
    site.write("refs.csv", "conversation_id,message_server_id,create_time\na|1|b,5,1790899200000\n");
    assert_eq!(unheard(&site, &["run", "--json", "-q"]).0, Some(4));
}

#[test]
fn logs_go_to_stderr_as_text_or_as_json_lines() {
    let site = Site::nightly(dialogues(3, 4));
    let ended = site.run(&["run"]).exits(0);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("complete") && ended.stderr.contains("archived=12"), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'), "no colour where there is no terminal");
    assert_eq!(site.run(&["run", "-q"]).exits(0).stderr, "");
    let ended = site.run(&["--log-format", "json", "run", "-v"]).exits(0);
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{lines:?}");
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["message"], &last["duplicate"], &last["job"]),
        (&json!("complete"), &json!(12), &json!("nightly"))
    );
    // Errors too, also those before a run begins.
    for arguments in
        [&["--log-format", "json", "-c", "none.yaml", "run"][..], &["--log-format", "json", "run", "nobody"]]
    {
        let ended = site.run(arguments).exits(2);
        let line: Value = serde_json::from_str(ended.stderr.trim()).unwrap_or_else(|_| panic!("{}", ended.stderr));
        assert_eq!((&line["level"], &line["exit_code"]), (&json!("ERROR"), &json!(2)));
    }
}

/// What a terminal shows of a command.
fn on_a_terminal(site: &Site, command: &str, no_color: bool) -> (Option<i32>, String) {
    let line = format!("stty cols 140; {} {command}", env!("CARGO_BIN_EXE_yunxin-archiver"));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(site.path("")).env("TERM", "xterm-256color");
    script.env_remove("NO_COLOR");
    if no_color {
        script.env("NO_COLOR", "1");
    }
    let output = script.stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether any sequence sets a colour or weight, rather than moves the cursor.
fn is_coloured(seen: &str) -> bool {
    seen.split("\u{1b}[")
        .skip(1)
        .any(|rest| rest.find(|c: char| c.is_ascii_alphabetic()).is_some_and(|end| rest[end..].starts_with('m')))
}

#[test]
fn a_terminal_shows_bars_and_colours_unless_it_shall_not() {
    let site = Site::nightly(dialogues(40, 3));
    site.jobs(&NIGHTLY.replace(" sink", " fetch: { concurrency: 4 }, sink"));
    site.api.faults(|faults| faults.latency_ms = 40);
    let (code, seen) = on_a_terminal(&site, "run", false);
    assert_eq!(code, Some(0), "{seen}");
    for shown in ["nightly", "references", "requests", "of 2000 a second", "in flight", "━", "complete"] {
        assert!(seen.contains(shown), "{shown:?} is not in {seen}");
    }
    assert!(is_coloured(&seen) && !seen.contains('█'), "{seen}");
    let again = |name: &str| {
        let job = NIGHTLY.replace("nightly", name).replace("archive", name);
        site.jobs(&job.replace(" sink", " fetch: { concurrency: 4 }, sink"));
    };
    again("grey");
    let (code, seen) = on_a_terminal(&site, "run", true);
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains('━') && !is_coloured(&seen), "{seen:?}");
    for (name, options) in [("plain", "--progress plain"), ("none", "--progress none"), ("json", "--log-format json")] {
        again(name);
        let (code, seen) = on_a_terminal(&site, &format!("{options} run"), false);
        assert_eq!(code, Some(0), "{seen}");
        assert!(!seen.contains('━') && seen.contains("complete"), "{options}: {seen}");
    }
}

#[test]
fn what_was_typed_is_quoted_so_that_no_terminal_obeys_it() {
    let site = Site::nightly(dialogue("a|1|b", 0..3));
    for typed in ["run nightly --from '\x1b[2J'", "-c '\x1b[2J' run", "failures nightly --class '\x1b[2J'", "'\x1b[2J'"]
    {
        let (code, seen) = on_a_terminal(&site, typed, false);
        assert_eq!(code, Some(2), "{seen}");
        assert!(!seen.contains("\x1b[2J"), "{typed:?}: {seen:?}");
    }
}

#[test]
fn nothing_is_asked_of_the_surroundings() {
    // No HOME, no locale, no terminal, no place for temporary files.
    let site = Site::nightly(dialogue("alice|1|bob", 0..3));
    let output = site.command(&["run", "--json"]).env_clear().env("LC_ALL", "C").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
