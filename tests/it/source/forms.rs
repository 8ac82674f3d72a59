//! The forms of CSV and JSON: line ends, encodings, delimiters, arrays; and files that are neither.

use std::path::PathBuf;

use tempfile::TempDir;
use yunxin_archiver::source::{Files, Format, SourceError};

use super::{TIME, csv, jsonl, of_jsonl, rows_of};
use crate::support::refs::{Read, read, read_from, unusable};

const HEADER: &str = "conversation_id,message_server_id,create_time,note\n";

fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    (directory, path)
}

async fn csv_of(content: impl AsRef<[u8]>) -> Read {
    let (_directory, path) = file("refs.csv", content);
    read(&csv(path)).await
}

async fn json_of(content: impl AsRef<[u8]>) -> Read {
    let (_directory, path) = file("refs.json", content);
    read(&jsonl(path)).await
}

async fn csv_refused(content: impl AsRef<[u8]>) -> String {
    let (_directory, path) = file("refs.csv", content);
    unusable(&csv(path)).await
}

async fn json_refused(content: impl AsRef<[u8]>) -> String {
    let (_directory, path) = file("refs.json", content);
    unusable(&jsonl(path)).await
}

fn rows(ids: std::ops::Range<i64>) -> String {
    let rows: Vec<String> = ids.map(|id| format!("a|1|b,{id},{TIME},\"x\ny\"\n")).collect();
    HEADER.to_owned() + &rows.concat()
}

