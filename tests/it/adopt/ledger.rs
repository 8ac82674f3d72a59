//! Making a ledger anew, at its public API: what is carried over, and how many IDs it bears.

use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;
use yunxin_archiver::ledger::{
    Adoption, ArchiveContents, CarriedCursor, Commit, CutSettings, FailedRef, FailureFilter, FailureState,
    FinishedBatch, Identity, Ledger, Planned, ReplacedLedger,
};
use yunxin_archiver::model::failure::{Class, Reason};
use yunxin_archiver::model::reference::ConversationId;
use yunxin_archiver::plan::{Batch, BatchRef, FollowUp, History, Purpose};

use crate::support::ledger::open_ledger;

fn identity() -> Identity {
    Identity {
        job: "nightly".to_owned(),
        app_key: "key".to_owned(),
        sink: "/archive".to_owned(),
        partitioning: "date".to_owned(),
    }
}

fn batch(ids: &[i64]) -> Batch {
    let conversation = ConversationId::parse("a|1|b").unwrap();
    Batch {
        key: conversation.key(),
        asked: conversation.owner.clone(),
        purpose: Purpose::Reference,
        owners: vec![conversation.owner],
        histories: Vec::new(),
        refs: ids.iter().map(|id| BatchRef { message_server_id: *id, create_time: 1_000 + id, owner: 0 }).collect(),
    }
}

fn failed(id: i64) -> FailedRef {
    FailedRef {
        message_server_id: id,
        create_time: 1_000 + id,
        conversation_id: "a|1|b".to_owned(),
        reason: Reason { class: Class::Unanswered, code: None, message: "nothing".to_owned(), retryable: true },
        attempts: 1,
    }
}

async fn plan(ledger: &Ledger, run: Uuid, ids: &[i64]) -> i64 {
    let planned = Planned { batches: &[batch(ids)], new_ids: ids, ..Planned::default() };
    ledger.plan(run, Timestamp::now(), &planned).await.unwrap().first_seq
}

async fn pending(ledger: &Ledger) -> Vec<i64> {
    let batches = ledger.pending(0, 1_000).await.unwrap();
    let mut ids: Vec<i64> =
        batches.iter().flat_map(|pending| pending.batch.refs.iter().map(|r| r.message_server_id)).collect();
    ids.sort_unstable();
    ids
}

/// A former ledger: 1 to 4 archived by commit 1, 5 to 8 pending, 9 and 10 failed, a cursor.
async fn former(place: &std::path::Path) {
    let ledger = open_ledger(place, &identity()).await.unwrap();
    let run = Uuid::now_v7();
    ledger.begin_run(run, "run", Timestamp::now()).await.unwrap();
    let archived = plan(&ledger, run, &[1, 2, 3, 4]).await;
    plan(&ledger, run, &[5, 6, 7, 8]).await;
    let none = plan(&ledger, run, &[9, 10]).await;
    let finished = |seq, archived, failures| FinishedBatch { seq, archived, failures, ..FinishedBatch::default() };
    let commit = |seq, rows, finished| Commit {
        seq,
        run_id: run,
        now: Timestamp::now(),
        finished: vec![finished],
        files: Vec::new(),
        rows,
        bytes: rows,
    };
    ledger.record(&commit(0, 0, finished(none, vec![], vec![failed(9), failed(10)]))).await.unwrap();
    ledger.record(&commit(1, 4, finished(archived, vec![1, 2, 3, 4], vec![]))).await.unwrap();
    ledger.set_checkpoint("{}", "source").await.unwrap();
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn what_was_to_be_done_and_is_not_archived_is_still_to_be_done() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("state/nightly.sqlite");
    former(&place).await;
    let id = Uuid::now_v7();
    let mut adoption = Adoption::begin(&place, &identity(), id, None).await.unwrap();
    assert!(matches!(adoption.former(), ReplacedLedger::Read { commit: 1, .. }));
    // The archive lost 4, and holds 6 and 9 that the ledger does not know of; 9 is there twice, 2 in a later version.
    adoption.archived(vec![9, 6, 3, 2, 1, 9], &[(2, 1), (11, 1), (11, 1)]).await.unwrap();
    let held = ArchiveContents { commit: 7, manifests: None, ..ArchiveContents::default() };
    let (archived, carried) = adoption.fill(&held, Uuid::now_v7(), Timestamp::now()).await.unwrap();
    assert_eq!((archived.messages, archived.ids, archived.twice), (9, 6, 2));
    assert_eq!((carried.pending, carried.lost, carried.archived), (4, 1, 1));
    assert_eq!(carried.cursor, CarriedCursor::Kept);
    let kept = adoption.install(Timestamp::now()).await.unwrap().unwrap();
    assert!(kept.file_name().unwrap().to_str().unwrap().starts_with("nightly.sqlite.before-adopt-"));

    let ledger = open_ledger(&place, &identity()).await.unwrap();
    assert_eq!((ledger.id(), ledger.last_commit().await.unwrap()), (id, 7));
    assert_eq!(pending(&ledger).await, [4, 5, 7, 8]);
    assert_eq!(ledger.known(&(0..13).collect::<Vec<_>>()).await.unwrap(), (1..12).collect::<Vec<_>>());
    let failures = ledger.failures(&FailureFilter::default(), 0, 10).await.unwrap();
    let states: Vec<_> = failures.iter().map(|failure| (failure.message_server_id, failure.state)).collect();
    assert_eq!(states, [(Some(9), FailureState::Closed), (Some(10), FailureState::Open)]);
    let runs = ledger.runs(10).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.command.as_str()).collect::<Vec<_>>(), ["adopt", "run"]);
    assert_eq!(runs[1].outcome.as_deref(), Some("died"));
    assert!(ledger.checkpoint().await.unwrap().is_some());
}

