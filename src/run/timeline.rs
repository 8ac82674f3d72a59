//! Keeps the timeline of a run: samples over time, and what was archived by day and type.
//!
//! However long a run is, at most [`SAMPLES`] samples are kept: when there are so many, every other one is dropped, and
//! the next ones are taken half as often.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::meter::Counts;
use crate::model::fleet::{FleetState, Lane};
use crate::model::message::MessageRows;
use crate::model::timeline::{Messages, Sample, Samples, Timeline, halve};
use crate::yunxin::Stats;

/// The most samples of a run; even.
const SAMPLES: usize = 600;
/// Milliseconds between two samples of a run that has just begun.
const FIRST_SPACING: u64 = 250;
/// The most workers whose requests are kept over time.
const LANES: usize = 32;
/// Days that are kept: those with the most messages.
const DAYS: usize = 400;
/// The most days in memory before those with the fewest messages are given up.
const DAYS_IN_MEMORY: usize = 4 * DAYS;
/// The most message types that are told apart.
const TYPES: usize = 24;

/// Records the timeline of one run.
#[derive(Debug)]
pub(super) struct TimelineRecorder {
    began: Instant,
    quota: u32,
    taken: Mutex<Taken>,
    messages: Mutex<Tally>,
}

/// The samples that were taken.
#[derive(Debug, Clone)]
struct Taken {
    samples: Samples,
    /// Each as long as the samples.
    lanes: Vec<Lane>,
    /// Milliseconds between two.
    spacing: u64,
    /// When the next one is due, in milliseconds since the run began.
    due: u64,
}

impl TimelineRecorder {
    /// Begins now.
    pub(super) fn new(quota: u32, timezone: TimeZone) -> Self {
        Self {
            began: Instant::now(),
            quota,
            taken: Mutex::new(Taken { samples: Samples::default(), lanes: Vec::new(), spacing: FIRST_SPACING, due: 0 }),
            messages: Mutex::new(Tally::new(timezone)),
        }
    }

    /// Time since the run began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes a sample when one is due; called several times a second.
    pub(super) fn tick(&self, counts: &Counts, stats: &Stats, fleet: Option<&FleetState>) {
        let at = self.began.elapsed().as_millis() as u64;
        let Ok(mut taken) = self.taken.lock() else { return };
        if at < taken.due {
            return;
        }
        taken.push(sample(at, counts, stats), fleet);
        if taken.samples.len() >= SAMPLES {
            taken.samples.halve();
            taken.lanes.iter_mut().for_each(|lane| halve(&mut lane.sent));
            taken.spacing *= 2;
        }
        taken.due = at - at % taken.spacing + taken.spacing;
    }

    /// Counts messages that were committed.
    pub(super) fn archived(&self, tally: Tally) {
        if let Ok(mut messages) = self.messages.lock() {
            messages.merge(tally);
        }
    }

    /// A tally that messages are counted in until they are committed.
    pub(super) fn tally(&self) -> Tally {
        let timezone = self.messages.lock().map_or(TimeZone::UTC, |messages| messages.timezone.clone());
        Tally::new(timezone)
    }

    /// The timeline up to now.
    pub(super) fn timeline(&self, counts: &Counts, stats: &Stats, fleet: Option<FleetState>) -> Timeline {
        let at = self.began.elapsed().as_millis() as u64;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        taken.push(sample(at, counts, stats), fleet.as_ref());
        Timeline {
            version: 1,
            noted_at: at,
            quota: self.quota,
            references: counts.references,
            requests: counts.requests(stats),
            bytes: counts.bytes(stats),
            samples: taken.samples,
            latency: stats.latency.to_vec(),
            messages: self.messages.lock().map(|messages| messages.messages()).unwrap_or_default(),
            fleet,
            lanes: taken.lanes,
        }
    }
}

