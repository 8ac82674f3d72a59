//! Parquet: every type that can be a field.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal32Array, Decimal64Array, Decimal128Array, DictionaryArray,
    Float64Array, Int32Array, Int64Array, LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;
use jiff::tz::TimeZone;
use yunxin_archiver::source::{Format, Settings, SourceError};

use super::{TIME, of_parquet, renamed, rows_of};
use crate::support::refs::{read, unusable, write_parquet};

fn parquet(path: &Path) -> Settings {
    of_parquet(super::files(path))
}

fn text(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

#[tokio::test]
async fn ids_of_every_integer_type_are_read_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.parquet");
    let decimal = |scale: i8, values: Vec<i128>| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(30, scale).unwrap())
    };
    let ids: Vec<(ArrayRef, i64)> = vec![
        (Arc::new(Int64Array::from(vec![i64::MAX])), i64::MAX),
        (Arc::new(Int32Array::from(vec![7])), 7),
        (Arc::new(UInt64Array::from(vec![i64::MAX as u64])), i64::MAX),
        (decimal(0, vec![i128::from(i64::MAX)]), i64::MAX),
        (decimal(2, vec![15_884_455_333_435_801_800]), 158_844_553_334_358_018),
        (Arc::new(Decimal32Array::from(vec![700]).with_precision_and_scale(9, 2).unwrap()), 7),
        (Arc::new(Decimal64Array::from(vec![7]).with_precision_and_scale(18, 0).unwrap()), 7),
        (text(vec![Some("9223372036854775807")]), i64::MAX),
        (Arc::new(LargeStringArray::from(vec!["5"])), 5),
        (Arc::new(StringViewArray::from(vec!["5"])), 5),
        (Arc::new(BinaryArray::from(vec![b"5".as_slice()])), 5),
        (Arc::new(vec![Some("5")].into_iter().collect::<DictionaryArray<Int32Type>>()), 5),
    ];
    for (array, id) in ids {
        let kind = array.data_type().clone();
        write_parquet(
            &path,
            vec![
                ("create_time", Arc::new(Int64Array::from(vec![TIME])) as ArrayRef),
                ("note", text(vec![Some("x")])),
                ("message_server_id", array),
                ("conversation_id", text(vec![Some("a|1|b")])),
            ],
        );
        assert_eq!(read(&parquet(&path)).await.clean(), [format!("a|1|b {id} {TIME}")], "{kind}");
    }
}

#[tokio::test]
async fn values_that_are_no_id_are_invalid_with_their_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.parquet");
    for (array, complaint) in [
        (
            Arc::new(Float64Array::from(vec![1.0])) as ArrayRef,
            "1.0 is a floating-point number: it may have lost digits beyond 2^53",
        ),
        (Arc::new(UInt64Array::from(vec![u64::MAX])), "18446744073709551615 is above 2^63 - 1"),
        (Arc::new(Decimal128Array::from(vec![15]).with_precision_and_scale(10, 1).unwrap()), "1.5 is no integer"),
        (Arc::new(Int64Array::from(vec![None])), "is null"),
        (text(vec![Some("")]), "is empty"),
    ] {
        write_parquet(
            &path,
            vec![
                ("conversation_id", text(vec![Some("a|1|b")])),
                ("message_server_id", array),
                ("create_time", Arc::new(Int64Array::from(vec![TIME]))),
            ],
        );
        let found = read(&parquet(&path)).await;
        let complaints = found.complaints();
        let expected = format!("{}: row 1: message_server_id {complaint}", path.display());
        assert!(complaints.starts_with(&expected), "{complaints}");
        assert!(found.ended.is_ok());
    }
}

