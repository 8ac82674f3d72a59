//! Commits, files and manifests.

use super::*;

#[tokio::test]
async fn a_commit_puts_every_reference_in_its_place() {
    let fixture = Fixture::new().await;
    let seq = fixture.plan(batch("a|1|b", &[1, 2, 3, 4, 5])).await;
    let follow_up = more(batch("a|1|b", &[4, 5]), Some("b"), History::default());
    let gone = failed("a|1|b", 3, reason(Class::Unavailable, Some(107_404), false));
    let done =
        FinishedBatch { archived: vec![2, 1], failures: vec![gone], follow_ups: vec![follow_up], ..finished(seq) };
    let recorded = fixture.ledger.record(&fixture.commit(1, vec![done])).await.unwrap();

    assert_eq!(recorded.new_failures, BTreeMap::from([((Class::Unavailable, Some(107_404)), 1)]));
    assert!(recorded.split.is_empty());
    let sums = fixture.ledger.sums().await.unwrap();
    assert_eq!((sums.pending_refs, sums.carried_refs, sums.open_failures, sums.pending()), (0, 2, 1, 2));
    assert_eq!(fixture.ledger.last_commit().await.unwrap(), 1);
    let runs = fixture.ledger.runs(1).await.unwrap();
    let references = runs[0].counts.references.unwrap();
    assert_eq!((references.accepted, references.archived, references.failed, references.pending), (5, 2, 1, 2));
    assert_eq!((runs[0].counts.rows, runs[0].counts.commits), (2, 1));
}

#[tokio::test]
async fn a_reference_that_is_not_accounted_for_stops_the_commit_and_nothing_is_stored() {
    let fixture = Fixture::new().await;
    let seq = fixture.plan(batch("a|1|b", &[1, 2, 3])).await;
    let other = fixture.plan(batch("a|1|b", &[4])).await;
    for wrong in [
        vec![archived(other, &[4]), archived(seq, &[1, 2])],
        vec![archived(seq, &[1, 2, 3]), archived(seq, &[1, 2, 3])],
        vec![archived(seq + 77, &[1])],
        vec![FinishedBatch {
            failures: vec![failed("a|1|b", 1, reason(Class::Refused, None, false))],
            ..archived(seq, &[2, 9])
        }],
    ] {
        let error = fixture.ledger.record(&fixture.commit(1, wrong)).await.unwrap_err();
        assert!(matches!(error, LedgerError::Inconsistent { .. }), "{error}");
    }
    for seq in [0, 2] {
        assert!(fixture.ledger.record(&fixture.commit(seq, vec![archived(other, &[4])])).await.is_err());
    }
    assert_eq!(pending_ids(&fixture.ledger).await, [1, 2, 3, 4]);
    assert_eq!(fixture.ledger.last_commit().await.unwrap(), 0);
    assert_eq!(fixture.ledger.sums().await.unwrap().open_failures, 0);
}

#[tokio::test]
async fn an_intended_commit_is_recorded_after_a_crash_or_discarded() {
    let fixture = Fixture::new().await;
    let seq = fixture.plan(batch("a|1|b", &[1, 2])).await;
    let gone = failed("a|1|b", 2, reason(Class::Unavailable, Some(107_404), false));
    let commit = fixture.commit(1, vec![FinishedBatch { failures: vec![gone], ..archived(seq, &[1]) }]);
    fixture.ledger.record_intent(&commit).await.unwrap();
    let fixture = fixture.reopened().await;
    assert_eq!(fixture.ledger.intent().await.unwrap(), Some(commit.clone()));
    assert_eq!(fixture.ledger.last_commit().await.unwrap(), 0);

    fixture.ledger.discard_intent().await.unwrap();
    assert_eq!(fixture.ledger.intent().await.unwrap(), None);
    assert_eq!(pending_ids(&fixture.ledger).await, [1, 2]);

    fixture.ledger.record_intent(&commit).await.unwrap();
    fixture.ledger.record(&commit).await.unwrap();
    assert_eq!(fixture.ledger.intent().await.unwrap(), None);
    assert!(pending_ids(&fixture.ledger).await.is_empty());
    assert!(fixture.ledger.record_intent(&commit).await.is_err(), "commit 1 comes once");
}

