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
async fn a_changed_identity_is_refused_while_batches_are_pending_and_then_begins_a_ledger_beside_the_former_one() {
    let fixture = Fixture::new().await;
    let (path, old) = (fixture.path(), fixture.ledger.id());
    let seq = fixture.plan(batch("a|1|b", &[1])).await;
    fixture.fail("a|1|b", 2, reason(Class::Unanswered, None, true)).await;
    fixture.ledger.set_checkpoint("{}", "source").await.unwrap();
    let moved = Identity { sink: "/elsewhere".to_owned(), ..identity() };
    let error = Beginning::prepare(&path, &moved).await.unwrap_err();
    assert!(matches!(error, LedgerError::Refused(_)));
    let text = error.to_string();
    assert!(text.contains("\"/archive\"") && text.contains("\"/elsewhere\"") && text.contains("pending"), "{text}");

    fixture.ledger.record(&fixture.commit(1, vec![archived(seq, &[1])])).await.unwrap();
    fixture.ledger.published(1).await.unwrap();
    let Fixture { dir, ledger, .. } = fixture;
    ledger.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(Ledger::open(&path, &moved).await.unwrap().is_none());
    let refused = Beginning::prepare(&path, &moved).await.unwrap();
    let (id, former) = (refused.id(), refused.former().unwrap().clone());
    assert_eq!((former.id, former.open_failures, former.dismissed_failures), (old, 1, 0));
    drop(refused);
    assert_eq!(
        std::fs::read(&path).unwrap(),
        before,
        "the former ledger stays as it is until the new one has its place"
    );

    let again = Beginning::prepare(&path, &moved).await.unwrap();
    assert_eq!(again.id(), id, "an archive may know the ID already");
    let (ledger, kept) = again.take_place().await.unwrap();
    let kept = kept.unwrap();
    assert_eq!(kept, path.with_file_name(format!("nightly.{old}.sqlite")));
    assert_eq!(std::fs::read(&kept).unwrap(), before);
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((ledger.id(), ledger.identity()), (id, &moved));
    assert_eq!(ledger.last_commit().await.unwrap(), 0);
    assert!(ledger.known(&[1, 2]).await.unwrap().is_empty());
    assert!(ledger.checkpoint().await.unwrap().is_none());
    assert!(ledger.failures(&FailureFilter::default(), 0, 10).await.unwrap().is_empty());
    ledger.close().await.unwrap();
    let state: BTreeSet<String> = names(&dir.path().join("state"));
    assert_eq!(state, BTreeSet::from(["nightly.sqlite".to_owned(), format!("nightly.{old}.sqlite")]));

    // The former ledger is used again where it is put back.
    std::fs::rename(&kept, &path).unwrap();
    let former = Ledger::open(&path, &identity()).await.unwrap().unwrap();
    assert_eq!(former.known(&[1, 2]).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn the_ledger_of_another_job_is_refused() {
    let fixture = Fixture::new().await;
    let error = open_ledger(&fixture.path(), &Identity { job: "weekly".to_owned(), ..identity() }).await.unwrap_err();
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
        for error in [open_ledger(&path, &identity()).await.unwrap_err(), Ledger::read(&path).await.unwrap_err()] {
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
    for error in
        [open_ledger(&fixture.path(), &identity()).await.unwrap_err(), Ledger::read(&fixture.path()).await.unwrap_err()]
    {
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

    let ledger = open_ledger(&path(&dir), &identity()).await.unwrap();
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

/// Makes a ledger as version 0.1 left it, with two failures and an invalid row.
async fn of_version_0_1(path: &Path) {
    use sqlx::SqlSafeStr as _;
    use sqlx::migrate::{Migration, MigrationType, Migrator};
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut conn = options.connect().await.unwrap();
    let steps = [
        (1, "ledger", include_str!("../../../migrations/sqlite/0001_ledger.sql")),
        (2, "manifests", include_str!("../../../migrations/sqlite/0002_manifests.sql")),
        (3, "refetch", include_str!("../../../migrations/sqlite/0003_refetch.sql")),
    ];
    let steps = steps.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(steps.to_vec());
    migrator.dangerous_set_table_name("migrations");
    migrator.run_direct(None, &mut conn, false).await.unwrap();
    conn.close().await.unwrap();
    tamper(
        path,
        "insert into ledger (one, ledger_id, job, app_key, sink, partitioning, last_commit, next_seq, next_urgent)
         values (1, '0192f1d2-0000-7000-8000-000000000001', 'nightly', 'key', '/archive', 'date', 0, 4294967296, 4294967295);
         insert into failures (state, class, code, message, retryable, attempts, rounds, message_server_id, create_time,
                               conversation_id, key, source, run_id, first_seen, last_seen, closed_at, note)
         select state, class, code, 'why', 0, 1, 1, id, 1001, 'a|1|b', '1|a|b', source, '0192f1d2-0000-7000-8000-000000000002',
                1000, 1000, closed_at, note
         from (select 0 as state, 'unavailable' as class, 107404 as code, 1 as id, null as source, null as closed_at, null as note
               union all select 2, 'unanswered', null, 2, null, 2000, 'archived'
               union all select 0, 'invalid', null, 3, 'refs.csv:7', null, null)",
    )
    .await;
}

#[tokio::test]
async fn a_ledger_of_the_version_before_is_brought_up_to_date_and_knows_what_it_knew() {
    let dir = TempDir::new().unwrap();
    of_version_0_1(&path(&dir)).await;
    let ledger = open_ledger(&path(&dir), &identity()).await.unwrap();
    let rows = ledger.failures(&FailureFilter::default(), 0, 10).await.unwrap();
    let states: Vec<_> = rows.iter().map(|row| (row.message_server_id, row.state, row.rows)).collect();
    assert_eq!(
        states,
        [(Some(1), FailureState::Open, 1), (Some(2), FailureState::Closed, 1), (Some(3), FailureState::Open, 1)]
    );
    let run = Uuid::now_v7();
    ledger.begin_run(run, "run", Timestamp::now()).await.unwrap();
    // The invalid row that it knows is nothing new, and can be dismissed.
    let invalid = [Invalid {
        position: "refs.csv:7".to_owned(),
        message: "why".to_owned(),
        conversation_id: None,
        message_server_id: Some(3),
        create_time: None,
    }];
    let planned = Planned { invalid: &invalid, ..Planned::default() };
    assert_eq!(ledger.plan(run, Timestamp::now(), &planned).await.unwrap().new_invalid, 0);
    let of_input = FailureFilter { source: Some("refs.csv".to_owned()), ..FailureFilter::default() };
    let dismissed = ledger.dismiss(&of_input, Timestamp::now(), "me", None).await.unwrap();
    assert_eq!((dismissed.references, dismissed.rows), (0, 1));
    assert_eq!(ledger.plan(run, Timestamp::now(), &planned).await.unwrap().new_invalid, 0, "it stays dismissed");
    assert_eq!(ledger.sums().await.unwrap().invalid, 0);
    assert_eq!(ledger.totals().await.unwrap().dismissed, 1);
}

/// A block of these IDs and a batch of 10, 20 and 2^50, as version 0.1 wrote them.
const IDS_OF_VERSION_0_1: [i64; 9] = [-5, -5, 0, 7, 1 << 20, (1 << 20) + 9, 1 << 40, (1 << 40) + 3, i64::MAX];
const STORED_BY_VERSION_0_1: &str =
    "insert into known (layer, first, last, n, ids) values (1, -5, 9223372036854775807, 9,
         x'0109fbffffffffffffff0221310700c8ff7f0000000000600000f7ffefffff0000000700e0fffffffff7ffff036dd7bee2');
     insert into pending (seq, ask, depth, key, asked, refs, body) values (4294967296, 1, 0, '1|alice|bob', 'alice', 3,
         x'010105616c6963650380fde4fa8b660a00000000000000020b140080fdffffffff7f0000280bdf03000000309227eb1706839fdf16');
     update ledger set next_seq = next_seq + 1";

#[tokio::test]
async fn ids_and_batches_of_version_0_1_are_read_and_stay_known_when_they_are_merged_with_new_ones() {
    let dir = TempDir::new().unwrap();
    of_version_0_1(&path(&dir)).await;
    tamper(&path(&dir), STORED_BY_VERSION_0_1).await;
    let ledger = open_ledger(&path(&dir), &identity()).await.unwrap();
    let pending = ledger.pending(0, 10).await.unwrap();
    assert_eq!((pending.len(), ids_of(&pending[0].batch)), (1, vec![10, 20, 1 << 50]));
    let (run, now) = (Uuid::now_v7(), Timestamp::now());
    ledger.begin_run(run, "run", now).await.unwrap();
    let mut known: BTreeSet<i64> = IDS_OF_VERSION_0_1.into();
    for id in 100..120 {
        ledger.plan(run, now, &Planned { new_ids: &[id], ..Planned::default() }).await.unwrap();
        known.insert(id);
    }
    ledger.compact().await.unwrap();
    let all: Vec<i64> = known.into_iter().collect();
    assert_eq!(ledger.known(&all).await.unwrap(), all);
    assert!(ledger.known(&[-4, 1, 99, 120]).await.unwrap().is_empty());
}
