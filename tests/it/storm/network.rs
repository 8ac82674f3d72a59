//! A hostile network, as far as a whole job is concerned.

use yunxin_archiver::simulator::{Fault, Hook, Rule, Settings, World, start_with};

use crate::support::storm::{Site, To};
use crate::support::tls::tls_before;

fn site(references: i64) -> Site {
    Site::of(To::Parquet, references)
}

#[test]
fn three_faults_in_ten_requests_cost_no_reference() {
    let mut site = site(200);
    site.fetch = "batch_size: 20, attempts: 40, timeout: 1s".to_owned();
    site.configure();
    let faults = ["500", "503", "http 502", "http 503 retry-after 0", "reset", "reset-mid", "close", "truncate"];
    let more = ["wrong-length", "garbage", "not-http", "html", "empty", "stall", "stall-mid", "drip 8 100ms", "gzip"];
    let faults: Vec<&str> = faults.into_iter().chain(more).collect();
    site.api.faults(|now| {
        now.rules.extend(faults.iter().map(|fault| Rule::chance(fault.parse().unwrap(), 0.3 / faults.len() as f64)));
    });
    let ran = site.plain().exits(0);
    assert_eq!(ran.summary()["references"]["archived"], site.found().len());
    assert!(!site.api.stats().faults.is_empty());
    site.is_whole();
}

#[test]
fn a_batch_whose_attempts_are_used_up_is_asked_again_by_the_next_run() {
    let mut site = site(60);
    site.fetch = "batch_size: 20, attempts: 2".to_owned();
    site.configure();
    // Some answers first, so that the credentials are known to be right.
    site.api.faults(|faults| {
        faults.script.extend(std::iter::repeat_n(Fault::Ok, 6));
        faults.rules.push(Rule::first("503".parse().unwrap(), 30));
    });
    let ran = site.plain();
    let code = ran.code();
    assert!(code == 0 || code == 3, "{ran:?}");
    site.api.faults(|faults| faults.rules.clear());
    site.run(&["retry", "nightly", "--class", "transport"]).exits(0);
    site.completes();
}

#[test]
fn an_endpoint_that_dies_and_comes_back_costs_no_reference() {
    let mut site = site(100);
    // The primary dies in the first run, is dead in the second, and lives in the third.
    let backup = start_with(
        Settings { rate_limit: 0, batch_limit: 12, ..Settings::default() },
        site.api.world(|world| world.clone()),
    )
    .unwrap();
    site.endpoints = Some(format!("[\"{}\", \"{}\"]", site.api.url(), backup.url()));
    site.configure();
    site.api.faults(|faults| {
        faults.script.extend(std::iter::repeat_n(Fault::Ok, 5));
        faults.rules.push(Rule::chance("reset".parse().unwrap(), 1.0));
        faults.liveness = Some(Fault::Reset);
    });
    site.plain().exits(0);
    assert!(backup.stats().answered > 0);
    site.is_whole();
    site.night(60);
    backup.world(|world| *world = site.api.world(|world| world.clone()));
    site.completes();
    site.night(60);
    site.api.faults(|faults| *faults = yunxin_archiver::simulator::Faults::default());
    backup.stop();
    site.completes();
}

#[test]
fn a_name_that_does_not_resolve_is_said_and_nothing_is_lost() {
    let mut site = site(60);
    site.fetch = "batch_size: 20, give_up_after: 1s".to_owned();
    site.endpoints = Some("[\"https://api.yunxin.invalid\"]".to_owned());
    site.configure();
    let ran = site.plain().exits(1);
    let error = ran.error();
    assert!(error.contains("api.yunxin.invalid") || error.contains("dns"), "{error}");
    assert_eq!(ran.summary()["references"]["pending"], 60);
    site.endpoints = None;
    site.configure();
    site.completes();
}

#[test]
fn an_answer_that_redirects_floods_or_explodes_is_never_followed_or_swallowed() {
    let trap = start_with(Settings::default(), World::any()).unwrap();
    let mut site = site(60);
    // Each of these is retried once: 200 MB of white space, a gzip bomb in as many bytes as a page, redirects.
    site.fetch = "batch_size: 20, attempts: 20".to_owned();
    site.configure();
    site.api.faults(|faults| {
        faults.script.extend([
            Fault::Redirect(format!("{}/elsewhere", trap.url())),
            Fault::Huge(200 << 20),
            Fault::Redirect(trap.url()),
            Fault::Gzip,
        ]);
    });
    let ran = site.plain().exits(0);
    assert!(ran.summary()["requests"]["retried"].as_u64().unwrap() >= 2);
    assert_eq!(trap.stats().requests, 0);
    site.is_whole();
}