impl Taken {
    fn push(&mut self, sample: Sample, fleet: Option<&FleetState>) {
        for worker in fleet.iter().flat_map(|fleet| &fleet.workers) {
            if self.lanes.len() < LANES && self.lanes.iter().all(|lane| lane.worker != worker.worker) {
                self.lanes.push(Lane { worker: worker.worker.clone(), sent: vec![0; self.samples.len()] });
            }
        }
        for lane in &mut self.lanes {
            let now = fleet.and_then(|fleet| fleet.workers.iter().find(|worker| worker.worker == lane.worker));
            lane.sent.push(now.map_or_else(|| lane.sent.last().copied().unwrap_or_default(), |now| now.sent));
        }
        self.samples.push(sample);
    }
}

fn sample(at: u64, counts: &Counts, stats: &Stats) -> Sample {
    Sample {
        at,
        sent: stats.sent,
        ok: stats.ok,
        throttled: stats.throttled,
        fetched: counts.fetched,
        archived: counts.references.archived,
        failed: counts.references.failed,
        in_flight: u64::from(stats.in_flight),
        allowed_milli: (stats.allowed_rate.clamp(0.0, 1e9) * 1000.0) as u64,
    }
}

/// Counts of messages by day and type.
#[derive(Debug)]
pub(crate) struct Tally {
    timezone: TimeZone,
    types: Vec<Option<i32>>,
    /// Counts of the types, in their order.
    days: BTreeMap<Date, Vec<u64>>,
    /// Messages of other days or types.
    elsewhere: u64,
}

impl Tally {
    pub(crate) fn new(timezone: TimeZone) -> Self {
        Self { timezone, types: Vec::new(), days: BTreeMap::new(), elsewhere: 0 }
    }

    /// Counts these messages.
    pub(crate) fn add(&mut self, rows: &MessageRows) {
        for row in rows.rows() {
            let time = Timestamp::from_millisecond(row.create_time);
            let date = time.ok().map(|time| self.timezone.to_datetime(time).date());
            self.count(date, row.message_type, 1);
        }
    }

    /// Counts messages that were counted elsewhere, by the same days.
    pub(super) fn add_counted(&mut self, messages: Messages) {
        let Messages { types, days, elsewhere, .. } = messages;
        self.merge(Self { timezone: self.timezone.clone(), types, days: days.into_iter().collect(), elsewhere });
    }

    fn merge(&mut self, other: Self) {
        self.elsewhere += other.elsewhere;
        for (date, counts) in other.days {
            for (message_type, n) in other.types.iter().zip(counts).filter(|(_, n)| *n > 0) {
                self.count(Some(date), *message_type, n);
            }
        }
    }

    fn count(&mut self, date: Option<Date>, message_type: Option<i32>, n: u64) {
        let mut kind = self.types.iter().position(|known| *known == message_type);
        if kind.is_none() && self.types.len() < TYPES {
            kind = Some(self.types.len());
            self.types.push(message_type);
        }
        let (Some(date), Some(kind)) = (date, kind) else {
            self.elsewhere += n;
            return;
        };
        if self.days.len() >= DAYS_IN_MEMORY && !self.days.contains_key(&date) {
            self.give_up_small_days();
        }
        let counts = self.days.entry(date).or_default();
        if counts.len() <= kind {
            counts.resize(kind + 1, 0);
        }
        counts[kind] += n;
    }

    /// Keeps only the days with the most messages.
    fn give_up_small_days(&mut self) {
        let mut days: Vec<(Date, Vec<u64>)> = std::mem::take(&mut self.days).into_iter().collect();
        days.sort_by_key(|(_, counts)| Reverse(counts.iter().sum::<u64>()));
        self.elsewhere += days.drain(DAYS.min(days.len())..).map(|(_, counts)| counts.iter().sum::<u64>()).sum::<u64>();
        self.days.extend(days);
    }

