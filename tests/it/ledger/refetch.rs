//! Batches that ask again for what is archived.

use yunxin_archiver::ledger::Reviewed;
use yunxin_archiver::model::message::ExistingVersion;

use super::*;

const AGAIN: Purpose = Purpose::Refetch { doubt: false };

fn version(id: i64, revision: i32, fetched_at: i64) -> ExistingVersion {
    ExistingVersion {
        message_server_id: id,
        conversation_id: "a|1|b".to_owned(),
        create_time: 1_000 + id,
        revision,
        modify_time: (revision > 0).then_some(fetched_at - 1),
        fetched_at,
        requested: true,
    }
}

fn again(ids: &[i64]) -> Batch {
    Batch { purpose: AGAIN, ..batch("a|1|b", ids) }
}

#[tokio::test]
async fn what_is_asked_again_comes_after_everything_else_and_is_never_planned_twice_at_once() {
    let fixture = Fixture::new().await;
    let ledger = &fixture.ledger;
    ledger.begin_refetch().await.unwrap();
    ledger.plan_refetch(fixture.run, &[again(&[1, 2]), again(&[3])]).await.unwrap();
    let first = fixture.plan(batch("a|1|b", &[4])).await;

    let seqs = |batches: Vec<yunxin_archiver::ledger::PendingBatch>| -> Vec<i64> {
        batches.iter().map(|pending| pending.seq).collect()
    };
    let all = ledger.pending(0, 10).await.unwrap();
    assert_eq!(all.iter().map(|pending| pending.batch.purpose.number()).collect::<Vec<_>>(), [0, -1, -1]);
    assert_eq!(seqs(ledger.pending_first(0, 10).await.unwrap()), [first]);
    let sums = ledger.sums().await.unwrap();
    assert_eq!((sums.pending(), sums.pending_refetch, sums.to_ask()), (1, 3, 4));
    assert_eq!(ledger.totals().await.unwrap().sums.pending_refetch, 3);

    assert!(ledger.begin_refetch().await.is_err());
    assert!(ledger.plan_refetch(fixture.run, &[batch("a|1|b", &[5])]).await.is_err());

    // Every message must be accounted for, and none fails: it is in the archive.
    let seq = all[1].seq;
    let vain = |failed| Reviewed { failed, ..Reviewed::default() };
    let reviewed = |reviewed| FinishedBatch { reviewed, ..finished(seq) };
    for wrong in [
        reviewed(vain(1)),
        FinishedBatch {
            failures: vec![failed("a|1|b", 1, reason(Class::Unanswered, None, true))],
            ..reviewed(vain(1))
        },
        FinishedBatch { reviewed: vain(1), ..finished(first) },
    ] {
        assert!(ledger.record(&fixture.commit(0, vec![wrong])).await.is_err());
    }
    let recorded = ledger.record(&fixture.commit(0, vec![reviewed(vain(2))])).await.unwrap();
    assert_eq!((recorded.reviewed.failed, recorded.new_failures.len()), (2, 0));
    assert_eq!(ledger.sums().await.unwrap().pending_refetch, 1);
}

#[tokio::test]
async fn a_lost_commit_is_asked_again_for_what_it_recorded() {
    let fixture = Fixture::new().await;
    let ledger = &fixture.ledger;
    ledger.plan_refetch(fixture.run, &[again(&[1, 2, 3, 4])]).await.unwrap();
    ledger.keep_versions(&[version(2, 1, 5_000)]).await.unwrap();
    let seq = ledger.pending(0, 1).await.unwrap()[0].seq;
    let reviewed = Reviewed { unchanged: 1, vanished: vec![3], failed: 1 };
    let done = FinishedBatch { archived: vec![2], reviewed, ..finished(seq) };
    let recorded = ledger.record(&fixture.commit(1, vec![done])).await.unwrap();
    let counts = recorded.reviewed;
    assert_eq!((counts.edited, counts.unchanged, counts.vanished, counts.failed), (1, 1, 1, 1));
    ledger.end_refetch().await.unwrap();

    assert_eq!(ledger.reopen_after(0).await.unwrap(), 2);
    let pending = ledger.pending(0, 10).await.unwrap();
    let ids: Vec<i64> = pending[0].batch.refs.iter().map(|reference| reference.message_server_id).collect();
    assert_eq!((pending.len(), pending[0].batch.purpose, ids), (1, AGAIN, vec![2, 3]));
    // What the archive held of them is still known.
    assert_eq!(ledger.versions(&[1, 2, 3]).await.unwrap(), [version(2, 1, 5_000)]);
}

#[tokio::test]
async fn of_several_versions_the_latest_is_kept_until_all_was_asked() {
    let fixture = Fixture::new().await;
    let ledger = &fixture.ledger;
    ledger.keep_versions(&[version(7, 2, 3_000), version(8, 1, 9_000), version(7, 1, 8_000)]).await.unwrap();
    ledger.keep_versions(&[version(7, 0, 1_000), version(9, 0, 9_500)]).await.unwrap();
    assert_eq!(
        ledger.versions(&[9, 8, 7, 6]).await.unwrap(),
        [version(7, 2, 3_000), version(8, 1, 9_000), version(9, 0, 9_500)]
    );
    assert_eq!(ledger.revised_since(5_000, i64::MIN, 10).await.unwrap(), [version(8, 1, 9_000)]);
    assert_eq!(ledger.revised_since(0, 7, 10).await.unwrap(), [version(8, 1, 9_000)]);
    ledger.end_refetch().await.unwrap();
    assert_eq!(ledger.versions(&[7, 8, 9]).await.unwrap(), []);
}
