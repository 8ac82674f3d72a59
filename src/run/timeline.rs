//! Keeps the timeline of a run: samples over time, and what was archived by day and type.
//!
//! Whatever a run's length, at most [`SAMPLES`] samples are kept: when they are full, every other one goes and the rest
//! come half as often.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::meter::Meter;
use crate::model::message::MessageRows;
use crate::model::summary::{Bytes, Requests};
use crate::model::timeline::{Messages, Sample, Samples, Timeline};
use crate::yunxin::Stats;

/// The most samples of a run; even.
const SAMPLES: usize = 600;
/// Time between two samples of a run that has just begun.
const FIRST_SPACING: u64 = 250;
/// Days that are kept: those with the most messages.
const DAYS: usize = 400;
/// Days in memory, at most, before the smallest are given up.
const DAYS_IN_MEMORY: usize = 4 * DAYS;
/// Message types that are told apart.
const TYPES: usize = 24;

/// Records the timeline of one run.
#[derive(Debug)]
pub(super) struct TimelineRecorder {
    began: Instant,
    quota: u32,
    meter: Arc<Meter>,
    taken: Mutex<Taken>,
    messages: Mutex<Tally>,
}

#[derive(Debug)]
struct Taken {
    samples: Samples,
    spacing: u64,
    due: u64,
}

impl TimelineRecorder {
    /// Begins now.
    pub(super) fn new(quota: u32, timezone: TimeZone, meter: Arc<Meter>) -> Self {
        Self {
            began: Instant::now(),
            quota,
            meter,
            taken: Mutex::new(Taken { samples: Samples::default(), spacing: FIRST_SPACING, due: 0 }),
            messages: Mutex::new(Tally::new(timezone)),
        }
    }

