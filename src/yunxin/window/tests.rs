use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn most_in_any_second(sends: &[Instant]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in sends.iter().enumerate() {
        while *at - sends[first] >= Duration::from_secs(1) {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most
}

/// Sends for `span` as fast as the window allows, woken late by `late` after every wait.
fn saturate(window: &mut Window, start: Instant, span: Duration, mut late: impl FnMut() -> Duration) -> Vec<Instant> {
    let mut now = start;
    let mut sends = Vec::new();
    while now < start + span {
        match window.take(now) {
            Ok(()) => sends.push(now),
            Err(at) => now = at.max(now) + late(),
        }
    }
    sends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_second_ever_holds_more_than_the_limit(
        limit in 1_u32..800,
        steps in prop::collection::vec((0_u64..40_000, 1_usize..60, any::<bool>()), 1..400),
    ) {
        let mut window = Window::new(limit, Patience::default());
        let mut now = Instant::now();
        let (mut sends, mut connecting) = (Vec::new(), Vec::new());
        for (micros, tries, connects) in steps {
            now += Duration::from_micros(micros);
            for _ in 0..tries {
                if window.take(now).is_ok() {
                    if connects { connecting.push(now) } else { sends.push(now) }
                }
            }
            let late = |taken: &Instant| now - *taken > Duration::from_millis(150);
            for taken in connecting.extract_if(.., |taken| late(taken)) {
                prop_assert!(window.delayed(taken, now));
                sends.push(now);
            }
        }
        prop_assert!(most_in_any_second(&sends) <= limit as usize);
    }

    #[test]
    fn under_pressure_the_limit_is_used_to_98_percent(
        limit in prop::sample::select(vec![50_u32, 100, 500, 5000]),
        lateness in prop::collection::vec(0_u64..2000, 16),
    ) {
        let mut window = Window::new(limit, Patience::default());
        let start = Instant::now();
        let mut turn = 0;
        let sends = saturate(&mut window, start, Duration::from_secs(10), || {
            turn += 1;
            Duration::from_micros(lateness[turn % 16])
        });
        prop_assert!(most_in_any_second(&sends) <= limit as usize);
        prop_assert!(sends.len() as f64 >= f64::from(limit) * 9.8, "{}", sends.len());
    }
}

/// A server that answers after `millis`, and is away, with all that comes to it, for each of `stalls` (start and
/// length in ms) of every second. Returns the arrivals at it and the time it all took.
fn served(limit: u32, millis: u64, stalls: &[(u64, u64)]) -> (Vec<Instant>, Duration) {
    let mut window = Window::new(limit, Patience::default());
    let start = Instant::now();
    let (mut now, mut turn) = (start, 0_u64);
    let mut arrivals: Vec<Instant> = Vec::new();
    let mut answers: VecDeque<(Instant, Instant)> = VecDeque::new();
    while now < start + Duration::from_secs(if limit > 1_000 { 7 } else { 20 }) {
        while let Some((sent, at)) = answers.front().copied().filter(|(_, at)| *at <= now) {
            window.ended(sent, true, at);
            answers.pop_front();
        }
        match window.take(now) {
            Ok(()) => {
                turn += 1;
                let way = now + Duration::from_micros(200 + turn * 7919 % 1_500);
                // Every third second is quiet.
                let (second, into) = ((way - start).as_secs(), u64::from((way - start).subsec_millis()));
                let away = stalls.iter().find(|(from, long)| second % 3 > 0 && (*from..from + long).contains(&into));
                let at = away.map_or(way, |(from, long)| {
                    start + Duration::from_secs(second) + Duration::from_millis(from + long)
                });
                let at = arrivals.last().map_or(at, |last| at.max(*last));
                arrivals.push(at);
                answers.push_back((now, at + Duration::from_millis(millis)));
                now += Duration::from_micros(3);
            }
            Err(at) => now = at.max(now) + Duration::from_micros(turn * 104_729 % 2_000),
        }
    }
    (arrivals, now - start)
}

#[test]
fn what_arrives_late_and_bunched_makes_no_second_hold_too_many_and_costs_little() {
    let stalls: [&[(u64, u64)]; 4] = [&[], &[(300, 60)], &[(100, 15), (400, 30), (410, 25), (700, 10)], &[(0, 40)]];
    for (limit, used) in [(100_u32, 0.98), (2_000, 0.95)] {
        for millis in [5, 50, 500] {
            for stalls in stalls {
                let (arrivals, took) = served(limit, millis, stalls);
                let most = most_in_any_second(&arrivals);
                assert!(most <= limit as usize, "{limit}/s, {millis} ms, {stalls:?}: {most}");
                let share = arrivals.len() as f64 / took.as_secs_f64() / f64::from(limit);
                assert!(share > used, "{limit}/s, {millis} ms, {stalls:?}: {share}");
            }
        }
    }
}

#[test]
fn answers_that_take_now_long_and_now_short_cost_little() {
    // One in three takes up to 300 ms longer: the server works on it, and it was there in time.
    let mut window = Window::new(100, Patience::default());
    let start = Instant::now();
    let (mut now, mut sends) = (start, 0_u64);
    let mut answers = std::collections::BTreeSet::new();
    while now < start + Duration::from_mins(1) {
        while let Some((at, sent)) = answers.first().copied().filter(|(at, _)| *at <= now) {
            window.ended(sent, true, at);
            answers.pop_first();
        }
        match window.take(now) {
            Ok(()) => {
                sends += 1;
                let longer = if sends.is_multiple_of(3) { sends * 7919 % 300 } else { sends * 7919 % 20 };
                answers.insert((now + Duration::from_millis(30 + longer), now));
            }
            Err(at) => now = at.max(now),
        }
    }
    assert!(sends > 5_800, "{sends}");
}

#[test]
fn sends_are_spread_over_the_second() {
    let mut window = Window::new(100, Patience::default());
    let start = Instant::now();
    let sends = saturate(&mut window, start, Duration::from_secs(1), || Duration::from_micros(500));
    let early = sends.iter().filter(|at| **at < start + Duration::from_millis(100)).count();
    assert!((9..=14).contains(&early), "{early}");
}

#[test]
fn a_refusal_pauses_everything_and_then_one_request_goes_first() {
    let mut window = Window::new(100, Patience::default());
    let start = Instant::now();
    let sends = saturate(&mut window, start, Duration::from_secs(2), || Duration::ZERO);
    let now = start + Duration::from_secs(2);
    let refused = *sends.last().unwrap();
    let until = window.refuse(refused, now, None);
    assert_eq!(until, now + Duration::from_secs(10));
    assert_eq!(window.take(now), Err(until));
    // A second refusal of the same trouble is heeded, and grows nothing.
    let later = now + Duration::from_secs(1);
    assert_eq!(window.refuse(refused, later, None), later + Duration::from_secs(10));
    let until = later + Duration::from_secs(10);
    assert!(window.take(until).is_ok());
    assert!(window.take(until + Duration::from_secs(1)).is_err(), "the others wait for the first");
    assert!(window.pass(until));
    assert!(window.take(until + Duration::from_secs(1)).is_ok());
}

#[test]
fn pauses_grow_while_refusals_repeat_up_to_a_bound() {
    let mut window = Window::new(100, Patience::default());
    let mut now = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..6 {
        while let Err(at) = window.take(now) {
            now = at;
        }
        let sent = now;
        now += Duration::from_millis(30);
        pauses.push((window.refuse(sent, now, None) - now).as_secs());
    }
    assert_eq!(pauses, [10, 20, 40, 80, 120, 120]);
}

#[test]
fn waiting_as_told_has_a_bound() {
    let mut window = Window::new(100, Patience::default());
    let now = Instant::now();
    assert!(window.take(now).is_ok());
    assert_eq!(window.refuse(now, now, Some(Duration::from_secs(30))) - now, Duration::from_secs(30));
    assert_eq!(window.refuse(now, now, Some(Duration::from_hours(24))) - now, Duration::from_mins(10));
}

#[test]
fn a_lower_limit_is_found_and_kept() {
    // An API that takes 60 in any second, asked by a job that believes in 100.
    let mut window = Window::new(100, Patience::default());
    let start = Instant::now();
    let mut now = start;
    let mut taken: VecDeque<Instant> = VecDeque::new();
    let mut refusals = 0;
    let mut last = start;
    while now < start + Duration::from_mins(15) {
        if let Err(at) = window.take(now) {
            now = at;
            continue;
        }
        while taken.front().is_some_and(|at| now - *at >= Duration::from_secs(1)) {
            taken.pop_front();
        }
        if taken.len() < 60 {
            taken.push_back(now);
            window.pass(now);
        } else {
            refusals += 1;
            last = now;
            window.refuse(now, now, None);
        }
    }
    assert!(refusals <= 3, "{refusals}");
    assert!(last - start < Duration::from_secs(799));
    assert!(window.rate() > 50.0, "{}", window.rate());
}

#[test]
fn a_request_that_had_to_connect_counts_when_it_is_sent() {
    let mut window = Window::new(2, Patience::default());
    let start = Instant::now();
    let later = start + Duration::from_millis(300);
    assert!(window.take(start).is_ok());
    assert!(window.delayed(start, later));
    assert_eq!(window.arrivals.between(start, later), 0);
    assert!((window.recent(later) - 0.5).abs() < f64::EPSILON);
}

#[test]
fn a_request_that_was_still_connecting_when_a_pause_began_is_held_back() {
    let mut window = Window::new(100, Patience::default());
    let start = Instant::now();
    assert!(window.take(start).is_ok());
    let connecting = window.take(start).unwrap_err();
    assert!(window.take(connecting).is_ok());
    let until = window.refuse(start, connecting, None);
    assert!(!window.delayed(connecting, connecting + Duration::from_millis(5)));
    assert!((window.recent(connecting) - 0.5).abs() < f64::EPSILON);
    // The one that goes first after the pause may take its time.
    assert!(window.take(until).is_ok());
    let connected = until + Duration::from_millis(200);
    assert!(window.delayed(until, connected));
    assert!(window.pass(connected));
}

#[test]
fn nothing_is_sent_without_a_share_or_when_it_has_ended_however_late_a_request_leaves() {
    let mut window = Window::new(100, Patience::default());
    let now = Instant::now();
    let end = now + Duration::from_secs(10);
    window.share(0, now);
    assert!(window.take(now).is_err(), "nothing was granted yet");
    window.share(10, end);
    assert_eq!(window.take(now), Ok(()));
    assert!(!window.delayed(now, end), "the process stood still between the two");
    assert!(window.take(end).is_err());
    window.share(10, end + Duration::from_secs(10));
    assert_eq!(window.take(end), Ok(()));
    assert!(window.delayed(end, end + Duration::from_millis(1)));
}

#[test]
fn a_share_is_the_limit_from_the_moment_at_which_it_comes() {
    let mut window = Window::new(100, Patience::default());
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let mut now = start;
    for share in [40, 7, 90] {
        window.share(share, now + second * 20);
        // What was sent on the share before has left the second.
        now += second * 2;
        let sends = saturate(&mut window, now, second * 5, || Duration::ZERO);
        let most = most_in_any_second(&sends);
        assert!(most <= share as usize && most + 1 >= share as usize, "{most} of {share}");
        now += second * 5;
    }
}

#[test]
fn a_refusal_elsewhere_pauses_and_one_request_goes_ahead_then() {
    let mut window = Window::new(100, Patience::default());
    let now = Instant::now();
    let until = now + Duration::from_secs(3);
    window.pause(until);
    window.pause(now + Duration::from_secs(1));
    assert_eq!(window.take(now), Err(until));
    assert_eq!(window.take(until), Ok(()));
    assert!(window.take(until).is_err(), "the others wait for its answer");
    assert!(window.pass(until));
}
