//! Compressed files: every form that gzip and zstd themselves read, and other compressions.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use yunxin_archiver::source::SourceError;

use super::{TIME, csv, jsonl};
use crate::support::refs::{read, unusable};

fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    (directory, path)
}

const HEADER: &str = "conversation_id,message_server_id,create_time\n";

fn row(id: i64) -> String {
    format!("a|1|b,{id},{TIME}\n")
}

fn gzip(content: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(content: &str) -> Vec<u8> {
    zstd::encode_all(content.as_bytes(), 1).unwrap()
}

/// A skippable frame, in which a writer keeps notes.
fn skippable(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[0x50 + kind, 0x2A, 0x4D, 0x18], (content.len() as u32).to_le_bytes().as_slice(), content].concat()
}

#[tokio::test]
async fn frames_that_are_to_be_skipped_are() {
    let (one, two) = (zstandard(&(HEADER.to_owned() + &row(1))), zstandard(&row(2)));
    for whole in [
        [skippable(0, &[1, 2, 3, 4]), one.clone(), two.clone()].concat(),
        [skippable(15, b""), skippable(3, &vec![0; 100_000]), one.clone(), skippable(0, b"x"), two.clone()].concat(),
        [one, two, skippable(0, b"an index")].concat(),
    ] {
        for name in ["refs.csv.zst", "refs.csv"] {
            let (_directory, path) = file(name, &whole);
            assert_eq!(read(&csv(path)).await.ids(), [1, 2]);
        }
    }
}

#[tokio::test]
async fn members_and_padding_are_read_as_gzip_reads_them() {
    let (one, two) = (gzip(&(HEADER.to_owned() + &row(1))), gzip(&row(2)));
    for whole in [
        [one.clone(), two.clone()].concat(),
        [one.clone(), gzip(""), two.clone()].concat(),
        [one.clone(), two.clone(), vec![0; 1]].concat(),
        [one.clone(), two.clone(), vec![0; 70_000]].concat(),
        [one.clone(), vec![0; 512], two.clone()].concat(),
    ] {
        let (_directory, path) = file("refs.csv.gz", whole);
        assert_eq!(read(&csv(path)).await.ids(), [1, 2]);
    }
    for (rest, why) in [
        (b"garbage".to_vec(), "something that is no gzip follows the last member"),
        ([vec![0; 10], b"garbage".to_vec()].concat(), "something that is no gzip follows"),
        (vec![0x1F, 0x8C, 8, 0, 0, 0, 0, 0, 0, 0], "invalid gzip header"),
    ] {
        let (_directory, path) = file("refs.csv.gz", [one.clone(), two.clone(), rest].concat());
        let found = read(&csv(path)).await;
        assert_eq!(found.references.len(), 2, "what stands before it is read");
        let Err(SourceError::Failed { source, .. }) = found.ended else { panic!() };
        assert!(source.to_string().contains(why), "{source}");
    }
    let (_directory, path) = file("refs.csv.gz", [one, two[..two.len() - 9].to_vec()].concat());
    assert!(read(&csv(path)).await.ended.unwrap_err().to_string().ends_with("is cut short"));
}

#[tokio::test]
async fn another_compression_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let script = "
import bz2, lzma, zipfile, tarfile, sqlite3
text = open('refs.csv', 'rb').read()
open('a.bz2', 'wb').write(bz2.compress(text))
open('a.xz', 'wb').write(lzma.compress(text))
open('a.lzma', 'wb').write(lzma.compress(text, format=lzma.FORMAT_ALONE))
with zipfile.ZipFile('a.zip', 'w', zipfile.ZIP_DEFLATED) as out: out.write('refs.csv')
with tarfile.open('a.tar', 'w') as out: out.add('refs.csv')
with tarfile.open('a.tgz', 'w:gz') as out: out.add('refs.csv')
base = sqlite3.connect('a.db'); base.execute('create table t (a)'); base.commit()
";
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("refs.csv"), HEADER.to_owned() + &row(1).repeat(50)).unwrap();
    assert!(Command::new("python3").args(["-c", script]).current_dir(directory.path()).status().unwrap().success());
    for (name, bytes) in [
        ("a.lz4", b"\x04\x22\x4d\x18\x64\x40\xa7".as_slice()),
        ("a.sz", b"\xff\x06\0\0sNaPpY\x01\x02"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c\0\x04"),
        ("a.Z", b"\x1f\x9d\x90\x63"),
        ("a.parquet", b"PAR1\x15\0"),
        ("a.bin", b"conversation_id\0\x01\x02"),
        ("a.br", b"\x1b\x7d\x01\xf8\x1d\x07\x1b[31m"),
    ] {
        std::fs::write(at(name), bytes).unwrap();
    }
    for (name, what) in [
        ("a.bz2", "is compressed by bzip2; unpack it, or compress it by gzip or zstd"),
        ("a.xz", "is compressed by xz; unpack it"),
        ("a.lzma", "is compressed by lzma; unpack it"),
        ("a.zip", "is a ZIP archive or a workbook (.xlsx); unpack it"),
        ("a.tar", "is a tar archive; unpack it"),
        ("a.tgz", "is a tar archive; unpack it"),
        ("a.db", "is a SQLite database; read it by `sqlite` instead"),
        ("a.lz4", "is compressed by lz4"),
        ("a.sz", "is compressed by snappy"),
        ("a.7z", "is a 7-Zip archive"),
        ("a.Z", "is compressed by compress (.Z)"),
        ("a.parquet", "is a Parquet file; read it by `parquet` instead"),
        ("a.bin", "is no text in UTF-8: it holds zero bytes"),
        ("a.br", ""),
    ] {
        for settings in [csv(at(name)), jsonl(at(name))] {
            let said = unusable(&settings).await;
            assert!(said.contains(&format!("{name}: {what}")), "{said}");
            assert!(!said.contains(char::is_control), "{said:?}");
        }
    }
    // The name does not matter.
    std::fs::copy(at("a.zip"), at("b.csv.gz")).unwrap();
    assert!(unusable(&csv(at("b.csv.gz"))).await.contains("is a ZIP archive"));
}
