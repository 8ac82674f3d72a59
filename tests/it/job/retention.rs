//! References that leave the vendor's retention: said before it is too late, asked for first, and never lost with exit 0.

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _};
use yunxin_archiver::simulator::{APP_SECRET, Settings, World};

use crate::support::site::{Ended, NIGHTLY, Ref, Site, csv, id};

const MINUTE: i64 = 60_000;
const WEEK: i64 = 7 * 24 * 60 * MINUTE;

/// A reference of a conversation of its own to a message that leaves a retention of a week so many milliseconds from now.
fn leaving(name: &str, n: i64, from_now: i64) -> Ref {
    (format!("{name}{n:04}|1|other"), id(n), Timestamp::now().as_millisecond() - WEEK + from_now)
}

/// A site with this quota whose app keeps messages for a week, as its API does, or for ever.
fn site(quota: u32, keeps: bool, refs: &[Ref]) -> Site {
    let site = Site::new(World::any());
    site.api.world(|world| world.retention_ms = if keeps { WEEK as u64 } else { 0 });
    // One request after the other, so that they arrive in the order in which they are sent.
    site.jobs(&NIGHTLY.replace(" sink:", " tolerate: [107404], fetch: { concurrency: 1 }, sink:"));
    let jobs = site.read("jobs.yaml").replace("rate_limit: 2000", &format!("rate_limit: {quota}, retention: 7d"));
    site.write("jobs.yaml", jobs);
    site.write("refs.csv", csv(refs));
    site
}

/// Plans everything, and fetches nothing.
fn leave_pending(site: &Site) {
    site.write_secret("secret", "not-the-secret");
    site.night().exits(4);
    site.write_secret("secret", APP_SECRET);
    site.api.reset_stats();
}

/// Runs the job with these options until the API was asked so often.
fn stopped_after(site: &Site, requests: u64, options: &[&str]) -> Ended {
    let running = site.start(&[&["run", "--json"], options].concat());
    site.wait_for_requests(requests);
    running.signal(Signal::TERM);
    running.end().exits(5)
}

/// In whose name the API was asked, in order.
fn asked(site: &Site) -> Vec<String> {
    site.api
        .stats()
        .log
        .into_iter()
        .map(|(conversation, _)| conversation.split('|').next().unwrap().to_owned())
        .collect()
}

fn row(site: &Site, command: &str) -> Value {
    site.run(&[command, "--json"]).exits(0).summary["jobs"][0].clone()
}

#[test]
fn if_there_is_not_time_for_all_what_leaves_first_is_asked_first() {
    // 1,500 seconds of requests, in the order of their conversations.
    let mut refs: Vec<Ref> = (0..3_000).map(|n| leaving("a", n, 600 * MINUTE)).collect();
    refs.extend([leaving("y", 3_000, 10 * MINUTE), leaving("z", 3_001, 9 * MINUTE), leaving("b", 3_002, -MINUTE)]);
    let site = site(2, true, &refs);
    leave_pending(&site);
    let outlook = row(&site, "status")["retention"].clone();
    assert_eq!(
        (&outlook["retention_seconds"], &outlook["gone"], &outlook["expiring"]),
        (&json!(604_800), &json!(1), &json!(0))
    );
    assert!(outlook["oldest_pending_seconds"].as_i64() < Some(0), "{outlook}");
    let ended = stopped_after(&site, 3, &[]);
    assert_eq!(asked(&site)[..3], ["z3001", "y3000", "a0000"]);
    assert!(ended.stderr.contains("what leaves the retention first is asked for first"), "{}", ended.stderr);
    // Everything else is there as well, and what is gone was asked for.
    let text = site.read("jobs.yaml").replace("rate_limit: 2,", "rate_limit: 100000,");
    site.write("jobs.yaml", text);
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("pending"), ended.refs("failed")), (0, 1));
    assert_eq!(site.ids("archive").len(), 3_002);
}

#[test]
fn if_there_is_time_for_all_the_order_is_the_planned_one_unless_the_deadline_cuts_it_off() {
    let refs: Vec<Ref> = (0..300).map(|n| leaving("a", n, (900 - n) * MINUTE)).collect();
    // 150 seconds of requests.
    let site = site(2, true, &refs);
    leave_pending(&site);
    stopped_after(&site, 3, &[]);
    let first = asked(&site);
    assert!(first[0] == "a0000" && first.iter().all(|asked| asked.as_str() < "a0100"), "{first:?}");
    site.api.reset_stats();
    let ended = stopped_after(&site, 3, &["--deadline", "100s"]);
    let first = asked(&site);
    assert!(first[0] == "a0299" && first.iter().all(|asked| asked.as_str() > "a0200"), "{first:?}");
    assert_eq!(ended.job()["looks_wrong"], json!([]), "the next run has time for the rest");
}

