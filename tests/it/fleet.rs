//! A coordinator and its workers, with a real nats-server and an object store between them.

#![allow(clippy::print_stdout, clippy::assigning_clones)]

mod access;
mod deaths;
mod deployment;
mod example;
mod storm;

use std::collections::HashMap;
use std::process::{Child, Stdio};

use futures_util::StreamExt as _;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use yunxin_archiver::simulator::{Fault, Rule, Settings};

use crate::support::bucket::{Bucket, bucket};
use crate::support::nats::{Nats, nats};
use crate::support::storm::{Ran, Site, To, block_on, database, ran};

/// Steps of a worker that hands over, and of the coordinator that takes its result.
pub(crate) const STEPS: [&str; 5] =
    ["worker.answered#5", "worker.staged", "worker.delivered", "worker.announced", "result.taken"];

/// Workers under way. Dropping them kills them.
struct Workers(Vec<Child>);

impl Workers {
    fn start(site: &Site, count: usize) -> Self {
        Self((0..count).map(|_| Self::one(site)).collect())
    }

    fn one(site: &Site) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(site.path("workers.log")).unwrap();
        site.command(&["worker", "-v"]).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn signal(&self, worker: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.0[worker]), signal).unwrap();
    }

    /// Kills one, which reports nothing and gives nothing back.
    fn kill(&mut self, worker: usize) {
        self.0[worker].kill().unwrap();
        self.0[worker].wait().unwrap();
    }

    /// Tells one to stop, and insists that it ends well.
    fn stops(&mut self, worker: usize) {
        self.signal(worker, Signal::TERM);
        assert!(self.0[worker].wait().unwrap().success());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            worker.kill().ok();
            worker.wait().ok();
        }
    }
}

/// A site whose job archives in a bucket, with so many references.
fn site(nats: &Nats, references: i64) -> (Site, Bucket) {
    with(nats, references, Settings { rate_limit: 0, batch_limit: 12, ..Settings::default() })
}

fn with(nats: &Nats, references: i64, settings: Settings) -> (Site, Bucket) {
    let bucket = bucket();
    let mut site = Site::with(To::Bucket(bucket.clone()), settings);
    site.app = format!("rate_limit: 200\n{}", nats.fleet());
    site.night(references);
    (site, bucket)
}

fn run(site: &Site) -> Ran {
    site.run(&["run", "--fleet", "--json", "-v"])
}

fn begin(site: &Site) -> Child {
    let log = std::fs::File::create(site.path("run.log")).unwrap();
    let summary = std::fs::File::create(site.path("summary.json")).unwrap();
    site.command(&["run", "--fleet", "--json", "-v"]).stdout(summary).stderr(log).spawn().unwrap()
}

#[track_caller]
fn ends_well(site: &Site, mut run: Child) {
    let code = run.wait().unwrap().code();
    let said = std::fs::read_to_string(site.path("run.log")).unwrap();
    assert_eq!(code, Some(0), "{said}");
}

/// Insists that everything is archived once, and that nothing is left over in the bucket.
#[track_caller]
fn is_whole(site: &Site, bucket: &Bucket) {
    site.is_whole();
    assert_eq!(bucket.uploads(), 0, "uploads");
    let left: Vec<String> =
        bucket.storage().list("_fleet/", false).unwrap().into_iter().map(|file| file.name).collect();
    assert_eq!(left, Vec::<String>::new(), "deliveries");
}

