//! Reading a source to its end, and Parquet files to read.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use yunxin_archiver::model::reference::Invalid;
use yunxin_archiver::source::{Checkpoint, Settings, Source, SourceError, open};

/// All that a source gave.
#[derive(Debug)]
pub(crate) struct Read {
    /// `conversation message time` of each reference.
    pub(crate) references: Vec<String>,
    pub(crate) invalid: Vec<Invalid>,
    pub(crate) skipped: u64,
    /// What is remembered of a source that was read to its end, or why it was not.
    pub(crate) ended: Result<Option<Checkpoint>, SourceError>,
}

impl Read {
    /// The references, when nothing was amiss.
    pub(crate) fn clean(self) -> Vec<String> {
        assert_eq!((self.invalid.as_slice(), self.skipped), (&[][..], 0));
        self.ended.unwrap();
        self.references
    }

    /// The IDs of the references, when nothing was amiss.
    pub(crate) fn ids(&self) -> Vec<i64> {
        self.ended.as_ref().unwrap();
        self.references.iter().map(|text| text.split(' ').nth(1).unwrap().parse().unwrap()).collect()
    }

    /// `position: message` of each invalid row.
    pub(crate) fn complaints(&self) -> String {
        let mut text = String::new();
        for invalid in &self.invalid {
            writeln!(text, "{}: {}", invalid.position, invalid.message).unwrap();
        }
        text
    }

    pub(crate) fn checkpoint(&self) -> Option<Checkpoint> {
        self.ended.as_ref().unwrap().clone()
    }
}

/// Reads a source to its end, or to its error.
pub(crate) async fn drain(source: &mut dyn Source) -> Read {
    let mut read = Read { references: Vec::new(), invalid: Vec::new(), skipped: 0, ended: Ok(None) };
    loop {
        match source.next().await {
            Ok(Some(chunk)) => {
                assert_eq!(chunk.read(), chunk.len() as u64 + chunk.invalid.len() as u64 + chunk.skipped());
                read.references.extend(chunk.iter().map(|reference| {
                    format!("{} {} {}", reference.conversation_id(), reference.message_server_id, reference.create_time)
                }));
                read.skipped += chunk.skipped();
                read.invalid.extend(chunk.invalid);
            }
            Ok(None) => {
                read.ended = Ok(source.checkpoint());
                return read;
            }
            Err(error) => {
                assert_eq!(source.checkpoint(), None);
                read.ended = Err(error);
                return read;
            }
        }
    }
}

/// Opens a source and reads it to its end.
pub(crate) async fn read_from(settings: &Settings, checkpoint: Option<Checkpoint>) -> Read {
    match open(settings.clone(), checkpoint).await {
        Ok(mut source) => drain(source.as_mut()).await,
        Err(error) => Read { references: Vec::new(), invalid: Vec::new(), skipped: 0, ended: Err(error) },
    }
}

/// Opens a source without a past and reads it to its end.
pub(crate) async fn read(settings: &Settings) -> Read {
    read_from(settings, None).await
}

/// Opens or reads a source that is not usable, and returns what it says.
pub(crate) async fn unusable(settings: &Settings) -> String {
    match read(settings).await.ended {
        Err(SourceError::Unusable(message)) => message,
        other => panic!("{other:?} is not unusable"),
    }
}

/// Writes a Parquet file of these columns, 1000 rows a group.
pub(crate) fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect()).unwrap();
    let properties = parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(1000));
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
