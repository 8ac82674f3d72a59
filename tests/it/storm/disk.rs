//! A hostile disk: full, read-only, or giving back something else than was written.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::storm::{Ran, Site, To, database, ran};

/// Runs the binary as somebody whom permissions bind: root, whom they do not, gives up its capabilities.
fn bound(site: &Site) -> Ran {
    let drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--ambient-caps=-all"];
    let root = rustix::process::geteuid().is_root();
    ran(&mut site.wrapped(if root { &drop } else { &[] }, &["run", "--json"]))
}

/// Runs the binary where no file may grow beyond so many KiB: for a process, a disk that is full.
fn cramped(site: &Site, kib: u32) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
    // The unit of `ulimit -f` is 1024 bytes in bash.
    ran(&mut site.wrapped(&["bash", "-c", &script, "bash"], &["run", "--json"]))
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_archive_that_may_not_be_written_is_exit_4_and_the_next_run_completes() {
    let site = Site::begun(To::Parquet, 60, 60);
    for directory in ["archive", "archive/_tmp"] {
        let path = site.path(directory);
        let inner = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
        let path = if directory == "archive" { path } else { inner };
        mode(&path, 0o500);
        let denied = bound(&site).exits(4);
        assert!(denied.error().contains("permission denied"), "{denied:?}");
        assert!(denied.error().contains("archive"), "{denied:?}");
        mode(&path, 0o700);
    }
    site.completes();
}

#[test]
fn a_state_directory_that_may_not_be_written_is_said_and_the_next_run_completes() {
    let site = Site::begun(To::Parquet, 60, 60);
    mode(&site.path("state"), 0o500);
    mode(&site.path("state/nightly.sqlite"), 0o400);
    let denied = bound(&site).exits(1);
    assert!(denied.error().contains("permissions"), "{denied:?}");
    mode(&site.path("state"), 0o700);
    mode(&site.path("state/nightly.sqlite"), 0o600);
    site.completes();
}

#[test]
fn a_disk_that_is_full_at_any_moment_ends_the_run_and_the_next_completes() {
    for to in [To::Parquet, To::Postgres(database())] {
        let mut site = Site::new(to);
        site.fetch = "batch_size: 20, give_up_after: 5s".to_owned();
        site.night(40);
        site.plain().exits(0);
        let mut failed = 0;
        // From nothing at all, over the ledger's log and the first files, to enough.
        for kib in [1, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024] {
            site.night(30);
            let ran = cramped(&site, kib);
            match ran.code() {
                0 => {}
                1 => {
                    let error = ran.error();
                    assert!(error.contains("full") || error.contains("too large") || error.contains("disk"), "{error}");
                    failed += 1;
                }
                code => panic!("{code}: {ran:?}"),
            }
        }
        assert!(failed > 3, "{failed} runs met the full disk");
        site.completes();
    }
}

#[test]
fn a_disk_that_is_really_full_ends_the_run_and_the_next_completes() {
    if !rustix::process::geteuid().is_root() {
        println!("not tried: only root may mount a file system; RLIMIT_FSIZE tries the same");
        return;
    }
    let script =
        "set -e; mkdir -p archive state; mount -t tmpfs -o size=$KIB\"k\" tmpfs \"$WHAT\" 2>/dev/null || exit 99
                  set +e; \"$@\"; code=$?; set -e
                  mount -o remount,size=64m \"$WHAT\"; \"$@\"; cp -a \"$WHAT\" kept; umount \"$WHAT\"
                  rmdir \"$WHAT\"; mv kept \"$WHAT\"; exit $code";
    for (what, kib) in [("archive", "48"), ("state", "96"), ("state", "160")] {
        let site = Site::of(To::Parquet, 500);
        let mut command = site.wrapped(&["unshare", "--mount", "bash", "-c", script, "bash"], &["run", "--json"]);
        let ran = ran(command.env("WHAT", what).env("KIB", kib));
        if ran.status.code() == Some(99) || ran.stderr.contains("unshare") {
            println!("not tried: this container mounts nothing; RLIMIT_FSIZE tries the same");
            return;
        }
        assert_eq!(ran.code(), 1, "{what}: {ran:?}");
        assert!(ran.stdout.contains("full") || ran.stdout.contains("No space"), "{what}: {ran:?}");
        site.is_whole();
    }
}