#[test]
fn three_workers_archive_everything_once_with_splits_follow_ups_waves_and_threads() {
    let (mut site, bucket) = site(nats(), 0);
    site.threads = true;
    site.fetch = "batch_size: 20, threads: complete".to_owned();
    // A busy machine must not make batches come back.
    site.app = site.app.replace("redeliver_after: 6s", "redeliver_after: 1m");
    site.night(360);
    let mut workers = Workers::start(&site, 3);
    let ran = run(&site).exits(0);
    is_whole(&site, &bucket);
    let summary = ran.summary();
    let sent = site.api.stats().requests;
    assert_eq!(summary["requests"]["sent"], sent, "every request of every worker is counted");
    assert!(summary["requests"]["split"].as_u64() > Some(0) && summary["requests"]["other_owner"].as_u64() > Some(0));
    // A further night goes on from there, and archived messages are asked for again.
    site.night(60);
    site.run(&["run", "--fleet", "--refetch", "all", "--json"]).exits(0);
    assert_eq!(bucket.uploads(), 0);
    for worker in 0..3 {
        workers.stops(worker);
    }
    // Without a fleet it is the same job.
    site.run(&["verify", "nightly"]).exits(0);
    let before = site.api.stats().requests;
    site.plain().exits(0);
    assert_eq!(site.api.stats().requests, before);
}