#[tokio::test]
async fn a_batch_that_is_damaged_inside_loses_all_that_was_to_be_done_and_the_cursor_with_it() {
    use sqlx::{ConnectOptions as _, Connection as _};
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("nightly.sqlite");
    former(&place).await;
    let mut conn = sqlx::sqlite::SqliteConnectOptions::new().filename(&place).connect().await.unwrap();
    sqlx::query("update pending set body = x'00'").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let mut adoption = Adoption::begin(&place, &identity(), Uuid::now_v7(), None).await.unwrap();
    adoption.archived(vec![1, 2, 3, 4], &[]).await.unwrap();
    let (_, carried) = adoption.fill(&ArchiveContents::default(), Uuid::now_v7(), Timestamp::now()).await.unwrap();
    assert!(carried.damaged.is_some());
    assert_eq!((carried.pending, carried.cursor), (0, CarriedCursor::None));
    adoption.install(Timestamp::now()).await.unwrap();
    let ledger = open_ledger(&place, &identity()).await.unwrap();
    // They are read from the source again.
    assert_eq!(ledger.known(&(0..13).collect::<Vec<_>>()).await.unwrap(), [1, 2, 3, 4]);
    assert!(ledger.checkpoint().await.unwrap().is_none());
}

#[tokio::test]
async fn millions_of_ids_in_any_order_are_sorted_on_disk() {
    const IDS: i64 = 2_500_000;
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("nightly.sqlite");
    let mut adoption = Adoption::begin(&place, &identity(), Uuid::now_v7(), None).await.unwrap();
    assert_eq!(adoption.former(), &ReplacedLedger::None);
    // Every ID once, in an order that jumps over the whole range; every hundredth once more.
    let id = |n: i64| (n * 1_000_003 % IDS) * 7;
    for from in (0..IDS).step_by(65_536) {
        let to = (from + 65_536).min(IDS);
        let again = (from..to).filter(|n| n % 100 == 0);
        adoption.archived((from..to).chain(again).map(id).collect(), &[]).await.unwrap();
    }
    let (archived, _) = adoption.fill(&ArchiveContents::default(), Uuid::now_v7(), Timestamp::now()).await.unwrap();
    assert_eq!((archived.ids, archived.twice), (IDS as u64, IDS as u64 / 100));
    assert!(adoption.install(Timestamp::now()).await.unwrap().is_none());
    let ledger = open_ledger(&place, &identity()).await.unwrap();
    let some: Vec<i64> = (0..70_000).collect();
    assert_eq!(ledger.known(&some).await.unwrap(), some.iter().copied().filter(|n| n % 7 == 0).collect::<Vec<_>>());
    assert_eq!(ledger.totals().await.unwrap().known_ids, IDS as u64);
}

#[tokio::test]
async fn what_waits_for_another_owner_keeps_its_history_and_what_the_archive_holds_leaves_it() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("state/nightly.sqlite");
    let ledger = open_ledger(&place, &identity()).await.unwrap();
    let run = Uuid::now_v7();
    ledger.begin_run(run, "run", Timestamp::now()).await.unwrap();
    let seq = plan(&ledger, run, &[12, 13, 14]).await;
    let Batch { purpose, refs, .. } = batch(&[12, 13, 14]);
    let key = ConversationId::parse("a|2|7").unwrap().key();
    let history = History {
        asked: vec!["a".to_owned()],
        named: vec![("a".to_owned(), 3), ("b".to_owned(), 1)],
        ..History::default()
    };
    let owners = vec!["a".to_owned()];
    let follow_up = FollowUp { key, asked: None, purpose, owners, refs, history: history.clone().into() };
    let finished = vec![FinishedBatch { seq, follow_ups: vec![follow_up], ..FinishedBatch::default() }];
    let (now, files) = (Timestamp::now(), Vec::new());
    ledger.record(&Commit { seq: 0, run_id: run, now, finished, files, rows: 0, bytes: 0 }).await.unwrap();
    ledger.close().await.unwrap();

    let mut adoption = Adoption::begin(&place, &identity(), Uuid::now_v7(), None).await.unwrap();
    adoption.archived(vec![13], &[]).await.unwrap();
    let held = ArchiveContents { commit: 1, manifests: None, ..ArchiveContents::default() };
    let (_, carried) = adoption.fill(&held, Uuid::now_v7(), now).await.unwrap();
    assert_eq!((carried.pending, carried.archived), (2, 1));
    adoption.install(now).await.unwrap();
    let ledger = open_ledger(&place, &identity()).await.unwrap();
    let order = CutSettings { run_id: run, now, batch_size: 10 };
    assert_eq!(ledger.cut_follow_ups(&order, &[], &|_, _| false, &|_| Vec::new()).await.unwrap().batches, 1);
    let left = ledger.pending(0, 10).await.unwrap().remove(0).batch;
    assert_eq!((left.asked.as_str(), left.refs.len(), &*left.histories[0]), ("b", 2, &history));
}
