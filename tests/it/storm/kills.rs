//! kill -9 at random moments, night after night, on a network that fails as well.
//!
//! `YUNXIN_ARCHIVER_STORM=300` makes the storm last so many seconds and prints its figures (`--nocapture`).

use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use yunxin_archiver::simulator::Rule;

use crate::support::bucket::bucket;
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::host::{Disk, Loss};
use crate::support::storm::{Site, To, database};

/// How a storm goes on.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// So many kills.
    Kills(u32),
    /// So long.
    Time(Duration),
}

impl Until {
    fn over(self, figures: &Figures, begun: Instant) -> bool {
        match self {
            Self::Kills(kills) => figures.kills >= kills,
            Self::Time(time) => begun.elapsed() >= time,
        }
    }
}

#[derive(Debug, Default)]
struct Figures {
    nights: u32,
    runs: u32,
    kills: u32,
    power_losses: u32,
    requests: u64,
    faults: u64,
    references: u64,
    extras: u64,
    commits: u64,
}

fn until(kills: u32) -> Until {
    match std::env::var("YUNXIN_ARCHIVER_STORM").ok().and_then(|text| text.parse().ok()) {
        Some(seconds) => Until::Time(Duration::from_secs(seconds)),
        None => Until::Kills(kills),
    }
}

/// Nights of new references and of runs that are killed, until the last run of each is let finish. Every night is
/// looked at: [`Site::is_whole`] panics at the first message lost or written twice.
fn storm(to: To, seed: u64, until: Until) {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut site = Site::new(to);
    site.fetch = "batch_size: 20, attempts: 100, threads: complete".to_owned();
    site.threads = true;
    site.sink = ", commit_interval: 50ms".to_owned();
    site.api.faults(|faults| {
        faults.latency_ms = 2;
        faults.jitter_ms = 20;
        for fault in ["503", "http 502", "reset", "truncate", "garbage"] {
            faults.rules.push(Rule::chance(fault.parse().unwrap(), 0.02));
        }
    });
    let begun = Instant::now();
    let mut figures = Figures::default();
    // How long a run takes when nobody kills it, as far as is known.
    let mut whole = Duration::from_millis(1_500);
    while !until.over(&figures, begun) {
        site.night(chance.random_range(50..400));
        figures.nights += 1;
        for _ in 0..chance.random_range(2..8) {
            // Every third death is that of the machine.
            let disk = chance.random_bool(0.33).then(|| Disk::of(&[site.path("archive"), site.path("state")]));
            let mut command = site.command(&["run"]);
            let command = disk.iter().fold(&mut command, |command, disk| disk.under(command));
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            figures.runs += 1;
            let moment = whole.mul_f64(chance.random_range(0.02..1.0));
            let deadline = Instant::now() + moment;
            while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                figures.kills += 1;
                figures.power_losses += u32::from(disk.is_some());
            }
            child.wait().unwrap();
            if let Some(disk) = disk {
                disk.lose(if chance.random_bool(0.5) { Loss::All } else { Loss::Contents });
            }
        }
        let started = Instant::now();
        let ran = site.plain().exits(0);
        whole = (whole + started.elapsed()) / 2;
        figures.runs += 1;
        assert_eq!(ran.summary()["references"]["pending"], 0);
        site.is_whole();
    }
    let stats = site.api.stats();
    figures.requests = stats.requests;
    figures.faults = stats.faults.values().sum();
    figures.references = site.found().len() as u64;
    figures.extras = site.extras().len() as u64;
    figures.commits = site.commits();
    assert!(figures.kills > 0, "{figures:?}");
    println!("storm, seed {seed}, {:.0} s, none lost, none twice: {figures:?}", begun.elapsed().as_secs_f64());
}

#[test]
fn runs_that_are_killed_at_any_moment_lose_nothing_in_parquet() {
    storm(To::Parquet, 20_261_122, until(20));
}

#[test]
fn runs_that_are_killed_at_any_moment_lose_nothing_in_postgres() {
    storm(To::Postgres(database()), 20_261_123, until(20));
}

#[test]
fn runs_that_are_killed_at_any_moment_lose_nothing_in_a_bucket() {
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    let faults = [Fault::Refused(503, "SlowDown"), Fault::Done(500, "InternalError"), Fault::Cut, Fault::DoneAndCut];
    store.fails(move |asked| {
        asked.number.is_multiple_of(40).then(|| faults[(asked.number / 40) as usize % faults.len()])
    });
    storm(To::Bucket(bucket.by(store.address())), 20_261_124, until(10));
    assert!(store.faults() > 0);
}
