//! Which endpoints are asked and trusted, and what is done when none of them answers.

use std::sync::atomic::AtomicBool;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use yunxin_archiver::yunxin::{ClientError, Verdict};

use super::*;

#[tokio::test]
async fn a_failed_endpoint_is_left_and_returned_to() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let first =
        FaultyApi::serve(move |_, asked| if is_down.load(Ordering::SeqCst) { Act::status(502) } else { asked.found() })
            .await;
    let second = FaultyApi::serve(|_, asked| asked.found()).await;
    let client = client_of(&[&first.url, &second.url], FetchSettings::default());
    assert_eq!(answer(&client, &ask(&[1])).await.attempts, 2);
    assert_eq!(answer(&client, &ask(&[1])).await.attempts, 1);
    assert_eq!((first.asked().len(), second.asked().len()), (1, 2));
    down.store(false, Ordering::SeqCst);
    while first.asked().len() < 3 {
        answer(&client, &ask(&[1])).await;
    }
    let before = second.asked().len();
    answer(&client, &ask(&[1])).await;
    assert_eq!(second.asked().len(), before, "the first endpoint is preferred again");
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_costs_one_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let api = FaultyApi::serve(|_, asked| asked.found()).await;
    let client = client_of(&[&nowhere, &api.url], FetchSettings::default());
    assert_eq!(answer(&client, &ask(&[1])).await.attempts, 2);
    let alone = client_of(&[&nowhere], FetchSettings { attempts: 3, ..FetchSettings::default() });
    let (_, message, attempts) = exhausted(fetch(&alone, &ask(&[1])).await);
    assert!(message.starts_with("no connection") && attempts == 3, "{message}");
}

#[tokio::test]
async fn without_any_success_for_too_long_the_run_stops() {
    for fault in [Act::status(500), Act::code(416), Act::Reset] {
        let api = FaultyApi::serve(move |_, _| fault.clone()).await;
        let fetch_settings =
            FetchSettings { attempts: 1000, give_up_after: Duration::from_millis(100), ..FetchSettings::default() };
        let client = client_of(&[&api.url], fetch_settings);
        match fetch(&client, &ask(&[1])).await {
            Err(Stop::Unreachable { tried_for, last_error, .. }) => {
                assert!(tried_for >= Duration::from_millis(100));
                assert!(!last_error.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let refused = |change: fn(&mut AppSettings)| {
        let mut settings = settings(&[&Url::parse("http://127.0.0.1:1").unwrap()]);
        change(&mut settings);
        App::new(settings).unwrap_err()
    };
    assert!(matches!(refused(|s| s.endpoints.clear()), ClientError::NoEndpoint));
    assert!(matches!(refused(|s| s.endpoints[0] = Url::parse("ftp://h").unwrap()), ClientError::Endpoint(_)));
    assert!(matches!(refused(|s| s.app_key = "a\nb".into()), ClientError::AppKey));
    assert!(matches!(refused(|s| s.ca_bundle = Some(b"none".to_vec())), ClientError::CaBundle(_)));
    assert!(!format!("{:?}", settings(&[])).contains(SECRET));
}

#[tokio::test]
async fn a_ca_bundle_is_trusted_instead_of_the_platforms_roots() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://localhost:{}", listener.local_addr().unwrap().port())).unwrap();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&http(200, &[], r#"{"code":200}"#)).await;
            let _ = stream.shutdown().await;
        }
    });
    let with_bundle = |pem: String| {
        let app = App::new(AppSettings { ca_bundle: Some(pem.into_bytes()), ..settings(&[&url]) }).unwrap();
        Client::new(app, FetchSettings { attempts: 2, ..FetchSettings::default() })
    };
    assert_eq!(answer(&with_bundle(made.cert.pem()), &ask(&[1])).await.verdicts, [(0, Verdict::Unanswered)]);
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (_, message, _) = exhausted(fetch(&with_bundle(stranger.cert.pem()), &ask(&[1])).await);
    assert!(message.contains("certificate"), "{message}");
    server.abort();
}
