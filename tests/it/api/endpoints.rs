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
    let returning = |after: Duration| {
        let mut settings = settings(&[&first.url, &second.url]);
        settings.patience.endpoint_return = after;
        Client::new(App::new(settings).unwrap(), FetchSettings { attempts: 1000, ..FetchSettings::default() })
    };
    let client = returning(Duration::from_hours(1));
    assert_eq!(answer(&client, &ask(&[1])).await.attempts, 2);
    assert_eq!(answer(&client, &ask(&[1])).await.attempts, 1);
    assert_eq!((first.asked().len(), second.asked().len()), (1, 2));
    let client = returning(Duration::from_millis(20));
    answer(&client, &ask(&[1])).await;
    down.store(false, Ordering::SeqCst);
    let before = first.asked().len();
    while first.asked().len() < before + 2 {
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
}

#[tokio::test]
async fn while_nobody_answers_no_attempt_counts_and_each_job_gives_up_by_its_own_clock() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let app = App::new(settings(&[&nowhere])).unwrap();
    let patient = Duration::from_millis(100);
    for _ in 0..2 {
        let fetch_settings = FetchSettings { attempts: 1, give_up_after: patient, ..FetchSettings::default() };
        let client = Client::new(Arc::clone(&app), fetch_settings);
        match fetch(&client, &ask(&[1])).await {
            Err(Stop::Unreachable { tried_for, last_error, .. }) => {
                assert!(tried_for >= patient && last_error.starts_with("no connection"), "{last_error}");
            }
            other => panic!("{other:?}"),
        }
        let stats = client.stats();
        assert!(stats.sent > 1 && stats.sent == stats.retried + 1, "{stats:?}");
    }
}

#[tokio::test]
async fn an_attempt_counts_once_anything_was_answered_since_the_one_before() {
    let api = FaultyApi::serve(|_, asked| if asked.ids() == [2] { asked.found() } else { Act::Reset }).await;
    let app = App::new(settings(&[&api.url])).unwrap();
    let client = || Client::new(Arc::clone(&app), FetchSettings { attempts: 1, ..FetchSettings::default() });
    let (one, other) = (client(), client());
    let batch = ask(&[1]);
    let between = async {
        while api.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        answer(&other, &ask(&[2])).await
    };
    let (ended, _) = tokio::join!(fetch(&one, &batch), between);
    let (_, message, attempts) = exhausted(ended);
    assert!(attempts >= 2 && message.starts_with("the answer did not arrive"), "{attempts}: {message}");
    assert_eq!((other.stats().sent, other.stats().retried), (1, 0), "each job counts its own");
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
        Client::new(app, FetchSettings { give_up_after: Duration::from_millis(50), ..FetchSettings::default() })
    };
    assert_eq!(answer(&with_bundle(made.cert.pem()), &ask(&[1])).await.verdicts, [(0, Verdict::Unanswered)]);
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let refused = fetch(&with_bundle(stranger.cert.pem()), &ask(&[1])).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    server.abort();
}