/// Each code is said of a dialogue of its own, and each status to a dialogue of its own.
#[test]
fn every_code_and_every_status_leaves_each_reference_in_one_state() {
    // Those that end the run, or pause it, have tests of their own.
    let ends = [301, 315, 403, 416, 422, 997, 101_301, 101_302, 101_303, 101_403];
    let more = [
        101_000,
        102_000,
        102_404,
        102_422,
        103_404,
        104_404,
        107_323,
        107_404,
        108_404,
        108_449,
        109_404,
        109_449,
        110_302,
        110_404,
        191_000,
        999_999,
        i64::MAX,
        i64::MIN,
        -1,
        0,
    ];
    let codes: Vec<i64> = (1..600).chain(more).filter(|code| *code != 200 && !ends.contains(code)).collect();
    let statuses: Vec<u16> = (201..600).filter(|status| *status != 429).collect();
    let mut site = Site::with(To::Parquet, Settings { rate_limit: 0, ..Settings::default() });
    site.app = "rate_limit: 5000".to_owned();
    site.fetch = "batch_size: 1, attempts: 1".to_owned();
    let name = |kind: &str, n: &dyn std::fmt::Display| format!("{kind}{n}|1|b");
    let first = ("a|1|b".to_owned(), 1, 1_792_800_000_000);
    let said = codes.iter().map(|code| name("code", code)).chain(statuses.iter().map(|status| name("status", status)));
    let all = said.zip(2..).map(|(conversation, id)| (conversation, id, 1_792_800_000_000));
    site.add(std::iter::once(first).chain(all));
    site.api.faults(|faults| {
        faults.hook = Some(Hook::new(|request| {
            // The other side asks when one side does not get it.
            let word = request
                .conversation_id
                .split('|')
                .find(|part| part.starts_with("code") || part.starts_with("status"))?;
            let (kind, number) = word.split_at(word.find(|c: char| c.is_ascii_digit() || c == '-')?);
            match kind {
                "code" => Some(Fault::Code(number.parse().ok()?)),
                _ => Some(Fault::Http { status: number.parse().ok()?, retry_after: None }),
            }
        }));
    });
    let ran = site.plain().exits(3);
    let references = &ran.summary()["references"];
    let asked = codes.len() + statuses.len();
    assert_eq!((references["archived"].as_u64(), references["pending"].as_u64()), (Some(1), Some(0)), "{references}");
    assert_eq!(references["failed"], asked, "{references}");
    let lines = site.run(&["failures", "nightly", "--format", "jsonl"]).exits(0).stdout;
    let mut by_class = std::collections::BTreeMap::<String, usize>::new();
    for line in lines.lines() {
        let failure: serde_json::Value = serde_json::from_str(line).unwrap();
        *by_class.entry(failure["class"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(by_class.values().sum::<usize>(), asked);
    assert!(by_class["transport"] >= statuses.len() && by_class["refused"] > 400, "{by_class:?}");
    // Nothing of this is lasting: asked again, everything is there.
    site.api.faults(|faults| faults.hook = None);
    site.run(&["retry", "nightly", "--all"]).exits(0);
    site.completes();
}

#[test]
fn a_connection_that_fails_while_it_is_made_secure_is_no_answer() {
    let mut site = site(40);
    site.fetch = "batch_size: 20, give_up_after: 1s, timeout: 1s".to_owned();
    // One that speaks no TLS, one that says nothing, one that hangs up.
    for kind in ["plain", "silent", "closed"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                match kind {
                    "plain" => drop(std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n")),
                    "silent" => kept.push(stream),
                    _ => drop(stream),
                }
            }
        });
        site.endpoints = Some(format!("[\"https://localhost:{port}\"]"));
        site.configure();
        let ran = site.plain().exits(1);
        assert_eq!(ran.summary()["references"]["pending"], 40, "{kind}");
        assert_eq!(site.api.stats().requests, 0);
    }
    site.endpoints = None;
    site.configure();
    site.completes();
}

#[test]
fn an_api_whose_certificate_nobody_vouches_for_is_not_spoken_to() {
    let mut site = site(40);
    let (port, ca) = tls_before(site.api.addr(), "localhost");
    let (_, other) = tls_before(site.api.addr(), "localhost");
    site.endpoints = Some(format!("[\"https://localhost:{port}\"]"));
    site.fetch = "batch_size: 20, give_up_after: 1s".to_owned();
    std::fs::write(site.path("ca.pem"), &ca).unwrap();
    std::fs::write(site.path("other.pem"), &other).unwrap();
    for app in ["rate_limit: 1000", "rate_limit: 1000\n    ca_file: other.pem"] {
        site.app = app.to_owned();
        site.configure();
        let ran = site.plain().exits(1);
        let error = ran.error().to_lowercase();
        assert!(error.contains("certificate"), "{error}");
        assert_eq!(site.api.stats().requests, 0);
    }
    site.app = "rate_limit: 1000\n    ca_file: ca.pem".to_owned();
    site.configure();
    site.completes();
}
