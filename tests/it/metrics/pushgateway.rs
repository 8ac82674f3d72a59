//! `metrics.pushgateway`, against the real one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::{samples, seconds, site, spoil, tell};
use crate::support::endpoint::Endpoint;
use crate::support::server::{Home, Keeper, find_program, free_port};
use crate::support::site::{NIGHTLY, Site, dialogues, wait_until};

/// A Pushgateway of our own.
struct Gateway {
    port: u16,
    _home: Home,
    _keeper: Keeper,
}

impl Gateway {
    fn start() -> Self {
        let (home, port) = (Home::new("nobody"), free_port());
        let program = find_program("prometheus-pushgateway", &[]);
        let keeper = home.serve("TERM", &program, &[format!("--web.listen-address=127.0.0.1:{port}")]);
        wait_until("the Pushgateway answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _home: home, _keeper: keeper }
    }

    /// What Prometheus would read of our metrics.
    fn text(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let ours = |line: &&str| line.contains("yunxin_archiver_");
        // The gateway sorts labels, and adds an empty `instance`.
        let line = |line: &str| {
            let line = line.replace("instance=\"\",", "").replace(",instance=\"\"", "");
            let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) else {
                return line + "\n";
            };
            let (labels, value) = rest.rsplit_once("} ").unwrap();
            let (job, others): (Vec<&str>, Vec<&str>) = labels.split(',').partition(|label| label.starts_with("job="));
            format!("{name}{{{}}} {value}\n", [job, others].concat().join(","))
        };
        body.lines().filter(ours).map(line).collect()
    }
}

#[test]
fn a_pushgateway_has_one_group_for_each_job_and_keeps_the_last_success() {
    let (site, gateway) = (site(), Gateway::start());
    let other = NIGHTLY.replace("nightly", "other").replace("path: archive", "path: other");
    site.config("jobs.yaml", "", &format!("{NIGHTLY}\n{other}"));
    tell(&site, &format!("metrics: {{ pushgateway: 'http://127.0.0.1:{}/' }}", gateway.port));
    let ended = site.night().exits(0);
    let finished = |at: usize| seconds(&ended.summary["jobs"][at], "finished_at");
    let of = |job: &str, name: &str| samples(&gateway.text(), job).get(name).copied();
    assert_eq!(of("nightly", "last_success_timestamp_seconds"), Some(finished(0)));
    assert_eq!(of("other", "last_success_timestamp_seconds"), Some(finished(1)));
    assert_eq!(of("other", "last_run_references outcome=\"archived\""), Some(1.0));

    spoil(&site);
    site.run(&["run", "nightly"]).exits(3);
    assert_eq!(of("nightly", "last_run_exit_code"), Some(3.0));
    assert_eq!(of("nightly", "last_success_timestamp_seconds"), Some(finished(0)));
    assert_eq!(of("other", "last_run_exit_code"), Some(0.0));

    // The ledger that knew the success is gone; the gateway still knows it.
    std::fs::remove_dir_all(site.path("state")).unwrap();
    site.run(&["run", "nightly"]).exits(2);
    assert_eq!(of("nightly", "last_run_exit_code"), Some(2.0));
    assert_eq!(of("nightly", "last_success_timestamp_seconds"), Some(finished(0)));
}

#[test]
fn a_pushgateway_that_refuses_or_is_away_is_a_warning_without_its_password() {
    let site = Site::nightly(dialogues(1, 3));
    tell(&site, "metrics: { pushgateway: 'env:GATEWAY' }");
    let run = |url: &str| {
        let output = site.command(&["run", "--metrics", "night.prom"]).env("GATEWAY", url).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
        assert_eq!(samples(&site.read("night.prom"), "nightly")["last_run_exit_code"], 0.0);
        stderr
    };
    // Some quote what they were sent.
    let refusing = Endpoint::answering("400 Bad Request", "you sent Basic bWU6aHVudGVyMg== \u{1b}[31m");
    let stderr = run(&refusing.url().replace("//", "//me:hunter2@"));
    assert!(stderr.contains("the Pushgateway could not be told") && stderr.contains("400 Bad Request"), "{stderr}");
    assert!(!stderr.contains("bWU6aHVudGVyMg") && !stderr.contains('\u{1b}'), "{stderr}");
    let received = refusing.received();
    assert_eq!(received.len(), 1, "what is refused for good is not sent again");
    assert_eq!(received[0].line, "PUT /metrics/job/nightly");
    assert!(received[0].headers.iter().any(|line| line.starts_with("authorization: basic ")), "{received:?}");

    let stderr = run(&format!("http://me:hunter2@127.0.0.1:{}/hunter2", free_port()));
    assert!(stderr.contains("Connection refused"), "{stderr}");
    let stderr = run("no URL: hunter2");
    assert!(stderr.contains("metrics.pushgateway: is no http:// or https:// URL"), "{stderr}");
    let unset = site.run(&["check", "--connect"]).exits(2).stdout;
    assert!(unset.contains("metrics.pushgateway: the environment variable GATEWAY is not set"), "{unset}");
    // Nothing of it is said where it is written out.
    let text = site.read("jobs.yaml").replace("env:GATEWAY", "http://me:hunter2@127.0.0.1:1");
    site.write("jobs.yaml", text);
    let refused = site.run(&["check"]).exits(2).stderr;
    assert!(refused.contains("never stands in this file") && !refused.contains("hunter2"), "{refused}");
}
