//! A job with a past: a ledger with a night for every day until today, as runs would have left it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use uuid::{Builder, Uuid};
use yunxin_archiver::ledger::{Commit, FailedRef, FailureFilter, FinishedBatch, Identity, Ledger, Planned, RunNote};
use yunxin_archiver::model::failure::{Class, Reason};
use yunxin_archiver::model::reference::ConversationId;
use yunxin_archiver::model::summary::{
    Bytes, JobSummary, Outcome, Rates, References, Refetched, Requests, ThreadExtras,
};
use yunxin_archiver::plan::{Batch, BatchRef, Purpose};

use super::ledger::open_ledger;

/// References of one batch.
const BATCH: i64 = 100;

/// A job `nightly` with a past, and a configuration that names it.
pub(crate) struct Past {
    directory: TempDir,
    pub(crate) ledger: Ledger,
    next: i64,
    commits: u64,
    /// Batches that earlier nights left.
    left: Vec<(i64, Batch)>,
}

/// How a night ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Night {
    Complete,
    WithFailures,
    LooksWrong,
    Stopped,
    Failed,
    Died,
    /// There is none.
    Missing,
}

impl Night {
    /// The ending of the night so many days after the first one: most are complete, and every ending occurs.
    pub(crate) fn of(day: u32) -> Self {
        match day {
            day if day % 97 == 40 => Self::Missing,
            day if day % 61 == 20 => Self::Failed,
            day if day % 131 == 77 => Self::Died,
            day if day % 89 == 33 => Self::LooksWrong,
            day if day % 17 == 5 => Self::WithFailures,
            day if day % 37 == 11 => Self::Stopped,
            _ => Self::Complete,
        }
    }
}

