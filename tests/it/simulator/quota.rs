//! The quota of a second, and the block of an app that goes beyond it.

use super::*;

#[tokio::test]
async fn one_request_too_many_in_a_second_blocks_the_app() {
    let settings = || Settings { rate_limit: 2, block_ms: 500, ..Settings::default() };
    let mut service = start_with(settings(), hello()).unwrap();
    let mut codes = [0; 3];
    // On a busy machine three requests may take longer than a second to arrive.
    while service.stats().busiest_second < 3 {
        service = start_with(settings(), hello()).unwrap();
        let (a, b, c) = (ask_hello(), ask_hello(), ask_hello());
        codes = tokio::join!(a.code(&service), b.code(&service), c.code(&service)).into();
    }
    codes.sort_unstable();
    assert_eq!(codes, [200, 200, 416]);
    // Past the block, and past the second that the three of them fill.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(ask_hello().code(&service).await, 200);
    let stats = service.stats();
    assert_eq!((stats.requests, stats.throttled, stats.busiest_second), (4, 1, 3));
    assert_eq!(stats.per_second.iter().sum::<u32>(), 4);
}

#[tokio::test]
async fn a_block_can_be_ordered_and_lifted() {
    let service = serve(hello());
    service.faults(|faults| faults.script.push_back(Fault::Block));
    assert_eq!(ask_hello().code(&service).await, 416);
    assert_eq!(ask_hello().code(&service).await, 416);
    assert_eq!(service.stats().in_block, 1);
    service.reset_stats();
    assert_eq!(ask_hello().code(&service).await, 200);
    assert_eq!(service.stats().requests, 1);
}
