//! Files: globs, compression, files that are missing or cut short, and files that were consumed before.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use yunxin_archiver::source::{Begin, Checkpoint, Files, Settings, SourceError};

use super::{TIME, csv, jsonl, of_csv, of_jsonl, of_parquet};
use crate::support::refs::{read, read_from, unusable};

const HEADER: &str = "conversation_id,message_server_id,create_time\n";

fn rows(ids: std::ops::Range<i64>) -> String {
    let mut text = HEADER.to_owned();
    for id in ids {
        writeln!(text, "a|1|b,{id},{TIME}").unwrap();
    }
    text
}

fn gzip(content: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_glob_reads_its_files_in_the_order_of_their_paths() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("b.csv"), rows(3..5)).unwrap();
    std::fs::write(at("a.csv.gz"), [gzip(&rows(1..2)), gzip(&rows(2..3).replace(HEADER, ""))].concat()).unwrap();
    std::fs::write(at("c.csv.zst"), zstd::encode_all(rows(5..6).as_bytes(), 1).unwrap()).unwrap();
    std::fs::write(at("d.csv"), gzip(&rows(6..7))).unwrap();
    std::fs::write(at(".hidden.csv"), rows(9..10)).unwrap();
    std::fs::create_dir(at("e.csv")).unwrap();
    let found = read(&csv(at("*.csv*"))).await;
    assert_eq!(found.ids(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(found.checkpoint(), None);
    std::fs::write(at("with[brackets].csv"), rows(7..8)).unwrap();
    assert_eq!(read(&csv(at("with[brackets].csv"))).await.ids(), [7]);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    assert!(unusable(&csv(at("none.csv"))).await.ends_with("none.csv: there is no such file"));
    assert!(unusable(&csv(at("*.csv"))).await.ends_with("*.csv: no file matches"));
    assert!(unusable(&csv(directory.path())).await.contains("is a directory; name the files in it by a glob"));
    let settings = of_parquet(super::files("-"));
    assert!(unusable(&settings).await.contains("Parquet cannot be read from the standard input"));
    let settings = of_jsonl(Files { path: "-".to_owned(), skip_consumed: true });
    assert!(unusable(&settings).await.contains("cannot have `cursor: files`"));
    let mut settings = jsonl(at("x"));
    settings.from = Some(Begin::Value("5".to_owned()));
    assert!(unusable(&settings).await.contains("--from 5: only a query with a cursor"));
}

#[tokio::test]
async fn what_stands_before_the_cut_of_a_compressed_file_is_read() {
    let directory = tempfile::tempdir().unwrap();
    // More than one chunk of numbers that do not compress well.
    let mut content = HEADER.to_owned();
    let mut id = 1_i64;
    for _ in 0..20_000 {
        id = id.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writeln!(content, "a|1|b,{},{TIME}", (id >> 1).abs().max(1)).unwrap();
    }
    for (name, whole) in
        [("refs.csv.gz", gzip(&content)), ("refs.csv.zst", zstd::encode_all(content.as_bytes(), 1).unwrap())]
    {
        let path = directory.path().join(name);
        std::fs::write(&path, &whole[..whole.len() * 9 / 10]).unwrap();
        let found = read(&csv(&path)).await;
        assert!(found.references.len() > 10_000 && found.references.len() < 20_000, "{}", found.references.len());
        assert!(found.invalid.is_empty(), "half a row is no row: {}", found.complaints());
        let Err(SourceError::Failed { context, .. }) = found.ended else { panic!("{name}") };
        assert_eq!(context, format!("{}: is cut short", path.display()));

        std::fs::write(&path, "conversation_id").unwrap();
        let Err(SourceError::Failed { source, .. }) = read(&csv(&path)).await.ended else { panic!("{name}") };
        assert!(source.to_string().contains("as its ending says"));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(read(&csv(&path)).await.ended, Err(SourceError::Failed { .. })));
    }
}

