//! What is carried to be asked for once more, and who was answered.

use yunxin_archiver::plan::TeamOwner;

use super::*;

const NOBODY: &(dyn Fn(&yunxin_archiver::model::reference::ConversationKey, &str) -> bool + Sync) = &|_, _| false;

fn history(asked: &[&str], named: &[(&str, u32)]) -> History {
    History {
        asked: asked.iter().map(|owner| (*owner).to_owned()).collect(),
        named: named.iter().map(|(owner, count)| ((*owner).to_owned(), *count)).collect(),
        attempts: asked.len() as u32,
        reason: reason(Class::Unavailable, Some(109_404), false),
        ..History::default()
    }
}

/// Who is asked for how many, in order.
async fn asked(ledger: &Ledger) -> Vec<(String, usize)> {
    let pending = ledger.pending(0, 100).await.unwrap();
    pending.into_iter().map(|pending| (pending.batch.asked, pending.batch.refs.len())).collect()
}

#[tokio::test]
async fn carried_references_are_cut_into_full_batches_of_one_dialogue_and_one_owner() {
    let fixture = Fixture::new().await;
    let mut finished_batches = Vec::new();
    for id in 0..10 {
        let conversation = if id % 2 == 0 { "a|1|b" } else { "a|2|7" };
        let planned = batch(conversation, &[id * 2 + 1, id * 2 + 2]);
        let seq = fixture.plan(planned.clone()).await;
        let mut again = planned;
        again.owners.push(format!("owner{id}"));
        again.refs[1].owner = 1;
        let asked = if id < 8 { "X" } else { "x" };
        finished_batches
            .push(FinishedBatch { follow_ups: vec![more(again, Some(asked), history(&["a"], &[]))], ..finished(seq) });
    }
    fixture.ledger.record(&fixture.commit(0, finished_batches)).await.unwrap();
    assert_eq!(fixture.ledger.sums().await.unwrap().carried_refs, 20);
    let fixture = fixture.reopened().await;

    let order = fixture.order(4);
    assert_eq!(fixture.ledger.cut_deferred(&order).await.unwrap().batches, 0);
    assert_eq!(fixture.ledger.cut_follow_ups(&order, &[], NOBODY, &|_| Vec::new()).await.unwrap().batches, 6);
    assert_eq!(fixture.ledger.cut_follow_ups(&order, &[], NOBODY, &|_| Vec::new()).await.unwrap().batches, 0);
    let sums = fixture.ledger.sums().await.unwrap();
    assert_eq!((sums.pending_refs, sums.carried_refs), (20, 0));
    let pending = fixture.ledger.pending(0, 100).await.unwrap();
    assert_eq!(pending.iter().map(|pending| pending.batch.refs.len()).collect::<Vec<_>>(), [4, 4, 2, 4, 4, 2]);
    for pending in pending {
        for reference in &pending.batch.refs {
            let id = (reference.message_server_id - 1) / 2;
            let expected = if id % 2 == 0 { "1|a|b" } else { "2|7" };
            assert_eq!(pending.batch.key.as_str(), expected);
            let named = if reference.message_server_id % 2 == 1 { "a".to_owned() } else { format!("owner{id}") };
            assert_eq!(pending.batch.owner_of(reference), named);
            assert_eq!(pending.batch.history_of(reference).unwrap().asked, ["a"]);
        }
    }
}

#[tokio::test]
async fn who_is_asked_next_for_a_team_is_chosen_of_all_that_its_references_name() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.plan(batch("a|2|7", &[1, 2, 3])).await, fixture.plan(batch("b|2|7", &[4, 5])).await);
    let follow_ups = vec![
        FinishedBatch {
            follow_ups: vec![more(batch("a|2|7", &[1, 2, 3]), None, history(&["a"], &[("a", 3), ("c", 1)]))],
            ..finished(first)
        },
        FinishedBatch {
            follow_ups: vec![more(batch("b|2|7", &[4, 5]), None, history(&["a"], &[("b", 2), ("a", 1)]))],
            ..finished(second)
        },
    ];
    fixture.ledger.record(&fixture.commit(0, follow_ups)).await.unwrap();
    let cut = fixture
        .ledger
        .cut_follow_ups(&fixture.order(100), &[], &|_, owner| owner == "b", &|_| Vec::new())
        .await
        .unwrap();
    assert_eq!((cut.batches, cut.failed), (1, 0));
    assert_eq!(asked(&fixture.ledger).await, [("c".to_owned(), 5)], "b was named more often, and refused");
}

#[tokio::test]
async fn what_nobody_is_left_for_has_failed_with_what_was_said_of_it() {
    let fixture = Fixture::new().await;
    let seq = fixture.plan(batch("a|2|7", &[1, 2])).await;
    let follow_up = more(batch("a|2|7", &[1, 2]), None, history(&["a"], &[("a", 2)]));
    let done = FinishedBatch { follow_ups: vec![follow_up], ..finished(seq) };
    fixture.ledger.record(&fixture.commit(0, vec![done])).await.unwrap();
    let cut = fixture.ledger.cut_follow_ups(&fixture.order(100), &[], NOBODY, &|_| Vec::new()).await.unwrap();
    assert_eq!((cut.batches, cut.failed, cut.extras_failed), (0, 2, 0));
    assert_eq!(cut.new_failures, BTreeMap::from([((Class::Unavailable, Some(109_404)), 2)]));
    let sums = fixture.ledger.sums().await.unwrap();
    assert_eq!((sums.pending(), sums.open_failures), (0, 2));
    assert_eq!(fixture.ledger.runs(1).await.unwrap()[0].counts.references.unwrap().failed, 2);
    let due = fixture.ledger.manifest_due(None).await.unwrap();
    assert_eq!((due[0].failures[0].count, due[0].failures[0].code), (2, Some(109_404)));
    let rows = fixture.ledger.failures(&FailureFilter::default(), 0, 10).await.unwrap();
    assert_eq!((rows[0].conversation_id.as_deref(), rows[0].attempts), (Some("a|2|7"), 1));
}

