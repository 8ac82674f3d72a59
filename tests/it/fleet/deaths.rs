//! What a fleet depends on dies, answers nothing but errors, or is cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use yunxin_archiver::simulator::Settings;

use super::{Nats, Workers, begin, ends_well, is_whole, nats, site};
use crate::support::bucket::{Bucket, bucket};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::relay::Relay;
use crate::support::storm::{Site, To};

/// A site with slow answers, whose bucket is reached by this address.
fn slow(bucket: &Bucket, address: &str, nats: &Nats) -> Site {
    let settings = Settings { rate_limit: 0, batch_limit: 12, ..Settings::default() };
    let mut site = Site::with(To::Bucket(bucket.by(address)), settings);
    site.app = format!("rate_limit: 200\n{}", nats.fleet());
    site.sink = ", commit_interval: 500ms".to_owned();
    site.night(600);
    site.api.faults(|faults| faults.latency_ms = 300);
    site
}

/// Lets something be so for some seconds in the middle of a run, which is longer than messages to NATS are waited for.
fn in_the_middle(site: &Site, change: impl Fn(bool)) {
    site.until("requests", |site| site.api.stats().requests > 10);
    change(true);
    std::thread::sleep(Duration::from_secs(7));
    change(false);
    site.api.faults(|faults| faults.latency_ms = 0);
}

#[test]
fn nats_that_is_killed_and_comes_back_with_its_store_costs_nothing() {
    let mut nats = Nats::start();
    let (site, bucket) = site(&nats, 600);
    site.api.faults(|faults| faults.latency_ms = 200);
    let _workers = Workers::start(&site, 2);
    let run = begin(&site);
    site.until("requests", |site| site.api.stats().requests > 10);
    nats.restart();
    site.api.faults(|faults| faults.latency_ms = 0);
    ends_well(&site, run);
    is_whole(&site, &bucket);
}

#[test]
fn a_store_that_refuses_everything_for_a_while_is_borne_by_workers_and_coordinator() {
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    store.fails(move |_| down.load(Ordering::SeqCst).then_some(Fault::Refused(503, "SlowDown")));
    let site = slow(&bucket, store.address(), nats());
    let _workers = Workers::start(&site, 2);
    let run = begin(&site);
    in_the_middle(&site, |down| is_down.store(down, Ordering::SeqCst));
    ends_well(&site, run);
    assert!(store.faults() > 0);
    is_whole(&site, &bucket);
}

/// Who is cut off from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    WorkersAndNats,
    CoordinatorAndNats,
    WorkersAndApi,
    Store,
}

#[test]
fn a_network_that_is_cut_and_healed_loses_nothing_and_writes_nothing_twice() {
    use Between::{CoordinatorAndNats, Store, WorkersAndApi, WorkersAndNats};
    for between in [WorkersAndNats, CoordinatorAndNats, WorkersAndApi, Store] {
        let (nats, bucket) = (Nats::start(), bucket());
        let relays =
            [nats.address(), nats.address(), bucket.endpoint().replace("http://", "")].map(|to| Relay::to(&to));
        let [to_workers, to_coordinator, to_store] = &relays;
        let mut site = slow(&bucket, &format!("http://{}", to_store.address()), &nats);
        let to_api = Relay::to(site.api.url().trim_start_matches("http://"));
        site.endpoints = Some(format!("[\"http://{}\"]", to_api.address()));
        site.app = site.app.replace(&format!("\"nats://{}\"", nats.address()), "env:NATS_URL");
        site.configure();
        let url = |relay: &Relay| format!("nats://{}", relay.address());
        let worker = || site.command(&["worker"]).env("NATS_URL", url(to_workers)).spawn().unwrap();
        let _workers = Workers(vec![worker(), worker()]);
        let mut run = site.command(&["run", "--fleet", "--json"]);
        let log = std::fs::File::create(site.path("run.log")).unwrap();
        let run = run.env("NATS_URL", url(to_coordinator)).stderr(log).stdout(std::process::Stdio::null());
        let run = run.spawn().unwrap();
        in_the_middle(&site, |is_cut| match between {
            WorkersAndNats => to_workers.cut(is_cut),
            CoordinatorAndNats => to_coordinator.cut(is_cut),
            WorkersAndApi => to_api.cut(is_cut),
            Store => to_store.cut(is_cut),
        });
        ends_well(&site, run);
        println!("{between:?}: {:?}", site.api.stats().requests);
        is_whole(&site, &bucket);
    }
}