fn object(id: i64) -> String {
    format!("{{\"conversation_id\":\"a|1|b\",\"message_server_id\":{id},\"create_time\":{TIME},\"x\":[{{}},\"]}}\"]}}")
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[tokio::test]
async fn lines_may_end_with_carriage_returns_alone() {
    let text = format!("{HEADER}a|1|b,1,{TIME},\"two\\nlines\"\n\na|1|b,2,x,\na|1|b,3,{TIME},z");
    let found = csv_of(text.replace('\n', "\r").replace("\\n", "\n")).await;
    assert_eq!(found.ids(), [1, 3]);
    assert!(found.complaints().contains("refs.csv:4: create_time \"x\""), "{}", found.complaints());
    // A file whose line ends were translated twice has two carriage returns before each line feed.
    for end in ["\n", "\r\n", "\r\r\n"] {
        assert_eq!(csv_of(format!("{HEADER}a|1|b,1,{TIME},\n").replace('\n', end)).await.clean().len(), 1, "{end:?}");
    }
    let found = csv_of(format!("{HEADER}a|1|b,1,{TIME},\ra|1|b,2,{TIME},\ra|1|b,3,{TIME},\r")).await;
    assert!(found.complaints().contains("carriage returns stand in it"), "{}", found.complaints());
    assert_eq!(json_of([object(1), object(2)].join("\r")).await.ids(), [1, 2]);
}

#[tokio::test]
async fn no_row_is_swallowed_by_the_one_before_it() {
    // Rows that together have as many fields as the header, and a quote that is closed in a later row.
    let wide = "conversation_id,message_server_id,create_time,a,b,c,d";
    let row = |id: i64| format!("a|1|b,{id},{TIME}");
    let joined = |by: &str, end: &str| {
        format!("{wide}{end}{},{by}{},{end}{}{end}", row(1), row(2), row(3)).replace("\n\n", "\n")
    };
    for (by, end, said) in [
        ("\r", "\n", "carriage returns stand in it"),
        ("\r", "\r\n", "carriage returns stand in it"),
        ("\n", "\r", "line feeds stand in it"),
    ] {
        let found = csv_of(joined(by, end)).await;
        assert_eq!(found.ids(), [3], "{by:?} {end:?}");
        let complaints = found.complaints();
        assert!(complaints.contains("holds a further reference") && complaints.contains(said), "{complaints}");
    }
    let quoted = |from: &str| format!("{HEADER}{},\"{from}\n{},x\n{},y\"\n{},\n", row(1), row(2), row(3), row(4));
    let found = csv_of(quoted("an inch is 1")).await;
    assert_eq!(found.ids(), [2, 3, 4]);
    assert!(found.complaints().contains("a quote is not closed"), "{}", found.complaints());
    // A text may have several lines, as long as none of them is a reference.
    let text = format!("{HEADER}{},\"one,two,three,four\r\n\na|1|b,5\n\"\n{},\n", row(1), row(2));
    assert_eq!(csv_of(text).await.clean().len(), 2);
}

#[tokio::test]
async fn a_header_that_swallowed_the_file_is_no_night_without_messages() {
    for end in ["\u{85}", "\u{2028}", "\u{b}", "\u{1e}"] {
        let said = csv_refused(format!("{HEADER}a|1|b,1,{TIME},x\n").replace('\n', end)).await;
        assert!(said.contains("refs.csv: is all one line, its header"), "{said}");
    }
}

#[tokio::test]
async fn a_night_without_messages_is_none_to_look_at() {
    for content in ["", " \n\t\r\n", "\u{feff}", HEADER, "sep=;\nconversation_id;message_server_id;create_time\n"] {
        assert_eq!(csv_of(content).await.clean(), [""; 0], "{content:?}");
    }
    for content in ["", " \n\t\r\n", "\u{feff}\n", "[]", "[\n]\n", "[] []"] {
        assert_eq!(json_of(content).await.clean(), [""; 0], "{content:?}");
    }
}

#[tokio::test]
async fn json_is_read_by_the_line_in_arrays_and_one_object_after_the_other() {
    let objects: Vec<String> = (1..4).map(object).collect();
    let indented: Vec<String> =
        objects.iter().map(|text| text.replace(",\"", ",\n  \"").replace('{', "{\n ")).collect();
    for text in [
        objects.join("\n"),
        objects.concat(),
        objects.join(" "),
        objects.join(",\n"),
        format!("[{}]", objects.join(",")),
        format!("\u{feff}[\n{}\n]\n", objects.join(",\n")),
        format!("[{},{}]\n[]\n[{}]", objects[0], objects[1], objects[2]),
        format!("\x1e{}\n", objects.join("\n\x1e")),
        indented.join("\n"),
        indented.concat(),
        format!("[{}]", indented.join(",")),
        format!("{}\n{}\n{}", objects[0], indented[1], objects[2]),
    ] {
        assert_eq!(json_of(&text).await.clean().len(), 3, "{text}");
    }
}

#[tokio::test]
async fn an_object_has_a_place_of_its_own_wherever_it_stands() {
    let wrong = object(0);
    let found = json_of(format!("{}\n{wrong}{wrong}\n[{wrong}", object(1))).await;
    assert_eq!(found.ids(), [1]);
    let places: Vec<&str> =
        found.invalid.iter().map(|invalid| invalid.position.split("refs.json").nth(1).unwrap()).collect();
    let second = format!(":2:{}", wrong.len() + 1);
    assert_eq!(places, [":2", &second, ":3"]);
    let found = json_of(format!("[\n  {wrong}, {wrong},\n  {wrong}\n]")).await;
    let places: Vec<&str> =
        found.invalid.iter().map(|invalid| invalid.position.split("refs.json").nth(1).unwrap()).collect();
    assert_eq!(places, [":2", &format!(":2:{}", wrong.len() + 5), ":3"]);
}

#[tokio::test]
async fn a_broken_line_costs_no_other() {
    let cut = &object(2)[..40];
    let found = json_of(format!("{}\n{cut}\n{}\n[INFO] done\n{}\n{{\"a\":\n", object(1), object(3), object(4))).await;
    assert_eq!(found.ids(), [1, 3, 4]);
    assert_eq!(found.invalid.len(), 3, "{}", found.complaints());
    // So do many lines that begin an object which never ends.
    let found = json_of(format!("{}\n{}{}", object(1), "{\"a\":[\n".repeat(20_000), object(2))).await;
    assert_eq!((found.references.len(), found.invalid.len()), (2, 20_000));
}

#[tokio::test]
async fn a_line_may_be_longer_than_the_window_when_its_objects_are_not() {
    let count = 190_000;
    let text: String = (1..=count).map(object).collect::<Vec<_>>().join(",");
    assert!(text.len() > 16 << 20);
    assert_eq!(json_of(text.replace("},{\"conv", "}{\"conv")).await.references.len(), count as usize);
    assert_eq!(json_of(format!("[{text}]")).await.ids().len(), count as usize);
}

#[tokio::test]
async fn an_array_that_is_none_is_refused_behind_what_stood_before() {
    let refused = |found: Read| match found.ended {
        Err(SourceError::Unusable(message)) => (found.references.len(), message),
        other => panic!("{other:?}"),
    };
    for (text, why) in [
        (format!("[{}, 5]", object(1)), "is no JSON array of objects: something other than an object"),
        (format!("[{}, {{\"a\" 5}}]", object(1)), "is no JSON array of objects: expected `:`"),
    ] {
        let (read, message) = refused(json_of(&text).await);
        assert_eq!(read, 1);
        assert!(message.contains("refs.json:1:") && message.contains(why), "{message}");
    }
    for text in [format!("[{},", object(1)), format!("[{},{}", object(1), &object(2)[..30])] {
        let found = json_of(&text).await;
        assert_eq!(found.references.len(), 1);
        assert!(found.ended.unwrap_err().to_string().ends_with("refs.json: is cut short"));
    }
}

#[tokio::test]
async fn json_without_a_single_field_is_something_else() {
    for text in [
        rows(1..5).as_str(),
        "{\"data\":[1,2]}",
        "{\"rows\":5}\n{\"rows\":6}\n",
        "null",
        "garbage",
        "[1,2]",
        "\"x\"\n5\n",
        "<html></html>",
    ] {
        let said = json_refused(text).await;
        assert!(said.contains("no JSON object in it has any of the members conversation_id, owner_id"), "{said}");
    }
    let (_directory, path) = file("events.jsonl", "{\"id\":1,\"doc\":{}}\n");
    let mut settings = jsonl(path);
    rows_of(&mut settings).format = Format::CopyEvent;
    assert!(unusable(&settings).await.contains("members eventType, event_type, fromAccount"));
    rows_of(&mut settings).columns = [("event".to_owned(), "payload".to_owned())].into();
    assert!(unusable(&settings).await.contains("it begins with \"{\\\"id\\\":1"));
}

#[tokio::test]
async fn utf_16_is_read_by_its_mark_and_refused_without() {
    let text = rows(1..3).replace("x\ny", "天气\n😀");
    for unit in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
        let marked = |text: &str| utf16(&format!("\u{feff}{text}"), unit);
        assert_eq!(csv_of(marked(&text)).await.ids(), [1, 2]);
        assert_eq!(csv_of(marked(&text.replace('\n', "\r\n"))).await.ids(), [1, 2]);
        assert_eq!(csv_of(zstd::encode_all(marked(&text).as_slice(), 1).unwrap()).await.ids(), [1, 2]);
        assert_eq!(json_of(marked(&object(1))).await.ids(), [1]);
        for said in [csv_refused(utf16(&text, unit)).await, json_refused(utf16(&object(1), unit)).await] {
            assert!(said.ends_with("as UTF-16 without a byte order mark does; save it as UTF-8"), "{said}");
        }
    }
    let mut gbk = b"\xbb\xe1\xbb\xb0,message_server_id,create_time\n".to_vec();
    gbk.extend_from_slice(format!("a|1|b,5,{TIME}\n").as_bytes());
    assert!(csv_refused(gbk).await.ends_with("its first line is not UTF-8: is it GBK? Save the file as UTF-8"));
}

