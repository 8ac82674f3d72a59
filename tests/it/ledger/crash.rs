//! Processes that die, and processes with an odd umask: this test binary runs itself again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "YUNXIN_ARCHIVER_TEST_LEDGER";

/// Plans and records without end, and says so after each.
async fn work_until_killed(path: &Path) {
    let now = "2026-11-22T03:00:00Z".parse().unwrap();
    let run = Uuid::now_v7();
    let ledger = open_ledger(path, &identity()).await.unwrap();
    ledger.begin_run(run, "run", now).await.unwrap();
    ledger.note_run(run, &RunNote::default(), 0, 0).await.unwrap();
    let mut said = std::io::stderr();
    for n in 1.. {
        let ids: Vec<i64> = (n * 10..n * 10 + 10).collect();
        let planned = Planned { batches: &[batch("a|1|b", &ids)], new_ids: &ids, ..Planned::default() };
        let seq = ledger.plan(run, now, &planned).await.unwrap().first_seq;
        writeln!(said, "planned {n}").unwrap();
        let (archived, gone) = ids.split_at(9);
        let gone = gone.iter().map(|id| failed("a|1|b", *id, reason(Class::Unavailable, None, false))).collect();
        let finished = FinishedBatch { archived: archived.to_vec(), failures: gone, ..finished(seq) };
        let commit =
            Commit { seq: n as u64, run_id: run, now, finished: vec![finished], files: vec![], rows: 9, bytes: 9 };
        ledger.record(&commit).await.unwrap();
        writeln!(said, "recorded {n}").unwrap();
    }
}

#[tokio::test]
async fn what_a_killed_process_was_told_is_stored_is_stored() {
    if let Some(path) = std::env::var_os(CHILD) {
        return work_until_killed(Path::new(&path)).await;
    }
    let dir = TempDir::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::crash::what_a_killed_process_was_told_is_stored_is_stored", "--nocapture"])
        .env(CHILD, path(&dir))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said: Vec<String> = lines.map(Result::unwrap).filter(|line| line.contains("ed ")).take(61).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let last = |what: &str| {
        said.iter().filter_map(|line| line.strip_prefix(what)).map(|n| n.parse::<i64>().unwrap()).max().unwrap()
    };
    let (planned, recorded) = (last("planned "), last("recorded "));

    let reader = Ledger::read(&path(&dir)).await.unwrap().unwrap();
    let ledger = open_ledger(&path(&dir), &identity()).await.unwrap();
    for ledger in [&reader, &ledger] {
        let commits = ledger.last_commit().await.unwrap() as i64;
        assert!(commits >= recorded, "{commits} of {recorded} commits are there");
        let sums = ledger.sums().await.unwrap();
        let known = ledger.totals().await.unwrap().known_ids;
        assert!(known >= planned as u64 * 10);
        assert_eq!(sums.open_failures, commits as u64);
        assert_eq!(known, commits as u64 * 10 + sums.pending_refs, "every reference is in one place");
        assert_eq!(ledger.runs(1).await.unwrap()[0].counts.references.unwrap().archived, commits as u64 * 9);
    }
}

#[test]
fn a_new_ledger_is_for_its_owner_alone_whatever_the_umask() {
    let status = Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" --exact ledger::opening::a_new_ledger_is_for_its_owner_alone"])
        .arg(std::env::current_exe().unwrap())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}
