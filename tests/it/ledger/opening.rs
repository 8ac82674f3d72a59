//! Opening a ledger, to write and to read.

use super::*;

#[tokio::test]
async fn a_new_ledger_is_for_its_owner_alone() {
    let fixture = Fixture::new().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.path()), 0o600);
    assert_eq!(mode(fixture.path().parent().unwrap()), 0o700);
    assert_eq!(mode(&fixture.path().with_extension("sqlite-wal")), 0o600);
}

#[tokio::test]
async fn a_ledger_that_others_could_read_is_closed_to_them() {
    let fixture = Fixture::new().await;
    std::fs::set_permissions(fixture.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let fixture = fixture.reopened().await;
    assert_eq!(std::fs::metadata(fixture.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_changed_identity_is_refused_while_batches_are_pending_and_begins_anew_otherwise() {
    let fixture = Fixture::new().await;
    let (path, old) = (fixture.path(), fixture.ledger.id());
    let seq = fixture.plan(batch("a|1|b", &[1])).await;
    fixture.fail("a|1|b", 2, reason(Class::Unanswered, None, true)).await;
    fixture.ledger.set_checkpoint("{}", "source").await.unwrap();
    let moved = Identity { sink: "/elsewhere".to_owned(), ..identity() };
    let error = Ledger::open(&path, &moved).await.unwrap_err();
    assert!(matches!(error, LedgerError::Refused(_)));
    let text = error.to_string();
    assert!(text.contains("\"/archive\"") && text.contains("\"/elsewhere\"") && text.contains("pending"), "{text}");

    fixture.ledger.record(&fixture.commit(1, vec![archived(seq, &[1])])).await.unwrap();
    fixture.ledger.published(1).await.unwrap();
    let ledger = Ledger::open(&path, &moved).await.unwrap();
    assert_ne!(ledger.id(), old);
    assert_eq!(ledger.identity(), &moved);
    assert_eq!(ledger.last_commit().await.unwrap(), 0);
    assert!(ledger.known(&[1, 2]).await.unwrap().is_empty());
    assert!(ledger.checkpoint().await.unwrap().is_none());
    assert_eq!(ledger.runs(10).await.unwrap().len(), 1);
    let failures = ledger.failures(&FailureFilter::default(), 0, 10).await.unwrap();
    assert_eq!(failures[0].state, FailureState::Closed);
    assert!(ledger.manifest_due(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_ledger_of_another_job_is_refused() {
    let fixture = Fixture::new().await;
    let error = Ledger::open(&fixture.path(), &Identity { job: "weekly".to_owned(), ..identity() }).await.unwrap_err();
    assert!(error.to_string().contains("belongs to job \"nightly\""), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let text = dir.path().join("text.sqlite");
    std::fs::write(&text, "message_server_id,create_time\n".repeat(50)).unwrap();
    let other = dir.path().join("other.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other).create_if_missing(true);
    let mut conn = options.connect().await.unwrap();
    sqlx::query("create table mine (id integer)").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    for path in [text, other] {
        let before = std::fs::read(&path).unwrap();
        for error in [Ledger::open(&path, &identity()).await.unwrap_err(), Ledger::read(&path).await.unwrap_err()] {
            assert!(matches!(error, LedgerError::Foreign { .. }), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_refused() {
    let fixture = Fixture::new().await;
    tamper(
        &fixture.path(),
        "insert into migrations (version, description, success, checksum, execution_time) values (999, 'x', 1, x'00', 0)",
    )
    .await;
    for error in [
        Ledger::open(&fixture.path(), &identity()).await.unwrap_err(),
        Ledger::read(&fixture.path()).await.unwrap_err(),
    ] {
        assert!(matches!(error, LedgerError::Version { found: 999, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_batch_is_named() {
    let fixture = Fixture::new().await;
    let seq = fixture.plan(batch("a|1|b", &[1, 2])).await;
    tamper(&fixture.path(), "update pending set body = cast(substr(body, 1, length(body) - 1) || char(0) as blob)")
        .await;
    let error = fixture.ledger.pending(0, 10).await.unwrap_err().to_string();
    assert!(error.contains(&format!("batch {seq}: its checksum differs")), "{error}");
}

#[tokio::test]
async fn reading_creates_nothing() {
    let dir = TempDir::new().unwrap();
    assert!(Ledger::read(&path(&dir)).await.unwrap().is_none());
    assert!(names(dir.path()).is_empty());

    let fixture = Fixture::new().await;
    fixture.plan(batch("a|1|b", &[1, 2])).await;
    let Fixture { dir, ledger, .. } = fixture;
    ledger.close().await.unwrap();
    let state = dir.path().join("state");
    assert_eq!(names(&state), BTreeSet::from(["nightly.sqlite".to_owned()]));
    let reader = Ledger::read(&path(&dir)).await.unwrap().unwrap();
    assert_eq!(pending_ids(&reader).await, [1, 2]);
    assert_eq!(reader.known(&[1, 5]).await.unwrap(), [1]);
    assert_eq!(names(&state), BTreeSet::from(["nightly.sqlite".to_owned()]));
    assert!(matches!(reader.set_checkpoint("", "").await.unwrap_err(), LedgerError::ReadOnly { .. }));
}

#[tokio::test]
async fn a_reader_follows_a_writer_that_comes_and_goes() {
    let fixture = Fixture::new().await;
    let Fixture { dir, ledger, run, now } = fixture;
    ledger.close().await.unwrap();
    let reader = Ledger::read(&path(&dir)).await.unwrap().unwrap();
    assert!(pending_ids(&reader).await.is_empty());

    let ledger = Ledger::open(&path(&dir), &identity()).await.unwrap();
    let fixture = Fixture { dir, ledger, run, now };
    for id in 1..=20 {
        fixture.plan(batch("a|1|b", &[id])).await;
        assert_eq!(pending_ids(&reader).await.len(), id as usize);
    }
    let mut late = Ledger::read(&fixture.path()).await.unwrap().unwrap();
    assert_eq!(late.known(&[1, 20, 21]).await.unwrap(), [1, 20]);
    let Fixture { dir, ledger, .. } = fixture;
    ledger.close().await.unwrap();
    assert_eq!(pending_ids(&late).await.len(), 20);
    late = Ledger::read(&path(&dir)).await.unwrap().unwrap();
    assert_eq!(pending_ids(&late).await.len(), 20);
}
