//! How a run went: what the ledger keeps of it over time, and what the report page draws.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::fleet::{FleetState, Lane};
use crate::model::summary::{Bytes, References, Requests};

/// The timeline of a run as far as it was noted. All counts are of this run alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The version of this document's form: 1.
    pub version: u32,
    /// When it was noted, milliseconds since the run began.
    pub noted_at: u64,
    /// The quota, requests a second.
    pub quota: u32,
    /// References so far; `pending` is 0, as nobody counts it while a run goes on.
    pub references: References,
    /// Requests so far.
    pub requests: Requests,
    /// Bytes so far.
    pub bytes: Bytes,
    /// Samples in order, evenly spaced but for the last.
    pub samples: Samples,
    /// Answers by the time they took: the first bucket holds up to 1 ms, each further one twice as much, the last the
    /// rest.
    pub latency: Vec<u64>,
    /// Archived messages by day and type.
    pub messages: Messages,
    /// The workers, in a run that has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetState>,
    /// The requests of each worker, of the first ones if there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<Lane>,
}

/// Samples, one column a quantity, all of one length. Counts are totals since the run began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Milliseconds since the run began.
    pub at: Vec<u64>,
    /// Requests sent.
    pub sent: Vec<u64>,
    /// Answered with code 200.
    pub ok: Vec<u64>,
    /// Answered that the rate limit was exceeded.
    pub throttled: Vec<u64>,
    /// References whose message the sink has accepted.
    pub fetched: Vec<u64>,
    /// References whose message is committed.
    pub archived: Vec<u64>,
    /// References that failed, as recorded.
    pub failed: Vec<u64>,
    /// Requests under way at that moment.
    pub in_flight: Vec<u64>,
    /// Requests a second that were allowed at that moment, in thousandths.
    pub allowed_milli: Vec<u64>,
}

/// One moment of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Milliseconds since the run began.
    pub at: u64,
    /// Requests sent.
    pub sent: u64,
    /// Answered with code 200.
    pub ok: u64,
    /// Answered that the rate limit was exceeded.
    pub throttled: u64,
    /// References whose message the sink has accepted.
    pub fetched: u64,
    /// References whose message is committed.
    pub archived: u64,
    /// References that failed, as recorded.
    pub failed: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests a second that are allowed, in thousandths.
    pub allowed_milli: u64,
}

impl Samples {
    fn columns(&mut self) -> [&mut Vec<u64>; 9] {
        [
            &mut self.at,
            &mut self.sent,
            &mut self.ok,
            &mut self.throttled,
            &mut self.fetched,
            &mut self.archived,
            &mut self.failed,
            &mut self.in_flight,
            &mut self.allowed_milli,
        ]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Appends one.
    pub fn push(&mut self, sample: Sample) {
        let Sample { at, sent, ok, throttled, fetched, archived, failed, in_flight, allowed_milli } = sample;
        let values = [at, sent, ok, throttled, fetched, archived, failed, in_flight, allowed_milli];
        for (column, value) in self.columns().into_iter().zip(values) {
            column.push(value);
        }
    }

    /// Keeps every other sample, the second first. Counts are totals, so that nothing but detail is lost.
    pub fn halve(&mut self) {
        self.columns().into_iter().for_each(halve);
    }

    /// The sample at this place.
    pub fn get(&self, index: usize) -> Option<Sample> {
        Some(Sample {
            at: *self.at.get(index)?,
            sent: *self.sent.get(index)?,
            ok: *self.ok.get(index)?,
            throttled: *self.throttled.get(index)?,
            fetched: *self.fetched.get(index)?,
            archived: *self.archived.get(index)?,
            failed: *self.failed.get(index)?,
            in_flight: *self.in_flight.get(index)?,
            allowed_milli: *self.allowed_milli.get(index)?,
        })
    }

    /// All samples, in order.
    pub fn iter(&self) -> impl Iterator<Item = Sample> + '_ {
        (0..self.len()).map_while(|index| self.get(index))
    }
}

/// Keeps every other value, the second first.
pub fn halve(values: &mut Vec<u64>) {
    let mut index = 0;
    values.retain(|_| {
        index += 1;
        index % 2 == 0
    });
}

/// Archived messages by day and type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// The zone whose days these are.
    pub timezone: String,
    /// What the numbers of a day count, in their order: the message's type, none for a message without one.
    pub types: Vec<Option<i32>>,
    /// Days with messages, in order.
    pub days: Vec<(Date, Vec<u64>)>,
    /// Messages of days and types beyond what is kept.
    pub elsewhere: u64,
}

impl Messages {
    /// Messages on days and elsewhere.
    pub fn total(&self) -> u64 {
        self.elsewhere + self.days.iter().flat_map(|(_, counts)| counts).sum::<u64>()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn halving_keeps_totals_and_the_last_of_an_even_number() {
        let mut samples = Samples::default();
        for at in 1..=6 {
            samples.push(Sample { at, sent: at * 10, ..Sample::default() });
        }
        samples.halve();
        assert_eq!(samples.at, [2, 4, 6]);
        assert_eq!(samples.get(2).unwrap().sent, 60);
        assert_eq!(samples.iter().count(), samples.len());
        let text = serde_json::to_string(&samples).unwrap();
        assert_eq!(serde_json::from_str::<Samples>(&text).unwrap(), samples);
    }
}
