//! What the coordinator and the workers of a fleet say to each other. Each message is JSON, compressed by zstd, and names the
//! version of its form.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ledger::{FinishedBatch, PendingBatch};
use crate::model::manifest::StagedFile;
use crate::model::message::ExistingVersion;
use crate::model::timeline::Messages;
use crate::run::RefusedOwner;
use crate::yunxin::{LATENCY_BUCKETS, Stats};

/// The version of the messages. Processes of different versions do not understand each other.
const VERSION: u32 = 1;
/// How hard messages are compressed: hardly, as they are short-lived.
const LEVEL: i32 = 1;
/// The most bytes of a message, decompressed.
const MOST: usize = 256 << 20;

/// A batch that a worker is to ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) run: Uuid,
    pub(super) ledger: Uuid,
    /// What the coordinator takes the job to mean. Workers with another configuration refuse the batch.
    pub(super) digest: String,
    /// Counts how often a result of the batch was refused.
    pub(super) attempt: u32,
    pub(super) pending: PendingBatch,
    /// The number of the batch as it was planned.
    pub(super) origin: i64,
    /// What the archive holds of its messages, where archived messages are asked for again.
    pub(super) existing: Vec<ExistingVersion>,
}

/// What a worker has done: the outcome of every reference of some batches, and the files that hold their messages.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkerResult {
    pub(super) run: Uuid,
    pub(super) worker: String,
    pub(super) batches: Vec<BatchResult>,
    pub(super) files: Vec<StagedFile>,
    /// The new messages in the files.
    pub(super) messages: Messages,
    pub(super) requests: RequestCounts,
    /// Whether its batches came back to the queue from another worker.
    pub(super) came_back: bool,
}

/// What became of a batch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BatchResult {
    pub(super) seq: i64,
    pub(super) attempt: u32,
    pub(super) outcome: BatchOutcome,
    /// The owner, if the API refused it for the whole team.
    pub(super) refused: Option<RefusedOwner>,
    /// Whether the API answered with code 200.
    pub(super) answered: bool,
}

/// What became of the references of a batch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BatchOutcome {
    /// Each is accounted for.
    Finished(FinishedBatch),
    /// They are to be asked in smaller batches.
    Split(FinishedBatch),
    /// The only one was refused as a wrong checksum would be, while nothing had been answered yet.
    Doubtful { pending: PendingBatch, code: i64, message: String },
}

/// Says where a result is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Announcement {
    pub(super) name: String,
}

/// A worker asks for its share of the quota, and says how it goes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShareRequest {
    pub(super) worker: String,
    /// The serial of the last grant that all of its requests go by which may not have arrived; 0 for none.
    pub(super) applied: u64,
    /// Requests a second that it can use.
    pub(super) wants: u32,
    /// For how long the API pauses it, if it was just refused for its rate.
    pub(super) paused: Option<Duration>,
    /// The run that it works for.
    pub(super) run: Option<Uuid>,
    pub(super) requests: RequestCounts,
    /// Why it cannot do its work.
    pub(super) trouble: Option<Trouble>,
}

/// Why a worker cannot do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    /// The API refuses the app.
    Credentials { code: i64, message: String },
    /// Anything that may pass.
    Passing(String),
}

/// The share of a worker, from the moment at which it asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShareGrant {
    pub(super) serial: u64,
    /// Requests in any second.
    pub(super) rate: u32,
    pub(super) life: Duration,
    /// For how long nobody sends anything, because one worker was refused for its rate.
    pub(super) pause: Option<Duration>,
}

/// What all workers of a job are told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Send nothing for so long: one worker was refused for its rate.
    Pause(Duration),
    /// Hand over what was done so far: the run is about to stop.
    HandOver,
    /// Give up what was done for this run: it has ended.
    Ended(Uuid),
}

/// The requests that a worker made for a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RequestCounts {
    pub(super) sent: u64,
    pub(super) ok: u64,
    retried: u64,
    pub(super) throttled: u64,
    bytes: u64,
    in_flight: u32,
    latency: [u64; LATENCY_BUCKETS],
    send_rate: f64,
    allowed_rate: f64,
}

impl From<Stats> for RequestCounts {
    fn from(stats: Stats) -> Self {
        let Stats { sent, ok, retried, throttled, bytes, in_flight, latency, send_rate, allowed_rate, .. } = stats;
        Self { sent, ok, retried, throttled, bytes, in_flight, latency, send_rate, allowed_rate }
    }
}

/// The requests of all workers together. What a worker is doing now counts only if it was heard of lately.
pub(super) fn total<'a>(workers: impl Iterator<Item = (&'a RequestCounts, bool)>) -> Stats {
    let mut all = Stats::default();
    for (counts, is_live) in workers {
        all.sent += counts.sent;
        all.ok += counts.ok;
        all.retried += counts.retried;
        all.throttled += counts.throttled;
        all.bytes += counts.bytes;
        for (sum, count) in all.latency.iter_mut().zip(counts.latency) {
            *sum += count;
        }
        if is_live {
            all.in_flight += counts.in_flight;
            all.send_rate += counts.send_rate;
            all.allowed_rate += counts.allowed_rate;
        }
    }
    all
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is of version {0}, and this program speaks version {VERSION}: run the same program everywhere")]
    Version(u32),
    #[error("it is damaged: {0}")]
    Damaged(String),
}

#[derive(Serialize)]
struct Written<'a, T> {
    version: u32,
    message: &'a T,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
struct Read<T> {
    message: T,
}

/// A message as bytes.
pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let text = serde_json::to_vec(&Written { version: VERSION, message }).expect("messages have text for keys");
    zstd::bulk::compress(&text, LEVEL).expect("memory is enough to compress")
}

/// The message that bytes are.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let damaged = |error: &dyn std::fmt::Display| Unreadable::Damaged(error.to_string());
    let text = zstd::bulk::decompress(bytes, MOST).map_err(|error| damaged(&error))?;
    let Versioned { version } = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    Ok(serde_json::from_slice::<Read<T>>(&text).map_err(|error| damaged(&error))?.message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back_and_one_of_another_version_is_refused() {
        let announced = encode(&Announcement { name: "a".to_owned() });
        assert_eq!(decode::<Announcement>(&announced).unwrap().name, "a");
        assert!(matches!(decode::<Announcement>(&announced[..announced.len() - 1]), Err(Unreadable::Damaged(_))));
        let later = zstd::bulk::compress(br#"{"version":2,"message":{}}"#, LEVEL).unwrap();
        let refused = decode::<Announcement>(&later).unwrap_err();
        assert!(refused.to_string().contains("version 2"), "{refused}");
    }
}