#[tokio::test]
async fn whoever_gets_something_of_a_team_is_asked_first_from_then_on() {
    let fixture = Fixture::new().await;
    let ledger = &fixture.ledger;
    let first_asked = async |conversation: &str, by: &TeamOwner| {
        let mut batches = [batch(conversation, &[900])];
        ledger.begin_with_answered(&mut batches, by).await.unwrap();
        batches[0].asked.clone()
    };
    assert_eq!(first_asked("z|2|7", &TeamOwner::Merge).await, "z");
    let dialogue = fixture.plan(batch("a|1|b", &[1])).await;
    let team = fixture.plan(batch("a|2|7", &[2, 3])).await;
    let none = fixture.plan(batch("a|2|8", &[4])).await;
    let gone = failed("a|2|8", 4, reason(Class::Unavailable, Some(107_404), false));
    let done = vec![
        archived(dialogue, &[1]),
        archived(team, &[2, 3]),
        FinishedBatch { failures: vec![gone], ..finished(none) },
    ];
    ledger.record(&fixture.commit(1, done)).await.unwrap();
    assert_eq!(first_asked("z|2|7", &TeamOwner::Merge).await, "a");
    assert_eq!(first_asked("z|2|8", &TeamOwner::Merge).await, "z", "nothing was got of it");
    assert_eq!(first_asked("b|1|a", &TeamOwner::Merge).await, "b", "a dialogue has two sides");
    assert_eq!(first_asked("z|2|7", &TeamOwner::Own).await, "z");

    // One who got what another did not see does not take that one's place; one who got what another got nothing of does.
    for (id, in_vain, expected) in [(10, false, "a"), (20, true, "b")] {
        let seq = fixture.plan(batch("a|2|7", &[id])).await;
        let asked = History { in_vain, ..history(&["a"], &[("a", 1), ("b", 1)]) };
        let done = FinishedBatch { follow_ups: vec![more(batch("a|2|7", &[id]), None, asked)], ..finished(seq) };
        ledger.record(&fixture.commit(0, vec![done])).await.unwrap();
        ledger.cut_follow_ups(&fixture.order(100), &[], NOBODY, &|_| Vec::new()).await.unwrap();
        let pending = ledger.pending(0, 10).await.unwrap();
        assert_eq!(pending[0].batch.asked, "b");
        let commit = ledger.last_commit().await.unwrap() + 1;
        ledger.record(&fixture.commit(commit, vec![archived(pending[0].seq, &[id])])).await.unwrap();
        assert_eq!(first_asked("z|2|7", &TeamOwner::Merge).await, expected);
    }
}

/// The ledger as the last version left it: a second ask under way, another one carried.
#[tokio::test]
async fn a_ledger_of_the_last_version_goes_on() {
    let fixture = Fixture::new().await;
    fixture.plan(batch("a|1|b", &[1, 2])).await;
    let leaving = fixture.plan(batch("c|1|d", &[3])).await;
    let follow_up = more(batch("c|1|d", &[3]), Some("d"), History::default());
    let done = FinishedBatch { follow_ups: vec![follow_up], ..finished(leaving) };
    fixture.ledger.record(&fixture.commit(0, vec![done])).await.unwrap();
    let Fixture { dir, ledger, run, now } = fixture;
    ledger.close().await.unwrap();
    tamper(
        &path(&dir),
        "alter table intent rename to announced; alter table timelines rename to courses;
         alter table commits rename column intended to announced;
         drop table answered;
         alter table pending drop column history; alter table pending drop column replaces;
         alter table pending add column ask integer not null default 2;
         alter table carried drop column history; alter table carried drop column deferrals;
         alter table done add column ask integer not null default 1;
         drop index failures_together; drop index failures_invalid;
         alter table failures drop column closed_by; alter table failures drop column rows;
         alter table failures drop column mark; alter table failures drop column ids;
         alter table failures drop column asked;
         create unique index failures_invalid on failures (source, message) where state < 2 and class = 'invalid';
         delete from migrations where version >= 4",
    )
    .await;
    let ledger = open_ledger(&path(&dir), &identity()).await.unwrap();
    let fixture = Fixture { dir, ledger, run, now };
    assert_eq!(
        fixture.ledger.cut_follow_ups(&fixture.order(10), &[], NOBODY, &|_| Vec::new()).await.unwrap().batches,
        1
    );
    assert_eq!(asked(&fixture.ledger).await, [("a".to_owned(), 2), ("d".to_owned(), 1)]);
    let all = fixture.ledger.pending(0, 10).await.unwrap();
    let done = all.iter().map(|pending| archived(pending.seq, &ids_of(&pending.batch))).collect();
    fixture.ledger.record(&fixture.commit(1, done)).await.unwrap();
    assert_eq!(fixture.ledger.sums().await.unwrap().pending(), 0);
}
