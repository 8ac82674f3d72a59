//! The directory that an export is written to: its manifest, its rights, and what is refused.

use super::*;
use crate::support::export::read;

#[tokio::test]
async fn the_manifest_tells_what_was_exported_from_where() {
    for (stage, kind) in both().await.iter().zip(["parquet", "postgres"]) {
        let (directory, seen) = stage.export(&[
            "--conversation",
            "ROBERT|1|alice",
            "--format",
            "csv",
            "--from",
            "2026-11-20",
            "--to",
            "2026-11-21",
        ]);
        let manifest = &seen["manifest"];
        assert_eq!(manifest["archive"]["kind"], kind);
        assert_eq!(manifest["selection"]["conversations"], json!(["1|alice|robert"]));
        assert_eq!(manifest["selection"]["to"], "2026-11-22T00:00:00.000Z");
        let counts = &manifest["counts"];
        assert_eq!((&counts["messages"], &counts["edited"], &counts["vanished"]), (&json!(5), &json!(1), &json!(1)));
        if kind == "parquet" {
            assert_eq!(manifest["archive"]["head"]["sequence"], 2);
            let head = manifest["archive"]["head"]["file"].as_str().unwrap();
            let content = std::fs::read(stage.root().join(head)).unwrap();
            assert_eq!(manifest["archive"]["head"]["sha256"], hex::encode(Sha256::digest(content)));
        } else {
            assert_eq!(manifest["archive"]["commit"], 2);
            assert!(!manifest.to_string().contains("hunter2"));
        }
        for file in manifest["files"].as_array().unwrap() {
            let content = std::fs::read(directory.join(file["path"].as_str().unwrap())).unwrap();
            assert_eq!(file["bytes"], content.len());
            assert_eq!(file["sha256"], hex::encode(Sha256::digest(content)));
        }
        assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[tokio::test]
async fn an_export_is_written_to_a_new_directory_and_says_what_is_wrong() {
    let stage = parquet().await;
    let into = stage.path("full");
    std::fs::create_dir(&into).unwrap();
    std::fs::write(into.join("x"), "x").unwrap();
    let refused = |into: &Path, arguments: &[&str], said: &str| {
        let output = stage.try_export(into, arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(said), "{error}");
    };
    refused(&into, &["--all", "--format", "csv"], "is not empty");
    assert_eq!(std::fs::read(into.join("x")).unwrap(), b"x");
    let new = stage.path("new");
    refused(&new, &["--all", "--format", "csv", "--from", "yesterday"], "2026-11-22T18:00:00+08:00");
    refused(&new, &["--conversation", "alice", "--format", "csv"], "alice|1|bob");
    refused(&new, &["--all", "--format", "csv", "--timezone", "Nowhere"], "Asia/Shanghai");
    refused(&new, &["--all", "--format", "csv", "--from", "2026-11-22", "--to", "2026-11-20"], "not before");
    let inside = new.join("key");
    let inside = ["--all", "--format", "csv", "--pseudonymise", "--key-out", inside.to_str().unwrap()];
    refused(&new, &inside, "must not get the key");
    refused(&new, &["--format", "csv"], "--all");
    assert!(!new.exists());

    let empty = stage.path("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(stage.try_export(&empty, &["--all", "--format", "jsonl"]).status.success());
    assert_eq!(read(&empty)["manifest"]["counts"]["messages"], 11);
}
