//! The files that a pattern names, among everything else in their directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use tempfile::TempDir;
use yunxin_archiver::source::{Checkpoint, Files, Settings, SourceError};

use super::{TIME, csv, of_csv, of_parquet};
use crate::support::refs::{read, read_from, unusable, write_parquet};

fn refs(id: i64) -> String {
    format!("conversation_id,message_server_id,create_time\na|1|b,{id},{TIME}\n")
}

/// Creates directories, whose names end with a slash, and files of one reference each, numbered from 1.
fn tree(names: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (n, name) in names.iter().enumerate() {
        let path = directory.path().join(name);
        std::fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
        if !name.ends_with('/') {
            std::fs::write(path, refs(n as i64 + 1)).unwrap();
        }
    }
    directory
}

async fn ids(directory: &Path, pattern: &str) -> Vec<i64> {
    read(&csv(directory.join(pattern))).await.ids()
}

fn consuming(path: &Path) -> Settings {
    let path = path.to_str().unwrap().to_owned();
    of_csv(Files { path, skip_consumed: true })
}

#[tokio::test]
async fn a_pattern_means_what_it_meant() {
    let names = [
        "a/x.csv",
        "a/b/y.csv",
        "a/b/c/z.csv",
        "a/.hidden.csv",
        "a/.hidden/w.csv",
        "a[1]/v.csv",
        "b/x.txt",
        "b/in/x.csv",
        "天/x.csv",
    ];
    let directory = tree(&names);
    let root = directory.path();
    for (pattern, expected) in [
        ("a/*.csv", vec![1]),
        ("*/x.csv", vec![1, 9]),
        ("?/x.*", vec![1, 7, 9]),
        ("[!a]/**/*", vec![8, 7, 9]),
        ("a/**/*.csv", vec![3, 2, 1]),
        ("**/x.csv", vec![1, 8, 9]),
        ("**/**/z.csv", vec![3]),
        ("a/**/c/*", vec![3]),
        ("a/.*", vec![4]),
        ("a/.hidden/*", vec![5]),
        ("a[[]1[]]/*", vec![6]),
        ("*/in/x.csv", vec![8]),
        ("*/../a/x.csv", vec![1]),
        ("./a//x.*", vec![1]),
    ] {
        assert_eq!(ids(root, pattern).await, expected, "{pattern}");
    }
    assert!(unusable(&csv(root.join("a/**"))).await.ends_with("no file matches"));
    assert!(unusable(&csv(root.join("a**/x"))).await.contains("is no glob"));
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_a_name() {
    let directory = tree(&["a.csv"]);
    let name = |bytes: &[u8]| directory.path().join(OsStr::from_bytes(bytes));
    std::fs::write(name(b"\xd0\xc5\xcf\xf7.txt"), "not read").unwrap();
    std::fs::write(name(b"\xd0\xc5\xcf\xf7.csv"), refs(2)).unwrap();
    std::fs::write(name(b"\xd0\xc5\xcf\xf8.csv"), refs(3)).unwrap();
    std::fs::create_dir(name(b"\xff")).unwrap();
    std::fs::write(name(b"\xff").join("b.csv"), refs(4)).unwrap();
    assert_eq!(ids(directory.path(), "*.csv").await, [1, 2, 3]);
    assert_eq!(ids(directory.path(), "**/*.csv").await, [1, 2, 3, 4]);
    let settings = consuming(&directory.path().join("*.csv"));
    let first = read(&settings).await;
    let Some(Checkpoint::Files(consumed)) = first.checkpoint() else { panic!() };
    assert!(consumed[1].path.ends_with("\\xd0\\xc5\\xcf\\xf7.csv"), "{consumed:?}");
    assert_eq!(read_from(&settings, first.checkpoint()).await.ids(), [0; 0]);
}

#[tokio::test]
async fn no_name_speaks_to_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("\u{1b}[31m\n.csv"), "x,y\n").unwrap();
    let said = unusable(&csv(directory.path().join("*"))).await;
    assert!(said.contains("\\u{1b}[31m\\n.csv: missing") && !said.contains(char::is_control), "{said:?}");
}

#[tokio::test]
async fn a_file_is_read_once_however_many_links_lead_to_it() {
    let directory = tree(&["a/x.csv", "z/y.csv"]);
    let at = |name: &str| directory.path().join(name);
    for name in ["a/up", "a/up2", "b"] {
        symlink(directory.path(), at(name)).unwrap();
    }
    symlink("y.csv", at("z/latest.csv")).unwrap();
    symlink("../a/x.csv", at("z/a.csv")).unwrap();
    symlink("self", at("self")).unwrap();
    symlink("../z", at("a/z")).unwrap();
    assert_eq!(ids(directory.path(), "**/*.csv").await, [1, 2]);
    assert_eq!(ids(directory.path(), "*/*.csv").await, [1, 2]);
    // It is read by its own path if the pattern matches that too.
    let Some(Checkpoint::Files(consumed)) = read(&consuming(&at("**/*.csv"))).await.checkpoint() else { panic!() };
    let paths: Vec<&str> = consumed.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, [at("a/x.csv").to_str().unwrap(), at("z/y.csv").to_str().unwrap()]);
    // A link alone is enough.
    assert_eq!(ids(directory.path(), "z/l*.csv").await, [2]);
    assert_eq!(ids(directory.path(), "a/z/*.csv").await, [1, 2]);
    symlink("nowhere", at("gone.csv")).unwrap();
    assert!(unusable(&csv(at("*.csv"))).await.ends_with("gone.csv: there is no such file"));
}

