//! An adoption that dies is begun again.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;
use yunxin_archiver::archive::parquet::{ParquetArchive, Settings};
use yunxin_archiver::archive::{Archive as _, ArchiveError, ExistingIds, Inventory, RunStamp, Takeover};
use yunxin_archiver::ledger::{Adoption, Ledger};
use yunxin_archiver::run::adopt;
use yunxin_archiver::simulator::APP_KEY;

use super::*;

/// What dies of an archive that is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dies {
    Reading,
    HandingOver,
}

struct Dying(Box<dyn Takeover>, Dies);

fn died() -> ArchiveError {
    ArchiveError::Failed { context: "dying".to_owned(), source: "it was told to".into() }
}

#[async_trait]
impl Takeover for Dying {
    async fn look(&mut self) -> Result<Inventory, ArchiveError> {
        self.0.look().await
    }

    async fn ids(&mut self) -> Result<Option<ExistingIds>, ArchiveError> {
        let ids = self.0.ids().await?;
        if ids.is_none() && self.1 == Dies::Reading { Err(died()) } else { Ok(ids) }
    }

    async fn hand_over(&mut self, commit: u64) -> Result<(), ArchiveError> {
        if self.1 == Dies::HandingOver { Err(died()) } else { self.0.hand_over(commit).await }
    }
}

async fn die(nights: &Nights, place: &Path, dies: Dies) {
    let stamp = RunStamp {
        job: "nightly".to_owned(),
        app_key: APP_KEY.to_owned(),
        run_id: Uuid::now_v7(),
        ledger_id: Uuid::now_v7(),
    };
    let archive = ParquetArchive::new(Settings::new(nights.path("archive")));
    let mut archive = Dying(archive.takeover(stamp.clone()).unwrap(), dies);
    let holding = archive.look().await.unwrap();
    let identity = Ledger::read(place).await.unwrap().unwrap().identity().clone();
    let adoption = Adoption::begin(place, &identity, stamp.ledger_id, None).await.unwrap();
    adopt(&mut archive, holding, adoption, stamp.run_id, Timestamp::now()).await.unwrap_err();
}

#[tokio::test]
async fn an_adoption_that_died_before_the_archive_changed_hands_is_done_again() {
    for dies in [Dies::Reading, Dies::HandingOver] {
        let nights = Nights::new(Place::Parquet);
        nights.fall(0);
        nights.run();
        copy(&nights.path("state"), &nights.path("backup"));
        nights.fall(1);
        nights.run();
        copy(&nights.path("backup"), &nights.path("state"));
        let before = nights.contents().await;
        for _ in 0..2 {
            die(&nights, &nights.ledger(), dies).await;
            assert_eq!(nights.contents().await, before, "{dies:?}");
            assert!(Ledger::read(&nights.ledger()).await.unwrap().is_some(), "there is a ledger at any time");
            nights.refused(&["run"]).await;
        }
        let adopted = taken_over(&nights, 2, 2).await;
        assert_eq!(adopted["former_ledger"]["state"], "read");
        let names: Vec<_> = std::fs::read_dir(nights.path("state")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("adopting")), "{names:?}");
    }
}

#[tokio::test]
async fn an_adoption_killed_at_any_moment_is_done_again() {
    for nights in both(2).await {
        copy(&nights.path("state"), &nights.path("backup"));
        let files = listed(&nights);
        let mut killed = 0;
        for round in 0..6_u64 {
            std::fs::remove_file(nights.ledger()).unwrap();
            let mut child = nights.command(&["adopt", "nightly"]).stdout(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(round * 40));
            child.kill().unwrap();
            killed += usize::from(child.wait().unwrap().signal().is_some());
            nights.holds(0..2).await;
            if !nights.ledger().exists() {
                std::fs::copy(nights.path("backup/nightly.sqlite"), nights.ledger()).unwrap();
            }
        }
        assert!(killed > 0);
        let adopted = nights.adopt();
        assert_eq!(adopted["ids"], 2 * NIGHT);
        assert_eq!(nights.run()["requests"]["sent"], 0);
        nights.holds(0..2).await;
        assert_eq!(listed(&nights)[..files.len()], files[..]);
    }
}
