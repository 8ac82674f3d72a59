//! CSV and JSON lines: rows, positions, mistakes.

use std::io::{Cursor, Read, Write};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use tempfile::TempDir;
use yunxin_archiver::config::Source;
use yunxin_archiver::source::{
    Format, SampleRow, Settings, SourceError, TimeUnit, Understood, open_with_stdin, sample,
};

use super::{TIME, csv, jsonl, renamed, rows_of};
use crate::support::refs::{drain, read, unusable};

/// A directory with one file in it.
fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    (directory, path)
}

const HEADER: &str = "conversation_id,message_server_id,create_time\n";

#[tokio::test]
async fn a_csv_of_references_is_read_in_order() {
    let (_directory, path) = file(
        "refs.csv",
        "\u{feff}Create_Time,note,message_server_id,conversation_id\r\n\
         1753951805248,,158844553334358018,a|1|b\r\n\
         2025-07-31T08:50:05.248Z,\"x, \"\"y\"\"\nz\",9223372036854775807,\"A@x.|2|99\"\r\n\
         2025-07-31 08:50:05.248,,1, ü |3| 5",
    );
    let found = read(&csv(&path)).await;
    assert_eq!(
        found.clean(),
        [
            format!("a|1|b 158844553334358018 {TIME}"),
            format!("A@x.|2|99 9223372036854775807 {TIME}"),
            format!("ü|3|5 1 {TIME}"),
        ]
    );
}

#[tokio::test]
async fn the_parts_of_a_conversation_may_stand_in_columns_of_other_names() {
    let (_directory, path) = file("refs.csv", "me;kind;you;id;at\na;1;b;5;1753951805\nc;SUPER_TEAM;7;6;1753951806\n");
    let mut settings = renamed(
        csv(&path),
        &[
            ("owner_id", "me"),
            ("conversation_type", "kind"),
            ("other_id", "you"),
            ("message_server_id", "ID"),
            ("create_time", "at"),
        ],
    );
    let Source::Csv(csv) = &mut settings.source else { panic!() };
    csv.delimiter = b';';
    rows_of(&mut settings).time_unit = TimeUnit::Seconds;
    assert_eq!(read(&settings).await.clean(), ["a|1|b 5 1753951805000", "c|3|7 6 1753951806000"]);
}

#[tokio::test]
async fn rows_that_are_no_reference_are_kept_with_their_lines_and_stop_nothing() {
    let mut content = format!("{HEADER}a|1|b,1,{TIME}\n").into_bytes();
    content.extend_from_slice(b"\"a|1|b\",\"2\n\n");
    content.extend_from_slice(b"a|1|\xff,3,1753951805248\n");
    content.extend_from_slice(b"a|1|b,4\n");
    content.extend_from_slice(b"a|1|b,1.58844553334358E+17,1753951805248\n");
    content.extend_from_slice(b"a|9|b,5,\n");
    content.extend_from_slice(b"a|1|b,6,1753951805\n");
    content.extend_from_slice(format!("a|1|b,7,{TIME}\n").as_bytes());
    let (_directory, path) = file("refs.csv", content);
    let found = read(&csv(&path)).await;
    let name = path.display();
    let expected = [
        format!("{name}:3: has a quote that is never closed"),
        format!("{name}:5: conversation_id \"a|1|\u{fffd}\" is not UTF-8"),
        format!("{name}:6: has 2 fields where the header has 3"),
        format!("{name}:7: message_server_id \"1.58844553334358E+17\" is a floating-point number"),
        format!(
            "{name}:8: conversation type \"9\" is none of 1 (one-to-one), 2 (team), 3 (super team); create_time is empty"
        ),
        format!("{name}:9: create_time 1753951805 is no time in milliseconds"),
    ];
    let complaints = found.complaints();
    for (line, start) in complaints.lines().zip(&expected) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
    assert_eq!(complaints.lines().count(), expected.len());
    assert!(complaints.contains("`time_unit: s`") && complaints.contains("2^53"));
    assert_eq!(found.invalid[5].message_server_id, Some(6));
    assert_eq!(found.invalid[5].conversation_id.as_deref(), Some("a|1|b"));
    assert_eq!(found.ids(), [1, 7]);
}

#[tokio::test]
async fn times_without_a_zone_are_of_the_zone_that_is_set() {
    let (_directory, path) = file("refs.csv", format!("{HEADER}a|1|b,1,2025-07-31 16:50:05.248\n"));
    let mut settings = csv(&path);
    rows_of(&mut settings).timezone = TimeZone::get("Asia/Shanghai").unwrap();
    assert_eq!(read(&settings).await.clean(), [format!("a|1|b 1 {TIME}")]);
}

