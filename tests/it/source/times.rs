//! A time that no message can have makes an invalid row, whatever its form.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use yunxin_archiver::source::{Format, TimeUnit};

use super::{TIME, csv, jsonl, of_sqlite, query, rows_of};
use crate::support::refs::{Read, read, write_parquet};

const SLIPPED: &str = "seconds that were taken for milliseconds, or milliseconds for microseconds";

/// One invalid row, with these words.
fn invalid(found: &Read, words: &str) {
    assert!(found.ended.is_ok() && found.references.is_empty(), "{found:?}");
    let complaints = found.complaints();
    assert!(complaints.lines().count() == 1 && complaints.contains(words), "{complaints}\n{words}");
}

async fn of_csv(time: &str, unit: TimeUnit) -> Read {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.csv");
    std::fs::write(&path, format!("conversation_id,message_server_id,create_time\na|1|b,5,{time}\n")).unwrap();
    let mut settings = csv(path);
    rows_of(&mut settings).time_unit = unit;
    read(&settings).await
}

async fn of_parquet(path: &Path, time: ArrayRef, zone: &str) -> Read {
    write_parquet(
        path,
        vec![
            ("conversation_id", Arc::new(StringArray::from(vec!["a|1|b"])) as ArrayRef),
            ("message_server_id", Arc::new(Int64Array::from(vec![5]))),
            ("create_time", time),
        ],
    );
    let files = super::files(path);
    let mut settings = super::of_parquet(files);
    rows_of(&mut settings).timezone = TimeZone::get(zone).unwrap();
    read(&settings).await
}

#[tokio::test]
async fn text_and_integers_are_checked() {
    let ahead = Timestamp::now().as_millisecond() + 86_400_000 + 3_600_000;
    let written = Timestamp::from_millisecond(ahead).unwrap();
    let text = |time: &str, words: &'static str| (time.to_owned(), words);
    for (time, words) in [
        text("1970-01-21 07:12:31.805248", SLIPPED),
        text("2009-12-31T23:59:59.999Z", "is before 2010"),
        text("1960-01-01 00:00:00", "is before 2010"),
        text("9999-12-30T00:00:00Z", "more than a day ahead of this host's clock ("),
        (written.to_string(), "more than a day ahead"),
        (ahead.to_string(), "more than a day ahead"),
        text("1262303999999", "is before 2010"),
        text("1753951805", "it looks like seconds: set `time_unit: s`"),
        text("1753951805248000", "it looks like microseconds: divide it by 1000"),
        text("1753951805248000000", "it looks like nanoseconds: divide it by 1000000"),
    ] {
        invalid(&of_csv(&time, TimeUnit::Milliseconds).await, words);
    }
    invalid(&of_csv("1753951805248", TimeUnit::Seconds).await, "it looks like milliseconds: set `time_unit: ms`");
    invalid(&of_csv("1253951805.248", TimeUnit::Seconds).await, "is before 2010");
    let soon = Timestamp::now().as_millisecond() + 86_000_000;
    assert_eq!(of_csv(&soon.to_string(), TimeUnit::Milliseconds).await.clean(), [format!("a|1|b 5 {soon}")]);
}

#[tokio::test]
async fn types_of_parquet_are_checked_in_every_unit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.parquet");
    let late = "milliseconds that were taken for seconds, or microseconds for milliseconds";
    let times: Vec<(ArrayRef, &str)> = vec![
        (Arc::new(TimestampSecondArray::from(vec![TIME])), late),
        (Arc::new(TimestampMillisecondArray::from(vec![TIME * 1000])), late),
        (Arc::new(TimestampMillisecondArray::from(vec![TIME / 1000])), SLIPPED),
        (Arc::new(TimestampMicrosecondArray::from(vec![TIME])), SLIPPED),
        (Arc::new(TimestampNanosecondArray::from(vec![TIME * 1000])), SLIPPED),
        (Arc::new(TimestampNanosecondArray::from(vec![TIME])), "milliseconds for nanoseconds"),
        (Arc::new(TimestampSecondArray::from(vec![i64::MAX])), "more than a day ahead"),
        (Arc::new(TimestampSecondArray::from(vec![i64::MIN])), "before 2010"),
        (Arc::new(Int64Array::from(vec![TIME / 1000])), "it looks like seconds"),
        (
            Arc::new(Decimal128Array::from(vec![i128::from(TIME) * 1000]).with_precision_and_scale(30, 0).unwrap()),
            "it looks like microseconds",
        ),
    ];
    for (array, words) in times {
        invalid(&of_parquet(&path, Arc::clone(&array), "Asia/Shanghai").await, words);
        let zoned: Option<ArrayRef> = match array.data_type() {
            arrow::datatypes::DataType::Timestamp(unit, _) => {
                let zoned = arrow::datatypes::DataType::Timestamp(*unit, Some("UTC".into()));
                Some(arrow::array::make_array(array.to_data().into_builder().data_type(zoned).build().unwrap()))
            }
            _ => None,
        };
        if let Some(zoned) = zoned {
            invalid(&of_parquet(&path, zoned, "UTC").await, words);
        }
    }
}

#[tokio::test]
async fn copy_events_and_json_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.jsonl");
    for (time, words) in [
        ("1753951805".to_owned(), "it looks like seconds"),
        ("\"1753951805248000\"".to_owned(), "it looks like microseconds"),
        ("\"1970-01-21T07:12:31.805Z\"".to_owned(), SLIPPED),
        ("1753951805.248".to_owned(), "is a floating-point number"),
        ("1e40".to_owned(), "is a floating-point number"),
        (u64::MAX.to_string(), "beyond all calendars"),
    ] {
        let reference = format!("{{\"conversation_id\":\"a|1|b\",\"message_server_id\":5,\"create_time\":{time}}}");
        std::fs::write(&path, reference).unwrap();
        invalid(&read(&jsonl(&path)).await, words);
        let event = format!(
            "{{\"eventType\":1,\"convType\":\"TEAM\",\"fromAccount\":\"a\",\"to\":9,\"msgidServer\":5,\"msgTimestamp\":{time}}}"
        );
        std::fs::write(&path, event).unwrap();
        let mut settings = jsonl(&path);
        rows_of(&mut settings).format = Format::CopyEvent;
        invalid(&read(&settings).await, words);
    }
}

#[tokio::test]
async fn what_a_database_says_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.db");
    {
        use sqlx::{ConnectOptions as _, Connection as _};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        options.connect().await.unwrap().close().await.unwrap();
    }
    for (time, words) in [
        ("1753951805", "it looks like seconds"),
        ("'1753951805248000'", "it looks like microseconds"),
        ("'1970-01-21 07:12:31.805'", SLIPPED),
    ] {
        let sql = format!("select 'a|1|b' conversation_id, 5 message_server_id, {time} create_time");
        invalid(&read(&of_sqlite(&path, query(&sql))).await, words);
    }
}
