//! Runs, history and locks.

use super::*;

#[tokio::test]
async fn a_run_that_did_not_finish_died_once_the_next_begins() {
    let fixture = Fixture::new().await;
    let next = Uuid::now_v7();
    assert_eq!(fixture.ledger.runs(10).await.unwrap()[0].outcome, None);
    fixture.ledger.begin_run(next, "retry", fixture.now).await.unwrap();
    fixture.ledger.finish_run(next, fixture.now + HOUR, "failed", 1, Some("the disk is full"), "{}").await.unwrap();
    assert!(fixture.ledger.finish_run(Uuid::now_v7(), fixture.now, "complete", 0, None, "{}").await.is_err());
    let runs = fixture.ledger.runs(10).await.unwrap();
    assert_eq!(runs[0].run_id, next);
    assert_eq!(
        (runs[0].command.as_str(), runs[0].exit_code, runs[0].error.as_deref()),
        ("retry", Some(1), Some("the disk is full"))
    );
    assert_eq!(runs[0].finished_at, Some(fixture.now + HOUR));
    assert_eq!((runs[1].run_id, runs[1].outcome.as_deref()), (fixture.run, Some("died")));
    assert_eq!(fixture.ledger.runs(1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn history_is_forgotten_and_what_is_open_is_not() {
    let mut fixture = Fixture::new().await;
    fixture.fail("a|1|b", 1, reason(Class::Unavailable, Some(107_404), false)).await;
    fixture.fail("a|1|b", 2, reason(Class::Unavailable, Some(107_404), false)).await;
    let planned = Planned { batches: &[batch("a|1|b", &[2])], retried: &[2], ..Planned::default() };
    let seq = fixture.ledger.plan(fixture.run, fixture.now, &planned).await.unwrap().first_seq;
    fixture.ledger.record(&fixture.commit(1, vec![archived(seq, &[2])])).await.unwrap();
    fixture.ledger.finish_run(fixture.run, fixture.now, "complete", 0, None, "{}").await.unwrap();
    let history = Duration::from_hours(24);
    fixture.now += HOUR * 48;
    fixture.ledger.expire(history, fixture.now).await.unwrap();
    assert_eq!(fixture.ledger.runs(10).await.unwrap().len(), 1, "its manifest is due");
    let due = fixture.ledger.manifest_due(None).await.unwrap();
    fixture.ledger.set_manifest(due[0].run_id, due[0].sequence, "00", None).await.unwrap();
    fixture.ledger.expire(history, fixture.now).await.unwrap();
    assert_eq!(fixture.ledger.runs(10).await.unwrap().len(), 1, "no later run has succeeded");
    let (retry, later) = (Uuid::now_v7(), Uuid::now_v7());
    for (run, command, exit_code) in [(retry, "retry", 0), (later, "run", 1)] {
        fixture.ledger.begin_run(run, command, fixture.now).await.unwrap();
        fixture.ledger.finish_run(run, fixture.now, "any", exit_code, None, "{}").await.unwrap();
        assert_eq!(fixture.ledger.last_success().await.unwrap(), Some(fixture.now - HOUR * 48), "{command}");
    }
    fixture.ledger.finish_run(later, fixture.now, "complete", 0, None, "{}").await.unwrap();
    assert_eq!(fixture.ledger.last_success().await.unwrap(), Some(fixture.now));
    fixture.ledger.expire(history, fixture.now).await.unwrap();
    let left: Vec<Uuid> = fixture.ledger.runs(10).await.unwrap().into_iter().map(|run| run.run_id).collect();
    assert_eq!(left, [later, retry]);
    let rows = fixture.ledger.failures(&FailureFilter::default(), 0, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.message_server_id).collect::<Vec<_>>(), [Some(1)]);
    assert_eq!(fixture.ledger.known(&[1, 2]).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_job_is_locked_by_one_process_and_the_error_says_by_which() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    assert_eq!(JobLock::holder(&state, "nightly"), None);
    let held = JobLock::acquire(&state, "nightly", Duration::ZERO).await.unwrap();
    let error = JobLock::acquire(&state, "nightly", Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, LedgerError::Busy(_)));
    let holder = format!("process {} since 20", std::process::id());
    assert!(error.to_string().starts_with(&format!("job nightly is running: {holder}")), "{error}");
    assert!(JobLock::holder(&state, "nightly").unwrap().starts_with(&holder));
    let _app = AppLock::acquire(&state, "nightly", Duration::ZERO).await.unwrap();
    let _other = JobLock::acquire(&state, "weekly", Duration::ZERO).await.unwrap();
    assert_eq!(std::fs::metadata(state.join("nightly.job.lock")).unwrap().permissions().mode() & 0o777, 0o600);

    let waiting = JobLock::acquire(&state, "nightly", Duration::from_mins(1));
    let release = async {
        tokio::task::yield_now().await;
        drop(held);
    };
    let (taken, ()) = tokio::join!(waiting, release);
    drop(taken.unwrap());
    assert_eq!(JobLock::holder(&state, "nightly"), None);
}
