//! What the service saw.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::fault::Fault;
use super::world::Answer;

/// What the service saw since it started, or since [`reset`](super::Handle::reset_stats).
#[derive(Debug, Clone, Default, Serialize)]
pub struct Stats {
    /// Batch requests that arrived, whatever became of them.
    pub requests: u64,
    /// Batch requests per second since the first.
    pub per_second: Vec<u32>,
    /// The most batch requests of one app within any one second.
    pub busiest_second: u32,
    /// Answers 416 because of the quota: the request that exceeded it, and those inside a block.
    pub throttled: u64,
    /// Of these, requests that came inside a block.
    pub in_block: u64,
    /// Requests answered without a fault.
    pub answered: u64,
    /// Requests that met a fault, by its spelling.
    pub faults: BTreeMap<String, u64>,
    /// Answers with HTTP 200 by the code they said, the quota's 416 included, faults not.
    pub codes: BTreeMap<i64, u64>,
    /// References in well-formed requests.
    pub references: u64,
    /// References that were asked for before in the same request.
    pub repeated_in_request: u64,
    /// The most references of one request.
    pub largest_batch: usize,
    /// Messages in answers.
    pub messages: u64,
    /// References that answers listed as failed.
    pub failed: u64,
    /// Requests whose trace ID was seen before.
    pub repeated_traces: u64,
    /// Requests that do not name the API's current version.
    pub older_version: u64,
    /// Liveness probes.
    pub probes: u64,
    /// Bytes of bodies that answers carried.
    pub bytes: u64,
    /// Batch requests being answered now.
    pub in_flight: usize,
    /// The most batch requests answered at once.
    pub most_in_flight: usize,
    /// Milliseconds from the first batch request to the last.
    pub busy_ms: u64,
    /// Share of the quota that was used from the first batch request to the last; 0 without a quota.
    pub quota_used: f64,
    /// How often each message was asked for; only with `count_asks`.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub asks: HashMap<i64, u32>,
    /// Batch requests in order: conversation as asked, and how many references; only with `count_asks`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<(String, usize)>,
    #[serde(skip)]
    pub(super) first: Option<Instant>,
}

impl Stats {
    /// Counts a batch request that arrived at `now`.
    pub(super) fn arrival(&mut self, now: Instant, limit: u32) {
        self.requests += 1;
        let since = now.duration_since(*self.first.get_or_insert(now));
        let second = since.as_secs() as usize;
        if self.per_second.len() <= second {
            self.per_second.resize(second + 1, 0);
        }
        self.per_second[second] += 1;
        self.busy_ms = since.as_millis() as u64;
        self.quota_used = used(self.requests, limit, since);
    }

    /// Counts the references of a well-formed request.
    pub(super) fn count(&mut self, conversation_id: &str, references: &[(i64, i64)], each: bool) {
        self.references += references.len() as u64;
        self.largest_batch = self.largest_batch.max(references.len());
        let mut ids: Vec<i64> = references.iter().map(|&(id, _)| id).collect();
        ids.sort_unstable();
        self.repeated_in_request += ids.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        if each {
            for id in ids {
                *self.asks.entry(id).or_default() += 1;
            }
            self.log.push((conversation_id.to_owned(), references.len()));
        }
    }

    /// Counts an answer.
    pub(super) fn count_answer(&mut self, answer: &Answer, fault: &Fault) {
        if *fault != Fault::Ok {
            return;
        }
        *self.codes.entry(answer.code).or_default() += 1;
        self.messages += answer.messages;
        self.failed += answer.failed;
        self.bytes += answer.body.len() as u64;
    }
}

/// The share of `limit` a second that `requests` are, over the time from the first to the last.
fn used(requests: u64, limit: u32, span: Duration) -> f64 {
    if limit == 0 || span.is_zero() {
        return 0.0;
    }
    // The last request opens an interval that is not part of the span.
    (requests - 1) as f64 / (f64::from(limit) * span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_keeps_the_limit_uses_all_of_it() {
        let (mut stats, start) = (Stats::default(), Instant::now());
        for n in 0..501 {
            stats.arrival(start + Duration::from_millis(10 * n), 100);
        }
        assert!((stats.quota_used - 1.0).abs() < 1e-9, "{}", stats.quota_used);
        assert_eq!(stats.per_second, [100, 100, 100, 100, 100, 1]);
        assert_eq!(stats.busy_ms, 5_000);
    }
}