#[tokio::test]
async fn links_that_multiply_are_followed_once_each() {
    let directory = tempfile::tempdir().unwrap();
    let at = |level: usize| directory.path().join(format!("level{level}"));
    // Two ways from each level to the next: 2^40 paths to one file, and no loop.
    for level in 0..40 {
        std::fs::create_dir(at(level)).unwrap();
        symlink(at(level + 1), at(level).join("left")).unwrap();
        symlink(at(level + 1), at(level).join("right")).unwrap();
    }
    std::fs::create_dir(at(40)).unwrap();
    std::fs::write(at(40).join("x.csv"), refs(1)).unwrap();
    assert_eq!(ids(&at(0), "**/*.csv").await, [1]);
    assert_eq!(ids(&at(20), &format!("{}*.csv", "*/".repeat(20))).await, [1]);
}

#[tokio::test]
async fn what_is_no_file_is_passed_over() {
    let directory = tree(&["x.csv", "dir.csv/y.csv", "_SUCCESS", "_temporary/0/z.csv", "lost+found/"]);
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("_SUCCESS"), "").unwrap();
    std::fs::write(at("_committed_8"), "{}").unwrap();
    let status = std::process::Command::new("mkfifo").arg(at("pipe.csv")).status().unwrap();
    assert!(status.success());
    let _socket = UnixListener::bind(at("socket.csv")).unwrap();
    assert_eq!(ids(directory.path(), "*.csv").await, [1]);
    assert_eq!(ids(directory.path(), "*").await, [1]);
    assert_eq!(ids(directory.path(), "**/*.csv").await, [2, 1]);
    // Unless the pattern names it.
    assert_eq!(ids(directory.path(), "_temporary/**/*").await, [4]);
    // A directory and no files is a mistake, even if a night without files is not.
    assert!(unusable(&consuming(&at("dir*.csv"))).await.contains("dir.csv: is a directory; name the files in it"));
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_no_night_without_files() {
    let directory = tree(&["a/x.csv", "empty/"]);
    symlink("gone", directory.path().join("link")).unwrap();
    for (pattern, named) in
        [("nights/*.csv", "nights"), ("a/in/**/*.csv", "a/in"), ("a/x.csv/*.csv", "a/x.csv"), ("link/*.csv", "link")]
    {
        let said = unusable(&consuming(&directory.path().join(pattern))).await;
        assert!(said.contains(&format!("/{named}: there is no such directory")), "{said}");
    }
    for pattern in ["empty/*.csv", "*/in/*.csv"] {
        assert_eq!(read(&consuming(&directory.path().join(pattern))).await.ids(), [0; 0]);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_looked_at_is_not_passed_over() {
    // It stands for a directory that may not be entered, which cannot be tested as root.
    let beyond = "x".repeat(300);
    for (link, pattern) in [("l", "*/*.csv"), ("a/l", "*/l/*.csv"), ("a/l", "**/*.csv"), ("a/l", "a/l/*.csv")] {
        let directory = tree(&["a/x.csv"]);
        symlink(&beyond, directory.path().join(link)).unwrap();
        let found = read_from(&consuming(&directory.path().join(pattern)), None).await;
        let Err(SourceError::Failed { context, .. }) = found.ended else { panic!("{pattern}: {:?}", found.ended) };
        assert!(context.ends_with(&format!("/{link}: cannot be read")), "{context}");
    }
}

#[tokio::test]
async fn a_directory_is_answered_with_a_pattern_that_works() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_parquet(
            &path,
            vec![
                ("conversation_id", Arc::new(StringArray::from(vec!["a|1|b"])) as ArrayRef),
                ("message_server_id", Arc::new(Int64Array::from(vec![5]))),
                ("create_time", Arc::new(Int64Array::from(vec![TIME]))),
            ],
        );
    };
    let parquet = |path: &str| {
        let files = Files { path: path.to_owned(), skip_consumed: false };
        of_parquet(files)
    };
    let hinted = async |name: &str, settings: &dyn Fn(&str) -> Settings| {
        let said = unusable(&settings(directory.path().join(name).to_str().unwrap())).await;
        let hint = said.split("such as ").nth(1).unwrap().to_owned();
        assert_eq!(read(&settings(&hint)).await.ids(), [5], "{said}");
        hint
    };
    // Data sets of Spark, flat and partitioned.
    write("flat[1]/part-00000.snappy.parquet");
    std::fs::write(directory.path().join("flat[1]/_SUCCESS"), "").unwrap();
    std::fs::write(directory.path().join("flat[1]/.part-00000.snappy.parquet.crc"), "crc").unwrap();
    write("tree/date=2026-11-22/part-00000.parquet");
    std::fs::write(directory.path().join("tree/_SUCCESS"), "").unwrap();
    assert!(hinted("flat[1]", &parquet).await.ends_with("/flat[[]1[]]/*.parquet"));
    assert!(hinted("tree", &parquet).await.ends_with("/tree/**/*.parquet"));
    std::fs::create_dir(directory.path().join("csv")).unwrap();
    let packed = zstd::encode_all(refs(5).as_bytes(), 1).unwrap();
    std::fs::write(directory.path().join("csv/part-1.csv.zst"), packed).unwrap();
    assert!(hinted("csv", &|path| csv(path)).await.ends_with("/csv/*.csv.zst"));
    std::fs::create_dir(directory.path().join("empty")).unwrap();
    assert!(unusable(&csv(directory.path().join("empty"))).await.ends_with("/empty/*.csv"));
}

#[tokio::test]
async fn a_pipe_that_is_named_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("refs.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::write(pipe, refs(1)).unwrap()
    });
    assert_eq!(read(&csv(&pipe)).await.ids(), [1]);
    writer.join().unwrap();
    let socket = directory.path().join("socket");
    let _socket = UnixListener::bind(&socket).unwrap();
    assert!(matches!(read(&csv(&socket)).await.ended, Err(SourceError::Failed { .. })));
}
