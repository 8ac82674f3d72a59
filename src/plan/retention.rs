//! Which references will have left the vendor's retention before they are asked for. Times are milliseconds, those that
//! are moments since the epoch.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::retention::RetentionOutlook;

/// What the arithmetic goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// How long the vendor keeps a message.
    pub retention: i64,
    /// Requests per second.
    pub rate: u32,
    /// The present.
    pub now: i64,
}

impl Watch {
    /// Whether a message that was created then has left the retention.
    pub fn is_gone(&self, create_time: i64) -> bool {
        self.leaves_at(create_time) <= self.now
    }

    /// How urgent a batch is whose messages were created at these times.
    pub fn urgency(&self, create_times: impl IntoIterator<Item = i64>) -> Urgency {
        let leaving = create_times.into_iter().map(|time| self.leaves_at(time)).filter(|leaves| *leaves > self.now);
        leaving.min().map_or(Urgency::Gone, Urgency::Leaves)
    }

    /// When the request with this number is sent, counted from 0, if one is sent after the other from now on.
    pub fn sent_at(&self, number: u64) -> i64 {
        let wait = u128::from(number) * 1000 / u128::from(self.rate.max(1));
        self.now.saturating_add(i64::try_from(wait).unwrap_or(i64::MAX))
    }

    fn leaves_at(&self, create_time: i64) -> i64 {
        create_time.saturating_add(self.retention)
    }
}

/// How urgent a batch is. The most urgent is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The first of its messages that can still be had leaves the retention at this moment.
    Leaves(i64),
    /// All its messages have left.
    Gone,
}

/// Foresees what becomes of batches, which it is told in the order in which they were planned.
#[derive(Debug)]
pub struct Forecast {
    watch: Watch,
    /// From then on everything is asked for.
    all_sent: i64,
    asked: u64,
    oldest: Option<i64>,
    gone: u64,
    endangered: Vec<Endangered>,
}

/// What a forecast says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// What becomes of the references if the most urgent batches go first where there is not time for all.
    pub outlook: RetentionOutlook,
    /// How many references would be gone before they are asked for in the order in which they were planned.
    pub late_as_planned: u64,
    /// How many requests it takes.
    pub requests: u64,
}

/// A batch with messages that leave before everything is asked for.
#[derive(Debug)]
struct Endangered {
    number: u64,
    is_counted: bool,
    /// When these messages leave, ascending.
    leaves: Vec<i64>,
}

impl Forecast {
    /// A forecast of at most this many requests. It keeps 8 bytes for each reference that leaves before the last of them.
    pub fn new(watch: Watch, requests: u64) -> Self {
        let all_sent = watch.sent_at(requests);
        Self { watch, all_sent, asked: 0, oldest: None, gone: 0, endangered: Vec::new() }
    }

    /// The next batch, with the times of its messages. What `is_counted` is false of takes its request and is in no count.
    pub fn ask(&mut self, create_times: impl IntoIterator<Item = i64>, is_counted: bool) {
        let mut leaves = Vec::new();
        for time in create_times {
            let at = self.watch.leaves_at(time);
            if is_counted {
                self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
                self.gone += u64::from(at <= self.watch.now);
            }
            if at > self.watch.now && at <= self.all_sent {
                leaves.push(at);
            }
        }
        if !leaves.is_empty() {
            leaves.sort_unstable();
            self.endangered.push(Endangered { number: self.asked, is_counted, leaves });
        }
        self.asked += 1;
    }

    /// What all that comes to.
    pub fn end(self) -> Foreseen {
        let Self { watch, asked, oldest, gone, endangered, .. } = self;
        let late_in = |batch: &Endangered| batch.late_at(watch.sent_at(batch.number));
        let late_as_planned = endangered.iter().map(late_in).sum();
        let expiring = if late_as_planned == 0 { 0 } else { late_by_urgency(&watch, &endangered) };
        let outlook = RetentionOutlook {
            retention_seconds: (watch.retention / 1000).unsigned_abs(),
            oldest_pending_seconds: oldest.map(|at| at.saturating_sub(watch.now).div_euclid(1000)),
            gone,
            expiring,
        };
        Foreseen { outlook, late_as_planned, requests: asked }
    }
}

impl Endangered {
    /// How many of its messages have left by then.
    fn left_by(&self, moment: i64) -> usize {
        self.leaves.partition_point(|leaves| *leaves <= moment)
    }

    /// The same, as far as they count.
    fn late_at(&self, moment: i64) -> u64 {
        if self.is_counted { self.left_by(moment) as u64 } else { 0 }
    }
}