/// Every way in which a ledger comes back damaged ends in a word about it, and changes nothing in the archive.
#[test]
fn a_damaged_ledger_is_noticed_or_harmless() {
    let mut site = Site::of(To::Parquet, 120);
    site.plain().exits(0);
    let path = site.path("state/nightly.sqlite");
    let good = whole_ledger(&site);
    let mut damaged: Vec<(String, Vec<u8>)> = vec![
        ("text".to_owned(), b"not a database, but long enough to be looked at as one ".repeat(400)),
        ("half".to_owned(), good[..good.len() / 2].to_vec()),
        ("a page short".to_owned(), good[..good.len() - 8192].to_vec()),
        ("zeros".to_owned(), vec![0; good.len()]),
    ];
    // A page of each kind: header, then every fourth page, overwritten in its middle.
    for page in (0..good.len() / 8192).step_by(4) {
        let mut bytes = good.clone();
        for byte in &mut bytes[page * 8192 + 100..page * 8192 + 8100] {
            *byte = !*byte;
        }
        damaged.push((format!("page {page}"), bytes));
    }
    let forget_log = || {
        for side in ["-wal", "-shm"] {
            std::fs::remove_file(site.path(&format!("state/nightly.sqlite{side}"))).ok();
        }
    };
    let mut noticed = 0;
    copy(&site, "archive", "kept");
    for (name, bytes) in damaged {
        std::fs::write(&path, bytes).unwrap();
        let ran = site.plain();
        let code = ran.code();
        assert!([0, 1, 2].contains(&code), "{name}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{name}: {ran:?}");
        if code != 0 {
            noticed += 1;
            let error = ran.error();
            assert!(error.contains("nightly") || error.contains("archive"), "{name}: {error}");
        }
        forget_log();
        copy(&site, "kept", "archive");
    }
    assert!(noticed > 4, "{noticed}");
    // The backup of the ledger goes with the archive as it was.
    std::fs::write(&path, &good).unwrap();
    site.night(30);
    site.completes();
}

/// Copies a directory in the place of another.
fn copy(site: &Site, from: &str, to: &str) {
    let script = "rm -rf \"$1\" && cp -a \"$0\" \"$1\"";
    let copied = Command::new("sh").args(["-c", script, from, to]).current_dir(site.directory.path()).status();
    assert!(copied.unwrap().success());
}

#[test]
fn a_copy_of_the_ledger_from_before_a_run_that_archived_nothing_is_refused_as_well() {
    let site = Site::of(To::Parquet, 40);
    site.plain().exits(0);
    let old = whole_ledger(&site);
    site.plain().exits(0);
    let new = whole_ledger(&site);
    std::fs::write(site.path("state/nightly.sqlite"), old).unwrap();
    assert!(site.plain().exits(2).error().contains("adopt"));
    std::fs::write(site.path("state/nightly.sqlite"), new).unwrap();
    site.completes();
}

/// The ledger's one file: a run that ended leaves nothing else to be copied.
fn whole_ledger(site: &Site) -> Vec<u8> {
    let beside = std::fs::read_dir(site.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
    let logs: Vec<_> = beside.filter(|name| name.to_str().unwrap().contains("sqlite-")).collect();
    assert!(logs.is_empty(), "{logs:?}");
    std::fs::read(site.path("state/nightly.sqlite")).unwrap()
}

#[test]
fn a_copy_of_the_ledger_that_is_older_than_its_archive_is_refused() {
    for to in [To::Parquet, To::Postgres(database())] {
        let mut site = Site::of(to, 40);
        site.plain().exits(0);
        let path = site.path("state/nightly.sqlite");
        let old = whole_ledger(&site);
        site.night(40);
        site.plain().exits(0);
        let new = whole_ledger(&site);
        let requests = site.api.stats().requests;
        std::fs::write(&path, old).unwrap();
        for _ in 0..2 {
            let ran = site.plain().exits(2);
            assert!(ran.error().contains("adopt"), "{ran:?}");
        }
        std::fs::remove_file(&path).unwrap();
        let ran = site.plain().exits(2);
        assert!(ran.error().contains("adopt"), "{ran:?}");
        assert_eq!(site.api.stats().requests, requests, "nothing is asked by a ledger that is refused");
        std::fs::write(&path, new).unwrap();
        site.night(20);
        site.completes();
    }
}
