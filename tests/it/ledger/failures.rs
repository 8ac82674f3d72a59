//! Failures and their retries.

use super::*;

#[tokio::test]
async fn a_failure_is_retried_closed_by_its_message_and_new_only_once() {
    let mut fixture = Fixture::new().await;
    let transport = || reason(Class::Transport, None, true);
    assert_eq!(fixture.fail("B|1|a", 1, transport()).await, 1);
    assert_eq!(fixture.fail("a|1|b", 2, reason(Class::Unavailable, Some(107_404), false)).await, 1);
    let open = fixture.ledger.earlier_failures(&[1, 2, 3]).await.unwrap();
    assert_eq!((open.len(), open[&1].key.as_str(), open[&1].create_time), (2, "1|a|b", 1_001));

    let retry = async |fixture: &Fixture| {
        let due = RetryFilter::Due { retry_for: Duration::from_hours(168) };
        let due = fixture.ledger.due_failures(fixture.now, &due, None, 10).await.unwrap();
        assert_eq!(due.iter().map(|due| due.message_server_id).collect::<Vec<_>>(), [1]);
        assert_eq!(
            (due[0].conversation_id.as_str(), due[0].key.as_str(), due[0].create_time),
            ("B|1|a", "1|a|b", 1_001)
        );
        let batches = [batch("B|1|a", &[1])];
        let planned = Planned { batches: &batches, retried: &[1], ..Planned::default() };
        fixture.ledger.plan(fixture.run, fixture.now, &planned).await.unwrap().first_seq
    };
    let seq = retry(&fixture).await;
    let totals = fixture.ledger.totals().await.unwrap();
    assert_eq!((totals.open_failures.clone(), totals.sums.retrying), (BTreeMap::from([(Class::Unavailable, 1)]), 1));
    assert!(!fixture.ledger.earlier_failures(&[1]).await.unwrap().contains_key(&1), "it is pending");

    fixture.now += HOUR;
    let again = FinishedBatch { failures: vec![failed("B|1|a", 1, transport())], ..finished(seq) };
    let recorded = fixture.ledger.record(&fixture.commit(0, vec![again])).await.unwrap();
    assert!(recorded.new_failures.is_empty());
    let rows = fixture.ledger.failures(&FailureFilter::default(), 0, 10).await.unwrap();
    assert_eq!(
        (rows[0].attempts, rows[0].state, rows[0].last_seen.duration_since(rows[0].first_seen)),
        (2, FailureState::Open, HOUR)
    );

    let seq = retry(&fixture).await;
    let other =
        FinishedBatch { failures: vec![failed("B|1|a", 1, reason(Class::Refused, Some(414), true))], ..finished(seq) };
    let recorded = fixture.ledger.record(&fixture.commit(0, vec![other])).await.unwrap();
    assert_eq!(recorded.new_failures, BTreeMap::from([((Class::Refused, Some(414)), 1)]));

    let fixture = fixture.reopened().await;
    let batches = [batch("B|1|a", &[1])];
    let planned = Planned { batches: &batches, retried: &[1], ..Planned::default() };
    let seq = fixture.ledger.plan(fixture.run, fixture.now, &planned).await.unwrap().first_seq;
    let recorded = fixture.ledger.record(&fixture.commit(1, vec![archived(seq, &[1])])).await.unwrap();
    assert_eq!(recorded.closed_failures, 1);
    let open = FailureFilter { state: Some(FailureState::Open), ..FailureFilter::default() };
    let rows = fixture.ledger.failures(&open, 0, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.message_server_id).collect::<Vec<_>>(), [Some(2)]);
    assert_eq!(fixture.ledger.sums().await.unwrap().retrying, 0);
}

