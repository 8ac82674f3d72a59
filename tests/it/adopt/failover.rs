//! A Postgres that failed over to a standby without the last commits.

use super::*;
use crate::support::postgres::{Cluster, Fsync};

#[tokio::test]
async fn a_server_that_lost_its_last_commits_is_noticed_and_they_are_fetched_again() {
    let mut cluster = Cluster::start(Fsync::Off);
    let nights = Nights::new(Place::Postgres(cluster.database().await));
    nights.fall(0);
    nights.run();
    // What a standby had when it was cut off.
    cluster.crash();
    let standby = cluster.data().with_extension("standby");
    copy(&cluster.data(), &standby);
    assert!(cluster.resume());
    for night in 1..3 {
        nights.fall(night);
        nights.run();
    }
    nights.holds(0..3).await;
    cluster.crash();
    copy(&standby, &cluster.data());
    assert!(cluster.resume());
    nights.holds(0..1).await;

    nights.service.reset_stats();
    nights.fall(3);
    let output = nights.go(&["run", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("lost commits") && said.contains("fetched again"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["jobs"][0]["references"]["resumed"], 2 * NIGHT);
    assert_eq!(nights.service.stats().references, 3 * NIGHT as u64);
    nights.holds(0..4).await;
    assert_eq!(nights.run()["requests"]["sent"], 0);
}

#[tokio::test]
async fn a_ledger_lost_together_with_the_last_commits_is_made_anew_and_they_are_fetched_again() {
    let nights = Nights::new(Place::Postgres(database().await));
    nights.fall(0);
    nights.run();
    keep(&nights).await;
    nights.fall(1);
    nights.run();
    put_back(&nights).await;
    std::fs::remove_file(nights.ledger()).unwrap();
    nights.refused(&["run"]).await;
    let adopted = nights.adopt();
    assert_eq!((&adopted["ids"], &adopted["commit"]), (&NIGHT.into(), &1.into()));
    nights.run();
    nights.holds(0..2).await;
}

#[tokio::test]
async fn what_the_archive_lost_and_the_ledger_remembers_is_pending_after_an_adoption() {
    let nights = Nights::new(Place::Postgres(database().await));
    nights.fall(0);
    nights.run();
    keep(&nights).await;
    nights.fall(1);
    nights.run();
    put_back(&nights).await;
    let adopted = nights.adopt();
    assert_eq!(
        (&adopted["pending"], &adopted["lost"], &adopted["cursor"]),
        (&NIGHT.into(), &NIGHT.into(), &"kept".into())
    );
    nights.run();
    nights.holds(0..2).await;
}
