//! A part of the run dies: nothing more is sent, and everything else goes on.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::postgres;
use crate::support::site::{NIGHTLY, Site, dialogues, ids_of};

/// Parts and the steps at which each is reached.
const STEPS: [&str; 9] = [
    "source.read",
    "plan.before",
    "dispatch.before",
    "request.before",
    "tick.before",
    "commit.before",
    "record.before",
    "rename.before",
    "seal.after",
];

/// Runs the binary, which panics at a step.
fn dying(site: &Site, step: &str, arguments: &[&str]) -> (Option<i32>, String, Vec<Value>) {
    let mut command = site.command(&[&["--log-format", "json"], arguments].concat());
    let Output { status, stdout, stderr } =
        command.env("YUNXIN_ARCHIVER_DIE_AT", format!("{step}!")).env("RUST_BACKTRACE", "1").output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    let lines: Vec<Value> = stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{step}: {line:?} is no JSON")))
        .collect();
    let told = lines.iter().filter(|line| line["message"].as_str().unwrap().starts_with("panicked at src/")).count();
    assert_eq!(told, 1, "{step}: {stderr}");
    (status.code(), String::from_utf8(stdout).unwrap(), lines)
}

/// Two jobs of one app, which commit often. If it is not stopped, each sends 200 requests.
fn two() -> Site {
    let site = Site::nightly(dialogues(200, 3));
    let job = NIGHTLY.replace("archive }", "archive, commit_interval: 20ms }");
    let job = job.replace(" sink", " fetch: { concurrency: 4 }, sink");
    site.jobs(&format!("{job}\n{}", job.replace("nightly", "second").replace("archive,", "archive-2,")));
    site.api.faults(|faults| faults.latency_ms = 10);
    site
}

#[test]
fn a_part_that_dies_ends_its_job_alone_and_nothing_more_is_sent() {
    for step in STEPS {
        let site = two();
        let (code, stdout, _) = dying(&site, step, &["run", "--json", "--summary", "summary.json"]);
        assert_eq!(code, Some(1), "{step}");
        let summary: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(summary, serde_json::from_str::<Value>(&site.read("summary.json")).unwrap(), "{step}");
        let [died, second] = &summary["jobs"].as_array().unwrap()[..] else { panic!("{step}: {summary}") };
        assert_eq!((&died["outcome"], &died["exit_code"]), (&json!("failed"), &json!(1)), "{step}");
        let error = died["error"].as_str().unwrap();
        assert!(error.contains("a part of the run died: ") && error.contains("panicked; the log says"), "{error}");
        let sent = |job: &Value| job["requests"]["sent"].as_u64().unwrap();
        assert!(sent(died) < 200 || step == "seal.after", "{step}: {died}");
        // The counts of each are its own.
        assert_eq!((&second["outcome"], sent(second)), (&json!("complete"), 200), "{step}");
        assert_eq!(second["references"]["archived"], 600, "{step}");
        assert!((site.api.stats().requests..).contains(&(sent(died) + 200)), "{step}: {died}");
        assert_eq!(site.run(&["status", "--json"]).summary["jobs"][0]["runs"][0]["outcome"], "failed", "{step}");
        site.api.faults(|faults| faults.latency_ms = 0);
        site.night().exits(0);
        assert_eq!(site.ids("archive"), ids_of(&dialogues(200, 3).0), "{step}");
        for job in ["nightly", "second"] {
            site.run(&["verify", job]).exits(0);
        }
    }
}

#[tokio::test]
async fn a_death_on_the_way_into_postgres_leaves_nothing_half_done() {
    let database = postgres::database().await;
    for (step, n) in ["postgres.copied", "intent.after", "postgres.committed", "record.after"].iter().zip(0..) {
        let site = Site::nightly(dialogues(60, 3));
        site.write_secret("url", &database.url());
        let sink = format!("postgres: {{ url: 'file:url', table: death_{n}, commit_interval: 20ms }}");
        site.jobs(&NIGHTLY.replace("parquet: { path: archive }", &sink));
        let (code, stdout, _) = dying(&site, step, &["run", "--json"]);
        assert!(code == Some(1) && stdout.contains("a part of the run died: "), "{step}: {stdout}");
        let ended = site.night().exits(0);
        assert_eq!(ended.refs("pending"), 0, "{step}");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from death_{n}")))
            .fetch_one(&mut database.connect().await)
            .await
            .unwrap();
        assert_eq!(rows, 180, "{step}");
        site.run(&["verify", "nightly"]).exits(0);
        // What the run that died did not know any more is said of it by now.
        let runs = site.run(&["status", "--json"]).summary["jobs"][0]["runs"].clone();
        let archived: u64 = (0..2).map(|run| runs[run]["archived"].as_u64().unwrap()).sum();
        assert_eq!(archived, 180, "{step}: {runs}");
        let page = site.run(&["report", "nightly", "--run", runs[1]["run_id"].as_str().unwrap(), "-o", "-"]).exits(0);
        let tile = format!("<dt>archived</dt><dd><b>{}</b>", runs[1]["archived"]);
        assert!(page.stdout.contains(&tile), "{step}: not {tile}");
    }
}

#[test]
fn what_dies_after_the_run_is_told_in_its_summary() {
    for step in ["finish.before", "replace.rename"] {
        let site = two();
        let (code, stdout, _) = dying(&site, step, &["run", "--json", "--summary", "summary.json"]);
        assert_eq!(code, Some(1), "{step}");
        let summary: Value = serde_json::from_str(&stdout).unwrap();
        let counts = |job: usize| (&summary["jobs"][job]["references"]["archived"], &summary["jobs"][job]["exit_code"]);
        assert_eq!((counts(0), counts(1)), ((&json!(600), &json!(1)), (&json!(600), &json!(0))), "{step}: {summary}");
        site.night().exits(0);
        assert_eq!(site.ids("archive"), ids_of(&dialogues(200, 3).0), "{step}");
    }
}

#[test]
fn a_command_that_panics_says_so_in_words_and_exits_with_1() {
    let site = Site::nightly(dialogues(3, 3));
    site.night().exits(0);
    for arguments in [
        &["run"][..],
        &["plan"],
        &["check", "--connect"],
        &["status"],
        &["failures", "nightly"],
        &["files", "nightly"],
        &["report", "nightly", "-o", "-"],
        &["verify", "nightly"],
        &["export", "nightly", "--all", "--format", "csv", "-o", "out"],
        &["adopt", "nightly"],
        &["schema", "parquet"],
    ] {
        let (code, stdout, lines) = dying(&site, "command.before", arguments);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}");
        let last = &lines.last().unwrap()["message"];
        assert!(last.as_str().unwrap().contains("this is a defect, please report it"), "{last}");
    }
}

#[test]
fn a_source_that_dies_under_a_look_ends_that_look_alone() {
    let site = Site::nightly(dialogues(3, 3));
    site.jobs(&format!("{NIGHTLY}\n{}", NIGHTLY.replace("nightly", "second").replace("archive", "archive-2")));
    let (code, stdout, _) = dying(&site, "source.read", &["plan", "--json"]);
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &plan["jobs"][0]["job"], &plan["jobs"][0]["references"]), (Some(1), &json!("second"), &json!(9)));
    let (code, stdout, _) = dying(&site, "source.read", &["check", "--connect"]);
    assert_eq!(code, Some(1));
    assert!(
        stdout.contains("wrong: the program panicked") && stdout.matches("sink parquet: ").count() == 2,
        "{stdout}"
    );
}