#[test]
fn a_worker_that_is_killed_in_the_middle_loses_nothing_and_another_takes_its_batches() {
    let (site, bucket) = site(nats(), 600);
    site.api.faults(|faults| faults.latency_ms = 100);
    let mut workers = Workers::start(&site, 2);
    let run = begin(&site);
    site.until("requests", |site| site.api.stats().requests > 10);
    workers.kill(0);
    let status = |site: &Site| -> Value {
        let said = site.run(&["status", "--json"]).exits(0).stdout;
        serde_json::from_str::<Value>(&said).unwrap()["jobs"][0]["fleet"].clone()
    };
    site.until("the coordinator knows its workers", |site| {
        let fleet = status(site);
        fleet["workers"].as_array().is_some_and(|workers| workers.len() == 2) && fleet["in_flight"].as_u64() > Some(0)
    });
    site.api.faults(|faults| faults.latency_ms = 0);
    ends_well(&site, run);
    is_whole(&site, &bucket);
    // The summary, `status` and the page tell what each worker did.
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(site.path("summary.json")).unwrap()).unwrap();
    let fleet = &summary["jobs"][0]["fleet"];
    let sum = |what: &str| {
        fleet["workers"].as_array().unwrap().iter().map(|worker| worker[what].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(sum("sent"), summary["jobs"][0]["requests"]["sent"]);
    assert!(fleet["redelivered"].as_u64() > Some(0) && sum("batches") > 0 && fleet["in_flight"] == 0, "{fleet}");
    assert_eq!(status(&site)["redelivered"], fleet["redelivered"]);
    let shown = site.run(&["status"]).exits(0).stdout;
    let name = fleet["workers"][0]["worker"].as_str().unwrap();
    assert!(shown.contains("fleet     0 batches in flight") && shown.contains(name), "{shown}");
    site.run(&["report", "nightly", "-o", "page.html"]).exits(0);
    let page = std::fs::read_to_string(site.path("page.html")).unwrap();
    assert!(page.contains("Requests per second of 2 workers") && page.matches(name).count() > 2);
}

#[test]
fn a_run_without_workers_waits_until_the_shares_of_a_dead_coordinator_have_ended() {
    let (site, _) = strict(600);
    let _workers = Workers::start(&site, 3);
    let mut dead = begin(&site);
    site.until("requests", |site| site.api.stats().requests > 100);
    dead.kill().unwrap();
    dead.wait().unwrap();
    let ran = site.run(&["run", "--json", "-v"]).exits(0);
    assert!(ran.stderr.contains("may use the app's quota"), "{}", ran.stderr);
    let stats = site.api.stats();
    assert!(stats.throttled == 0 && stats.busiest_second <= 100, "{stats:?}");
    site.is_whole();
}

#[test]
fn a_coordinator_that_is_killed_goes_on_when_it_is_started_again() {
    let (site, bucket) = site(nats(), 600);
    site.api.faults(|faults| faults.latency_ms = 50);
    let _workers = Workers::start(&site, 2);
    let mut dead = begin(&site);
    site.until("requests", |site| site.api.stats().requests > 10);
    dead.kill().unwrap();
    dead.wait().unwrap();
    site.api.faults(|faults| faults.latency_ms = 0);
    run(&site).exits(0);
    is_whole(&site, &bucket);
}

#[test]
fn a_coordinator_that_dies_at_any_step_with_a_result_loses_nothing() {
    for step in [STEPS[4], "prepare.after", "record.after", "deed.before", "complete.after", "publish.after"] {
        let (site, bucket) = site(nats(), 120);
        let _workers = Workers::start(&site, 2);
        let mut dead = site.command(&["run", "--fleet"]);
        let dead = ran(dead.env("YUNXIN_ARCHIVER_DIE_AT", step));
        assert_eq!(dead.status.code(), None, "{step} is not reached: {dead:?}");
        run(&site).exits(0);
        is_whole(&site, &bucket);
    }
}

#[test]
fn a_worker_that_dies_at_any_step_of_handing_over_loses_nothing_and_its_batches_count_once() {
    for step in &STEPS[..4] {
        let (site, bucket) = site(nats(), 120);
        let mut dying = site.command(&["worker"]);
        let mut dying = dying.env("YUNXIN_ARCHIVER_DIE_AT", step).stderr(Stdio::null()).spawn().unwrap();
        let run = begin(&site);
        assert_eq!(dying.wait().unwrap().code(), None, "{step}");
        let _workers = Workers::start(&site, 1);
        ends_well(&site, run);
        is_whole(&site, &bucket);
    }
}

#[test]
fn batches_that_nats_loses_are_published_again() {
    let mut nats = Nats::start();
    let (site, bucket) = site(&nats, 600);
    site.api.faults(|faults| faults.latency_ms = 200);
    let _workers = Workers::start(&site, 2);
    let run = begin(&site);
    site.until("requests", |site| site.api.stats().requests > 10);
    nats.wipe();
    site.api.faults(|faults| faults.latency_ms = 0);
    ends_well(&site, run);
    is_whole(&site, &bucket);
}

#[test]
fn a_result_that_is_announced_again_and_again_counts_once() {
    let nats = Nats::start();
    let (site, bucket) = site(&nats, 600);
    let address = nats.address();
    let echo = std::thread::spawn(move || {
        block_on(async {
            let client = async_nats::connect(address).await.unwrap();
            let mut results = client.subscribe("*.nightly.results").await.unwrap();
            let mut heard: HashMap<Vec<u8>, u32> = HashMap::new();
            while let Some(said) = results.next().await {
                if said.payload.is_empty() {
                    break;
                }
                let times = heard.entry(said.payload.to_vec()).or_default();
                *times += 1;
                if *times < 5 {
                    client.publish(said.subject, said.payload).await.unwrap();
                }
            }
            heard.into_values().collect::<Vec<u32>>()
        })
    });
    let _workers = Workers::start(&site, 2);
    site.api.faults(|faults| faults.latency_ms = 50);
    run(&site).exits(0);
    is_whole(&site, &bucket);
    block_on(async {
        let client = async_nats::connect(nats.address()).await.unwrap();
        client.publish("end.nightly.results", "".into()).await.unwrap();
        client.flush().await.unwrap();
    });
    let heard = echo.join().unwrap();
    assert!(!heard.is_empty() && heard.iter().all(|times| *times == 5), "{heard:?}");
}

/// A site whose service allows a hundred requests in any strict second, as is configured, with so many dialogues.
fn strict(dialogues: i64) -> (Site, Bucket) {
    let settings = Settings { rate_limit: 100, block_ms: 10_000, ..Settings::default() };
    let (mut site, bucket) = with(nats(), 0, settings);
    site.app = site.app.replace("rate_limit: 200", "rate_limit: 100");
    site.fetch = "batch_size: 100".to_owned();
    site.add((0..dialogues).map(|n| (format!("a{n}|1|b{n}"), 7_000_000 + n, 1_792_800_000_000 + n)));
    (site, bucket)
}

/// With `YUNXIN_ARCHIVER_STORM` the runs are long.
#[test]
fn three_workers_share_the_quota_and_no_second_has_a_request_too_many() {
    let long = std::env::var_os("YUNXIN_ARCHIVER_STORM").is_some();
    for latency in [5, 50, 500] {
        let (site, bucket) = strict(if long { 6_000 } else { 600 });
        site.api.faults(|faults| faults.latency_ms = latency);
        let _workers = Workers::start(&site, 3);
        run(&site).exits(0);
        let stats = site.api.stats();
        println!("{latency} ms: {:.1}% of the quota, {stats:?}", stats.quota_used * 100.0);
        assert_eq!(stats.throttled, 0, "{latency} ms: {stats:?}");
        assert!(stats.busiest_second <= 100, "{latency} ms: {stats:?}");
        is_whole(&site, &bucket);
    }
}

/// The service allows exactly what is configured, in a strict sliding second. Meanwhile workers come and die, and one stands
/// still for longer than a share lasts.
#[test]
fn no_second_has_more_requests_than_the_quota_while_workers_come_and_die_and_stand_still() {
    let (site, bucket) = strict(3_600);
    site.api.faults(|faults| faults.latency_ms = 20);
    let mut workers = Workers::start(&site, 3);
    let run = begin(&site);
    let requests = |site: &Site| site.api.stats().requests;
    let after = |more: u64| {
        let from = requests(&site);
        site.until("more requests", |site| requests(site) >= from + more);
    };
    after(300);
    // At a hundred a second at most, eleven hundred requests take longer than a share lasts.
    workers.signal(0, Signal::STOP);
    after(1_100);
    workers.signal(0, Signal::CONT);
    after(200);
    workers.kill(1);
    workers.0.push(Workers::one(&site));
    after(500);
    workers.stops(2);
    workers.0.push(Workers::one(&site));
    ends_well(&site, run);
    let stats = site.api.stats();
    println!("{:.1}% of the quota, {} in the busiest second", stats.quota_used * 100.0, stats.busiest_second);
    assert_eq!(stats.throttled, 0, "{stats:?}");
    assert!(stats.busiest_second <= 100, "{stats:?}");
    is_whole(&site, &bucket);
}

#[test]
fn a_refusal_for_the_rate_pauses_all_workers() {
    let (site, bucket) =
        with(nats(), 900, Settings { rate_limit: 0, block_ms: 0, batch_limit: 12, ..Settings::default() });
    site.api.faults(|faults| {
        faults.latency_ms = 50;
        faults.script.extend(std::iter::repeat_n(Fault::Ok, 20));
        faults.script.push_back(Fault::Block);
    });
    let _workers = Workers::start(&site, 3);
    let ran = run(&site).exits(0);
    assert!(ran.summary()["requests"]["throttled"].as_u64() > Some(0), "{}", ran.stdout);
    is_whole(&site, &bucket);
}

#[test]
fn a_run_gives_up_when_nats_is_gone_and_the_next_one_goes_on() {
    let mut nats = Nats::start();
    let (mut site, bucket) = site(&nats, 0);
    site.fetch = "batch_size: 20, give_up_after: 4s".to_owned();
    site.night(600);
    site.api.faults(|faults| faults.latency_ms = 500);
    let _workers = Workers::start(&site, 2);
    let mut dead = begin(&site);
    site.until("requests", |site| site.api.stats().requests > 5);
    nats.kill();
    assert_eq!(dead.wait().unwrap().code(), Some(1));
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(site.path("summary.json")).unwrap()).unwrap();
    assert!(
        summary["jobs"][0]["error"].as_str().unwrap().contains("the fleet cannot be used: nothing has succeeded for"),
        "{summary}"
    );
    site.api.faults(|faults| faults.latency_ms = 0);
    nats.wipe();
    run(&site).exits(0);
    is_whole(&site, &bucket);
}

