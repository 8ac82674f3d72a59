//! Workers that use all that they are granted, with messages that are lost, late and stalled.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

/// A worker that sends as soon as its share and the last second allow it.
#[derive(Debug, Default)]
struct Worker {
    /// When it sent its request for a share, and when that request arrives.
    asking: Option<(Instant, Instant)>,
    /// A grant on its way: when it arrives, counted from which moment.
    granted: Option<(Instant, Grant, Instant)>,
    applied: u64,
    rate: u32,
    until: Option<Instant>,
    sent: VecDeque<Instant>,
    /// It stands still until then.
    stopped: Option<Instant>,
}

/// What happens to the workers at some step.
#[derive(Debug, Clone)]
struct Chance {
    worker: usize,
    wants: u32,
    /// Milliseconds that its request and the answer are on their way; more than 4,000 is lost.
    way: [u64; 2],
    /// Milliseconds that it stands still.
    still: u64,
    /// Whether it dies and another one comes in its place.
    dies: bool,
}

fn chance(workers: usize) -> impl Strategy<Value = Chance> {
    let way = prop_oneof![4 => 0_u64..50, 1 => 0_u64..5_000];
    let still = prop_oneof![9 => Just(0_u64), 1 => 0_u64..30_000];
    (0..workers, prop_oneof![Just(0), 1_u32..20, Just(u32::MAX)], [way.clone(), way], still, prop::bool::weighted(0.02))
        .prop_map(|(worker, wants, way, still, dies)| Chance { worker, wants, way, still, dies })
}

/// Arrivals at the service, each as late on its way as its worker's are.
fn arrivals(limit: u32, workers: usize, late: &[u64], chances: &[Chance]) -> Vec<Instant> {
    let begin = Instant::now();
    let mut shares = Shares::new(limit, begin + LIFE + AFTER);
    let mut all: Vec<Worker> = (0..workers).map(|_| Worker::default()).collect();
    let mut names: Vec<String> = (0..workers).map(|n| n.to_string()).collect();
    let mut arrived = Vec::new();
    let mut now = begin;
    for (step, chance) in chances.iter().cycle().take(6_000).enumerate() {
        now += STEP;
        let at = chance.worker;
        if step % 10 == 0 {
            if chance.dies {
                (all[at], names[at]) = (Worker::default(), format!("{at} from {step}"));
            }
            let worker = &mut all[at];
            if chance.still > 0 && worker.stopped.is_none() {
                worker.stopped = Some(now + Duration::from_millis(chance.still));
            }
            if worker.stopped.is_none() && worker.asking.is_none() && worker.granted.is_none() {
                worker.asking = Some((now, now + Duration::from_millis(chance.way[0])));
            }
        }
        for (n, worker) in all.iter_mut().enumerate() {
            if let Some((sent, _)) = worker.asking.filter(|(_, arrives)| *arrives <= now) {
                let grant = shares.grant(&names[n], worker.applied, chance.wants, now);
                worker.asking = None;
                worker.granted = Some((now + Duration::from_millis(chance.way[1]), grant, sent));
            }
            worker.stopped = worker.stopped.filter(|until| *until > now);
            if worker.stopped.is_some() {
                continue;
            }
            if let Some((_, grant, sent)) = worker.granted.filter(|(arrives, ..)| *arrives <= now) {
                worker.granted = None;
                if now < sent + Duration::from_secs(4) {
                    (worker.applied, worker.rate, worker.until) = (grant.serial, grant.rate, Some(sent + LIFE));
                }
            }
            while worker.until.is_some_and(|until| now < until) {
                while worker.sent.front().is_some_and(|sent| now - *sent > SECOND) {
                    worker.sent.pop_front();
                }
                if worker.sent.len() >= worker.rate as usize {
                    break;
                }
                worker.sent.push_back(now);
                arrived.push(now + Duration::from_millis(late[n]));
            }
        }
    }
    arrived.sort_unstable();
    arrived
}

fn busiest(arrived: &[Instant]) -> usize {
    let mut first = 0;
    let busy = arrived.iter().enumerate().map(|(last, at)| {
        while *at - arrived[first] >= SECOND {
            first += 1;
        }
        last - first + 1
    });
    busy.max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_second_has_more_than_the_limit_whatever_dies_stalls_or_is_late(
        limit in 1_u32..40,
        late in prop::collection::vec(0_u64..1_000, 5),
        chances in prop::collection::vec(chance(5), 50..400),
    ) {
        let busiest = busiest(&arrivals(limit, 5, &late, &chances));
        prop_assert!(busiest <= limit as usize, "{busiest} of {limit}");
    }

    #[test]
    fn what_is_wanted_is_divided_and_nothing_is_left_over(wants in prop::collection::vec(0_u32..200, 1..12)) {
        let mut now = Instant::now();
        let mut shares = Shares::new(100, now + LIFE + AFTER);
        now += LIFE + AFTER;
        let mut rates = vec![(0, 0); wants.len()];
        for _ in 0..20 {
            now += SECOND;
            for (n, wants) in wants.iter().enumerate() {
                let grant = shares.grant(&n.to_string(), rates[n].0, *wants, now);
                rates[n] = (grant.serial, grant.rate);
            }
        }
        let total: u32 = rates.iter().map(|(_, rate)| rate).sum();
        prop_assert_eq!(total, wants.iter().sum::<u32>().min(100));
        for (n, wanted) in wants.iter().enumerate() {
            prop_assert!(rates[n].1 <= *wanted, "nobody has more than it wants");
            prop_assert!(rates[n].1 == *wanted || rates[n].1 >= 100 / wants.len() as u32, "nobody is starved");
        }
    }
}

#[test]
fn a_share_of_a_former_coordinator_has_ended_before_the_first_grant() {
    let now = Instant::now();
    let mut shares = Shares::new(100, now + LIFE + AFTER);
    let just_before = LIFE + Duration::from_millis(2_008);
    assert_eq!(shares.grant("a", 0, 100, now + just_before).rate, 0);
    assert_eq!(shares.grant("a", 0, 100, now + LIFE + AFTER).rate, 100);
}

#[test]
fn the_share_of_a_dead_worker_comes_back_when_it_has_surely_ended() {
    let mut now = Instant::now();
    let mut shares = Shares::new(100, now + LIFE + AFTER);
    now += LIFE + AFTER;
    assert_eq!(shares.grant("dead", 0, 100, now).rate, 100);
    let just_before = LIFE + Duration::from_millis(2_008);
    assert_eq!(shares.grant("a", 0, 100, now + just_before).rate, 0);
    assert_eq!(shares.grant("a", 0, 100, now + LIFE + AFTER).rate, 100);
}