#[tokio::test]
async fn a_line_that_names_the_delimiter_is_obeyed() {
    let table = |with: char| rows(1..3).replace(',', &with.to_string());
    for (line, delimiter) in
        [("sep=;", ';'), ("SEP=\t", '\t'), ("\"sep=;\"", ';'), ("sep=,", ','), ("sep=\u{1}", '\u{1}')]
    {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("{line}\n{}x", table(delimiter));
            let found = csv_of(text.replace("\"x\ny\"", "").replace('\n', end)).await;
            assert_eq!(found.references.len(), 2, "{line:?} {end:?}");
            assert!(found.complaints().contains("refs.csv:5: has 1 fields"), "{}", found.complaints());
        }
    }
    assert!(csv_refused(format!("sep=;;\n{}", table(';'))).await.contains("missing conversation_id"));
    for (delimiter, shown) in [(';', "';'"), ('\t', "tab"), ('|', "'|'")] {
        let said = csv_refused(table(delimiter).replace("a|1|b", "x")).await;
        assert!(said.contains(&format!("; did you mean `delimiter: {shown}`?")), "{said}");
    }
}

#[tokio::test]
async fn columns_that_nobody_uses_may_be_missing_at_the_end_of_a_row() {
    let header = "conversation_id,message_server_id,create_time,note,more\n";
    let found = csv_of(format!(
        "{header}a|1|b,1,{TIME}\na|1|b,2,{TIME},\"\"\na|1|b,3\na|1|b,4,{TIME},,,\na|1|b,5,{TIME},\"of two\nlines\"\n\
         a|1|b,6,{TIME},\"stray\na|1|b,7,{TIME},\"\nx,8,\"\n"
    ))
    .await;
    // A quote that would swallow a row is a stray quote.
    let lines: Vec<&str> =
        found.invalid.iter().map(|invalid| invalid.position.split("refs.csv").nth(1).unwrap()).collect();
    assert_eq!((found.ids(), lines), (vec![1, 2, 5], vec![":4", ":5", ":8", ":9", ":10"]));
    let complaints = found.complaints();
    assert!(complaints.contains("refs.csv:4: has 2 fields where the header has 5"), "{complaints}");
    assert!(complaints.contains("refs.csv:5: has 6 fields where the header has 5"), "{complaints}");
    // A column that is used is needed, even if it is the last.
    let found =
        csv_of(format!("note,conversation_id,message_server_id,create_time\n,a|1|b,1\n,a|1|b,2,{TIME}\n")).await;
    assert_eq!((found.ids(), found.invalid.len()), (vec![2], 1));
}