#[test]
fn a_fleet_needs_a_bucket_and_a_key_of_its_own_in_the_configuration() {
    for to in [To::Parquet, To::Postgres(database())] {
        let mut site = Site::of(to, 12);
        site.app = format!("rate_limit: 200\n{}", nats().fleet());
        site.configure();
        let refused = run(&site).exits(2);
        assert!(refused.error().contains("a fleet archives in a bucket"), "{refused:?}");
        assert!(site.run(&["worker"]).exits(2).stderr.contains("bucket"));
        assert_eq!(site.api.stats().requests, 0);
        site.plain().exits(0);
    }
    let site = Site::of(To::Bucket(bucket()), 12);
    assert!(run(&site).exits(2).error().contains("has no `fleet`"));
}

#[test]
fn check_makes_the_queue_and_a_password_of_nats_is_never_shown() {
    let nats = Nats::with("--user it --pass hunter2-nats");
    let (mut site, _) = site(&nats, 12);
    site.app = "rate_limit: 200\nfleet: { nats: file:nats-url }".to_owned();
    site.configure();
    site.write_secret("nats-url", &format!("nats://it:hunter2-nats@{}", nats.address()));
    let checked = site.run(&["check", "--connect"]).exits(0);
    assert!(
        checked.stdout.contains("fleet: NATS 2.") && checked.stdout.contains("stream yunxin_nightly"),
        "{checked:?}"
    );
    site.write_secret("nats-url", &format!("nats://it:wrong-hunter2@{}", nats.address()));
    for command in [&["check", "--connect"][..], &["run", "--fleet", "--json"]] {
        let refused = site.run(command).exits(4);
        let said = refused.stdout + &refused.stderr;
        assert!(said.contains("NATS refuses the credentials") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_worker_with_other_settings_leaves_the_batches_to_others() {
    let (site, bucket) = site(nats(), 60);
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    std::fs::write(site.path("jobs.yaml"), text.replace("batch_size: 20", "batch_size: 20, threads: complete"))
        .unwrap();
    let _other = Workers::start(&site, 1);
    let log = |site: &Site| std::fs::read_to_string(site.path("workers.log")).unwrap_or_default();
    site.until("the worker is ready", |site| log(site).contains("waiting for batches"));
    std::fs::write(site.path("jobs.yaml"), text).unwrap();
    let run = begin(&site);
    site.until("a warning", |site| log(site).contains("batches are left to others"));
    assert_eq!(site.api.stats().requests, 0);
    let _workers = Workers::start(&site, 1);
    ends_well(&site, run);
    is_whole(&site, &bucket);
}

#[test]
fn credentials_that_the_service_refuses_end_the_run_and_the_worker() {
    let (site, _) = site(nats(), 60);
    site.api.faults(|faults| faults.rules.push(Rule::chance("403".parse().unwrap(), 1.0)));
    let mut workers = Workers::start(&site, 1);
    let refused = run(&site).exits(4);
    assert!(refused.error().contains("403"), "{refused:?}");
    assert_eq!(workers.0[0].wait().unwrap().code(), Some(4));
}

#[test]
fn a_run_that_is_told_to_stop_commits_what_its_workers_have_done() {
    let (mut site, bucket) = site(nats(), 0);
    site.fetch = "batch_size: 12".to_owned();
    site.night(600);
    site.api.faults(|faults| faults.latency_ms = 200);
    let _workers = Workers::start(&site, 2);
    let mut stopped = begin(&site);
    site.until("requests", |site| site.api.stats().requests > 10);
    kill_process(Pid::from_child(&stopped), Signal::TERM).unwrap();
    assert_eq!(stopped.wait().unwrap().code(), Some(5));
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(site.path("summary.json")).unwrap()).unwrap();
    let references = &summary["jobs"][0]["references"];
    assert!(references["archived"].as_u64() > Some(0) && references["pending"].as_u64() > Some(0), "{references}");
    site.api.faults(|faults| faults.latency_ms = 0);
    run(&site).exits(0);
    is_whole(&site, &bucket);
}