#[tokio::test]
async fn a_file_without_rows_holds_nothing() {
    for content in ["", "\u{feff}", "\n\n", HEADER] {
        let (_directory, path) = file("refs.csv", content);
        assert_eq!(read(&csv(&path)).await.clean(), Vec::<String>::new());
        let (_directory, path) = file("refs.jsonl", content.trim_start_matches(HEADER));
        assert_eq!(read(&jsonl(&path)).await.clean(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_csv_without_the_columns_says_what_is_missing() {
    let (_directory, path) = file("refs.csv", "a|1|b,5,1753951805248\n");
    let message = unusable(&csv(&path)).await;
    assert!(message.contains("refs.csv: missing conversation_id (or owner_id, conversation_type and other_id)"));
    assert!(message.contains("message_server_id, create_time; found a|1|b, 5, 1753951805248"), "{message}");
    let (_directory, path) = file("refs.csv", HEADER.replace(',', ";"));
    assert!(unusable(&csv(&path)).await.ends_with("did you mean `delimiter: ';'`?"));
    let settings = renamed(csv(&path), &[("id", "x")]);
    assert!(unusable(&settings).await.contains("\"id\" is no field"));
}

#[tokio::test]
async fn json_lines_are_read_and_their_floats_refused() {
    let (_directory, path) = file(
        "refs.jsonl",
        "{\"conversation_id\":\"a|1|b\",\"message_server_id\":9223372036854775807,\"create_time\":1753951805248,\"x\":{}}\r\n\
         \n\
         {\"owner_id\":\"a\",\"conversation_type\":2,\"other_id\":99,\"message_server_id\":\"5\",\"create_time\":\"2025-07-31T08:50:05.248Z\"}\n\
         {\"conversation_id\":\"a|1|b\",\"message_server_id\":1.0,\"create_time\":1753951805248}\n\
         {\"conversation_id\":\"a|1|b\",\"message_server_id\":1.5e17,\"create_time\":1753951805248}\n\
         {\"conversation_id\":\"a|1|b\",\"create_time\":1753951805248}\n\
         [1]\n\
         {\"conversation_id\":\"a|1|b\",\"message_server_id\":9223372036854775808,\"create_time\":1753951805248}\n",
    );
    let found = read(&jsonl(&path)).await;
    assert_eq!(found.references, [format!("a|1|b {} {TIME}", i64::MAX), format!("a|2|99 5 {TIME}")]);
    let positions: Vec<&str> = found.invalid.iter().map(|row| row.position.rsplit(':').next().unwrap()).collect();
    assert_eq!(positions, ["4", "5", "6", "7", "8"]);
    let complaints = found.complaints();
    assert!(complaints.contains("message_server_id 1.0 is a floating-point number"));
    assert!(complaints.contains("message_server_id is missing") && complaints.contains("is no JSON object"));
    assert!(complaints.contains("9223372036854775808 is above 2^63 - 1"));
}

#[tokio::test]
async fn failures_of_an_earlier_run_are_a_source() {
    let (_directory, path) = file(
        "failures-nightly.jsonl",
        "{\"job\":\"nightly\",\"run_id\":\"x\",\"conversation_id\":\"a|1|b\",\"message_server_id\":123,\"create_time\":1753951805248,\
         \"class\":\"unavailable\",\"code\":107404,\"source\":null}\n\
         {\"job\":\"nightly\",\"run_id\":\"x\",\"conversation_id\":null,\"message_server_id\":null,\"create_time\":null,\
         \"class\":\"invalid\",\"code\":null,\"source\":\"refs.csv:17\"}\n",
    );
    let found = read(&jsonl(&path)).await;
    assert_eq!(found.references, [format!("a|1|b 123 {TIME}")]);
    assert_eq!(found.invalid[0].message, "conversation_id is null; message_server_id is null; create_time is null");
}

const EVENT: &str = r#"{"eventType":"1","convType":"TEAM","fromAccount":"a1","to":"99","msgTimestamp":"1753951805248","msgidServer":"5","body":"x"}"#;

fn copy_events(mut settings: Settings) -> Settings {
    rows_of(&mut settings).format = Format::CopyEvent;
    settings
}

#[tokio::test]
async fn copy_events_are_read_from_columns() {
    let (_directory, path) = file(
        "events.csv",
        "eventType,conv_type,fromAccount,to,msgidServer,msgTimestamp,body\n\
         1,PERSON,a,b,1,1753951805248,\"multi\nline\"\n\
         1,SUPERTEAM,a,9,2,1753951805248,\n\
         1,CUSTOM_TEAM,a,9,3,1753951805248,\n\
         2,PERSON,a,b,4,1753951805248,\n\
         ,TEAM,a,9,,1753951805248,\n",
    );
    let found = read(&copy_events(csv(&path))).await;
    assert_eq!(found.references, [format!("a|1|b 1 {TIME}"), format!("a|3|9 2 {TIME}")]);
    assert_eq!(found.skipped, 2);
    assert_eq!(found.complaints(), format!("{}:7: msgidServer is empty\n", path.display()));
}

#[tokio::test]
async fn copy_events_are_read_from_json_wherever_it_stands() {
    let expected = [format!("a1|2|99 5 {TIME}")];
    let (_directory, path) = file("events.jsonl", format!("{EVENT}\n"));
    assert_eq!(read(&copy_events(jsonl(&path))).await.clean(), expected);
    let (_directory, path) = file("events.jsonl", format!("{{\"id\":1,\"doc\":{EVENT}}}\n"));
    assert_eq!(read(&renamed(copy_events(jsonl(&path)), &[("event", "doc")])).await.clean(), expected);
    let quoted = EVENT.replace('"', "\"\"");
    let (_directory, path) = file("events.csv", format!("id,payload\n1,\"{quoted}\"\n2,\n3,\"[1]\"\n"));
    let found = read(&copy_events(csv(&path))).await;
    assert_eq!(found.references, expected);
    assert!(
        found.complaints().contains(":3: the event is empty\n") && found.complaints().contains(":4: is no JSON object")
    );
    let (_directory, path) = file("events.csv", format!("anything\n\"{quoted}\"\n"));
    assert_eq!(read(&copy_events(csv(&path))).await.clean(), expected);
}

#[tokio::test]
async fn the_standard_input_is_read_plain_or_compressed() {
    let plain = format!("{HEADER}a|1|b,1,{TIME}\n").into_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    for content in [plain.clone(), gzip.finish().unwrap(), zstd::encode_all(plain.as_slice(), 1).unwrap()] {
        // A pipe may deliver single bytes.
        let slow = content
            .iter()
            .map(|&byte| Cursor::new([byte]))
            .fold(Box::new(std::io::empty()) as Box<dyn Read + Send>, |before, byte| Box::new(before.chain(byte)));
        let mut source = open_with_stdin(csv("-"), None, slow).await.unwrap();
        assert_eq!(drain(source.as_mut()).await.clean(), [format!("a|1|b 1 {TIME}")]);
    }
    let mut source = open_with_stdin(csv("-"), None, Box::new(Cursor::new(b"x,y\n1,2\n"))).await.unwrap();
    let Err(SourceError::Unusable(message)) = drain(source.as_mut()).await.ended else { panic!() };
    assert!(message.starts_with("stdin: missing"));
}

#[tokio::test]
async fn a_sample_shows_rows_and_how_each_is_understood() {
    let (_directory, path) = file("refs.csv", format!("{HEADER}a|1|b,1,{TIME}\na|1|b,x,{TIME}\na\na|1|b,2,{TIME}\n"));
    let found = sample(csv(&path), 3).await.unwrap();
    let name = path.display();
    let raw = |conversation: &str, id: &str| {
        vec![
            ("conversation_id".to_owned(), format!("{conversation:?}")),
            ("message_server_id".to_owned(), format!("{id:?}")),
            ("create_time".to_owned(), format!("\"{TIME}\"")),
        ]
    };
    assert_eq!(
        found,
        [
            SampleRow {
                position: format!("{name}:2"),
                raw: raw("a|1|b", "1"),
                understood: Understood::Reference {
                    conversation_id: "a|1|b".to_owned(),
                    message_server_id: 1,
                    create_time: TIME
                }
            },
            SampleRow {
                position: format!("{name}:3"),
                raw: raw("a|1|b", "x"),
                understood: Understood::Invalid("message_server_id \"x\" is no integer above 0".to_owned())
            },
            SampleRow {
                position: format!("{name}:4"),
                raw: vec![("line".to_owned(), "a".to_owned())],
                understood: Understood::Invalid("has 1 fields where the header has 3".to_owned())
            },
        ]
    );
    let (_directory, path) = file("events.jsonl", format!("{}\n", EVENT.replace("TEAM", "CUSTOM_TEAM")));
    let found = sample(copy_events(jsonl(&path)), 3).await.unwrap();
    assert_eq!((found.len(), &found[0].understood), (1, &Understood::Skipped));
    assert!(found[0].raw.contains(&("to".to_owned(), "\"99\"".to_owned())));
}