#[test]
fn batches_that_are_split_while_what_leaves_first_goes_first_are_all_asked_for() {
    let api = Settings { batch_limit: 1, ..Site::settings() };
    let site = Site::with(api, World::any());
    let refs: Vec<Ref> = (0..300)
        .map(|n| {
            let (_, id, time) = leaving("a", n, 1_000 + n);
            (format!("a{}|1|other", n % 150), id, time)
        })
        .collect();
    site.write("refs.csv", csv(&refs));
    let jobs = site.read("jobs.yaml").replace("rate_limit: 2000", "rate_limit: 100, retention: 7d");
    site.write("jobs.yaml", jobs);
    leave_pending(&site);
    let ended = site.night().exits(0);
    assert!(ended.refs("archived") == 300 && ended.requests("split") > 100, "{}", ended.job());
    assert_eq!(site.ids("archive").len(), 300);
}

#[test]
fn what_no_order_can_save_is_said_by_plan_status_and_a_run_that_is_stopped() {
    // 1,500 seconds of requests for what leaves in 1,000.
    let refs: Vec<Ref> = (0..3_000).map(|n| leaving("a", n, 1_000_000)).collect();
    let site = site(2, true, &refs);
    let planned = row(&site, "plan")["retention"].clone();
    let some = |outlook: &Value| (1..3_000).contains(&outlook["expiring"].as_i64().unwrap());
    assert!(some(&planned) && planned["gone"] == 0, "{planned}");
    let text = site.run(&["plan"]).exits(0).stdout;
    assert!(text.contains("nightly: retention 7 d 0 h: the oldest reference leaves it in 1"), "{text}");
    assert!(text.contains("will be gone before the job gets to them at the quota"), "{text}");
    leave_pending(&site);
    let ended = stopped_after(&site, 2, &["--metrics", "metrics.prom"]);
    let metrics = site.read("metrics.prom");
    let metric = |name: &str| {
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(&format!("yunxin_archiver_{name}{{job=\"nightly\"}} ")));
        line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse::<f64>().unwrap()
    };
    assert!(metric("expiring_references") >= 1.0 && metric("oldest_pending_retention_seconds") < 1_000.0, "{metrics}");
    let job = ended.job();
    assert!(some(&job["retention"]) && job["retention"]["oldest_pending_seconds"].as_i64() > Some(0), "{job}");
    assert_eq!((&job["retention"]["old_when_read"], &job["retention"]["lost"]), (&json!(0), &json!(0)));
    let found = job["looks_wrong"][0].as_str().unwrap();
    assert!(found.contains("pending references will leave the vendor's retention"), "{found}");
    assert!(ended.stderr.contains(found), "{}", ended.stderr);
    assert!(some(&row(&site, "status")["retention"]));
    let text = site.run(&["status"]).exits(0).stdout;
    assert!(text.contains("retention 7 d 0 h: the oldest reference leaves it in"), "{text}");
}

/// Makes the runs so far this much older.
async fn age_runs(site: &Site, by: i64) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(site.path("state/nightly.sqlite"));
    let mut ledger = options.connect().await.unwrap();
    let sql = "update runs set started_at = started_at - ?1, finished_at = finished_at - ?1, ended_at = ended_at - ?1";
    sqlx::query(sql).bind(by).execute(&mut ledger).await.unwrap();
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn what_left_since_the_last_run_and_is_gone_is_exit_3_whatever_is_tolerated() {
    let refs: Vec<Ref> = (0..3).map(|n| leaving("a", n, -60 * MINUTE)).chain([leaving("b", 9, 600 * MINUTE)]).collect();
    let site = site(2000, true, &[]);
    site.night().exits(0);
    age_runs(&site, 120 * MINUTE).await;
    site.write("refs.csv", csv(&refs));
    let ended = site.night().exits(3);
    let job = ended.job();
    assert_eq!((&job["retention"]["lost"], &job["retention"]["old_when_read"]), (&json!(3), &json!(3)), "{job}");
    let found = job["looks_wrong"][0].as_str().unwrap();
    assert!(found.starts_with("3 references left the vendor's retention after the last run"), "{found}");
    // It is said once.
    assert_eq!(site.night().exits(0).job()["retention"]["lost"], 0);
}

#[test]
fn what_had_left_before_the_last_run_is_asked_for_and_said_but_is_no_alarm() {
    let refs: Vec<Ref> = (0..3).map(|n| leaving("a", n, -60 * MINUTE)).chain([leaving("b", 9, 600 * MINUTE)]).collect();
    for (keeps, archived) in [(true, 1), (false, 4)] {
        let site = site(2000, keeps, &refs);
        let ended = site.night().exits(0);
        assert_eq!(ended.refs("archived"), archived, "the vendor may keep longer");
        let retention = &ended.job()["retention"];
        assert_eq!(
            (&retention["old_when_read"], &retention["lost"], &retention["oldest_pending_seconds"]),
            (&json!(3), &json!(0), &Value::Null)
        );
        assert!(ended.stderr.contains("had left the vendor's retention when they were read"), "{}", ended.stderr);
    }
}

#[test]
fn without_a_retention_nothing_is_watched() {
    let site = Site::nightly(crate::support::site::dialogues(2, 2));
    assert_eq!(row(&site, "plan")["retention"], Value::Null);
    assert_eq!(site.night().exits(0).job()["retention"], Value::Null);
    assert_eq!(row(&site, "status")["retention"], Value::Null);
}