impl Past {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let job = |name| {
            format!(
                "{name}: {{ app: main, source: {{ csv: {{ path: refs.csv }} }}, sink: {{ parquet: {{ path: {name} }} }} }}"
            )
        };
        let config = format!(
            "version: 1\napps:\n  main: {{ app_key: key, app_secret: env:APP_SECRET }}\njobs:\n  {}\n  {}\n",
            job("nightly"),
            job("weekly")
        );
        std::fs::write(directory.path().join("jobs.yaml"), config).unwrap();
        let ledger = open_ledger(&directory.path().join("state/nightly.sqlite"), &Self::identity()).await.unwrap();
        Self { directory, ledger, next: 700_100_200_300_000_000, commits: 0, left: Vec::new() }
    }

    fn identity() -> Identity {
        Identity {
            job: "nightly".to_owned(),
            app_key: "45c6af3c98409b18a84451215d0bdd6e".to_owned(),
            sink: "/srv/archive/nightly".to_owned(),
            partitioning: "date".to_owned(),
        }
    }

    /// One with so many nights, the last of them today.
    pub(crate) async fn of(nights: u32) -> Self {
        let mut past = Self::new().await;
        for day in 0..nights {
            let at = Timestamp::now() - SignedDuration::from_hours(24) * (nights - 1 - day) as i32;
            let ending = if day + 1 == nights { Night::Complete } else { Night::of(day) };
            past.night(day, at, ending).await;
            if ending == Night::Stopped {
                past.night(day, at + SignedDuration::from_secs(1), Night::Complete).await;
            }
        }
        past
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A night that began at this time.
    pub(crate) async fn night(&mut self, day: u32, at: Timestamp, ending: Night) -> Option<Uuid> {
        if ending == Night::Missing {
            return None;
        }
        let random = u128::from(day) << 32 | u128::from(self.commits);
        let random = (random.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes();
        let run = Builder::from_unix_timestamp_millis(at.as_millisecond() as u64, &random[..10].try_into().unwrap())
            .into_uuid();
        self.ledger.begin_run(run, "run", at).await.unwrap();
        let mut open = std::mem::take(&mut self.left);
        let resumed = open.len() as u64 * BATCH as u64;
        self.ledger.note_run(run, &RunNote::default(), resumed, 0).await.unwrap();
        let weekend = day % 7 >= 5;
        let batches = if weekend { 2 } else { 4 + i64::from(day % 5) };
        let batches: Vec<Batch> = (0..batches).map(|number| self.batch(number, at)).collect();
        let ids: Vec<i64> = batches.iter().flat_map(|batch| &batch.refs).map(|found| found.message_server_id).collect();
        let read = References { read: ids.len() as u64, accepted: ids.len() as u64, ..References::default() };
        let planned = Planned { batches: &batches, new_ids: &ids, read: Some(&read), ..Planned::default() };
        let first = self.ledger.plan(run, at, &planned).await.unwrap().first_seq;
        open.extend((first..).zip(batches));
        let asked = match ending {
            Night::Failed => 0,
            Night::Died | Night::Stopped => open.len() / 2,
            _ => open.len(),
        };
        self.left = open.split_off(asked);
        let failed = match ending {
            Night::WithFailures => 2 + i64::from(day % 9),
            Night::LooksWrong => BATCH,
            _ => 0,
        };
        let lost = |index| if index == 0 { failed } else { 0 };
        let finished: Vec<FinishedBatch> =
            open.iter().enumerate().map(|(index, (seq, batch))| finish(*seq, batch, lost(index))).collect();
        let archived = finished.iter().map(|batch| batch.archived.len() as u64).sum();
        if !finished.is_empty() {
            self.commits += 1;
            let files = Vec::new();
            let commit = Commit {
                seq: self.commits,
                run_id: run,
                now: at,
                finished,
                files,
                rows: archived,
                bytes: archived * 90,
            };
            self.ledger.record(&commit).await.unwrap();
            self.ledger.published(self.commits).await.unwrap();
        }
        if ending == Night::Died {
            return Some(run);
        }
        let pending = self.left.len() as u64 * BATCH as u64;
        let references = References { resumed, archived, failed: failed as u64, pending, ..read };
        self.ledger.end_run(run, at, &references, &ThreadExtras::default()).await.unwrap();
        self.end(run, at, ending, references).await;
        Some(run)
    }

    async fn end(&self, run: Uuid, at: Timestamp, ending: Night, references: References) {
        let (outcome, exit_code, error) = match ending {
            Night::WithFailures => (Outcome::Partial, 3, None),
            Night::LooksWrong => {
                (Outcome::Partial, 3, Some("100 of 100 references do not exist: the times may lack their milliseconds"))
            }
            Night::Stopped => (Outcome::Stopped, 5, Some("the deadline was reached")),
            Night::Failed => {
                (Outcome::Failed, 1, Some("the source cannot be read: connection refused (db.example:5432)"))
            }
            _ => (Outcome::Complete, 0, None),
        };
        let seconds = 20.0 + references.archived as f64 / 9.0;
        let finished_at = at + SignedDuration::from_secs_f64(seconds);
        let sent = references.archived / 80 + 1;
        let failures =
            BTreeMap::from_iter((references.failed > 0).then(|| ("unavailable".to_owned(), references.failed)));
        let summary = JobSummary {
            job: "nightly".to_owned(),
            run_id: Some(run.to_string()),
            outcome,
            exit_code,
            error: error.map(str::to_owned),
            looks_wrong: Vec::new(),
            started_at: at,
            finished_at,
            references,
            thread_extras: ThreadExtras::default(),
            refetched: Refetched::default(),
            failures,
            codes: BTreeMap::new(),
            not_tolerated: BTreeMap::new(),
            requests: Requests { sent, ok: sent, minimum: sent, ..Requests::default() },
            bytes: Bytes { received: references.archived * 700, written: references.archived * 90 },
            files: Vec::new(),
            manifest: None,
            retention: None,
            fleet: None,
            rates: Rates {
                requests_per_second: sent as f64 / seconds,
                messages_per_second: references.archived as f64 / seconds,
                quota_used: (references.archived as f64 / 900.0).min(0.98),
            },
        };
        let summary = serde_json::to_string(&summary).unwrap();
        let ended = self.ledger.finish_run(run, finished_at, outcome.as_str(), exit_code, error, &summary);
        ended.await.unwrap();
    }

    fn batch(&mut self, number: i64, at: Timestamp) -> Batch {
        let conversation = ConversationId::parse(&format!("mei.lin{number}|1|wang{}", self.next % 7)).unwrap();
        let first = self.next;
        self.next += BATCH;
        let created = at.as_millisecond() - 40_000_000;
        let refs = (first..self.next)
            .map(|id| BatchRef { message_server_id: id, create_time: created + (id - first) * 7_001, owner: 0 })
            .collect();
        Batch {
            key: conversation.key(),
            asked: conversation.owner.clone(),
            purpose: Purpose::Reference,
            owners: vec![conversation.owner],
            histories: Vec::new(),
            refs,
        }
    }

    /// Runs the binary in the directory.
    pub(crate) fn go(&self, arguments: &[&str]) -> Output {
        go(self.directory.path(), arguments)
    }

    /// Writes the pages of the job below `pages`, and returns what is said.
    pub(crate) fn pages(&self) -> String {
        let output = self.go(&["report", "nightly", "--all", "-o", "pages"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    }

    /// Dismisses every open failure of a class.
    pub(crate) async fn dismiss(&self, class: Class) {
        let filter = FailureFilter { classes: vec![class], ..FailureFilter::default() };
        self.ledger.dismiss(&filter, Timestamp::now(), "mei", Some("deleted at the vendor")).await.unwrap();
    }
}

fn go(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
    command.current_dir(directory).args(arguments).env("APP_SECRET", "a-secret-of-the-app").output().unwrap()
}

/// A batch of which the first so many fail, each in its way.
fn finish(seq: i64, batch: &Batch, failed: i64) -> FinishedBatch {
    let (lost, got) = batch.refs.split_at(failed as usize);
    let failures = lost
        .iter()
        .map(|found| {
            let (class, code, message, retryable) = match found.message_server_id % 5 {
                0 => (Class::Unanswered, None, "the answer names the message in neither list", true),
                1 => (Class::Refused, Some(403), "no permission to read the conversation", true),
                _ => (Class::Unavailable, Some(107_404), "message is not exist", false),
            };
            FailedRef {
                message_server_id: found.message_server_id,
                create_time: found.create_time,
                conversation_id: format!("{}|1|{}", batch.asked, batch.key.as_str().rsplit('|').next().unwrap()),
                reason: Reason { class, code, message: message.to_owned(), retryable },
                attempts: 1,
            }
        })
        .collect();
    FinishedBatch {
        seq,
        archived: got.iter().map(|found| found.message_server_id).collect(),
        failures,
        ..FinishedBatch::default()
    }
}
