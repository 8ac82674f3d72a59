//! Secrets are in no output, and what is written belongs to its owner alone.

use std::os::unix::fs::PermissionsExt as _;

use yunxin_archiver::simulator::{APP_SECRET, Fault};

use crate::support::postgres;
use crate::support::site::{Ended, NIGHTLY, Site, csv, dialogue, dialogues};

/// Fails when any of these is in what was said, or in any file but those that they came from.
fn none_is_told(site: &Site, ended: &[Ended], secrets: &[&str], from: &[&str]) {
    let holds = |bytes: &[u8], secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    for secret in secrets {
        for ended in ended {
            assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{secret} in {ended:?}");
        }
        for (path, bytes) in site.everything() {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(from.contains(&name) || !holds(&bytes, secret), "{secret} in {}", path.display());
        }
    }
}

#[tokio::test]
async fn secrets_are_in_no_output_at_any_level() {
    let (refs, world) = dialogues(4, 3);
    let site = Site::nightly((refs.clone(), world));
    let database = postgres::database().await;
    database.execute("create table refs (conversation_id text, message_server_id bigint, create_time bigint)").await;
    for (conversation, id, time) in &refs {
        database.execute(&format!("insert into refs values ('{conversation}', {id}, {time})")).await;
    }
    site.write_secret("url", &database.url());
    let query = "postgres: { url: 'file:url', query: 'select * from refs' }";
    site.jobs(&format!(
        "{}\n{}",
        NIGHTLY.replace("csv: { path: refs.csv }", query),
        NIGHTLY.replace("nightly", "tables").replace("parquet: { path: archive }", "postgres: { url: 'file:url' }")
    ));
    site.api.faults(|faults| faults.script.extend([Fault::Code(500), Fault::Garbage, Fault::Reset, Fault::Ok]));
    let mut ended = vec![
        site.run(&["-vv", "run", "--json", "--summary", "summary.json"]).exits(0),
        site.run(&["-vv", "--log-format", "json", "run"]).exits(0),
        site.run(&["-vv", "check", "--connect"]).exits(0),
        site.run(&["plan", "-vv"]).exits(0),
        site.run(&["status", "--json"]).exits(0),
        site.run(&["failures", "nightly", "--format", "jsonl"]).exits(0),
    ];
    // What is wrong is told without what is secret.
    site.write_secret("url", &database.url_as("nobody", "s3cr3t-password"));
    ended.push(site.run(&["-vv", "run", "--json", "--summary", "summary.json"]));
    ended.push(site.run(&["-vv", "check", "--connect"]));
    site.write_secret("url", "postgres://nobody:s3cr3t-password@no host/db");
    ended.push(site.run(&["-vv", "run", "--json"]));
    site.write_secret("secret", "wr0ng-app-secret");
    site.jobs(NIGHTLY);
    site.write("refs.csv", csv(&dialogue("zoe|1|yan", 900..910).0));
    ended.push(site.run(&["-vv", "run", "--json"]).exits(4));
    let text = site.read("jobs.yaml").replace("'file:secret'", "an-1nline-secret");
    site.write("inline.yaml", text);
    ended.push(site.run(&["-c", "inline.yaml", "run"]).exits(2));
    none_is_told(
        &site,
        &ended,
        &[APP_SECRET, postgres::PASSWORD, "s3cr3t-password", "wr0ng-app-secret", "an-1nline-secret"],
        &["secret", "url", "inline.yaml"],
    );
}

#[test]
fn what_is_written_belongs_to_its_owner_alone_whatever_the_umask() {
    let site = Site::nightly(dialogues(4, 3));
    let line = format!("umask 0; exec {} run --summary summary.json", env!("CARGO_BIN_EXE_yunxin-archiver"));
    let status = std::process::Command::new("sh").args(["-c", &line]).current_dir(site.path("")).status().unwrap();
    assert!(status.success());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in [site.files("state"), site.files("archive"), vec![site.path("summary.json")]].concat() {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let above = path.parent().unwrap();
        assert!(above == site.path("") || mode(above) == 0o700, "{}", above.display());
    }
}