#[tokio::test]
async fn failures_become_due_later_and_later_and_age_out_except_transport() {
    let mut fixture = Fixture::new().await;
    fixture.fail("a|1|b", 1, reason(Class::Unanswered, None, true)).await;
    fixture.fail("a|1|b", 2, reason(Class::Unavailable, Some(107_404), false)).await;
    fixture.fail("a|1|a", 3, reason(Class::Transport, None, true)).await;
    let due = async |fixture: &Fixture, filter: &RetryFilter| {
        let due = fixture.ledger.due_failures(fixture.now, filter, None, 10).await.unwrap();
        due.into_iter().map(|due| due.message_server_id).collect::<Vec<_>>()
    };
    let week = RetryFilter::Due { retry_for: Duration::from_hours(168) };
    for pause in [6, 12, 20, 20] {
        assert_eq!(due(&fixture, &week).await, [3]);
        fixture.now += HOUR * (pause - 1);
        assert_eq!(due(&fixture, &week).await, [3], "{pause}");
        fixture.now += HOUR;
        assert_eq!(due(&fixture, &week).await, [3, 1], "{pause}");
        let batches = [batch("a|1|b", &[1])];
        let planned = Planned { batches: &batches, retried: &[1], ..Planned::default() };
        let seq = fixture.ledger.plan(fixture.run, fixture.now, &planned).await.unwrap().first_seq;
        let again = failed("a|1|b", 1, reason(Class::Unanswered, None, true));
        let again = FinishedBatch { failures: vec![again], ..finished(seq) };
        fixture.ledger.record(&fixture.commit(0, vec![again])).await.unwrap();
    }
    fixture.now += HOUR * 168;
    assert_eq!(due(&fixture, &week).await, [3]);
    let month = RetryFilter::Due { retry_for: Duration::from_hours(720) };
    assert_eq!(due(&fixture, &month).await, [3, 1]);
    let page = fixture.ledger.due_failures(fixture.now, &month, Some(("1|a|a", 3)), 10).await.unwrap();
    assert_eq!(page.len(), 1);

    let filter = FailureFilter { permanent_before: Some(fixture.now - HOUR * 168), ..FailureFilter::default() };
    let rows = fixture.ledger.failures(&filter, 0, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.retryable).collect::<Vec<_>>(), [false, false, true]);
    let one = FailureFilter { classes: vec![Class::Unavailable], ..filter };
    let rows = fixture.ledger.failures(&one, 0, 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].code, rows[0].job.as_str()), (1, Some(107_404), "nightly"));

    let chosen = |classes: &[Class], codes: &[i64], all| RetryFilter::Chosen {
        classes: classes.to_vec(),
        codes: codes.to_vec(),
        all,
    };
    assert_eq!(due(&fixture, &chosen(&[], &[], false)).await, [3, 1]);
    assert_eq!(due(&fixture, &chosen(&[], &[], true)).await, [3, 1, 2]);
    assert_eq!(due(&fixture, &chosen(&[Class::Unavailable, Class::Transport], &[], false)).await, [3, 2]);
    assert_eq!(due(&fixture, &chosen(&[], &[107_404, 414], false)).await, [2]);
    assert!(due(&fixture, &chosen(&[Class::Transport], &[107_404], false)).await.is_empty());
}

#[tokio::test]
async fn a_corrected_reference_closes_its_failure_and_may_fail_anew() {
    let fixture = Fixture::new().await;
    fixture.fail("a|1|b", 1, reason(Class::Unavailable, Some(107_404), false)).await;
    let batches = [batch("a|1|c", &[1])];
    let planned = Planned { batches: &batches, corrected: &[1], ..Planned::default() };
    let seq = fixture.ledger.plan(fixture.run, fixture.now, &planned).await.unwrap().first_seq;
    let rows = fixture.ledger.failures(&FailureFilter::default(), 0, 10).await.unwrap();
    assert_eq!(rows[0].closed, Some((fixture.now, "corrected".to_owned())));
    assert_eq!(fixture.ledger.known(&[1]).await.unwrap(), [1]);

    let again = failed("a|1|c", 1, reason(Class::Unavailable, Some(107_404), false));
    let again = FinishedBatch { failures: vec![again], ..finished(seq) };
    let recorded = fixture.ledger.record(&fixture.commit(0, vec![again])).await.unwrap();
    assert_eq!(recorded.new_failures.values().sum::<u64>(), 1);
    assert_eq!(fixture.ledger.failures(&FailureFilter::default(), 0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_invalid_row_is_recorded_once_however_often_it_is_read() {
    let mut fixture = Fixture::new().await;
    let invalid: Vec<Invalid> = (0..50)
        .map(|row| Invalid {
            position: format!("refs.csv:{row}"),
            message: "create_time is empty: milliseconds since the epoch".to_owned(),
            conversation_id: Some("a|1|b".to_owned()),
            message_server_id: Some(row),
            create_time: None,
        })
        .collect();
    let planned = Planned { invalid: &invalid, ..Planned::default() };
    assert_eq!(fixture.ledger.plan(fixture.run, fixture.now, &planned).await.unwrap().new_invalid, 50);
    fixture.now += HOUR;
    assert_eq!(fixture.ledger.plan(fixture.run, fixture.now, &planned).await.unwrap().new_invalid, 0);
    assert_eq!(fixture.ledger.sums().await.unwrap().invalid, 50);
    assert!(fixture.ledger.known(&[1]).await.unwrap().is_empty());
    let all = RetryFilter::Chosen { classes: vec![], codes: vec![], all: true };
    assert!(fixture.ledger.due_failures(fixture.now, &all, None, 10).await.unwrap().is_empty());
    let rows = fixture.ledger.failures(&FailureFilter::default(), 0, 100).await.unwrap();
    assert_eq!((rows.len(), rows[7].source.as_deref(), rows[7].retryable), (50, Some("refs.csv:7"), false));

    let seq = fixture.plan(batch("a|1|b", &[7])).await;
    fixture.ledger.record(&fixture.commit(1, vec![archived(seq, &[7])])).await.unwrap();
    assert_eq!(fixture.ledger.sums().await.unwrap().invalid, 49, "the message is here after all");
}
