//! A hostile network, as far as a whole job is concerned.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use yunxin_archiver::simulator::{Fault, Rule, Settings, World, start_with};

use crate::support::storm::{Site, To};

fn site(references: i64) -> Site {
    let mut site = Site::new(To::Parquet);
    site.night(references);
    site
}

#[test]
fn three_faults_in_ten_requests_cost_no_reference() {
    let mut site = site(200);
    site.fetch = "batch_size: 20, attempts: 40, timeout: 1s".to_owned();
    site.configure();
    let faults = ["500", "503", "http 502", "http 503 retry-after 0", "reset", "reset-mid", "close", "truncate"];
    let more = ["wrong-length", "garbage", "not-http", "html", "empty", "stall"];
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
    site.plain().exits(0);
    site.is_whole();
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
    site.plain().exits(0);
    site.is_whole();
    site.night(60);
    site.api.faults(|faults| *faults = yunxin_archiver::simulator::Faults::default());
    backup.stop();
    site.plain().exits(0);
    site.is_whole();
}

#[test]
fn a_name_that_does_not_resolve_is_said_and_nothing_is_lost() {
    let mut site = site(60);
    site.fetch = "batch_size: 20, give_up_after: 1s".to_owned();
    site.endpoints = Some("[\"https://api.yunxin.invalid\"]".to_owned());
    site.configure();
    let ran = site.plain().exits(1);
    let error = ran.summary()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("api.yunxin.invalid") || error.contains("dns"), "{error}");
    assert_eq!(ran.summary()["references"]["pending"], 60);
    site.endpoints = None;
    site.configure();
    site.plain().exits(0);
    site.is_whole();
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

/// Serves TLS in front of a plain server. Returns the port and the certificate in PEM.
fn tls_before(target: std::net::SocketAddr) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        crate::support::storm::block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(stream).await else { return };
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                });
            }
        });
    });
    (port, made.cert.pem())
}

#[test]
fn an_api_whose_certificate_nobody_vouches_for_is_not_spoken_to() {
    let mut site = site(40);
    let (port, ca) = tls_before(site.api.addr());
    let (_, other) = tls_before(site.api.addr());
    site.endpoints = Some(format!("[\"https://localhost:{port}\"]"));
    site.fetch = "batch_size: 20, give_up_after: 1s".to_owned();
    std::fs::write(site.path("ca.pem"), &ca).unwrap();
    std::fs::write(site.path("other.pem"), &other).unwrap();
    for app in ["rate_limit: 1000", "rate_limit: 1000\n    ca_file: other.pem"] {
        site.app = app.to_owned();
        site.configure();
        let ran = site.plain().exits(1);
        let error = ran.summary()["error"].as_str().unwrap().to_lowercase();
        assert!(error.contains("certificate"), "{error}");
        assert_eq!(site.api.stats().requests, 0);
    }
    site.app = "rate_limit: 1000\n    ca_file: ca.pem".to_owned();
    site.configure();
    site.plain().exits(0);
    site.is_whole();
}
