//! A fleet of which anything dies at any moment, night after night.
//!
//! `YUNXIN_ARCHIVER_FLEET_STORM=300` makes the storm last so many kills and prints its figures (`--nocapture`).

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use yunxin_archiver::simulator::{Rule, Settings};

use super::{Nats, Workers};
use crate::support::bucket::bucket;
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::relay::Relay;
use crate::support::storm::{Site, To};

#[derive(Debug, Default)]
struct Figures {
    nights: u32,
    workers_killed: u32,
    coordinators_killed: u32,
    nats_killed: u32,
    nats_wiped: u32,
    stalls: u32,
    cuts: u32,
    runs_that_gave_up: u32,
    /// Runs that removed what workers had left after the run before.
    leftovers: u32,
    requests: u64,
    store_faults: u64,
    references: u64,
    commits: u64,
}

impl Figures {
    fn kills(&self) -> u32 {
        self.workers_killed + self.coordinators_killed + self.nats_killed + self.nats_wiped
    }
}

/// Everything that a storm strikes.
struct Fleet {
    site: Site,
    nats: Nats,
    /// Before NATS: of the workers, and of the coordinator.
    relays: [Relay; 2],
}

impl Fleet {
    fn worker(&self) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.site.path("workers.log")).unwrap();
        let url = format!("nats://{}", self.relays[0].address());
        self.site.command(&["worker", "-v"]).env("NATS_URL", url).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn coordinator(&self) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.site.path("run.log")).unwrap();
        let url = format!("nats://{}", self.relays[1].address());
        let mut run = self.site.command(&["run", "--fleet", "-v"]);
        run.env("NATS_URL", url).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }
}

/// Nights during which something dies every now and then. A run that dies or gives up is started again, until one ends
/// well. [`Site::is_whole`] panics at the first message that is lost or written twice.
fn storm(seed: u64, kills: u32) {
    let mut chance = StdRng::seed_from_u64(seed);
    let (nats, bucket) = (Nats::start(), bucket());
    let store = FaultyStore::before(&bucket.endpoint());
    let failing = Arc::new(AtomicU64::new(0));
    let left = Arc::clone(&failing);
    let faults = [Fault::Refused(503, "SlowDown"), Fault::Done(500, "InternalError"), Fault::Cut, Fault::DoneAndCut];
    store.fails(move |asked| {
        let is_due = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        is_due.then(|| faults[asked.number as usize % faults.len()])
    });
    let settings = Settings { rate_limit: 0, batch_limit: 12, ..Settings::default() };
    let mut site = Site::with(To::Bucket(bucket.by(store.address())), settings);
    site.app = "rate_limit: 60\nfleet: { nats: env:NATS_URL, redeliver_after: 2s }".to_owned();
    site.fetch = "batch_size: 20, attempts: 100, threads: complete".to_owned();
    site.threads = true;
    site.sink = ", commit_interval: 300ms".to_owned();
    site.api.faults(|faults| {
        faults.latency_ms = 20;
        faults.jitter_ms = 200;
        for fault in ["503", "http 502", "reset", "truncate", "garbage"] {
            faults.rules.push(Rule::chance(fault.parse().unwrap(), 0.02));
        }
    });
    let relays = [Relay::to(&nats.address()), Relay::to(&nats.address())];
    let mut fleet = Fleet { site, nats, relays };
    let mut workers = Workers((0..3).map(|_| fleet.worker()).collect());
    let (begun, mut figures) = (Instant::now(), Figures::default());
    while figures.kills() < kills {
        fleet.site.night(chance.random_range(600..1_500));
        figures.nights += 1;
        let mut run = fleet.coordinator();
        loop {
            std::thread::sleep(Duration::from_millis(chance.random_range(50..1_200)));
            match run.try_wait().unwrap().map(|status| status.code()) {
                Some(Some(0)) => break,
                Some(None | Some(1)) => {
                    figures.runs_that_gave_up += 1;
                    run = fleet.coordinator();
                }
                Some(Some(code)) => {
                    let said = std::fs::read_to_string(fleet.site.path("run.log")).unwrap();
                    panic!("exit code {code}: {said}");
                }
                None => {}
            }
            let worker = chance.random_range(0..3);
            match chance.random_range(0..100) {
                0..45 => {
                    workers.kill(worker);
                    workers.0[worker] = fleet.worker();
                    figures.workers_killed += 1;
                }
                45..49 => {
                    run.kill().unwrap();
                    run.wait().unwrap();
                    run = fleet.coordinator();
                    figures.coordinators_killed += 1;
                }
                49..59 => {
                    fleet.nats.restart();
                    figures.nats_killed += 1;
                }
                59..65 => {
                    fleet.nats.wipe();
                    figures.nats_wiped += 1;
                }
                65..74 => {
                    workers.signal(worker, Signal::STOP);
                    std::thread::sleep(Duration::from_millis(chance.random_range(500..4_000)));
                    workers.signal(worker, Signal::CONT);
                    figures.stalls += 1;
                }
                74..83 => {
                    let relay = &fleet.relays[chance.random_range(0..2)];
                    relay.cut(true);
                    std::thread::sleep(Duration::from_millis(chance.random_range(500..4_000)));
                    relay.cut(false);
                    figures.cuts += 1;
                }
                83..93 => failing.store(chance.random_range(1..8), Ordering::SeqCst),
                _ => {}
            }
        }
        // A worker that was slow to hear of the end may have staged something since. The next run removes it.
        let leftovers =
            || ["_tmp/", "_fleet/"].iter().any(|below| !bucket.storage().list(below, false).unwrap().is_empty());
        for _ in 0..5 {
            failing.store(0, Ordering::SeqCst);
            if !leftovers() {
                break;
            }
            figures.leftovers += 1;
            assert!(fleet.coordinator().wait().unwrap().success());
        }
        fleet.site.is_whole();
    }
    // Nobody is left who could leave anything, and the next run removes what is left.
    for worker in 0..3 {
        workers.stops(worker);
    }
    failing.store(0, Ordering::SeqCst);
    assert!(fleet.coordinator().wait().unwrap().success());
    fleet.site.is_whole();
    assert_eq!(bucket.uploads_with_parts(), 0);
    figures.requests = fleet.site.api.stats().requests;
    figures.store_faults = store.faults();
    figures.references = fleet.site.found().len() as u64;
    figures.commits = fleet.site.commits();
    println!(
        "storm, seed {seed}, {:.0} s, {} kills, none lost, none twice, {} uploads without parts: {figures:?}",
        begun.elapsed().as_secs_f64(),
        figures.kills(),
        bucket.uploads()
    );
}

#[test]
fn a_fleet_of_which_anything_is_killed_at_any_moment_loses_nothing() {
    let kills = std::env::var("YUNXIN_ARCHIVER_FLEET_STORM").ok().and_then(|text| text.parse().ok());
    storm(20_261_129, kills.unwrap_or(12));
}
