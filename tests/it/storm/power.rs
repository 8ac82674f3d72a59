//! The loss of power: what was not synced is gone. Unlike at `kill -9`, which the files that were written survive.

use super::STEPS;
use crate::support::host::{Disk, Loss};
use crate::support::storm::{Site, To, database, ran};

const PARQUET: [&str; 18] = [
    "publish.after",
    "published.after",
    "file.close",
    "file.fsync",
    "file.fsynced",
    "file.fsync#3",
    "names.fsync",
    "rename.before",
    "rename.before#2",
    "rename.after",
    "renames.fsync",
    "deed.before",
    "deed.rename",
    "deed.fsync",
    "seal.after",
    "manifest.rename",
    "manifest.fsync",
    "manifest.noted",
];
const POSTGRES: [&str; 5] =
    ["intent.after", "postgres.fenced", "postgres.copied", "postgres.commit", "postgres.committed"];

/// A run that dies at a step together with its machine.
#[track_caller]
fn dies_with_its_machine(site: &Site, step: &str, loss: Loss) {
    let disk = Disk::of(&[site.path("archive"), site.path("state")]);
    let mut command = site.command(&["run"]);
    let ended = ran(disk.under(command.env("YUNXIN_ARCHIVER_DIE_AT", step)));
    assert_eq!(ended.status.code(), None, "{step} is not reached: {ended:?}");
    disk.lose(loss);
}

/// The run after that.
#[track_caller]
fn mends(site: &Site, step: &str, loss: Loss) {
    let mended = site.plain();
    assert_eq!(mended.code(), 0, "{step}, {loss:?}: {mended:?}");
    site.is_whole();
}

/// One site, whose machine loses its power again and again.
fn again_and_again(to: To, steps: &[&str], loss: Loss) {
    let mut site = Site::of(to, 36);
    site.plain().exits(0);
    for step in steps {
        site.night(48);
        dies_with_its_machine(&site, step, loss);
        mends(&site, step, loss);
    }
}

#[test]
fn what_was_not_synced_is_gone_and_the_next_run_completes_in_parquet() {
    for loss in [Loss::All, Loss::Contents] {
        again_and_again(To::Parquet, &[&STEPS[..], &PARQUET].concat(), loss);
    }
}

#[test]
fn what_was_not_synced_is_gone_and_the_next_run_completes_in_postgres() {
    again_and_again(To::Postgres(database()), &[&STEPS[..], &POSTGRES].concat(), Loss::All);
}

/// On the first night there is nothing yet that could be trusted to be durable.
#[test]
fn a_first_run_that_dies_with_its_machine_is_begun_anew() {
    for step in
        ["plan.after", "cut.after", "record.before", "record.after", "rename.after", "deed.fsync", "manifest.fsync"]
    {
        for loss in [Loss::All, Loss::Contents] {
            let site = Site::of(To::Parquet, 36);
            for directory in ["archive", "state"] {
                std::fs::create_dir(site.path(directory)).unwrap();
            }
            dies_with_its_machine(&site, step, loss);
            mends(&site, step, loss);
        }
    }
}

/// The simulation itself: a run whose every sync is a lie would be caught.
#[test]
fn a_disk_keeps_what_was_synced_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("old"), "before").unwrap();
    let script = "echo later >old; echo a >synced; sync -d synced; echo more >>synced; echo b >unsynced; rm -f gone; \
                  mkdir new; echo c >new/inner; sync .; echo d >late; mv old moved";
    for (loss, expected) in [
        (Loss::All, "new,old=before,synced=a,unsynced="),
        (Loss::Contents, "late=,moved=before,new/inner=,new,synced=a,unsynced="),
    ] {
        let disk = Disk::of(std::slice::from_ref(&root));
        let mut command = std::process::Command::new("sh");
        let ended = ran(disk.under(command.args(["-c", script]).current_dir(&root)));
        assert!(ended.status.success(), "{ended:?}");
        disk.lose(loss);
        let listed = "find . -mindepth 1 | LC_ALL=C sort | while read -r name; do if [ -d \"$name\" ]; then printf '%s,' \
                      \"${name#./}\"; else printf '%s=%s,' \"${name#./}\" \"$(cat \"$name\")\"; fi; done";
        let found = ran(std::process::Command::new("sh").args(["-c", listed]).current_dir(&root)).stdout;
        let sorted = |text: &str| {
            let mut all: Vec<String> = text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
            all.sort();
            all
        };
        assert_eq!(sorted(&found), sorted(expected), "{loss:?}");
        std::fs::remove_dir_all(&root).unwrap();
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("old"), "before").unwrap();
    }
}