/// How many messages have left before they are asked for if the batch is always next whose message leaves next. A batch
/// that can save nothing waits for all others.
fn late_by_urgency(watch: &Watch, endangered: &[Endangered]) -> u64 {
    let urgent = |index: usize, from: usize| endangered[index].leaves.get(from).map(|leaves| Reverse((*leaves, index)));
    let mut next: BinaryHeap<_> = (0..endangered.len()).filter_map(|index| urgent(index, 0)).collect();
    let (mut late, mut sent) = (0, 0);
    while let Some(Reverse((leaves, index))) = next.pop() {
        let (batch, moment) = (&endangered[index], watch.sent_at(sent));
        if leaves > moment {
            late += batch.late_at(moment);
            sent += 1;
        } else if let Some(again) = urgent(index, batch.left_by(moment)) {
            next.push(again);
        } else {
            late += batch.late_at(moment);
        }
    }
    late
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn watch(rate: u32) -> Watch {
        Watch { retention: 7 * 86_400_000, rate, now: NOW }
    }

    /// Batches of messages that leave so many milliseconds from now.
    fn foreseen(rate: u32, batches: &[Vec<i64>]) -> Foreseen {
        let watch = watch(rate);
        let mut forecast = Forecast::new(watch, batches.len() as u64);
        for batch in batches {
            forecast.ask(batch.iter().map(|leaves| NOW + leaves - watch.retention), true);
        }
        forecast.end()
    }

    fn batches(each: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<i64>>> {
        prop::collection::vec(prop::collection::vec(-20_000_i64..60_000, each), 0..60)
    }

    /// How many are late in an order, by the plainest reading.
    fn late<'a>(rate: u32, order: impl Iterator<Item = &'a Vec<i64>>) -> u64 {
        let sent = |n: usize| n as i64 * 1000 / i64::from(rate);
        let late = |(n, batch): (usize, &Vec<i64>)| batch.iter().filter(|at| **at > 0 && **at <= sent(n)).count();
        order.enumerate().map(late).sum::<usize>() as u64
    }

    proptest! {
        #[test]
        fn what_is_late_in_the_planned_order_is_counted_exactly(batches in batches(1..4), rate in 1_u32..5) {
            let found = foreseen(rate, &batches);
            prop_assert_eq!(found.late_as_planned, late(rate, batches.iter()));
            prop_assert_eq!(found.requests, batches.len() as u64);
            let all = || batches.iter().flatten();
            prop_assert_eq!(found.outlook.gone, all().filter(|leaves| **leaves <= 0).count() as u64);
            prop_assert_eq!(found.outlook.oldest_pending_seconds, all().min().map(|leaves| leaves.div_euclid(1000)));
        }

        #[test]
        fn with_one_message_a_batch_no_order_loses_fewer_than_the_most_urgent_first(
            (batches, other) in batches(1..2).prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
            rate in 1_u32..5,
        ) {
            prop_assert!(foreseen(rate, &batches).outlook.expiring <= late(rate, other.iter()));
        }

        #[test]
        fn nothing_is_late_if_the_planned_order_loses_nothing_and_never_more_than_can_leave(
            batches in batches(1..4), rate in 1_u32..5,
        ) {
            let found = foreseen(rate, &batches);
            if found.late_as_planned == 0 {
                prop_assert_eq!(found.outlook.expiring, 0);
            }
            let last = batches.len() as i64 * 1000 / i64::from(rate);
            let endangered = batches.iter().flatten().filter(|leaves| **leaves > 0 && **leaves <= last).count();
            prop_assert!(found.outlook.expiring <= endangered as u64);
        }

        #[test]
        fn a_horizon_spares_memory_and_changes_nothing(batches in batches(1..4), rate in 1_u32..5) {
            let watch = watch(rate);
            let mut boundless = Forecast::new(watch, u64::MAX);
            for batch in &batches {
                boundless.ask(batch.iter().map(|leaves| NOW + leaves - watch.retention), true);
            }
            prop_assert_eq!(boundless.end(), foreseen(rate, &batches));
        }

        #[test]
        fn the_most_urgent_batch_is_the_one_whose_message_leaves_next(times in prop::collection::vec(-9_i64..9, 1..5)) {
            let watch = watch(1);
            let urgency = watch.urgency(times.iter().map(|leaves| NOW + leaves - watch.retention));
            let next = times.iter().filter(|leaves| **leaves > 0).min();
            prop_assert_eq!(urgency, next.map_or(Urgency::Gone, |leaves| Urgency::Leaves(NOW + leaves)));
            prop_assert!(urgency <= Urgency::Gone);
        }
    }

    #[test]
    fn what_only_threads_need_takes_its_request_and_is_not_counted() {
        let watch = watch(1);
        let mut forecast = Forecast::new(watch, 2);
        forecast.ask([NOW + 500 - watch.retention, NOW - 1 - watch.retention], false);
        forecast.ask([NOW + 900 - watch.retention], true);
        let found = forecast.end();
        assert_eq!((found.outlook.gone, found.outlook.oldest_pending_seconds), (0, Some(0)));
        assert_eq!((found.late_as_planned, found.outlook.expiring), (1, 1));
    }
}