#[tokio::test]
async fn timestamps_of_every_unit_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.parquet");
    let local = TIME + 8 * 3_600_000;
    let times: Vec<(ArrayRef, i64)> = vec![
        (Arc::new(TimestampSecondArray::from(vec![TIME / 1000]).with_timezone("UTC")), TIME / 1000 * 1000),
        (Arc::new(TimestampMillisecondArray::from(vec![TIME]).with_timezone("+08:00")), TIME),
        (Arc::new(TimestampMicrosecondArray::from(vec![TIME * 1000 + 999]).with_timezone("UTC")), TIME),
        (Arc::new(TimestampNanosecondArray::from(vec![TIME * 1_000_000 + 999_999]).with_timezone("UTC")), TIME),
        (Arc::new(TimestampMillisecondArray::from(vec![local])), TIME),
        (Arc::new(TimestampMicrosecondArray::from(vec![local * 1000 + 999])), TIME),
        (Arc::new(TimestampNanosecondArray::from(vec![local * 1_000_000])), TIME),
        (text(vec![Some("2025-07-31 16:50:05.248")]), TIME),
    ];
    for (array, time) in times {
        let kind = array.data_type().clone();
        write_parquet(
            &path,
            vec![
                ("conversation_id", text(vec![Some("a|1|b")])),
                ("message_server_id", Arc::new(Int64Array::from(vec![5]))),
                ("create_time", array),
            ],
        );
        let mut settings = parquet(&path);
        rows_of(&mut settings).timezone = TimeZone::get("Asia/Shanghai").unwrap();
        assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {time}")], "{kind}");
    }
}

#[tokio::test]
async fn a_date_is_no_time_and_a_truth_value_is_no_field() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.parquet");
    let with = |id: ArrayRef, time: ArrayRef| {
        write_parquet(
            &path,
            vec![("conversation_id", text(vec![Some("a|1|b")])), ("message_server_id", id), ("create_time", time)],
        );
    };
    with(Arc::new(Int64Array::from(vec![5])), Arc::new(Date32Array::from(vec![20_300])));
    assert!(
        read(&parquet(&path)).await.complaints().contains("create_time 2025-07-31 is a date without a time of day")
    );
    with(Arc::new(BooleanArray::from(vec![true])), Arc::new(Int64Array::from(vec![TIME])));
    assert!(
        unusable(&parquet(&path))
            .await
            .ends_with("column \"message_server_id\" is of type Boolean, which no field can be")
    );
    let settings = renamed(parquet(&path), &[("create_time", "ts")]);
    assert!(
        unusable(&settings)
            .await
            .contains("missing \"ts\", which `columns` names; found conversation_id, message_server_id")
    );
}

#[tokio::test]
async fn copy_events_are_read_from_columns_or_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.parquet");
    let event = r#"{"eventType":1,"convType":"PERSON","fromAccount":"a","to":"b","msgidServer":"5","msgTimestamp":"1753951805248"}"#;
    write_parquet(
        &path,
        vec![("id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef), ("body", text(vec![Some(event), None]))],
    );
    let mut settings = parquet(&path);
    rows_of(&mut settings).format = Format::CopyEvent;
    let found = read(&settings).await;
    assert_eq!(found.references, [format!("a|1|b 5 {TIME}")]);
    assert!(found.complaints().contains("row 2: the event is empty"));
    write_parquet(
        &path,
        vec![
            ("convType", text(vec![Some("TEAM"), Some("CUSTOM_TEAM")])),
            ("fromAccount", text(vec![Some("a"), None])),
            ("to", Arc::new(Int64Array::from(vec![99, 98])) as ArrayRef),
            ("msgidServer", Arc::new(Int64Array::from(vec![5, 6]))),
            ("msgTimestamp", Arc::new(Int64Array::from(vec![TIME, TIME]))),
        ],
    );
    let found = read(&settings).await;
    assert_eq!((found.references, found.skipped), (vec![format!("a|2|99 5 {TIME}")], 1));
}

#[tokio::test]
async fn what_stands_before_a_broken_page_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.parquet");
    let count = 3000_i64;
    write_parquet(
        &path,
        vec![
            (
                "conversation_id",
                Arc::new(StringArray::from_iter_values((0..count).map(|n| format!("a{n}|1|b")))) as ArrayRef,
            ),
            ("message_server_id", Arc::new(Int64Array::from_iter_values(1..=count))),
            ("create_time", Arc::new(Int64Array::from_iter_values((0..count).map(|n| TIME + n)))),
        ],
    );
    assert_eq!(read(&parquet(&path)).await.ids().len(), 3000);
    let mut bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(read(&parquet(&path)).await.ended, Err(SourceError::Failed { .. })));
    std::fs::write(&path, "").unwrap();
    assert!(matches!(read(&parquet(&path)).await.ended, Err(SourceError::Failed { .. })));
    let place = bytes.len() * 2 / 3;
    bytes[place..place + 4000].fill(0xFF);
    std::fs::write(&path, &bytes).unwrap();
    let Err(SourceError::Failed { context, .. }) = read(&parquet(&path)).await.ended else { panic!() };
    assert_eq!(context, format!("{}: cannot be read as Parquet", path.display()));
}

