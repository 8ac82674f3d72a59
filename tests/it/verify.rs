//! `verify`, and the manifests that it follows: what was changed, removed, added or written twice is found and named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::site::{Ended, NIGHTLY, Site, csv, dialogue, id, time};
use crate::support::storm::SIGNING_KEY;

mod manifest;
mod postgres;
mod quick;

/// The public half of [`SIGNING_KEY`].
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A site whose job ran three times and archived ten messages each time. Its manifests are signed.
fn three_nights() -> Site {
    let (refs, world) = dialogue("alice|1|bob", 0..30);
    let site = Site::new(world);
    site.write_secret("sign.pem", SIGNING_KEY);
    site.write("public.pem", PUBLIC_KEY);
    site.jobs(&NIGHTLY.replace(" } } }", " } }, sign: file:sign.pem }"));
    for night in 1..=3 {
        site.write("refs.csv", csv(&refs[..night * 10]));
        assert_eq!(site.night().exits(0).refs("archived"), 10);
    }
    site
}

/// Its manifests, in order.
fn manifests(site: &Site) -> Vec<PathBuf> {
    let is_manifest = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    site.files("archive/_manifests").into_iter().filter(is_manifest).collect()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The hash of the last manifest.
fn head(site: &Site) -> String {
    hash(&fs::read(manifests(site).last().unwrap()).unwrap())
}

/// The data files of a manifest.
fn files_of(site: &Site, manifest: usize) -> Vec<PathBuf> {
    let files = json_of(&manifests(site)[manifest])["files"].as_array().unwrap().clone();
    files.iter().map(|file| site.path("archive").join(file["path"].as_str().unwrap())).collect()
}

/// Kinds and subjects of the problems.
fn problems(ended: &Ended) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let problems = ended.summary["problems"].as_array().unwrap_or_else(|| panic!("{ended:?}"));
    problems.iter().map(|problem| (text(&problem["kind"]), text(&problem["subject"]))).collect()
}

/// A path as `verify` names it.
fn relative(site: &Site, path: &Path) -> String {
    path.strip_prefix(site.path("archive")).unwrap().to_str().unwrap().to_owned()
}

/// Changes a manifest, and signs nothing anew.
fn change(path: &Path, what: impl FnOnce(&mut Value)) {
    let mut manifest = json_of(path);
    what(&mut manifest);
    fs::write(path, serde_json::to_string_pretty(&manifest).unwrap() + "\n").unwrap();
}

#[test]
fn an_archive_that_nobody_touched_is_found_whole() {
    let site = three_nights();
    // Neither the configuration nor a secret is needed.
    for (arguments, code) in [(&["verify", "archive", "--json"][..], 0), (&["-c", "none.yaml", "verify", "archive"], 0)]
    {
        site.run(arguments).exits(code);
    }
    let found = site.run(&["verify", "nightly", "--json"]).exits(0).summary;
    assert_eq!((&found["ok"], &found["manifests"], &found["rows"]), (&json!(true), &json!(3), &json!(30)), "{found}");
    assert_eq!((&found["twice"], &found["problems"]), (&json!(0), &json!([])));
    assert_eq!(found["head"]["sha256"], head(&site));
    assert_eq!((&found["signatures"]["right"], &found["signatures"]["unsigned"]), (&json!(3), &json!(0)));
    assert_eq!(found["signatures"]["known"], found["signatures"]["keys"]);
    let said = site.run(&["verify", "nightly"]).exits(0).stdout;
    assert!(said.contains("the archive is what its manifests say") && said.contains("3 valid"), "{said}");
}

#[test]
fn a_job_is_verified_though_its_secrets_are_not_set() {
    let site = three_nights();
    let text = site.read("jobs.yaml").replace("file:secret", "env:NOT_SET").replace("file:sign.pem", "env:NOT_SET");
    site.write("jobs.yaml", text);
    let ended = site.run(&["verify", "nightly", "--json", "--public-key", "public.pem"]).exits(0);
    assert_eq!(ended.summary["signatures"]["right"], 3);
    let said = site.run(&["verify", "nightly"]).exits(0).stdout;
    assert!(said.contains("the keys they name") && said.contains("NOT_SET"), "{said}");
}