#[tokio::test]
async fn a_copy_event_in_the_only_column_is_not_taken_for_a_header() {
    let event = format!(
        "{{\"eventType\":\"1\",\"convType\":\"TEAM\",\"fromAccount\":\"a\",\"to\":\"9\",\"msgTimestamp\":\"{TIME}\",\
         \"msgidServer\":\"5\"}}"
    );
    let quoted = format!("\"{}\"\n", event.replace('"', "\"\""));
    for (text, why) in [
        (quoted.repeat(2), "its first line is data"),
        (
            "eventType;convType;fromAccount;to;msgidServer;msgTimestamp\n1;TEAM;a;9;5;6\n".to_owned(),
            "did you mean `delimiter: ';'`?",
        ),
    ] {
        let (_directory, path) = file("events.csv", text);
        let mut settings = csv(path);
        rows_of(&mut settings).format = Format::CopyEvent;
        let said = unusable(&settings).await;
        assert!(said.contains("events.csv: its header is the one column") && said.contains(why), "{said}");
    }
    let (_directory, path) = file("events.csv", format!("event\n{quoted}"));
    let mut settings = csv(path);
    rows_of(&mut settings).format = Format::CopyEvent;
    assert_eq!(read(&settings).await.ids(), [5]);
}

#[tokio::test]
async fn a_file_that_is_refused_is_not_consumed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let files = Files { path: at("*").to_str().unwrap().to_owned(), skip_consumed: true };
    let settings = of_jsonl(files);
    std::fs::write(at("1.jsonl"), object(1)).unwrap();
    let first = read(&settings).await;
    std::fs::write(at("2.jsonl"), rows(2..5)).unwrap();
    for _ in 0..2 {
        let refused = read_from(&settings, first.checkpoint()).await;
        assert!(refused.references.is_empty() && refused.invalid.is_empty());
        assert!(matches!(refused.ended, Err(SourceError::Unusable(_))));
    }
    std::fs::write(at("2.jsonl"), object(2)).unwrap();
    assert_eq!(read_from(&settings, first.checkpoint()).await.ids(), [2]);
}

#[tokio::test]
async fn ids_may_be_text_or_numbers() {
    let text = |id: &str| object(7).replace(":7,", &format!(":{id},"));
    let largest = i64::MAX;
    let found = json_of(format!("[{},{},{}]", text("\"5\""), text(&format!("\"{largest}\"")), text("6"))).await;
    assert_eq!(found.ids(), [5, largest, 6]);
    assert_eq!(json_of([text("\"5\""), text("6")].join("\n")).await.ids(), [5, 6]);
}
