//! Commits that take longer than fetching: the API goes on answering, memory stays bounded, and a stop waits for them.

use std::cell::Cell;

use rustix::process::Signal;
use sqlx::{Connection as _, PgConnection};
use yunxin_archiver::ledger::Ledger;
use yunxin_archiver::simulator::{Message, World};

use crate::support::postgres::{PgUrl, database};
use crate::support::site::{Ended, NIGHTLY, Ref, Running, Site, csv, id, reference, wait_until};

/// A night of many large answers, whose commits wait for somebody who has locked the table.
struct Blocked {
    site: Site,
    database: PgUrl,
    lock: PgConnection,
    running: Running,
    /// How many batches the commit that waits is of, and the one before it.
    begun: u64,
}

const TEXT: usize = 100_000;
const EACH: i64 = 10;

/// `count` batches of about a megabyte each, the first of which is archived before.
async fn blocked(count: i64) -> Blocked {
    let refs: Vec<Ref> = (0..count * EACH).map(|n| reference(&format!("alice|1|b{}", n / EACH), n)).collect();
    let mut world = World::explicit();
    let text = "x".repeat(TEXT);
    world.extend(refs.iter().map(|(conversation, id, time)| Message::text(conversation, *id, *time, &text)));
    let site = Site::new(world);
    let database = database().await;
    site.write_secret("url", &database.url());
    let job = NIGHTLY.replace("parquet: { path: archive }", "postgres: { url: 'file:url', commit_interval: 20ms }");
    site.jobs(&job.replace(" sink", " fetch: { concurrency: 4 }, sink"));
    site.write("refs.csv", csv(&refs[..EACH as usize]));
    site.night().exits(0);
    let mut lock = database.connect().await;
    sqlx::raw_sql("begin; lock table messages in share mode").execute(&mut lock).await.unwrap();
    site.write("refs.csv", csv(&refs));
    let running = site.start(&["run", "--json"]);
    let ledger = Ledger::read(&site.path("state/nightly.sqlite")).await.unwrap().unwrap();
    let commit = loop {
        match ledger.intent().await.unwrap() {
            Some(commit) => break commit,
            None => tokio::task::yield_now().await,
        }
    };
    let begun = 1 + commit.finished.len() as u64;
    Blocked { site, database, lock, running, begun }
}

impl Blocked {
    /// Lets the commit go on.
    async fn release(self) -> (Ended, Site, PgUrl) {
        self.lock.close().await.unwrap();
        (self.running.end(), self.site, self.database)
    }
}

/// Insists that the table holds each of so many messages once.
async fn holds(database: &PgUrl, count: i64) {
    let sql = "select count(*), count(distinct message_server_id), min(message_server_id), max(message_server_id) \
               from messages";
    let found: (i64, i64, i64, i64) = sqlx::query_as(sql).fetch_one(&mut database.connect().await).await.unwrap();
    assert_eq!(found, (count, count, id(0), id(count - 1)));
}

#[tokio::test]
async fn while_a_commit_waits_requests_go_on_and_answers_in_memory_are_bounded() {
    let night = blocked(60).await;
    night.site.wait_for_requests(night.begun + 10);
    let (requests, same) = (Cell::new(0), Cell::new(0));
    wait_until("no more requests come", || {
        let now = night.site.api.stats().requests;
        same.set(if requests.replace(now) == now { same.get() + 1 } else { 0 });
        same.get() == 500
    });
    // Sixteen megabytes of answers, and those that were under way.
    let requests = requests.get() - night.begun;
    assert!(requests < 30, "{requests} requests while a commit waited");
    let (ended, site, database) = night.release().await;
    let ended = ended.exits(0);
    assert_eq!((ended.refs("archived"), ended.refs("pending")), (590, 0));
    holds(&database, 600).await;
    assert_eq!(site.night().exits(0).requests("sent"), 0);
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_during_a_commit_makes_it_and_what_was_answered_since() {
    let mut night = blocked(60).await;
    night.site.wait_for_requests(night.begun + 4);
    night.running.signal(Signal::TERM);
    night.running.wait_for_line("a second signal stops at once");
    let (ended, site, database) = night.release().await;
    let ended = ended.exits(5);
    let (archived, pending) = (ended.refs("archived"), ended.refs("pending"));
    let asked = site.api.stats().requests;
    assert_eq!((archived, archived + pending), ((asked - 1) * EACH as u64, 590), "all that was answered is committed");
    assert!(pending > 0);
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("resumed"), ended.refs("archived")), (pending, pending));
    assert_eq!(site.api.stats().requests, asked + pending / EACH as u64, "nothing is asked for twice");
    holds(&database, 600).await;
}