    /// The counts, of the days with the most messages.
    pub(crate) fn messages(&self) -> Messages {
        let mut kept =
            Self { timezone: self.timezone.clone(), types: self.types.clone(), days: self.days.clone(), ..*self };
        kept.give_up_small_days();
        let days = kept.days.into_iter().map(|(date, mut counts)| {
            counts.resize(kept.types.len(), 0);
            (date, counts)
        });
        Messages {
            timezone: self.timezone.iana_name().unwrap_or("UTC").to_owned(),
            days: days.collect(),
            types: kept.types,
            elsewhere: kept.elsewhere,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::fleet::WorkerState;
    use crate::model::message::Row;

    const DAY: i64 = 86_400_000;

    fn rows(times: impl IntoIterator<Item = (i64, Option<i32>)>) -> MessageRows {
        let mut rows = MessageRows::default();
        for (time, message_type) in times {
            rows.push(Row { message_type, ..Row::new(1, time, 1, 0) });
        }
        rows
    }

    #[test]
    fn a_day_is_the_archives_day_also_when_its_clocks_change() {
        let mut tally = Tally::new(TimeZone::get("Europe/Berlin").unwrap());
        // 2026-10-25 has 25 hours in Berlin: 2026-10-24T22:00Z to 2026-10-25T23:00Z.
        let start = "2026-10-24T22:00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
        tally.add(&rows([(start - 1, Some(0)), (start, Some(1)), (start + 25 * 3_600_000 - 1, None)]));
        tally.add(&rows([(start + 25 * 3_600_000, Some(0))]));
        let messages = tally.messages();
        assert_eq!(messages.types, [Some(0), Some(1), None]);
        let days: Vec<(String, Vec<u64>)> =
            messages.days.iter().map(|(date, counts)| (date.to_string(), counts.clone())).collect();
        assert_eq!(
            days,
            [
                ("2026-10-24".to_owned(), vec![1, 0, 0]),
                ("2026-10-25".to_owned(), vec![0, 1, 1]),
                ("2026-10-26".to_owned(), vec![1, 0, 0])
            ]
        );
    }

    #[test]
    fn days_and_types_are_bounded_and_no_message_is_forgotten() {
        let mut all = Tally::new(TimeZone::UTC);
        for stretch in 0..10 {
            let mut tally = Tally::new(TimeZone::UTC);
            tally.add(&rows((0..500).map(|day| ((stretch * 500 + day) * DAY, Some((day % 40) as i32)))));
            tally.add(&rows((0..100).map(|_| (0, Some(0)))));
            all.merge(tally);
        }
        tally_holds(&all, 6_000);
        all.add(&rows([(i64::MAX, Some(0)), (i64::MIN, Some(1))]));
        tally_holds(&all, 6_002);
        assert_eq!(all.messages().days[0].1[0], 1_001, "the largest day is kept");
    }

    fn tally_holds(tally: &Tally, messages: u64) {
        let kept = tally.messages();
        assert_eq!(kept.total(), messages);
        assert!(kept.days.len() <= DAYS && kept.types.len() <= TYPES && tally.days.len() <= DAYS_IN_MEMORY);
        assert!(kept.days.is_sorted_by_key(|(date, _)| *date));
    }

    #[test]
    fn samples_stay_bounded_however_long_the_run() {
        let recorder = TimelineRecorder::new(100, TimeZone::UTC);
        let stats = Stats { sent: 7, allowed_rate: 99.5, ..Stats::default() };
        let worker = WorkerState { worker: "a".to_owned(), sent: 7, ..WorkerState::default() };
        let fleet = FleetState { workers: vec![worker], ..FleetState::default() };
        recorder.tick(&Counts::default(), &stats, None);
        for _ in 0..3 * SAMPLES {
            recorder.taken.lock().unwrap().due = 0;
            recorder.tick(&Counts::default(), &stats, Some(&fleet));
        }
        assert!(recorder.taken.lock().unwrap().spacing > FIRST_SPACING);
        let timeline = recorder.timeline(&Counts::default(), &stats, None);
        assert!(timeline.samples.len() <= SAMPLES, "{}", timeline.samples.len());
        let last = timeline.samples.iter().last().unwrap();
        assert_eq!((last.sent, last.allowed_milli), (7, 99_500));
        let lane = &timeline.lanes[0];
        assert_eq!((lane.sent.len(), lane.sent.last()), (timeline.samples.len(), Some(&7)), "{lane:?}");
    }
}
