//! Archives in buckets of every kind, reached in every way that the configuration has, and read there by others.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::proxy::{Manner, Proxy};
use crate::support::bucket::{Bucket, SECRET_KEY, Store, bucket, locked_bucket, versioned_bucket};
use crate::support::credentials::CredentialService;
use crate::support::faulty_store::{Asked, Fault, FaultyStore, VIRTUAL};
use crate::support::storm::{Ran, Site, To, files_below, ran};
use crate::support::tls::tls_before;

/// A site that reaches a bucket by a proxy, which remembers what it is asked.
fn watched(bucket: &Bucket, references: i64) -> (Site, FaultyStore) {
    let store = FaultyStore::before(&bucket.endpoint());
    (Site::of(To::Bucket(bucket.by(store.address())), references), store)
}

/// Runs with these variables, and no other that speaks of AWS, with everything logged.
fn run_with(site: &Site, variables: &[(&str, &str)]) -> Ran {
    let mut command = site.command(&["-vv", "run", "--json"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    ran(command.env("RUST_LOG", "trace").envs(variables.iter().copied()))
}

/// Insists that no secret is in what was said, in the archive, or in any file but those that are for secrets.
fn no_secret_is_told(site: &Site, said: &[Ran]) {
    for ran in said {
        assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"), "{ran:?}");
    }
    if let To::Bucket(bucket) = &site.to {
        bucket.mirror(&site.path("archive"));
    }
    for path in files_below(site.directory.path()) {
        let content = std::fs::read(&path).unwrap();
        let is_told = content.windows(7).any(|window| window == b"hunter2");
        assert!(!is_told || path.to_string_lossy().ends_with("-secret"), "{}", path.display());
    }
}

fn is_upload_of_a_part(asked: &Asked) -> bool {
    asked.path.contains("partNumber=")
}

#[test]
fn duckdb_and_pyarrow_read_in_the_bucket_what_the_manifests_say() {
    let bucket = bucket();
    let mut site = Site::of(To::Bucket(bucket.clone()), 120);
    site.completes();
    site.night(60);
    site.completes();
    let here = |path: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let read = ran(Command::new("python3")
        .arg(here("tests/it/support/read_bucket.py"))
        .arg(bucket.endpoint().trim_start_matches("http://"))
        .arg(format!("{}/nightly/archive", bucket.name))
        .env("SECRET", SECRET_KEY)
        .env("PYTHONPATH", here("target/tables"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOME", here("target/tables")))
    .exits(0);
    let read: Value = serde_json::from_str(&read.stdout).unwrap();
    let found = json!(site.found());
    assert_eq!((&read["differing"], &read["pyarrow"], &read["duckdb"]), (&json!(false), &found, &found));
}

/// Three nights, two of them with a death, and a night of edits. Returns how many versions each object has.
#[track_caller]
fn nights(site: &mut Site) -> BTreeMap<String, usize> {
    site.run(&["check", "--connect"]).exits(0);
    site.completes();
    for step in ["complete.before", "complete.after"] {
        site.night(60);
        site.dies_at(step);
        site.completes();
    }
    let ids: Vec<i64> = site.found().iter().copied().take(2).collect();
    site.api.world(|world| {
        world.edit(ids[0], "edited", 1_900_000_000_000);
        world.recall(ids[1]);
    });
    let refetched = site.run(&["run", "--refetch", "all", "--json"]).exits(0).summary();
    assert_eq!((&refetched["refetched"]["edited"], &refetched["refetched"]["vanished"]), (&json!(1), &json!(1)));
    site.run(&["verify", "nightly"]).exits(0);

    let To::Bucket(bucket) = &site.to else { unreachable!() };
    let [versions, markers] = bucket.versions();
    let in_sight = markers.iter().filter(|(key, _)| !key.contains("/_tmp/"));
    assert_eq!(in_sight.count(), 0, "removed: {markers:?}");
    let mut counted = BTreeMap::new();
    for (key, _) in versions {
        *counted.entry(key).or_default() += 1;
    }
    counted
}

/// What is written once has one version.
#[track_caller]
fn only_two_objects_are_replaced(versions: &BTreeMap<String, usize>) {
    let written = versions.iter().filter(|(key, _)| key.rsplit('.').next() != Some("probe"));
    let replaced: Vec<&str> =
        written.filter(|(_, count)| **count > 1).map(|(key, _)| key.rsplit('/').next().unwrap()).collect();
    assert_eq!(replaced, ["_archive.json", "SHA256SUMS"], "{versions:?}");
}

#[test]
fn a_bucket_that_keeps_every_version_has_one_of_whatever_is_written_once() {
    let mut site = Site::of(To::Bucket(versioned_bucket()), 60);
    only_two_objects_are_replaced(&nights(&mut site));
}

#[test]
fn a_bucket_with_object_lock_takes_every_night_and_no_locked_version_is_touched() {
    let bucket = locked_bucket().with("checksums: true");
    let (mut site, store) = watched(&bucket, 60);
    // As S3 wants it where a retention is set.
    store.fails(|asked| {
        (asked.method == "PUT" && asked.header("x-amz-checksum-sha256").is_empty())
            .then_some(Fault::Refused(400, "InvalidRequest"))
    });
    only_two_objects_are_replaced(&nights(&mut site));
    assert_eq!(store.faults(), 0);
    assert!(!store.asked().iter().any(|asked| asked.path.contains("versionId=")));
    // The store does lock.
    let (key, version) = &bucket.versions()[0][0];
    let removed = bucket.curl(&["-X", "DELETE"], &format!("/{key}?versionId={version}"));
    assert!(removed.ends_with("403"), "{removed}");
}

/// A night, a death, a lost ledger: what every store must bear.
#[track_caller]
fn bears(bucket: Bucket) {
    let mut site = Site::of(To::Bucket(bucket), 60);
    site.run(&["check", "--connect"]).exits(0);
    site.completes();
    site.night(60);
    site.dies_at("complete.before#2");
    site.completes();
    std::fs::remove_dir_all(site.path("state")).unwrap();
    site.plain().exits(2);
    site.run(&["adopt", "nightly"]).exits(0);
    site.plain().exits(0);
    site.run(&["verify", "nightly"]).exits(0);
}

#[test]
fn moto_bears_nights_a_death_and_a_lost_ledger() {
    let store = Store::moto();
    bears(store.bucket());
}

/// `tests/run.sh` installs Azurite where npm is.
#[test]
fn azurite_bears_nights_a_death_and_a_lost_ledger() {
    if let Some(store) = Store::azurite() {
        bears(store.bucket());
    }
}

#[test]
fn keys_of_the_configuration_are_used_whatever_the_environment_says() {
    let bucket = bucket().with("session_token: file:token-secret");
    let (mut site, store) = watched(&bucket, 60);
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    std::fs::write(site.path("jobs.yaml"), text.replace("file:bucket-secret", "env:BUCKET_SECRET")).unwrap();
    site.write_secret("token-secret", "hunter2-token");
    let variables = [
        ("BUCKET_SECRET", SECRET_KEY),
        ("AWS_ACCESS_KEY_ID", "another"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2-another"),
        ("AWS_SESSION_TOKEN", "hunter2-of-another"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9"),
    ];
    let mut said = vec![run_with(&site, &variables).exits(0)];
    for asked in store.asked() {
        assert_eq!(asked.header("x-amz-security-token"), "hunter2-token");
        assert!(asked.header("authorization").contains("Credential=yunxin-it/"), "{asked:?}");
    }
    // A token that has expired, as S3 says it, which nobody can renew but the operator.
    site.night(60);
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    std::fs::write(site.path("jobs.yaml"), text.replace("file:bucket-secret", "env:BUCKET_SECRET")).unwrap();
    store.fails(|asked| {
        let has_expired = is_upload_of_a_part(asked) && asked.header("x-amz-security-token") == "hunter2-token";
        has_expired.then_some(Fault::Refused(400, "ExpiredToken"))
    });
    let refused = run_with(&site, &variables).exits(4);
    assert!(refused.error().contains("s3://") && refused.error().contains("ExpiredToken"), "{refused:?}");
    said.push(refused);
    site.write_secret("token-secret", "hunter2-renewed");
    said.push(run_with(&site, &variables).exits(0));
    no_secret_is_told(&site, &said);
}

#[test]
fn credentials_that_expire_are_renewed_during_a_run() {
    let (mut site, store) = watched(&bucket().without_key(), 240);
    let service = CredentialService::start("hunter2-container");
    site.fetch = "batch_size: 12, concurrency: 1".to_owned();
    site.sink = ", commit_interval: 1ms".to_owned();
    site.configure();
    site.write_secret("container-secret", "hunter2-container");
    site.api.faults(|faults| faults.latency_ms = 50);
    // A key is good until ten more have been handed out.
    let handed_out = service.handed_out();
    let generation = |asked: &Asked| {
        asked.header("x-amz-security-token").strip_prefix("hunter2-session-").and_then(|number| number.parse().ok())
    };
    store.fails(move |asked| {
        let latest = handed_out.load(std::sync::atomic::Ordering::SeqCst);
        let is_good = generation(asked).is_some_and(|number: u64| number + 10 > latest);
        (!is_good).then_some(Fault::Refused(400, "ExpiredToken"))
    });
    let token_file = site.path("container-secret").display().to_string();
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", service.url()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token_file),
    ];
    let said = run_with(&site, &variables).exits(0);
    let mut used: Vec<u64> = store.asked().iter().filter_map(generation).collect();
    used.dedup();
    assert!(used.len() > 10, "{used:?}");
    assert_eq!(store.faults(), 0);
    no_secret_is_told(&site, &[said]);
}

#[test]
fn a_machine_without_credentials_is_told_where_they_were_looked_for() {
    let (site, store) = watched(&bucket().without_key(), 12);
    // A metadata service that is not there, and one that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let nowhere = "http://127.0.0.1:9";
    std::thread::scope(|threads| {
        for (url, service, endpoint, words) in [
            ("s3://b/archive", nowhere, store.address(), "AWS_WEB_IDENTITY_TOKEN_FILE"),
            ("s3://b/archive", &silent, store.address(), "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            ("s3://b/archive", nowhere, "", "unless AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL is set"),
            ("gs://b/archive", nowhere, "", "GOOGLE_SERVICE_ACCOUNT"),
            ("az://b/archive", nowhere, "", "AZURE_CLIENT_SECRET"),
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
            command.args(["-c", "none.yaml", "verify", url]).current_dir(site.directory.path());
            command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_METADATA_ENDPOINT", service);
            command.env("GCE_METADATA_HOST", "127.0.0.1:9").env("GCE_METADATA_IP", "127.0.0.1:9");
            command.env("AZURE_STORAGE_ACCOUNT_NAME", "nobody").env("IDENTITY_ENDPOINT", service);
            command.env("HOME", site.directory.path());
            threads.spawn(move || {
                let refused = ran(&mut command).exits(4);
                let said = refused.stderr;
                assert!(said.contains(url) && said.contains(words) && said.contains("the last gave none in"), "{said}");
            });
        }
    });
    assert_eq!(store.asked().len(), 0);
    // A metadata service that knows of no role.
    store.fails(|_| Some(Fault::Refused(404, "NotFound")));
    let refused = run_with(&site, &[("AWS_METADATA_ENDPOINT", store.address())]).exits(4);
    assert!(refused.error().contains("there are no credentials for the store"), "{refused:?}");
    assert_eq!(site.api.stats().requests, 0);
}

#[test]
fn a_store_is_reached_through_a_proxy_by_its_own_ca_and_the_buckets_own_host() {
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    let behind = store.address().trim_start_matches("http://").parse().unwrap();
    let (port, pem) = tls_before(behind, &format!("*{VIRTUAL}"));
    let proxy = Proxy::start(Manner::Connects, ([127, 0, 0, 1], port).into());
    let keys = "virtual_hosted: true, ca_file: ca.pem, proxy: file:proxy-secret";
    let to = bucket.by(&format!("https://{}:{port}", &VIRTUAL[1..])).with(keys);
    let site = Site::of(To::Bucket(to), 60);
    std::fs::write(site.path("ca.pem"), pem).unwrap();
    site.write_secret("proxy-secret", &format!("http://it:hunter2-proxy@{}", proxy.address));
    let ran = run_with(&site, &[]).exits(0);
    site.is_whole();
    let host = format!("{}{VIRTUAL}:{port}", bucket.name);
    assert!(store.asked().iter().all(|asked| asked.header("host") == host));
    let heard = proxy.heard();
    assert!(!heard.is_empty() && heard.iter().all(|heard| heard.starts_with(&format!("CONNECT {host} "))), "{heard:?}");
    no_secret_is_told(&site, &[ran]);
}

#[test]
fn objects_are_encrypted_as_the_configuration_says() {
    const KIND: &str = "x-amz-server-side-encryption";
    for (keys, kind, key) in [
        ("encryption: bucket", "", ""),
        ("encryption: managed", "AES256", ""),
        ("encryption: \"kms:arn:aws:kms:us-east-1:1:key/it\"", "aws:kms", "arn:aws:kms:us-east-1:1:key/it"),
    ] {
        let (site, store) = watched(&bucket().with(keys), 60);
        site.plain().exits(0);
        let asked = store.asked();
        let written =
            |asked: &&Asked| !is_upload_of_a_part(asked) && (asked.method == "PUT" || asked.path.ends_with("uploads="));
        assert!(asked.iter().filter(written).count() > 5);
        for asked in asked.iter().filter(written) {
            let said = (asked.header(KIND), asked.header("x-amz-server-side-encryption-aws-kms-key-id"));
            assert_eq!(said, (kind, key), "{asked:?}");
        }
        let reads = asked.iter().filter(|asked| asked.method == "GET" || is_upload_of_a_part(asked));
        assert!(reads.clone().count() > 0 && reads.clone().all(|asked| asked.header(KIND).is_empty()));
        site.run(&["verify", "nightly"]).exits(0);
    }
}

#[test]
fn credentials_that_are_malformed_are_never_quoted() {
    let site = Site::of(To::Bucket(bucket()), 12);
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    let malformed = [
        "\"hunter2-text\"",
        "{\"private_key\": \"hunter2\", \"client_email\": [\"hunter2\"]}",
        "{\"private_key_id\":\"hunter2\",\"private_key\":\"hunter2\",\"client_email\":\"hunter2\"}",
        "hunter2 !",
    ];
    for secret in malformed {
        site.write_secret("bad-secret", secret);
        for (path, id) in [("gs://b/archive", ""), ("az://b/archive", "access_key_id: somebody, ")] {
            let sink = format!(
                "      parquet: {{ path: \"{path}\", storage: {{ {id}secret_access_key: file:bad-secret }} }}\n    tolerate"
            );
            let (before, after) = text.split_once("    sink:\n").unwrap();
            let after = after.split_once("    tolerate").unwrap().1;
            std::fs::write(site.path("jobs.yaml"), format!("{before}    sink:\n{sink}{after}")).unwrap();
            let refused = run_with(&site, &[]).exits(2);
            let said = format!("{}{}", refused.stdout, refused.stderr);
            assert!(said.contains(path) && said.contains("What they say is not repeated here"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        for (url, variables) in [
            (
                "gs://b/archive",
                ["GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"],
            ),
            ("az://b/archive", ["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_ACCOUNT_KEY"]),
        ] {
            for variable in variables {
                let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
                command.args(["-vv", "-c", "none.yaml", "verify", url]).current_dir(site.directory.path());
                command.env("AZURE_STORAGE_ACCOUNT_NAME", "nobody").env("HOME", site.directory.path());
                command.env("GCE_METADATA_HOST", "127.0.0.1:9").env("GCE_METADATA_IP", "127.0.0.1:9");
                let value = if variable == "GOOGLE_APPLICATION_CREDENTIALS" { "bad-secret" } else { secret };
                let said = ran(command.env(variable, value).env("RUST_LOG", "trace"));
                assert!(said.code() != 0, "{variable}: {said:?}");
                assert!(!said.stdout.contains("hunter2") && !said.stderr.contains("hunter2"), "{variable}: {said:?}");
            }
        }
    }
}