#[test]
fn sha256sum_accepts_the_list() {
    let site = three_nights();
    let check = || {
        Command::new("sha256sum")
            .args(["--strict", "-c", "_manifests/SHA256SUMS"])
            .current_dir(site.path("archive"))
            .output()
    };
    let output = check().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files: usize = (0..3).map(|manifest| files_of(&site, manifest).len()).sum();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), files + 3);
    fs::write(&files_of(&site, 1)[0], "x").unwrap();
    assert!(!check().unwrap().status.success());
}

#[test]
fn openssl_accepts_the_signatures() {
    let site = three_nights();
    for manifest in manifests(&site) {
        let said = json_of(&manifest);
        assert_eq!(said["signature"]["public_key"], PUBLIC_KEY);
        let der = Command::new("openssl")
            .args(["pkey", "-pubin", "-in", "public.pem", "-pubout", "-outform", "DER"])
            .current_dir(site.path(""))
            .output()
            .unwrap();
        assert_eq!(said["signature"]["key_sha256"], hash(&der.stdout));
        let output = Command::new("openssl")
            .args(["pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in"])
            .arg(&manifest)
            .arg("-sigfile")
            .arg(format!("{}.sig", manifest.display()))
            .current_dir(site.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// Does something to the archive, and returns what must be complained of: kinds and subjects.
type Deed = fn(&Site) -> Vec<(&'static str, String)>;

/// Everything that can be done to an archive, each by its name.
const DEEDS: [(&str, Deed); 13] = [
    ("a flipped bit", |site| {
        let path = &files_of(site, 1)[0];
        let mut content = fs::read(path).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        fs::write(path, content).unwrap();
        vec![("altered", relative(site, path))]
    }),
    ("a file cut short", |site| {
        let path = &files_of(site, 1)[0];
        let content = fs::read(path).unwrap();
        fs::write(path, &content[..content.len() - 1]).unwrap();
        vec![("altered", relative(site, path))]
    }),
    ("a removed file", |site| {
        let path = &files_of(site, 0)[0];
        fs::remove_file(path).unwrap();
        vec![("missing", relative(site, path))]
    }),
    ("an added file", |site| {
        let path = &files_of(site, 0)[0];
        let other = path.with_file_name("part-other.parquet");
        fs::copy(path, &other).unwrap();
        vec![("unnamed", relative(site, &other))]
    }),
    ("a changed manifest", |site| {
        let path = &manifests(site)[1];
        change(path, |manifest| manifest["purpose"] = "another".into());
        let list = "_manifests/SHA256SUMS".to_owned();
        let after = relative(site, &manifests(site)[2]);
        vec![("chain", after), ("list", list), ("signature", relative(site, path))]
    }),
    ("a changed last manifest", |site| {
        let path = &manifests(site)[2];
        change(path, |manifest| manifest["purpose"] = "another".into());
        let name = relative(site, path);
        vec![("head", name.clone()), ("list", "_manifests/SHA256SUMS".to_owned()), ("signature", name)]
    }),
    ("a removed manifest", |site| {
        let path = &manifests(site)[1];
        let files = files_of(site, 1).iter().map(|path| ("unnamed", relative(site, path))).collect::<Vec<_>>();
        fs::remove_file(path).unwrap();
        let after = relative(site, &manifests(site)[1]);
        let list = "_manifests/SHA256SUMS".to_owned();
        let all = [vec![("sequence", after)], files, vec![("list", list); 2]];
        all.concat()
    }),
    ("a manifest that cannot be read", |site| {
        let path = &manifests(site)[2];
        let name = relative(site, path);
        let files = files_of(site, 2).iter().map(|path| ("unnamed", relative(site, path))).collect::<Vec<_>>();
        fs::write(path, "{").unwrap();
        let (list, last) = ("_manifests/SHA256SUMS".to_owned(), relative(site, &manifests(site)[1]));
        [vec![("manifest", name), ("head", last)], files, vec![("list", list); 2]].concat()
    }),
    ("a removed signature", |site| {
        let path = &manifests(site)[0];
        fs::remove_file(format!("{}.sig", path.display())).unwrap();
        vec![("signature", relative(site, path))]
    }),
    ("a wrong signature", |site| {
        let paths = manifests(site);
        fs::copy(format!("{}.sig", paths[0].display()), format!("{}.sig", paths[2].display())).unwrap();
        vec![("signature", relative(site, &paths[2]))]
    }),
    ("a changed list", |site| {
        let list = site.read("archive/_manifests/SHA256SUMS");
        site.write("archive/_manifests/SHA256SUMS", list.split_inclusive('\n').skip(1).collect::<String>());
        vec![("list", "_manifests/SHA256SUMS".to_owned())]
    }),
    ("a renamed manifest", |site| {
        let path = &manifests(site)[2];
        let other = path.with_file_name("00000004-other.json");
        for suffix in ["", ".sig"] {
            fs::rename(format!("{}{suffix}", path.display()), format!("{}{suffix}", other.display())).unwrap();
        }
        let list = "_manifests/SHA256SUMS".to_owned();
        vec![("manifest", relative(site, &other)), ("list", list.clone()), ("list", list)]
    }),
    ("no manifest at all", |site| {
        let files = (0..3).flat_map(|manifest| files_of(site, manifest));
        let mut found: Vec<_> = files.map(|path| ("unnamed", relative(site, &path))).collect();
        fs::remove_dir_all(site.path("archive/_manifests")).unwrap();
        found.extend([("sequence", "_manifests".to_owned()), ("head", "the chain".to_owned())]);
        found
    }),
];

#[test]
fn whatever_is_done_to_an_archive_is_found_and_named() {
    let site = three_nights();
    let kept = site.everything();
    for (name, deed) in DEEDS {
        let mut expected: Vec<(String, String)> =
            deed(&site).into_iter().map(|(kind, subject)| (kind.to_owned(), subject)).collect();
        let ended = site.run(&["verify", "nightly", "--json"]).exits(1);
        assert_eq!(ended.summary["ok"], false, "{name}");
        let mut found = problems(&ended);
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{name}: {}", ended.stdout);
        let said = site.run(&["verify", "nightly"]).exits(1).stdout;
        for (kind, subject) in expected {
            assert!(said.contains(&subject) && said.lines().any(|line| line.starts_with(&kind)), "{name}: {said}");
        }
        fs::remove_dir_all(site.path("archive")).unwrap();
        for (path, content) in kept.iter().filter(|(path, _)| path.starts_with(site.path("archive"))) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        site.run(&["verify", "nightly"]).exits(0);
    }
}

#[test]
fn a_chain_that_was_forged_whole_is_found_by_what_was_kept_elsewhere() {
    let site = three_nights();
    let kept = head(&site);
    site.run(&["verify", "archive", "--head", &kept]).exits(0);
    // The last night never was: its files, its manifest, its line in the list and the ledger's memory are gone.
    for path in files_of(&site, 2) {
        fs::remove_file(path).unwrap();
    }
    let last = manifests(&site).pop().unwrap();
    fs::remove_file(format!("{}.sig", last.display())).unwrap();
    fs::remove_file(&last).unwrap();
    let sums = site.read("archive/_manifests/SHA256SUMS");
    let second = fs::read(&manifests(&site)[1]).unwrap();
    let end = sums.find(&hash(&second)).unwrap();
    let end = end + sums[end..].find('\n').unwrap() + 1;
    site.write("archive/_manifests/SHA256SUMS", &sums[..end]);
    let ended = site.run(&["verify", "archive", "--json", "--public-key", "public.pem"]).exits(0);
    assert_eq!(ended.summary["manifests"], 2);
    // The hash of a time before is still in the chain, and what was kept of the last night is not.
    site.run(&["verify", "archive", "--head", &hash(&second).to_uppercase()]).exits(0);
    let ended = site.run(&["verify", "archive", "--json", "--head", &kept]).exits(1);
    assert_eq!(problems(&ended), [("head".to_owned(), relative(&site, &manifests(&site)[1]))]);
    // The job's own ledger knows better as well.
    assert_eq!(problems(&site.run(&["verify", "nightly", "--json"]).exits(1)).len(), 1);
}

#[test]
fn a_signature_by_another_key_is_found_where_the_right_one_is_known() {
    let site = three_nights();
    let generated = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519"]).output().unwrap();
    site.write_secret("other.pem", std::str::from_utf8(&generated.stdout).unwrap());
    site.jobs(&NIGHTLY.replace(" } } }", " } }, sign: file:other.pem }"));
    site.night().exits(0);
    // Whoever knows the new key trusts what it vouches for; who knows the old one does not trust the new.
    let ended = site.run(&["verify", "nightly", "--json"]).exits(0);
    assert!(ended.summary["notes"].to_string().contains("the chain covers them"), "{}", ended.stdout);
    site.run(&["verify", "archive"]).exits(0);
    let last = relative(&site, manifests(&site).last().unwrap());
    let ended = site.run(&["verify", "archive", "--json", "--public-key", "public.pem"]).exits(1);
    assert_eq!(problems(&ended), [("signature".to_owned(), last.clone())]);
    // And one that is not signed at all.
    site.jobs(NIGHTLY);
    site.night().exits(0);
    let last = relative(&site, manifests(&site).last().unwrap());
    let ended = site.run(&["verify", "archive", "--json", "--public-key", "public.pem"]).exits(1);
    assert_eq!(problems(&ended), [("signature".to_owned(), last)]);
    site.run(&["verify", "nightly"]).exits(0);
}

#[test]
fn a_message_that_is_there_twice_and_counts_that_do_not_agree_are_found_in_a_chain_that_is_right() {
    let site = three_nights();
    // Somebody writes the archive's last manifest anew: it names a copy of an earlier file, and miscounts.
    let (first, path) = (files_of(&site, 0).remove(0), manifests(&site).pop().unwrap());
    let copy = first.with_file_name("part-again.parquet");
    fs::copy(&first, &copy).unwrap();
    let earlier = json_of(&manifests(&site)[0])["files"][0].clone();
    fs::remove_file(format!("{}.sig", path.display())).unwrap();
    let name = relative(&site, &copy);
    change(&path, |manifest| {
        let mut again = earlier.clone();
        again["path"] = name.clone().into();
        again["message_server_id"]["max"] = (id(0) - 1).into();
        manifest["files"].as_array_mut().unwrap().push(again);
        manifest["signature"] = Value::Null;
        manifest["references"]["archived"] = 9.into();
        manifest["thread_extras"]["failed"] = 3.into();
    });
    fs::remove_file(site.path("archive/_manifests/SHA256SUMS")).unwrap();
    let ended = site.run(&["verify", "archive", "--json"]).exits(1);
    let manifest = relative(&site, &path);
    let mut found = problems(&ended);
    found.dedup();
    let rows = earlier["rows"].as_u64().unwrap();
    let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["sums", "content", "twice", "list"], "{}", ended.stdout);
    assert_eq!(found[0].1, manifest);
    assert_eq!(found[1].1, name);
    assert_eq!(ended.summary["twice"], rows);
    for said in [
        "accepted 10 + resumed 0 + retried 0 ≠ archived 9",
        "thread extras planned 0 ≠ archived 0 + failed 3",
        "messages, and those of its files are",
        "revision 0, is there 2 times",
        "says its IDs are",
        "part-again.parquet",
    ] {
        assert!(ended.stdout.contains(said), "{said}: {}", ended.stdout);
    }
}

#[test]
fn what_is_no_archive_is_bad_usage() {
    let site = three_nights();
    for (arguments, said) in [
        (&["verify", "nothing"][..], "neither a directory nor a job"),
        (&["-c", "none.yaml", "verify", "nothing"], "is not a directory"),
        (&["verify", "state"], "no archive"),
        (&["verify", "archive", "--public-key", "none.pem"], "none.pem"),
        (&["verify", "archive", "--public-key", "sign.pem"], "no Ed25519 public key"),
        (&["verify", "archive", "--head", "abc"], "64 hexadecimal digits"),
    ] {
        let ended = site.run(arguments).exits(2);
        assert!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
    }
}
