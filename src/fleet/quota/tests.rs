//! Shares as they are granted, held and used: the coordinator's arithmetic, the worker's, and the pace that every request keeps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::super::shares::{LIFE, Shares};
use super::*;
use crate::yunxin::{Patience, Window};

#[test]
fn a_grant_is_confirmed_once_every_request_that_may_not_have_arrived_goes_by_it() {
    let begin = Instant::now();
    let at = |millis| begin + Duration::from_millis(millis);
    let mut held = HeldShare { applied: VecDeque::new(), rate: 0, grew: begin };
    assert_eq!(held.confirmed(None), 0);
    held.apply(1, 50, at(10));
    held.apply(2, 20, at(30));
    assert_eq!(held.confirmed(Some(at(20))), 1);
    assert_eq!(held.confirmed(Some(at(40))), 2);
    held.apply(3, 30, at(50));
    assert_eq!(held.confirmed(None), 3, "everything has arrived");
}

const STEP: u64 = 2;

/// What is drawn for a worker in one stretch of half a second.
#[derive(Debug, Clone)]
struct Chance {
    worker: usize,
    wants: u32,
    /// Milliseconds that its request for a share and the grant are on their way; more than 5,000 is lost.
    way: [u64; 2],
    /// Milliseconds that it stands still.
    still: u64,
    dies: bool,
    /// Milliseconds for which one of its requests still connects when its moment has come.
    connects: u64,
}

fn chance(workers: usize) -> impl Strategy<Value = Chance> {
    let way = prop_oneof![4 => 0_u64..50, 1 => 0_u64..6_000];
    let rarely = |most: u64| prop_oneof![9 => Just(0_u64), 1 => 0..most];
    let wants = prop_oneof![1 => Just(0), 2 => 1_u32..60, 5 => Just(u32::MAX)];
    (0..workers, wants, [way.clone(), way], rarely(30_000), prop::bool::weighted(0.03), rarely(500))
        .prop_map(|(worker, wants, way, still, dies, connects)| Chance { worker, wants, way, still, dies, connects })
}

struct Worker {
    name: String,
    window: Window,
    held: HeldShare,
    /// When it asked, when that arrives, and the grant with the moment of its own arrival.
    asking: Option<(Instant, Instant, u64)>,
    granted: Option<(Instant, u64, u32, Instant)>,
    /// Moments that were taken, and when each of them is sent.
    connecting: Vec<(Instant, Instant)>,
    /// Answers on their way: when each arrives, and when its request was sent.
    answers: BinaryHeap<Reverse<(Instant, Instant)>>,
    stopped: Option<Instant>,
    /// Of the next request.
    connects: u64,
}

impl Worker {
    fn new(name: String, now: Instant) -> Self {
        let mut window = Window::new(1_000, Patience::default());
        window.share(0, now);
        let held = HeldShare { applied: VecDeque::new(), rate: 0, grew: now };
        let (asking, granted, stopped) = (None, None, None);
        let (connecting, answers) = (Vec::new(), BinaryHeap::new());
        Self { name, window, held, asking, granted, connecting, answers, stopped, connects: 0 }
    }

    /// One step of its own. Returns the arrivals at the service of what it sends.
    fn step(&mut self, now: Instant, way: Duration, arrived: &mut Vec<Instant>) {
        if let Some((_, serial, rate, asked)) = self.granted.filter(|(arrives, ..)| *arrives <= now) {
            self.granted = None;
            if now < asked + Duration::from_secs(5) {
                self.window.share(rate, asked + LIFE);
                self.held.apply(serial, rate, now);
            }
        }
        while let Some(Reverse((at, sent))) = self.answers.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.answers.pop();
            // It is looked at now, however long the worker stood still.
            self.window.ended(sent, true, now.max(at));
        }
        let mut sent = |worker: &mut Self, at: Instant| {
            arrived.push(at + way);
            worker.answers.push(Reverse((at + way * 2 + Duration::from_millis(5), at)));
        };
        for (taken, ready) in std::mem::take(&mut self.connecting) {
            if ready > now {
                self.connecting.push((taken, ready));
            } else if self.window.delayed(taken, now) {
                sent(self, now);
            }
        }
        while self.window.take(now).is_ok() {
            match std::mem::take(&mut self.connects) {
                0 => sent(self, now),
                connects => self.connecting.push((now, now + Duration::from_millis(connects))),
            }
        }
    }
}

/// Arrivals at the service, whose network takes `ways` milliseconds from each worker.
fn arrivals(limit: u32, ways: &[u64], chances: &[Chance]) -> Vec<Instant> {
    let begin = Instant::now();
    // A coordinator before this one has granted nothing, so that less time is spent in calculation.
    let mut shares = Shares::new(limit, begin);
    let mut all: Vec<Worker> = (0..ways.len()).map(|n| Worker::new(n.to_string(), begin)).collect();
    let (mut now, mut arrived) = (begin, Vec::new());
    for stretch in chances {
        let millis = Duration::from_millis;
        let wants = stretch.wants;
        if stretch.dies {
            all[stretch.worker] = Worker::new(format!("{} after {:?}", stretch.worker, now - begin), now);
        }
        let worker = &mut all[stretch.worker];
        worker.connects = stretch.connects;
        worker.stopped = worker.stopped.or((stretch.still > 0).then(|| now + millis(stretch.still)));
        for worker in &mut all {
            if worker.stopped.is_none() && worker.asking.is_none() && worker.granted.is_none() {
                let applied = worker.held.confirmed(worker.window.oldest_open());
                worker.asking = Some((now, now + millis(stretch.way[0]), applied));
            }
        }
        for _ in 0..500 / STEP {
            now += millis(STEP);
            for (worker, way) in all.iter_mut().zip(ways) {
                if let Some((asked, _, applied)) = worker.asking.filter(|(_, arrives, _)| *arrives <= now) {
                    let grant = shares.grant(&worker.name, applied, wants, now);
                    worker.asking = None;
                    worker.granted = Some((now + millis(stretch.way[1]), grant.serial, grant.rate, asked));
                }
                worker.stopped = worker.stopped.filter(|until| *until > now);
                if worker.stopped.is_none() {
                    worker.step(now, millis(*way), &mut arrived);
                }
            }
        }
    }
    arrived.sort_unstable();
    arrived
}

// How late single requests of one worker are is the pace's own matter, as without a fleet: see `yunxin/arrivals.rs`.
proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn no_second_at_the_service_has_a_request_too_many_whatever_is_lost_stalls_or_dies(
        limit in 10_u32..120,
        ways in prop::collection::vec(0_u64..500, 3),
        chances in prop::collection::vec(chance(3), 60..160),
    ) {
        let arrived = arrivals(limit, &ways, &chances);
        let mut first = 0;
        for (last, at) in arrived.iter().enumerate() {
            while *at - arrived[first] >= Duration::from_secs(1) {
                first += 1;
            }
            let within = last - first + 1;
            prop_assert!(within <= limit as usize, "{within} of {limit}");
        }
    }
}