/// Writes a file of one row whose time is an INT96 of so many days and nanoseconds since the epoch.
fn write_int96(path: &Path, days: i64, nanos: u64) {
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type, Int96, Int96Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    let message = "message m { required binary conversation_id (UTF8); required int64 message_server_id;
                   required int96 create_time; }";
    let schema = Arc::new(parse_message_type(message).unwrap());
    let mut writer = SerializedFileWriter::new(std::fs::File::create(path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[ByteArray::from("a|1|b")], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[5], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let mut time = Int96::new();
    time.set_data(nanos as u32, (nanos >> 32) as u32, (2_440_588 + days) as u32);
    column.typed::<Int96Type>().write_batch(&[time], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn int96_is_utc_whatever_zone_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.parquet");
    let day = 86_400_000;
    let mut settings = parquet(&path);
    rows_of(&mut settings).timezone = TimeZone::get("Asia/Shanghai").unwrap();
    write_int96(&path, TIME / day, (TIME % day) as u64 * 1_000_000 + 999_999);
    assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {TIME}")]);
    // In nanoseconds, 64 bits would have overflowed into another year.
    write_int96(&path, 10_000_000, 0);
    assert!(read(&settings).await.complaints().contains("the year 29349 is more than a day ahead"));
}

/// Writes a file of one row with some of it encrypted.
fn write_encrypted(path: &Path, columns: &[&str], plain_footer: bool) {
    use arrow::array::RecordBatch;
    use arrow::datatypes::{Field, Schema};
    use parquet::encryption::encrypt::FileEncryptionProperties;
    let columns_of = vec![
        ("conversation_id", text(vec![Some("a|1|b")])),
        ("message_server_id", Arc::new(Int64Array::from(vec![5])) as ArrayRef),
        ("create_time", Arc::new(Int64Array::from(vec![TIME]))),
        ("body", text(vec![Some("hi")])),
    ];
    let fields: Vec<Field> =
        columns_of.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns_of.into_iter().map(|(_, array)| array).collect());
    let mut properties =
        FileEncryptionProperties::builder(b"0123456789abcdef".to_vec()).with_plaintext_footer(plain_footer);
    for column in columns {
        properties = properties.with_column_key(column, b"fedcba9876543210".to_vec());
    }
    let properties = parquet::file::properties::WriterProperties::builder()
        .with_file_encryption_properties(properties.build().unwrap())
        .build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
    writer.write(&batch.unwrap()).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn what_is_encrypted_is_called_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.parquet");
    write_encrypted(&path, &["create_time"], true);
    let said = unusable(&parquet(&path)).await;
    assert!(said.ends_with("refs.parquet: column \"create_time\" is encrypted; write it without encryption"), "{said}");
    write_encrypted(&path, &["create_time"], false);
    assert!(unusable(&parquet(&path)).await.contains("is encrypted as a whole"));
    // A column that is not used may be encrypted.
    write_encrypted(&path, &["body"], true);
    assert_eq!(read(&parquet(&path)).await.clean(), [format!("a|1|b 5 {TIME}")]);
}

#[tokio::test]
async fn what_is_no_parquet_is_called_so_and_a_file_without_rows_is_fine() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.parquet");
    for content in ["conversation_id,message_server_id,create_time\n", "PK\u{3}\u{4}....", "{\"a\":5}"] {
        std::fs::write(&path, content).unwrap();
        assert!(unusable(&parquet(&path)).await.ends_with("is no Parquet file, which begins with PAR1"), "{content}");
    }
    write_parquet(
        &path,
        vec![
            ("conversation_id", text(vec![])),
            ("message_server_id", Arc::new(Int64Array::from(Vec::<i64>::new())) as ArrayRef),
            ("create_time", Arc::new(Int64Array::from(Vec::<i64>::new()))),
        ],
    );
    assert_eq!(read(&parquet(&path)).await.clean(), [""; 0]);
}
