//! What a manifest says, also of a run that died.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_manifest_tells_who_ran_what_and_what_became_of_every_reference() {
    let (refs, mut world) = dialogue("alice|1|bob", 0..10);
    let gone = crate::support::site::message("alice|1|bob", 3).fate(yunxin_archiver::simulator::Fate::Missing);
    world.insert(gone);
    let site = Site::new(world);
    site.jobs(&NIGHTLY.replace(" } } }", " } }, tolerate: [107404], operator: the night watch, purpose: retention }"));
    site.write("refs.csv", csv(&refs) + "nobody,12,13\n" + csv(&refs[..2]).split_once('\n').unwrap().1);
    let ended = site.run(&["run", "--json", "--purpose", "case 7"]).exits(3);
    let manifest = json_of(&manifests(&site)[0]);
    assert_eq!(
        (&manifest["version"], &manifest["sequence"], &manifest["previous"]),
        (&json!(2), &json!(1), &Value::Null)
    );
    assert_eq!((&manifest["operator"], &manifest["purpose"]), (&json!("the night watch"), &json!("case 7")));
    assert_eq!((&manifest["command"], &manifest["died"]), (&json!("run"), &json!(false)));
    assert_eq!(manifest["tool"], concat!("yunxin-archiver ", env!("CARGO_PKG_VERSION")));
    assert!(!manifest["host"].as_str().unwrap().is_empty());
    assert_eq!(manifest["references"], ended.job()["references"]);
    assert_eq!(manifest["thread_extras"], ended.job()["thread_extras"]);
    let failures = json!([
        { "class": "invalid", "code": null, "count": 1 },
        { "class": "unavailable", "code": 107_404, "count": 1 },
    ]);
    assert_eq!(manifest["failures"], failures);
    assert_eq!(manifest["rows"], 9);
    let range = json!({ "min": id(0), "max": id(9) });
    assert_eq!(manifest["files"][0]["message_server_id"], range);
    assert_eq!(manifest["files"][0]["create_time"], json!({ "min": time(0), "max": time(9) }));
    // The running hash, as the documentation defines it: one batch, in the order of IDs.
    let mut planned = vec![0; 32];
    for (_, id, time) in &refs {
        planned.extend(format!("1|alice|bob\t{id}\t{time}\n").into_bytes());
    }
    assert_eq!(manifest["references_sha256"], hash(&planned));
    // Summary and status name the head.
    assert_eq!(ended.job()["manifest"]["sha256"], head(&site));
    let status = site.run(&["status"]).exits(0).stdout;
    assert!(status.contains(&head(&site)) && status.contains("outside this system"), "{status}");
    let status = site.run(&["status", "--json"]).exits(0).summary;
    assert_eq!(status["jobs"][0]["manifest"]["sha256"], head(&site));
    assert!(ended.stderr.contains(&head(&site)), "{}", ended.stderr);
}

#[test]
fn every_manifest_holds_the_hash_of_the_one_before_it() {
    let site = three_nights();
    let mut before = Value::Null;
    for path in manifests(&site) {
        assert_eq!(json_of(&path)["previous"], before);
        before = hash(&fs::read(&path).unwrap()).into();
    }
    // A change of what was written does not enter the chain.
    let path = manifests(&site).pop().unwrap();
    change(&path, |manifest| manifest["host"] = "elsewhere".into());
    let ended = site.night().exits(0);
    assert!(ended.stderr.contains("last manifest was changed"), "{}", ended.stderr);
    assert_eq!(json_of(&manifests(&site)[3])["previous"], before);
    let ended = site.run(&["verify", "archive", "--json"]).exits(1);
    let kinds: BTreeSet<String> = problems(&ended).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["chain", "list", "signature"].map(str::to_owned).into());
}

#[test]
fn the_digest_of_the_configuration_follows_what_it_means_and_nothing_else() {
    let site = Site::nightly(dialogue("alice|1|bob", 0..3));
    let digest = |jobs: &str| {
        site.jobs(jobs);
        site.night().exits(0);
        json_of(manifests(&site).last().unwrap())["configuration_sha256"].as_str().unwrap().to_owned()
    };
    let first = digest(NIGHTLY);
    assert_eq!(
        digest(&NIGHTLY.replace(" } } }", " } }, fetch: { batch_size: 100 }, purpose: x, history: 400days }")),
        first
    );
    assert_ne!(digest(&NIGHTLY.replace(" } } }", " } }, fetch: { batch_size: 99 } }")), first);
    assert_ne!(digest(&NIGHTLY.replace(" } } }", " } }, tolerate: [unanswered] }")), first);
    // Another secret is the same job.
    site.write_secret("secret", "another");
    site.jobs(NIGHTLY);
    site.run(&["run"]).exits(0);
    assert_eq!(json_of(manifests(&site).last().unwrap())["configuration_sha256"], first);
    site.run(&["verify", "nightly"]).exits(0);
}

