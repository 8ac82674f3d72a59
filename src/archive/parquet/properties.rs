//! How files are written: encodings, pages, compression, metadata.

use ::parquet::basic::{Compression as Codec, Encoding, GzipLevel, ZstdLevel};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use ::parquet::schema::types::ColumnPath;
use arrow::datatypes::DataType;

use super::schema;
use super::settings::{Compression, Encodings, Settings};
use crate::archive::RunStamp;
use crate::model::columns::Habit;
use crate::model::{Column, ColumnType};

/// How files of messages are written.
pub(super) fn of_messages(settings: &Settings, stamp: &RunStamp) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(codec(settings.compression))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_size_limit(1 << 19)
        .set_dictionary_page_size_limit(1 << 20)
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::PLAIN)
        .set_key_value_metadata(Some(metadata(settings, stamp)));
    for column in Column::all(settings.raw) {
        let path = match column.kind {
            ColumnType::TextList => ColumnPath::new(vec![column.name.into(), "list".into(), "element".into()]),
            _ => ColumnPath::from(column.name),
        };
        if column.habit == Habit::Few {
            builder = builder.set_column_dictionary_enabled(path.clone(), true);
        }
        // A column with a dictionary falls back to this when its dictionary grows too large.
        if settings.encodings == Encodings::Compact
            && let Some(encoding) = compact(column.kind)
        {
            builder = builder.set_column_encoding(path, encoding);
        }
    }
    builder.build()
}

fn compact(kind: ColumnType) -> Option<Encoding> {
    match schema::data_type(kind) {
        DataType::Int64 | DataType::Int32 | DataType::Timestamp(..) => Some(Encoding::DELTA_BINARY_PACKED),
        DataType::Utf8 | DataType::List(_) => Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
        _ => None,
    }
}

/// How files of notes of what vanished are written.
pub(super) fn of_vanished(settings: &Settings, stamp: &RunStamp) -> WriterProperties {
    WriterProperties::builder()
        .set_compression(codec(settings.compression))
        .set_key_value_metadata(Some(metadata(settings, stamp)))
        .build()
}

/// What every file says about its origin.
fn metadata(settings: &Settings, stamp: &RunStamp) -> Vec<KeyValue> {
    let zone = settings.timezone.iana_name().map_or_else(
        || settings.timezone.to_fixed_offset().map_or_else(|_| "unknown".to_owned(), |offset| offset.to_string()),
        ToOwned::to_owned,
    );
    [
        ("schema_version", schema::VERSION.to_owned()),
        ("job", stamp.job.clone()),
        ("run_id", stamp.run_id.to_string()),
        ("timezone", zone),
    ]
    .into_iter()
    .map(|(key, value)| KeyValue::new(key.to_owned(), value))
    .collect()
}

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::Zstd(level) => Codec::ZSTD(ZstdLevel::try_new(level.clamp(1, 22)).unwrap_or_default()),
    }
}
