//! Packages are built from this binary, installed in a copy of the machine, run, upgraded and removed.

use std::path::Path;
use std::process::{Command, Output};

fn script(name: &str) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name));
    command.env("FAST", "1");
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether this process may make the copy.
fn may_mount() -> bool {
    Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|output| output.status.success())
}

#[test]
fn packages_are_installed_run_upgraded_and_removed_and_leave_archives() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let url = "https://docs.example/v1/docs";
    let built =
        script("build.sh").arg(env!("CARGO_BIN_EXE_yunxin-archiver")).arg(&out).env("DOCS_URL", url).output().unwrap();
    assert!(built.status.success(), "{}", said(&built));
    let names: Vec<String> =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for kind in [".deb", ".rpm", ".oci.tar", ".tar.gz"] {
        assert_eq!(names.iter().filter(|name| name.ends_with(kind)).count(), 1, "{kind}: {names:?} {}", said(&built));
    }

    // The names that `cargo binstall` makes of its metadata.
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let archive = names.iter().find(|name| name.ends_with(".tar.gz")).unwrap();
    let inside = archive.strip_suffix(".tar.gz").unwrap();
    let target = inside.strip_prefix(&format!("yunxin-archiver-{}-", env!("CARGO_PKG_VERSION"))).unwrap();
    assert_eq!(target.split('-').count(), 4, "{target}");
    assert!(manifest.contains("/{ name }-{ version }-{ target }.tar.gz\"\n"));
    assert!(manifest.contains("\"{ name }-{ version }-{ target }/{ bin }{ binary-ext }\"\n"));
    let listed = Command::new("tar").args(["-tzf", archive]).current_dir(&out).output().unwrap();
    assert!(said(&listed).contains(&format!("{inside}/yunxin-archiver\n")), "{}", said(&listed));
    let alerts = Command::new("tar")
        .args(["-xOzf", archive, &format!("{inside}/deploy/prometheus/alerts.yaml")])
        .current_dir(&out)
        .output()
        .unwrap();
    let link = format!("runbook_url: {url}/operations.md#yunxinarchivernosuccess\n");
    assert!(said(&alerts).contains(&link), "{}", said(&alerts));

    if may_mount() {
        let checked = script("check.sh").arg(&out).output().unwrap();
        let told = said(&checked);
        assert!(checked.status.success(), "{told}");
        for kind in ["deb", "rpm", "image", "tar.gz", "SHA256SUMS"] {
            assert!(told.contains(&format!("ok: {kind}")), "{kind}: {told}");
        }
    }
}