    /// Time since the run began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes a sample when one is due; called several times a second.
    pub(super) fn tick(&self, stats: &Stats) {
        let at = self.began.elapsed().as_millis() as u64;
        let Ok(mut taken) = self.taken.lock() else { return };
        if at < taken.due {
            return;
        }
        taken.samples.push(self.sample(at, stats));
        if taken.samples.len() >= SAMPLES {
            taken.samples.halve();
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

    /// Where messages are counted until they are committed.
    pub(super) fn tally(&self) -> Tally {
        let timezone = self.messages.lock().map_or(TimeZone::UTC, |messages| messages.timezone.clone());
        Tally::new(timezone)
    }

    /// The timeline up to now.
    pub(super) fn timeline(&self, stats: &Stats) -> Timeline {
        let at = self.began.elapsed().as_millis() as u64;
        let mut samples = self.taken.lock().map(|taken| taken.samples.clone()).unwrap_or_default();
        samples.push(self.sample(at, stats));
        Timeline {
            version: 1,
            noted_at: at,
            quota: self.quota,
            references: self.meter.references(0),
            requests: self.requests(stats),
            bytes: self.bytes(stats),
            samples,
            latency: stats.latency.to_vec(),
            messages: self.messages.lock().map(|messages| messages.messages()).unwrap_or_default(),
        }
    }

    /// The requests of this run.
    pub(super) fn requests(&self, stats: &Stats) -> Requests {
        Requests {
            sent: stats.sent,
            ok: stats.ok,
            retried: stats.retried + self.meter.deferred(),
            throttled: stats.throttled,
            split: self.meter.split(),
            other_owner: self.meter.other_owner(),
            minimum: self.meter.planned_batches(),
        }
    }

    /// The bytes of this run.
    pub(super) fn bytes(&self, stats: &Stats) -> Bytes {
        Bytes { received: stats.bytes, written: self.meter.written() }
    }

    fn sample(&self, at: u64, stats: &Stats) -> Sample {
        let references = self.meter.references(0);
        Sample {
            at,
            sent: stats.sent,
            ok: stats.ok,
            throttled: stats.throttled,
            fetched: self.meter.fetched(),
            archived: references.archived,
            failed: references.failed,
            in_flight: u64::from(stats.in_flight),
            allowed_milli: (stats.allowed_rate.clamp(0.0, 1e9) * 1000.0) as u64,
        }
    }
}

/// Counts of messages by day and type. Most messages of an answer are of one day, so a day is looked up by a range of
/// times and reckoned only once.
#[derive(Debug)]
pub(super) struct Tally {
    timezone: TimeZone,
    types: Vec<Option<i32>>,
    days: BTreeMap<i64, Day>,
    elsewhere: u64,
}

#[derive(Debug)]
struct Day {
    date: Date,
    /// The first millisecond of the next day.
    end: i64,
    counts: Vec<u64>,
}

impl Day {
    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Tally {
    fn new(timezone: TimeZone) -> Self {
        Self { timezone, types: Vec::new(), days: BTreeMap::new(), elsewhere: 0 }
    }

    /// Counts these messages.
    pub(super) fn add(&mut self, rows: &MessageRows) {
        let (mut times, mut counts) = (0..0, Vec::new());
        for row in rows.rows() {
            if !times.contains(&row.create_time) {
                self.add_day(times.start, &mut counts);
                // A time that is of no day stands for itself.
                times = self.day(row.create_time).unwrap_or(row.create_time..row.create_time.saturating_add(1));
            }
            match self.kind(row.message_type) {
                Some(kind) => add(&mut counts, kind, 1),
                None => self.elsewhere += 1,
            }
        }
        self.add_day(times.start, &mut counts);
    }

    /// Counts messages of one day by their kinds, and takes them.
    fn add_day(&mut self, start: i64, counts: &mut Vec<u64>) {
        for (kind, n) in counts.drain(..).enumerate().filter(|(_, n)| *n > 0) {
            match self.days.get_mut(&start) {
                Some(day) => add(&mut day.counts, kind, n),
                None => self.elsewhere += n,
            }
        }
    }

    /// The place of a type among those that are counted.
    fn kind(&mut self, message_type: Option<i32>) -> Option<usize> {
        let known = self.types.iter().position(|known| *known == message_type);
        known.or_else(|| {
            (self.types.len() < TYPES).then(|| {
                self.types.push(message_type);
                self.types.len() - 1
            })
        })
    }

    /// The times of the day that `time` is of, which is counted from now on.
    fn day(&mut self, time: i64) -> Option<Range<i64>> {
        if let Some((start, day)) = self.days.range(..=time).next_back()
            && time < day.end
        {
            return Some(*start..day.end);
        }
        let noon = Timestamp::from_millisecond(time).ok()?.to_zoned(self.timezone.clone());
        let start = noon.start_of_day().ok()?;
        let end = start.tomorrow().and_then(|next| next.start_of_day()).ok()?;
        let (date, end) = (start.date(), end.timestamp().as_millisecond());
        let start = start.timestamp().as_millisecond();
        if self.days.len() >= DAYS_IN_MEMORY {
            self.give_up_small_days();
        }
        self.days.insert(start, Day { date, end, counts: Vec::new() });
        Some(start..end)
    }

    fn give_up_small_days(&mut self) {
        let mut sizes: Vec<u64> = self.days.values().map(Day::total).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let least = sizes.get(DAYS - 1).copied().unwrap_or(0);
        let (mut kept, mut given_up) = (0, 0);
        self.days.retain(|_, day| {
            let keep = day.total() >= least && kept < DAYS;
            if keep {
                kept += 1;
            } else {
                given_up += day.total();
            }
            keep
        });
        self.elsewhere += given_up;
    }

    fn merge(&mut self, other: Self) {
        self.elsewhere += other.elsewhere;
        for (start, day) in other.days {
            let start = self.day(start).map_or(start, |times| times.start);
            let mut counts = Vec::new();
            for (message_type, n) in other.types.iter().zip(day.counts).filter(|(_, n)| *n > 0) {
                match self.kind(*message_type) {
                    Some(kind) => add(&mut counts, kind, n),
                    None => self.elsewhere += n,
                }
            }
            self.add_day(start, &mut counts);
        }
    }

    fn messages(&self) -> Messages {
        let mut kept: Vec<&Day> = self.days.values().collect();
        kept.sort_by_key(|day| std::cmp::Reverse(day.total()));
        let given_up: u64 = kept.iter().skip(DAYS).map(|day| day.total()).sum();
        kept.truncate(DAYS);
        kept.sort_by_key(|day| day.date);
        let padded = |day: &Day| {
            let mut counts = day.counts.clone();
            counts.resize(self.types.len(), 0);
            (day.date, counts)
        };
        Messages {
            timezone: self.timezone.iana_name().unwrap_or("UTC").to_owned(),
            types: self.types.clone(),
            days: kept.into_iter().map(padded).collect(),
            elsewhere: self.elsewhere + given_up,
        }
    }
}

fn add(counts: &mut Vec<u64>, kind: usize, n: u64) {
    if counts.len() <= kind {
        counts.resize(kind + 1, 0);
    }
    counts[kind] += n;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
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
        let recorder = TimelineRecorder::new(100, TimeZone::UTC, Arc::default());
        let stats = Stats { sent: 7, allowed_rate: 99.5, ..Stats::default() };
        for _ in 0..3 * SAMPLES {
            recorder.taken.lock().unwrap().due = 0;
            recorder.tick(&stats);
        }
        assert!(recorder.taken.lock().unwrap().spacing > FIRST_SPACING);
        let timeline = recorder.timeline(&stats);
        assert!(timeline.samples.len() <= SAMPLES, "{}", timeline.samples.len());
        let last = timeline.samples.iter().last().unwrap();
        assert_eq!((last.sent, last.allowed_milli), (7, 99_500));
    }
}