#[tokio::test]
async fn commits_that_the_archive_lost_are_sent_back_and_only_what_they_archived() {
    let mut fixture = Fixture::new().await;
    for seq in 1..=3u64 {
        let ids = [seq as i64 * 10, seq as i64 * 10 + 1];
        let batch_seq = fixture.plan(batch("a|1|b", &ids)).await;
        let gone = failed("a|1|b", ids[1], reason(Class::Unavailable, Some(107_404), false));
        let commit =
            fixture.commit(seq, vec![FinishedBatch { failures: vec![gone], ..archived(batch_seq, &ids[..1]) }]);
        fixture.ledger.record_intent(&commit).await.unwrap();
        fixture.ledger.record(&commit).await.unwrap();
        fixture.ledger.published(seq).await.unwrap();
        fixture.now += HOUR;
    }
    assert_eq!(fixture.ledger.reopen_after(3).await.unwrap(), 0);
    assert_eq!(fixture.ledger.reopen_after(1).await.unwrap(), 2);
    assert_eq!(pending_ids(&fixture.ledger).await, [20, 30]);
    assert_eq!(fixture.ledger.last_commit().await.unwrap(), 1);
    assert_eq!(fixture.ledger.sums().await.unwrap().open_failures, 3);

    let batches = fixture.ledger.pending(0, 10).await.unwrap();
    let again = batches.iter().map(|pending| archived(pending.seq, &ids_of(&pending.batch))).collect();
    fixture.now += HOUR * 30;
    let commit = fixture.commit(2, again);
    fixture.ledger.record_intent(&commit).await.unwrap();
    fixture.ledger.record(&commit).await.unwrap();
    fixture.ledger.published(2).await.unwrap();
    let error = fixture.ledger.reopen_after(0).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Refused(text) if text.contains("adopt")), "{error}");
    assert_eq!(fixture.ledger.reopen_after(1).await.unwrap(), 2);
}

#[tokio::test]
async fn manifests_count_without_a_gap_and_files_come_in_their_order_once() {
    let mut fixture = Fixture::new().await;
    let mut runs = Vec::new();
    for seq in 1..=2u64 {
        let ids = [seq as i64];
        let batch_seq = fixture.plan(batch("a|1|b", &ids)).await;
        let mut commit = fixture.commit(seq, vec![archived(batch_seq, &ids)]);
        let file = file(&format!("part-{seq}"), ids.len() as u64);
        commit.files = vec![StagedFile { file, staged: format!("_tmp/part-{seq}.inprogress") }];
        fixture.ledger.record(&commit).await.unwrap();
        assert!(fixture.ledger.manifest_due(None).await.unwrap().iter().all(|due| due.run_id != fixture.run));
        fixture.ledger.published(seq).await.unwrap();
        runs.push(fixture.run);
        fixture.run = Uuid::now_v7();
        fixture.ledger.begin_run(fixture.run, "run", fixture.now).await.unwrap();
    }
    let due = fixture.ledger.manifest_due(Some(fixture.run)).await.unwrap();
    assert_eq!(due.iter().map(|due| (due.run_id, due.sequence)).collect::<Vec<_>>(), [(runs[0], 1), (runs[1], 2)]);
    assert_eq!(due[1].files, [file("part-2", 1)]);
    assert!(fixture.ledger.files(None).await.unwrap().is_empty(), "a file that no manifest names is not yet data");
    assert!(fixture.ledger.set_manifest(runs[0], 2, "00", None).await.is_err());
    for due in &due {
        fixture.ledger.set_manifest(due.run_id, due.sequence, "00", None).await.unwrap();
        fixture.ledger.set_manifest(due.run_id, due.sequence, "00", None).await.unwrap();
    }
    assert_eq!(fixture.ledger.manifest_due(None).await.unwrap()[0].sequence, 3);
    let paths = |files: Vec<yunxin_archiver::ledger::CommittedFile>| {
        files.into_iter().map(|file| (file.manifest, file.file.path)).collect::<Vec<_>>()
    };
    let all = paths(fixture.ledger.files(None).await.unwrap());
    assert_eq!(all, [(1, "part-1".to_owned()), (2, "part-2".to_owned())]);
    assert_eq!(paths(fixture.ledger.files(Some(runs[0])).await.unwrap()), all[1..]);
    let error = fixture.ledger.files(Some(fixture.run)).await.unwrap_err();
    assert!(matches!(error, LedgerError::UnknownRun { .. }));
}
