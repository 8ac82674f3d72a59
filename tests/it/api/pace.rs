//! When requests are sent: how many at once, when a pause ends, and when the run is to stop.

use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use tokio::sync::Semaphore;
use yunxin_archiver::yunxin::Concurrency;

use super::*;
use crate::support::faulty_api::Asked;

#[tokio::test]
async fn a_gateway_that_says_when_to_come_back_is_heeded() {
    let api = once(Act::Write(http(503, &[("retry-after", "1")], ""))).await;
    answer(&client(&api), &ask(&[1])).await;
    let asked = api.asked();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn over_the_rate_everything_pauses_and_no_attempt_is_counted() {
    for throttle in [Act::code(416), Act::status(429)] {
        // Of four requests at once two are refused, when all have come, and two are answered when the next one comes:
        // so nothing but the end of the pause lets it be sent.
        let (four, next) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let refused_at = Arc::new(std::sync::Mutex::new(None::<Instant>));
        let at = Arc::clone(&refused_at);
        let api = FaultyApi::serve(move |number, asked| {
            if number == 23 {
                *at.lock().unwrap() = Some(Instant::now());
                four.add_permits(2);
            } else if number == 24 {
                next.add_permits(2);
            }
            match number {
                20 | 21 => Act::Held(Arc::clone(&four), Box::new(throttle.clone())),
                22 | 23 => Act::Held(Arc::clone(&next), Box::new(asked.found())),
                _ => asked.found(),
            }
        })
        .await;
        let fetch = FetchSettings { attempts: 1, concurrency: Concurrency::Fixed(4), ..FetchSettings::default() };
        let client = Arc::new(client_of(&[&api.url], fetch));
        let mut tasks = tokio::task::JoinSet::new();
        for id in 1..=60 {
            let client = Arc::clone(&client);
            tasks.spawn(async move { answer(&client, &ask(&[id])).await.attempts });
        }
        assert!(tasks.join_all().await.into_iter().all(|attempts| attempts == 1));
        let asked = api.asked();
        assert_eq!(asked.len(), 62);
        let refused_at = refused_at.lock().unwrap().unwrap();
        assert!(asked[..24].iter().all(|one| one.at <= refused_at));
        assert!(asked[24..].iter().all(|one| one.at >= refused_at + THROTTLE_PAUSE));
        let stats = client.stats();
        assert_eq!((stats.throttled, stats.ok), (2, 60));
        assert!(stats.allowed_rate < 1000.0);
    }
}

#[tokio::test]
async fn nothing_is_sent_during_a_pause() {
    let paused_at = Arc::new(std::sync::Mutex::new(None::<Instant>));
    let at = Arc::clone(&paused_at);
    let api = FaultyApi::serve(move |number, asked| {
        if number == 3 {
            *at.lock().unwrap() = Some(Instant::now());
            return Act::code(416);
        }
        asked.found()
    })
    .await;
    let client = client(&api);
    for id in 1..=6 {
        answer(&client, &ask(&[id])).await;
    }
    let paused_at = paused_at.lock().unwrap().unwrap();
    let asked = api.asked();
    assert_eq!(asked.len(), 7);
    let during = |one: &&Asked| one.at > paused_at && one.at < paused_at + THROTTLE_PAUSE;
    assert_eq!(asked.iter().filter(during).count(), 0);
}

#[tokio::test]
async fn one_request_goes_first_and_then_as_many_as_it_takes() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (Arc::clone(&now), Arc::clone(&most));
    let api = FaultyApi::serve(move |_, asked| {
        // The server answers 100 ms after it was asked: what it was asked meanwhile is under way.
        let (now, most) = (&counted.0, &counted.1);
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let now = Arc::clone(now);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(95)).await;
            now.fetch_sub(1, Ordering::SeqCst);
        });
        Act::Later(Duration::from_millis(100), Box::new(asked.found()))
    })
    .await;
    let client = Arc::new(client(&api));
    let mut tasks = tokio::task::JoinSet::new();
    for id in 1..=200 {
        let client = Arc::clone(&client);
        tasks.spawn(async move { answer(&client, &ask(&[id])).await.latency });
    }
    tasks.join_all().await;
    let asked = api.asked();
    let first_round = asked.iter().filter(|one| one.at < asked[0].at + Duration::from_millis(95)).count();
    assert_eq!(first_round, 1);
    assert!(most.load(Ordering::SeqCst) >= 32, "{most:?}");
}

#[tokio::test]
async fn a_cancelled_fetch_sends_nothing_more_and_finishes_what_is_under_way() {
    let cancel = CancellationToken::new();
    let api = FaultyApi::serve(|_, asked| Act::Later(Duration::from_millis(100), Box::new(asked.found()))).await;
    let one = client(&api);
    let (batch, permit) = (ask(&[1]), one.permit().await);
    let during = one.fetch(permit, &batch, &cancel);
    let cancelling = async {
        while api.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(during, cancelling);
    assert!(matches!(outcome, Ok(Outcome::Answered(_))), "{outcome:?}");
    assert_eq!(one.fetch(one.permit().await, &batch, &cancel).await.unwrap_err(), Stop::Cancelled);
    assert_eq!(api.asked().len(), 1);

    // In the middle of a pause as well.
    let cancel = CancellationToken::new();
    let api = FaultyApi::serve(|_, _| Act::Write(http(429, &[("retry-after", "600")], ""))).await;
    let mut told = settings(&[&api.url]);
    told.patience.longest_told = Duration::from_mins(10);
    let one = Client::new(App::new(told).unwrap(), FetchSettings::default());
    let permit = one.permit().await;
    let during = one.fetch(permit, &batch, &cancel);
    let cancelling = async {
        while one.stats().paused_for.is_none() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(during, cancelling);
    assert_eq!(outcome.unwrap_err(), Stop::Cancelled);
}
