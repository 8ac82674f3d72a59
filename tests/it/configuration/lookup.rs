//! What is looked up in the environment and in files, and what is said when it is not there.

use std::path::Path;

use secrecy::ExposeSecret as _;
use yunxin_archiver::config::{Config, Sink, Source};

use super::{MINIMAL, SOURCE, parse, sink, with};

#[test]
fn a_secret_is_looked_up_only_when_asked_for() {
    let config = parse(&with("env:SECRET", "env:NOT_SET")).unwrap();
    assert_eq!(config.app_key(&config.apps[0]).unwrap(), "0123456789abcdef");
    let error = config.apps[0].app_secret.look_up().unwrap_err();
    assert_eq!(error.to_string(), "jobs.yaml:3:41: apps.main.app_secret: the environment variable NOT_SET is not set");

    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.apps[0].app_secret.look_up().unwrap().expose_secret(), "s3cr3t");
}

#[test]
fn what_a_reference_names_must_be_there_and_fit() {
    let resolve = |value: &str| {
        let config = parse(&sink(&format!("{{ postgres: {{ url: '{value}' }} }}"))).unwrap();
        let Sink::Postgres(postgres) = &config.jobs[0].sink else { panic!() };
        postgres.url.look_up().map(|url| url.expose_secret().to_owned()).map_err(|error| error.to_string())
    };
    assert_eq!(resolve("env:DB").unwrap(), "postgres://user:s3cr3t@Db.Example/refs");
    assert_eq!(resolve("postgres://user@host/db").unwrap(), "postgres://user@host/db");
    let errors: Vec<String> =
        ["env:NONE", "env:EMPTY", "env:SECRET", "file:none"].map(|value| resolve(value).unwrap_err()).into();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    jobs.yaml:8:30: jobs.nightly.sink.postgres.url: the environment variable NONE is not set
    jobs.yaml:8:30: jobs.nightly.sink.postgres.url: the environment variable EMPTY is empty
    jobs.yaml:8:30: jobs.nightly.sink.postgres.url: is no URL of the form postgres://user@host:5432/database
    jobs.yaml:8:30: jobs.nightly.sink.postgres.url: the file /etc/yunxin/none cannot be read: No such file or directory (os error 2)
    "#);
}

#[test]
fn a_file_reference_is_from_the_directory_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("app.secret");
    std::fs::write(&secret, "s3cr3t\n").unwrap();
    std::fs::write(dir.path().join("refs.sql"), "select * from refs\n").unwrap();
    let text =
        with("env:SECRET", "file:app.secret").replace(SOURCE, "{ sqlite: { path: refs.db, query: file:refs.sql } }");
    let path = dir.path().join("jobs.yaml");
    std::fs::write(&path, text).unwrap();

    set_mode(&secret, 0o644);
    let config = Config::load(&path).unwrap();
    assert_eq!(config.apps[0].app_secret.look_up().unwrap().expose_secret(), "s3cr3t");
    let Source::Sqlite(sqlite) = &config.jobs[0].source else { panic!() };
    assert_eq!(sqlite.query.sql, "select * from refs");
    assert_eq!(sqlite.path, dir.path().join("refs.db"));
    let warnings = config.warnings.join("\n").replace(dir.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(warnings, @"DIR/jobs.yaml:3:41: apps.main.app_secret: the file DIR/app.secret holds a secret and is open to others (mode 0644): chmod 600 it");

    set_mode(&secret, 0o600);
    assert!(Config::load(&path).unwrap().warnings.is_empty());
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let error = Config::load(Path::new("no/such/jobs.yaml")).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"there is no no/such/jobs.yaml: name one with -c, or let `yunxin-archiver init` write one");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.yaml");
    std::fs::write(&path, b"version: 1\nstate: \xff\n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.ends_with("jobs.yaml:2:1: this line is not UTF-8"), "{error}");
}
