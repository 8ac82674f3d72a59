//! The quota, as the server counts it.

use yunxin_archiver::simulator::{Fault, Settings};

use crate::support::storm::{Site, To};

/// A site whose server allows so many requests in any second, and so many references of one dialogue each.
fn strict(limit: u32, block_ms: u64, dialogues: i64) -> Site {
    let mut site = Site::with(To::Parquet, Settings { rate_limit: limit, block_ms, ..Settings::default() });
    site.app = "rate_limit: 100".to_owned();
    site.fetch = "batch_size: 100".to_owned();
    site.add((0..dialogues).map(|n| (format!("a{n}|1|b{n}"), 7_000_000 + n, 1_792_800_000_000 + n)));
    site
}

/// The server is exact: it counts arrivals in a strict sliding second, and its limit is what is configured. With
/// `YUNXIN_ARCHIVER_STORM` the runs are long.
#[test]
fn a_strict_sliding_second_never_sees_a_request_too_many() {
    let long = std::env::var_os("YUNXIN_ARCHIVER_STORM").is_some();
    let requests = if long { 3_000 } else { 300 };
    for latency in [5, 50, 500] {
        let site = strict(100, 10_000, requests as i64);
        site.api.faults(|faults| faults.latency_ms = latency);
        let ran = site.plain().exits(0);
        let stats = site.api.stats();
        println!(
            "{latency} ms: {} requests, {} answered 416, at most {} in any second, {:.1}% of the quota between the \
             first and the last; {}",
            stats.requests,
            stats.throttled,
            stats.busiest_second,
            stats.quota_used * 100.0,
            ran.summary()["rates"]
        );
        // A machine that stands still for a while may cost retries, but no 416.
        assert_eq!(stats.throttled, 0, "{latency} ms: {stats:?}");
        assert!(stats.busiest_second <= 100 && stats.requests >= requests, "{latency} ms: {stats:?}");
        site.is_whole();
    }
}

#[test]
fn told_416_only_what_is_in_flight_meets_the_block() {
    let site = strict(100, 10_000, 250);
    site.api.faults(|faults| {
        faults.latency_ms = 50;
        faults.script.extend(std::iter::repeat_n(Fault::Ok, 120));
        faults.script.push_back(Fault::Block);
    });
    let ran = site.plain().exits(0);
    let stats = site.api.stats();
    // In the ten seconds of the block there would have been time for a thousand.
    assert!(stats.in_block <= stats.most_in_flight as u64, "{stats:?}");
    assert_eq!(stats.requests, 250 + 1 + stats.in_block, "{stats:?}");
    assert_eq!(ran.summary()["requests"]["throttled"], 1 + stats.in_block);
    site.is_whole();
}

#[test]
fn a_limit_lower_than_configured_is_found_and_kept_without_an_operator() {
    let site = strict(40, 500, 150);
    let ran = site.plain().exits(0);
    let stats = site.api.stats();
    println!("a server of 40, a job of 100: {} of {} requests answered 416", stats.throttled, stats.requests);
    // What was in flight when the limit was met, and a few tries to find the limit; not every second again. A machine that
    // is too busy to send more than it needs never meets it.
    assert!(stats.throttled <= 12 + stats.most_in_flight as u64, "{stats:?}");
    assert!(stats.throttled > 0 || stats.busiest_second <= 40, "{stats:?}");
    assert_eq!(ran.summary()["references"]["archived"], 150);
    site.is_whole();
}

#[test]
fn told_416_nothing_is_sent_until_the_block_is_over() {
    let mut site = strict(100, 3_000, 40);
    // One request at a time: none is in flight when the answer arrives.
    site.fetch = "batch_size: 100, concurrency: 1".to_owned();
    site.configure();
    site.api.faults(|faults| {
        faults.script.extend(std::iter::repeat_n(Fault::Ok, 10));
        faults.script.push_back(Fault::Block);
    });
    let ran = site.plain().exits(0);
    let stats = site.api.stats();
    assert_eq!((stats.in_block, stats.requests), (0, 41), "{stats:?}");
    assert_eq!(ran.summary()["requests"]["throttled"], 1);
    site.is_whole();
}

#[test]
fn two_lines_of_a_crontab_never_add_up_to_more_than_the_quota() {
    let mut site = strict(100, 10_000, 150);
    let text = std::fs::read_to_string(site.path("jobs.yaml")).unwrap();
    let job = &text[text.find("  nightly:").unwrap()..];
    let other = job.replace("nightly", "hourly").replace("path: archive", "path: archive-of-hourly");
    std::fs::write(site.path("jobs.yaml"), format!("{text}{other}")).unwrap();
    site.api.faults(|faults| faults.latency_ms = 20);
    let mut first = site.command(&["run", "nightly"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    site.until("a request", |site| site.api.stats().requests > 0);
    site.run(&["run", "hourly"]).exits(75);
    site.run(&["run", "hourly", "--wait", "1m"]).exits(0);
    assert!(first.wait().unwrap().success());
    let stats = site.api.stats();
    assert_eq!((stats.throttled, stats.requests), (0, 300), "{stats:?}");
    site.configure();
    site.is_whole();
    site.night(0);
}
