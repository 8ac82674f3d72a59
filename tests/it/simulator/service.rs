//! The service beside its answers: probes, statistics, its end.

use std::net::TcpStream;

use super::*;
use crate::support::caller::http;

#[tokio::test]
async fn probes_and_statistics_are_served_under_the_prefix() {
    let settings = Settings { prefix: "/nimserver".to_owned(), ..Settings::default() };
    let service = start_with(settings, hello()).unwrap();
    let get = async |path: &str| http().get(format!("{}{path}", service.url())).send().await.unwrap();
    assert_eq!(get("/health/liveness.action").await.status(), 200);
    service.faults(|faults| faults.liveness = Some(Fault::Http { status: 502, retry_after: None }));
    assert_eq!(get("/health/liveness.action").await.status(), 502);
    assert_eq!(ask_hello().code(&service).await, 200);
    let stats: Value = serde_json::from_str(&get("/simulator/stats").await.text().await.unwrap()).unwrap();
    assert_eq!((&stats["probes"], &stats["requests"], &stats["codes"]["200"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(get("/elsewhere").await.status(), 404);
    let root = format!("http://{}/health/liveness.action", service.addr());
    assert_eq!(http().get(root).send().await.unwrap().status(), 404);
}

#[test]
fn stopping_ends_stalled_answers_and_frees_the_port() {
    let service = serve(hello());
    let addr = service.addr();
    service.faults(|faults| faults.script.push_back(Fault::Stall));
    let stalled = std::thread::spawn(move || ask_hello().raw(addr, LONG));
    while service.stats().in_flight == 0 {
        std::thread::yield_now();
    }
    service.stop();
    assert_ne!(stalled.join().unwrap().end, "silence");
    assert!(TcpStream::connect(addr).is_err());
    let again = start_with(Settings { port: addr.port(), ..Settings::default() }, hello()).unwrap();
    assert_eq!(again.addr(), addr);
    let taken = start_with(Settings { port: addr.port(), ..Settings::default() }, hello()).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}
