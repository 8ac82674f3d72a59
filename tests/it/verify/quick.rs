//! `verify --quick`: everything but the content.

use serde_json::{Value, json};

use super::*;
use crate::support::storm::{block_on, database};

fn quick(site: &Site, code: i32) -> Ended {
    site.run(&["verify", "archive", "--quick", "--json", "--public-key", "public.pem"]).exits(code)
}

#[test]
fn an_archive_is_checked_without_reading_its_data_and_the_answer_says_so() {
    let site = three_nights();
    let full = site.run(&["verify", "nightly", "--json"]).exits(0).summary;
    let found = quick(&site, 0).summary;
    assert_eq!((&full["content"], &full["twice"]), (&json!("checked"), &json!(0)));
    assert_eq!((&found["content"], &found["twice"]), (&json!("not checked"), &Value::Null));
    for same in ["ok", "manifests", "head", "signatures", "files", "bytes", "rows", "problems"] {
        assert_eq!(found[same], full[same], "{same}");
    }
    let said = site.run(&["verify", "nightly", "--quick"]).exits(0).stdout;
    assert!(said.contains("content     not checked") && said.contains("the content was not checked"), "{said}");
    assert!(!said.contains("the archive is what its manifests say"), "{said}");

    // Data that was changed and kept its size is what only the full check finds.
    let file = &files_of(&site, 0)[0];
    let mut content = fs::read(file).unwrap();
    content[4] ^= 1;
    fs::write(file, content).unwrap();
    quick(&site, 0);
    assert_eq!(problems(&site.run(&["verify", "archive", "--json"]).exits(1))[0].0, "altered");
    site.run(&["verify", "nightly", "--quick", "--against", "nightly"]).exits(2);
}

#[test]
fn what_is_wrong_without_a_look_at_the_data_is_found_quickly_and_in_full() {
    type Damage = fn(&Site);
    let damages: [(&str, Damage); 9] = [
        ("missing", |site| fs::remove_file(&files_of(site, 1)[0]).unwrap()),
        ("altered", |site| fs::write(&files_of(site, 1)[0], "x").unwrap()),
        ("unnamed", |site| fs::write(site.path("archive/part-stray.parquet"), "x").unwrap()),
        ("signature chain", |site| change(&manifests(site)[0], |manifest| manifest["host"] = json!("another"))),
        ("list", |site| fs::remove_file(site.path("archive/_manifests/SHA256SUMS")).unwrap()),
        ("owner", |site| fs::remove_file(site.path("archive/_archive.json")).unwrap()),
        ("owner", |site| fs::write(site.path("archive/_archive.json"), "{").unwrap()),
        ("owner", |site| {
            let first = json_of(&manifests(site)[0])["run_id"].clone();
            change(&site.path("archive/_archive.json"), |record| record["run_id"] = first);
        }),
        ("signature", |site| {
            let signature = manifests(site)[2].with_extension("json.sig");
            fs::write(signature, [0; 64]).unwrap();
        }),
    ];
    for (kinds, damage) in damages {
        let site = three_nights();
        damage(&site);
        let (quick, full) = (quick(&site, 1), site.run(&["verify", "archive", "--json"]).exits(1));
        for kind in kinds.split(' ') {
            assert!(problems(&quick).iter().any(|(found, _)| found == kind), "{kind}: {}", quick.stdout);
        }
        assert_eq!(problems(&quick), problems(&full), "{kinds}");
    }
    let site = three_nights();
    site.run(&["verify", "elsewhere", "--quick"]).exits(2);
}

#[test]
fn an_archive_in_postgres_is_counted_by_its_runs_and_not_searched_for_duplicates() {
    let (refs, world) = dialogue("alice|1|bob", 0..10);
    let site = Site::nightly((refs, world));
    let url = database();
    site.write_secret("url", &url.url());
    site.jobs(&NIGHTLY.replace("parquet: { path: archive }", "postgres: { url: 'file:url' }"));
    site.night().exits(0);
    let verify = || site.run(&["verify", "nightly", "--quick", "--json"]);
    let found = verify().exits(0).summary;
    assert_eq!((&found["content"], &found["twice"], &found["rows"]), (&json!("not checked"), &Value::Null, &json!(10)));
    let delete = "delete from messages where message_server_id = (select min(message_server_id) from messages)";
    block_on(url.execute(delete));
    assert_eq!(problems(&verify().exits(1))[0].0, "content");
}
