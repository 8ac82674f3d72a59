//! An archive in Postgres.

use super::*;
use crate::support::postgres::PgUrl;
use crate::support::storm::{block_on, database};

/// Two nights into a database, signed.
fn two_nights() -> (Site, PgUrl) {
    let (refs, world) = dialogue("alice|1|bob", 0..20);
    let (site, url) = (Site::new(world), database());
    site.write_secret("sign.pem", SIGNING_KEY);
    site.write_secret("archive-url", &url.url());
    site.jobs(
        &NIGHTLY
            .replace("{ parquet: { path: archive } }", "{ postgres: { url: file:archive-url } }, sign: file:sign.pem"),
    );
    for night in 1..=2 {
        site.write("refs.csv", csv(&refs[..night * 10]));
        assert_eq!(site.night().exits(0).refs("archived"), 10);
    }
    (site, url)
}

#[test]
fn an_archive_in_postgres_that_nobody_touched_is_found_whole() {
    let (site, url) = two_nights();
    let found = site.run(&["verify", "nightly", "--json"]).exits(0).summary;
    assert_eq!((&found["kind"], &found["manifests"], &found["rows"]), (&json!("postgres"), &json!(2), &json!(20)));
    assert_eq!(found["signatures"]["right"], 2);
    assert!(!found.to_string().contains("hunter2"), "{found}");
    // The row's text is what is hashed, chained and named as the head.
    let (body, sha256): (String, String) = block_on(async {
        let mut connection = url.connect().await;
        sqlx::query_as("select body, sha256 from messages_manifests order by sequence desc limit 1")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    });
    assert_eq!((hash(body.as_bytes()), &found["head"]["sha256"]), (sha256.clone(), &json!(sha256)));
    let manifest: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&manifest["rows"], &manifest["references"]["archived"]), (&json!(10), &json!(10)));
    site.run(&["verify", "nightly", "--head", &sha256]).exits(0);
}

#[test]
fn whatever_is_done_to_an_archive_in_postgres_is_found_and_named() {
    for (sql, kinds) in [
        (
            "update messages_manifests set body = replace(body, '\"run\"', '\"fun\"') where sequence = 1",
            "manifest signature chain",
        ),
        (
            "update messages_manifests set body = replace(body, '\"run\"', '\"fun\"'), sha256 = \
             encode(sha256(convert_to(replace(body, '\"run\"', '\"fun\"'), 'UTF8')), 'hex') where sequence = 1",
            "chain signature",
        ),
        ("delete from messages_manifests where sequence = 1", "sequence unnamed"),
        ("delete from messages_manifests where sequence = 2", "head unnamed"),
        ("update messages_manifests set signature = decode(repeat('00', 64), 'hex') where sequence = 2", "signature"),
        ("delete from messages where message_server_id = (select min(message_server_id) from messages)", "content"),
        (
            "update messages set run_id = 'nobody' where message_server_id = (select min(message_server_id) from messages)",
            "content unnamed",
        ),
        ("update messages_commits set messages = messages + 1 where sequence = 1", "sums"),
        (
            "alter table messages drop constraint messages_pkey; \
             insert into messages select * from messages order by message_server_id limit 1",
            "content twice",
        ),
    ] {
        let (site, url) = two_nights();
        block_on(url.execute(sql));
        let ended = site.run(&["verify", "nightly", "--json"]).exits(1);
        let mut found: Vec<String> = problems(&ended).into_iter().map(|(kind, _)| kind).collect();
        found.sort();
        let mut expected: Vec<&str> = kinds.split(' ').collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{sql}: {}", ended.stdout);
    }
}

#[test]
fn a_manifest_that_a_failover_took_back_is_written_again() {
    let (site, url) = two_nights();
    let before = site.run(&["verify", "nightly", "--json"]).exits(0).summary["head"]["sha256"].clone();
    block_on(url.execute("delete from messages_manifests where sequence = 2"));
    let ended = site.night().exits(0);
    assert!(ended.stderr.contains("has lost a manifest"), "{}", ended.stderr);
    let found = site.run(&["verify", "nightly", "--json", "--head", before.as_str().unwrap()]).exits(0).summary;
    assert_eq!((&found["manifests"], &found["signatures"]["right"]), (&json!(3), &json!(3)));
}

#[test]
fn an_archive_in_postgres_that_is_taken_over_keeps_its_chain() {
    let (site, _url) = two_nights();
    fs::remove_file(site.path("state/nightly.sqlite")).unwrap();
    site.run(&["adopt", "nightly"]).exits(0);
    site.night().exits(0);
    assert_eq!(site.run(&["verify", "nightly", "--json"]).exits(0).summary["manifests"], 4);
}
