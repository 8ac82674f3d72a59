//! Planning, handing out, and what is known.

use super::*;

#[tokio::test]
async fn a_planned_batch_is_pending_and_its_ids_are_known_also_to_the_next_process() {
    let fixture = Fixture::new().await;
    let id = fixture.ledger.id();
    let mut planned = batch("Bob|1|alice", &[30, 10, 20]);
    planned.owners.push("alice".to_owned());
    planned.refs[1].owner = 1;
    let seq = fixture.plan(planned.clone()).await;

    let fixture = fixture.reopened().await;
    assert_eq!(fixture.ledger.id(), id);
    let pending = fixture.ledger.pending(0, 10).await.unwrap();
    planned.refs.sort_by_key(|reference| reference.message_server_id);
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].seq, &pending[0].batch), (seq, &planned));
    assert!(fixture.ledger.pending(seq, 10).await.unwrap().is_empty());
    assert_eq!(fixture.ledger.known(&[9, 10, 11, 20, 30, 31]).await.unwrap(), [10, 20, 30]);
    let totals = fixture.ledger.totals().await.unwrap();
    assert_eq!((totals.pending_batches, totals.sums.pending_refs, totals.known_ids), (1, 3, 3));
}

#[tokio::test]
async fn pending_batches_come_in_their_order_page_by_page() {
    let fixture = Fixture::new().await;
    let batches: Vec<Batch> = (0..75).map(|id| batch("a|2|7", &[id * 2 + 1])).collect();
    let ids: Vec<i64> = (0..75).map(|id| id * 2 + 1).collect();
    let planned = Planned { batches: &batches, new_ids: &ids, ..Planned::default() };
    fixture.ledger.plan(fixture.run, fixture.now, &planned).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = fixture.ledger.pending(after, 20).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.seq;
        seen.extend(page.iter().flat_map(|pending| ids_of(&pending.batch)));
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn known_ids_stay_known_through_every_merge() {
    let fixture = Fixture::new().await;
    let mut known = BTreeSet::new();
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 20) as i64 % 200_000
    };
    for round in 0..40 {
        let size = [3, 500, 1, 6_000][round % 4];
        let ids: BTreeSet<i64> = (0..size).map(|_| random()).collect();
        known.extend(&ids);
        let ids: Vec<i64> = ids.into_iter().collect();
        let planned = Planned { new_ids: &ids, ..Planned::default() };
        fixture.ledger.plan(fixture.run, fixture.now, &planned).await.unwrap();
        if round % 10 == 3 {
            let probes: Vec<i64> = (0..200_000).step_by(7).collect();
            let expected: Vec<i64> = probes.iter().copied().filter(|id| known.contains(id)).collect();
            assert_eq!(fixture.ledger.known(&probes).await.unwrap(), expected);
        }
    }
    fixture.ledger.compact().await.unwrap();
    let fixture = fixture.reopened().await;
    let probes: Vec<i64> = (-5..200_005).collect();
    assert_eq!(fixture.ledger.known(&probes).await.unwrap(), known.iter().copied().collect::<Vec<_>>());
    for few in [vec![], vec![*known.first().unwrap()], vec![-1, *known.last().unwrap()]] {
        let expected: Vec<i64> = few.iter().copied().filter(|id| known.contains(id)).collect();
        assert_eq!(fixture.ledger.known(&few).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn the_halves_of_a_split_batch_come_first_and_a_run_that_reads_on_does_not_meet_them() {
    let fixture = Fixture::new().await;
    let seq = fixture.plan(batch("a|2|7", &[1, 2, 3, 4])).await;
    let next = fixture.plan(batch("a|2|7", &[5])).await;
    let halves = vec![batch("a|2|7", &[1, 2]), batch("a|2|7", &[3, 4])];
    let done = FinishedBatch { split: halves.clone(), ..finished(seq) };
    let recorded = fixture.ledger.record(&fixture.commit(0, vec![done])).await.unwrap();

    assert_eq!(
        recorded.split.iter().map(|pending| &pending.batch).collect::<Vec<_>>(),
        halves.iter().collect::<Vec<_>>()
    );
    let on: Vec<i64> = fixture.ledger.pending(seq, 10).await.unwrap().iter().map(|pending| pending.seq).collect();
    assert_eq!(on, [next]);
    let anew = fixture.reopened().await.ledger.pending(0, 10).await.unwrap();
    assert_eq!(anew[..2], recorded.split[..]);
    assert_eq!(anew[2].seq, next);
    assert!(anew[0].seq > 0);
}

#[tokio::test]
async fn a_checkpoint_comes_back_as_it_was_given() {
    let fixture = Fixture::new().await;
    assert!(fixture.ledger.checkpoint().await.unwrap().is_none());
    fixture.ledger.set_checkpoint("{\"value\":7}", "postgres refs").await.unwrap();
    fixture.ledger.set_checkpoint("{\"value\":8}", "postgres refs").await.unwrap();
    let stored = fixture.reopened().await.ledger.checkpoint().await.unwrap().unwrap();
    assert_eq!((stored.text.as_str(), stored.source.as_str()), ("{\"value\":8}", "postgres refs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planning_and_fetching_go_on_at_once_and_no_reference_is_lost() {
    const BATCHES: i64 = 120;
    let fixture = Fixture::new().await;
    let (run, now) = (fixture.run, fixture.now);
    let ledger = Arc::new(fixture.ledger);
    let planning = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move {
            for n in 0..BATCHES {
                let ids = [n * 2 + 1, n * 2 + 2];
                assert!(ledger.known(&ids).await.unwrap().is_empty());
                let planned = Planned { batches: &[batch("a|1|b", &ids)], new_ids: &ids, ..Planned::default() };
                ledger.plan(run, now, &planned).await.unwrap();
                assert_eq!(ledger.known(&ids).await.unwrap(), ids);
            }
        }
    });
    let fetching = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move {
            let (mut after, mut commit, mut archived_ids) = (0, 0, Vec::new());
            while archived_ids.len() < BATCHES as usize * 2 {
                let page = ledger.pending(after, 7).await.unwrap();
                let Some(last) = page.last() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                after = last.seq;
                commit += 1;
                let done: Vec<_> = page.iter().map(|pending| archived(pending.seq, &ids_of(&pending.batch))).collect();
                archived_ids.extend(done.iter().flat_map(|batch| batch.archived.clone()));
                let rows = done.iter().map(|batch| batch.archived.len() as u64).sum();
                let step = Commit { seq: commit, run_id: run, now, finished: done, files: vec![], rows, bytes: 0 };
                ledger.record(&step).await.unwrap();
                ledger.published(commit).await.unwrap();
            }
            archived_ids
        }
    });
    planning.await.unwrap();
    assert_eq!(fetching.await.unwrap(), (1..=BATCHES * 2).collect::<Vec<_>>());
    assert_eq!(ledger.sums().await.unwrap().pending(), 0);
    assert_eq!(ledger.totals().await.unwrap().known_ids, BATCHES as u64 * 2);
}
