//! `deploy/kubernetes`, and what it relies on: the probes of a worker.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Nats, Workers, nats, site};
use crate::support::server::free_port;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifests() -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join("deploy/kubernetes")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

/// Checks against the schemas of the oldest and the newest Kubernetes that we name. Unknown keys are mistakes.
fn validate(version: &str, files: &[PathBuf]) -> Output {
    let program = root().join("target/kubernetes/bin/kubernetes-validate");
    let mut command = Command::new(&program);
    let output = command.args(["--strict", "--no-warn", "-k", version]).args(files).output();
    output.unwrap_or_else(|error| panic!("{}: {error}; tests/run.sh installs it", program.display()))
}

#[test]
fn the_manifests_for_kubernetes_are_valid_and_a_wrong_key_is_not() {
    let files = manifests();
    assert_eq!(files.len(), 4);
    for version in ["1.29", "1.37"] {
        let output = validate(version, &files);
        assert!(output.status.success(), "{output:?}");
    }
    let scratch = tempfile::tempdir().unwrap();
    for (right, wrong) in [("readinessProbe:", "readynessProbe:"), ("maxUnavailable: 1", "maxUnavailable: [1]")] {
        let text = std::fs::read_to_string(root().join("deploy/kubernetes/workers.yaml")).unwrap();
        let mistaken = scratch.path().join("wrong.yaml");
        std::fs::write(&mistaken, text.replace(right, wrong)).unwrap();
        assert!(!validate("1.37", &[mistaken]).status.success(), "{wrong}");
    }
}

#[test]
fn containers_begin_as_the_image_does_and_their_arguments_are_a_command_line() {
    let image = std::fs::read_to_string(root().join("packaging/build.sh")).unwrap();
    assert!(image.contains(r#"Entrypoint: ["/usr/bin/yunxin-archiver", "-c", "/etc/yunxin-archiver/jobs.yaml"]"#));
    for (file, command) in [("coordinator.yaml", "run"), ("workers.yaml", "worker")] {
        let text = std::fs::read_to_string(root().join("deploy/kubernetes").join(file)).unwrap();
        assert!(text.contains("mountPath: /etc/yunxin-archiver, readOnly: true"), "{file}");
        let (_, arguments) = text.split_once("args: [").unwrap();
        let arguments = arguments.split_once(']').unwrap().0.split(", ").map(|argument| argument.trim_matches('"'));
        let output = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"))
            .args(["-c", "/etc/yunxin-archiver/jobs.yaml"])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("/etc/yunxin-archiver/jobs.yaml"), "{command} got as far as its configuration: {said}");
        assert!(!said.contains("Usage"), "{said}");
    }
}

#[test]
fn the_configuration_for_kubernetes_is_one_that_the_program_takes_with_every_variable_from_the_secret() {
    let text = std::fs::read_to_string(root().join("deploy/kubernetes/config.yaml")).unwrap();
    let (_, block) = text.split_once("jobs.yaml: |\n").unwrap();
    let lines: Vec<&str> = block.lines().map(|line| line.get(4..).unwrap_or_default()).collect();
    let jobs = lines.join("\n");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("jobs.yaml"), jobs.replace("/state", "state")).unwrap();
    let secret = std::fs::read_to_string(root().join("deploy/kubernetes/secret.yaml")).unwrap();
    let (_, values) = secret.split_once("stringData:\n").unwrap();
    let values = values.lines().filter_map(|line| line.trim().split_once(": "));
    let output = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"))
        .args(["-c", "jobs.yaml", "check"])
        .envs(values)
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// What a probe gets: the body and the status.
fn probe(port: u16, path: &str) -> Option<(String, String)> {
    let url = format!("http://127.0.0.1:{port}{path}");
    let output = Command::new("curl").args(["-s", "-w", "\n%{http_code}", "-m", "2", &url]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n')?;
    output.status.success().then(|| (body.to_owned(), status.to_owned()))
}

#[test]
fn a_worker_answers_probes_and_is_alive_but_not_ready_without_nats() {
    let mut own = Nats::start();
    let (site, _) = site(&own, 12);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let worker = site.command(&["worker", "--health", &address]).stderr(Stdio::null()).spawn().unwrap();
    let mut workers = Workers(vec![worker]);
    let is = |path: &str, status: &str| probe(port, path).is_some_and(|(_, found)| found == status);
    site.until("the worker is ready", |_| is("/healthz", "200") && is("/readyz", "200"));
    assert!(is("/nowhere", "404"));
    own.kill();
    site.until("the worker is not ready", |_| is("/readyz", "503"));
    assert!(is("/healthz", "200"));
    assert!(probe(port, "/readyz").unwrap().0.contains("nightly: no connection to NATS"));
    let (other, _) = super::site(nats(), 12);
    let refused = other.run(&["worker", "--health", &address]).exits(2);
    assert!(refused.stderr.contains("--health") && refused.stderr.contains("cannot be served"), "{refused:?}");
    own.wipe();
    site.until("the worker is ready again", |_| is("/readyz", "200"));
    workers.stops(0);
}
