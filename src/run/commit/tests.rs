//! Tests of when a commit is made.

use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use tokio::sync::Notify;
use uuid::Uuid;

use super::*;
use crate::archive::{ArchiveError, Claim, ExistingVersions, Opened, Prepared};
use crate::config::{Config, Job, Sink};
use crate::ledger::{Beginning, Identity, Ledger, Planned, RetryFilter, RunNote};
use crate::model::manifest::{DataFile, Sealed, StagedFile};
use crate::model::message::MessageRows;
use crate::model::reference::ConversationId;
use crate::plan::{Batch, Purpose};
use crate::run::meter::Meter;
use crate::run::owners::NamedOwners;
use crate::run::settings::Settings;
use crate::run::stop::Stop;
use crate::run::timeline::TimelineRecorder;
use crate::run::trace::TraceRecorder;
use crate::yunxin::{App, AppSettings, Client, FetchSettings};

/// An archive that keeps nothing, and never says that a commit is due.
struct Nowhere;

#[async_trait]
impl ArchiveWriter for Nowhere {
    async fn open(&mut self, _: &Claim) -> Result<Opened, ArchiveError> {
        Ok(Opened::default())
    }

    async fn write(&mut self, _: Arc<MessageRows>) -> Result<(), ArchiveError> {
        Ok(())
    }

    async fn write_vanished(&mut self, _: Vec<Vanished>) -> Result<(), ArchiveError> {
        Ok(())
    }

    async fn existing_versions(&mut self, _: i64, _: Vec<DataFile>) -> Result<Box<dyn ExistingVersions>, ArchiveError> {
        Err(ArchiveError::Unusable("it keeps nothing".to_owned()))
    }

    fn is_due(&self) -> bool {
        false
    }

    fn needs_intent(&self) -> bool {
        false
    }

    async fn prepare(&mut self, _: u64) -> Result<Prepared, ArchiveError> {
        Ok(Prepared::default())
    }

    async fn publish(&mut self, _: u64, _: &[StagedFile]) -> Result<(), ArchiveError> {
        Ok(())
    }

    async fn manifest(&mut self, _: u64) -> Result<Option<Sealed>, ArchiveError> {
        Ok(None)
    }

    async fn write_manifest(&mut self, _: &Sealed) -> Result<(), ArchiveError> {
        Ok(())
    }
}

/// A job whose settings but the commit interval do not matter.
fn job(commit_interval: Duration) -> Job {
    let text = "{ version: 1, apps: { a: { app_key: key, app_secret: env:S, region: cn } }, \
                jobs: { nightly: { app: a, source: { csv: { path: refs.csv } }, sink: { parquet: { path: archive } } } } }";
    let mut job = Config::parse(text, "jobs.yaml".as_ref(), ".".as_ref(), |_| None).unwrap().jobs.remove(0);
    let Sink::Parquet(parquet) = &mut job.sink else { unreachable!("it is written above") };
    parquet.commit_interval = commit_interval;
    job
}

async fn run(state: &std::path::Path, commit_interval: Duration) -> Arc<RunContext> {
    let identity = Identity {
        job: "nightly".to_owned(),
        app_key: "key".to_owned(),
        sink: "nowhere".to_owned(),
        partitioning: String::new(),
    };
    let beginning = Beginning::prepare(&state.join("nightly.sqlite"), &identity).await.unwrap();
    let (ledger, _) = beginning.take_place().await.unwrap();
    let app = App::new(AppSettings::new("key", "secret".into(), vec!["http://127.0.0.1:1".parse().unwrap()])).unwrap();
    let settings = Settings {
        job: job(commit_interval),
        command: "run".to_owned(),
        in_flight: 1,
        limit: None,
        refetch: None,
        retry: RetryFilter::Due { retry_for: Duration::ZERO },
        quota: 100,
        retention: None,
        deadline: None,
        note: RunNote::default(),
        signer: None,
        looks_wrong: Vec::new(),
    };
    let run = Arc::new(RunContext {
        run_id: Uuid::now_v7(),
        began: Timestamp::now(),
        ledger: Arc::new(ledger),
        requests: Arc::new(Client::new(app, FetchSettings::default())),
        meter: Meter::default(),
        timeline: TimelineRecorder::new(settings.quota, TimeZone::UTC),
        trace: TraceRecorder::default(),
        named: NamedOwners::default(),
        planned: Notify::new(),
        stop: Stop::default(),
        settings,
    });
    run.ledger.begin_run(run.run_id, "run", run.began).await.unwrap();
    run
}

/// Plans a batch of one message, which was answered.
async fn answered(run: &RunContext, id: i64) -> Finished {
    let conversation = ConversationId::parse("a|1|b").unwrap();
    let batch = Batch {
        key: conversation.key(),
        asked: conversation.owner.clone(),
        purpose: Purpose::Reference,
        owners: vec![conversation.owner],
        histories: Vec::new(),
        refs: vec![BatchRef { message_server_id: id, create_time: id, owner: 0 }],
    };
    let planned = Planned { batches: &[batch], new_ids: &[id], ..Planned::default() };
    let seq = run.ledger.plan(run.run_id, run.began, &planned).await.unwrap().first_seq;
    let batch = FinishedBatch { seq, archived: vec![id], ..FinishedBatch::default() };
    Finished { batch, ..Finished::default() }
}

/// How many commits are made while an answer comes whenever the one before was written, so that nobody waits for the clock.
async fn commits_without_a_pause(commit_interval: Duration) -> u64 {
    let state = tempfile::tempdir().unwrap();
    let run = run(state.path(), commit_interval).await;
    let mut commits = Commits::new(Arc::clone(&run), Box::new(Nowhere), 0);
    for id in 1..=4 {
        commits.put(answered(&run, id).await);
        commits.begin();
        commits.ended().await.unwrap().unwrap();
    }
    let ledger: &Ledger = &run.ledger;
    ledger.last_commit().await.unwrap()
}

#[tokio::test]
async fn the_commit_interval_holds_while_answers_come_without_a_pause() {
    // The first answer of each commit begins its interval, which is over when the next one comes.
    assert_eq!(commits_without_a_pause(Duration::ZERO).await, 2);
    assert_eq!(commits_without_a_pause(Duration::from_hours(1)).await, 0);
}