#[test]
fn a_run_that_died_has_a_manifest_in_the_chain_that_counts_what_it_recorded() {
    for step in ["plan.after", "record.after", "published.after", "manifest.rename", "sums.rename", "seal.after"] {
        let site = three_nights();
        let (refs, world) = dialogue("carol|1|dave", 100..140);
        site.api.world(|all| *all = world);
        site.write("refs.csv", csv(&refs));
        let died =
            site.command(&["run", "--operator", "who died"]).env("YUNXIN_ARCHIVER_DIE_AT", step).output().unwrap();
        assert!(died.status.code().is_none(), "{step}");
        let ended = site.run(&["run", "--json", "--operator", "who came"]).exits(0);
        let [dead, next] = [3, 4].map(|place| json_of(&manifests(&site)[place]));
        assert_eq!((&dead["operator"], &next["operator"]), (&json!("who died"), &json!("who came")), "{step}");
        // One that wrote its manifest itself did not know that it would die.
        let knew = matches!(step, "sums.rename" | "seal.after" | "manifest.rename");
        assert_eq!(dead["died"], !knew, "{step}");
        assert!(dead["references_sha256"].is_string(), "{step}");
        let (counted, left) = (&dead["references"], &next["references"]);
        assert_eq!(counted["accepted"], 40, "{step}");
        assert_eq!(counted["pending"], left["resumed"], "{step}");
        let rows = |manifest: &Value| manifest["rows"].as_u64().unwrap();
        assert_eq!(rows(&dead) + rows(&next), 40, "{step}");
        assert_eq!(counted["archived"].as_u64().unwrap(), rows(&dead), "{step}");
        assert_eq!(ended.job()["manifest"]["sequence"], 5);
        let found = site.run(&["verify", "nightly", "--json"]).exits(0).summary;
        assert_eq!((&found["manifests"], &found["rows"]), (&json!(5), &json!(70)), "{step}");
        let check = Command::new("sha256sum")
            .args(["--quiet", "--strict", "-c", "_manifests/SHA256SUMS"])
            .current_dir(site.path("archive"))
            .status();
        assert!(check.unwrap().success(), "{step}");
    }
}

#[test]
fn an_archive_of_version_1_is_gone_on_with() {
    let site = three_nights();
    // As an earlier version wrote them: without a chain, a signature or a list; and its ledger knew no hashes.
    for path in manifests(&site) {
        fs::remove_file(format!("{}.sig", path.display())).unwrap();
        change(&path, |manifest| {
            let known =
                ["sequence", "job", "run_id", "ledger_id", "app_key", "started_at", "finished_at", "rows", "bytes"];
            let mut old = serde_json::Map::from_iter([("version".to_owned(), json!(1))]);
            old.extend(known.iter().map(|key| ((*key).to_owned(), manifest[key].clone())));
            let mut files = manifest["files"].clone();
            for file in files.as_array_mut().unwrap() {
                file.as_object_mut()
                    .unwrap()
                    .retain(|key, _| matches!(key.as_str(), "path" | "rows" | "bytes" | "sha256"));
            }
            old.insert("files".to_owned(), files);
            *manifest = old.into();
        });
    }
    fs::remove_file(site.path("archive/_manifests/SHA256SUMS")).unwrap();
    let found = site.run(&["verify", "archive", "--json"]).exits(0).summary;
    assert!(found["notes"].to_string().contains("version 1"), "{found}");
    crate::support::storm::block_on(async {
        use sqlx::{ConnectOptions as _, Connection as _};
        let path = site.path("state/nightly.sqlite");
        let mut ledger = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::query("update manifests set sha256 = null").execute(&mut ledger).await.unwrap();
        ledger.close().await.unwrap();
    });
    let third = head(&site);
    site.night().exits(0);
    assert_eq!(json_of(&manifests(&site)[3])["previous"], third);
    assert_eq!(site.run(&["verify", "nightly", "--json"]).exits(0).summary["manifests"], 4);
}

#[test]
fn an_archive_that_is_taken_over_keeps_its_chain() {
    let site = three_nights();
    let third = head(&site);
    fs::remove_file(site.path("state/nightly.sqlite")).unwrap();
    site.run(&["adopt", "nightly"]).exits(0);
    let adopted = json_of(&manifests(&site)[3]);
    assert_eq!((&adopted["previous"], &adopted["command"]), (&json!(third), &json!("adopt")));
    site.night().exits(0);
    assert_eq!(site.run(&["verify", "nightly", "--json"]).exits(0).summary["signatures"]["right"], 5);
}

#[test]
fn a_key_that_is_none_is_said_before_anything_is_done() {
    let site = three_nights();
    site.write_secret("sign.pem", PUBLIC_KEY);
    let ended = site.night().exits(2);
    let said = ended.job()["error"].as_str().unwrap();
    assert!(said.contains("jobs.nightly.sign") && said.contains("openssl genpkey -algorithm ed25519"), "{said}");
    site.jobs(&NIGHTLY.replace(" } } }", " } }, sign: MC4CAQAwBQYDK2VwBCIEINTu }"));
    let ended = site.run(&["run"]).exits(2);
    assert!(ended.stderr.contains("never stands in this file") && !ended.stderr.contains("MC4C"), "{}", ended.stderr);
}