#[tokio::test]
async fn more_rows_than_a_chunk_holds_are_all_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.csv");
    std::fs::write(&path, rows(1..50_001)).unwrap();
    assert_eq!(read(&csv(&path)).await.ids(), (1..50_001).collect::<Vec<i64>>());
}

fn consuming(path: &Path) -> Settings {
    let path = path.to_str().unwrap().to_owned();
    of_csv(Files { path, skip_consumed: true })
}

#[tokio::test]
async fn consumed_files_are_not_read_again_until_they_change() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let settings = consuming(&at("*.csv*"));
    let nothing = read(&settings).await;
    assert_eq!(nothing.checkpoint(), Some(Checkpoint::Files(Vec::new())));

    std::fs::write(at("1.csv"), rows(1..3)).unwrap();
    std::fs::write(at("2.csv.gz"), gzip(&rows(3..4))).unwrap();
    let first = read_from(&settings, nothing.checkpoint()).await;
    assert_eq!(first.ids(), [1, 2, 3]);
    let Some(Checkpoint::Files(consumed)) = first.checkpoint() else { panic!() };
    assert_eq!(consumed[0].path, at("1.csv").display().to_string());
    assert_eq!(consumed[0].bytes, rows(1..3).len() as u64);
    assert_eq!(consumed[0].sha256.len(), 64);
    assert_eq!(consumed[1].bytes, std::fs::metadata(at("2.csv.gz")).unwrap().len());

    std::fs::write(at("3.csv"), rows(5..6)).unwrap();
    let second = read_from(&settings, first.checkpoint()).await;
    assert_eq!(second.ids(), [5]);

    // One grew, one changed and kept its size, one is gone.
    std::fs::write(at("1.csv"), rows(1..5)).unwrap();
    std::fs::write(at("3.csv"), rows(7..8)).unwrap();
    std::fs::remove_file(at("2.csv.gz")).unwrap();
    let third = read_from(&settings, second.checkpoint()).await;
    assert_eq!(third.ids(), [1, 2, 3, 4, 7]);
    let fourth = read_from(&settings, third.checkpoint()).await;
    assert!(fourth.references.is_empty());
    assert_eq!(fourth.checkpoint(), third.checkpoint());

    let mut again = settings.clone();
    again.from = Some(Begin::Start);
    assert_eq!(read_from(&again, fourth.checkpoint()).await.ids(), [1, 2, 3, 4, 7]);

    let stored = serde_json::to_string(&fourth.checkpoint().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Checkpoint>(&stored).unwrap(), fourth.checkpoint().unwrap());
}

#[tokio::test]
async fn a_directory_that_is_away_for_a_day_is_not_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let settings = consuming(&directory.path().join("in/*.csv"));
    std::fs::create_dir(directory.path().join("in")).unwrap();
    std::fs::write(directory.path().join("in/1.csv"), rows(1..3)).unwrap();
    let first = read(&settings).await;
    std::fs::rename(directory.path().join("in"), directory.path().join("away")).unwrap();
    let refused = read_from(&settings, first.checkpoint()).await.ended.unwrap_err();
    assert!(refused.to_string().contains("in: there is no such directory"), "{refused}");
    // A disk that is not mounted leaves an empty directory in its place.
    std::fs::create_dir(directory.path().join("in")).unwrap();
    let second = read_from(&settings, first.checkpoint()).await;
    assert_eq!((second.references.len(), second.checkpoint()), (0, first.checkpoint()));
}

#[tokio::test]
async fn a_file_that_fails_is_not_consumed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("1.csv"), rows(1..3)).unwrap();
    std::fs::write(directory.path().join("2.csv.gz"), &gzip(&rows(3..4))[..20]).unwrap();
    let found = read(&consuming(&directory.path().join("*"))).await;
    assert_eq!(found.references.len(), 2);
    assert!(found.ended.is_err());
}
