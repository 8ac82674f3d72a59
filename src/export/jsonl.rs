//! One JSON object per line.

use std::io::Write as _;

use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};

use super::clock::Clock;
use super::error::ExportError;
use super::item::Item;
use super::output::{Output, OutputFile};
use super::transcript::Transcript;
use crate::model::record::{Record, Value};
use crate::model::{Column, ColumnType};

const FILE: &str = "messages.jsonl";

/// `messages.jsonl`: the columns by name, `context`, `vanished`, and the earlier versions under `earlier`.
pub(super) struct Lines {
    clock: Clock,
    file: Option<OutputFile>,
    rows: u64,
}

impl Lines {
    pub(super) fn new(clock: Clock, output: &Output) -> Result<Self, ExportError> {
        Ok(Self { clock, file: Some(output.file(FILE)?), rows: 0 })
    }

    fn put_record(&self, out: &mut String, record: &Record) -> Result<(), serde_json::Error> {
        for (n, column) in Column::all(true).iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            out.push_str(&format!("\"{}\":", column.name));
            match (record.get(column.column), column.kind) {
                (Value::Integer(time), ColumnType::Time) => {
                    out.push_str(&serde_json::to_string(&self.clock.exact(*time))?);
                }
                // As text, because many JSON readers keep 53 bits of a number.
                (Value::Integer(id), ColumnType::Int64) => out.push_str(&format!("\"{id}\"")),
                // JSON is copied as it is: its numbers may have more digits than any reader keeps.
                (Value::Text(json), ColumnType::Json) if serde_json::from_str::<&RawValue>(json).is_ok() => {
                    out.push_str(&json.replace(['\n', '\r'], " "));
                }
                (value, _) => out.push_str(&serde_json::to_string(value)?),
            }
        }
        Ok(())
    }

    fn line(&self, item: &Item) -> Result<String, serde_json::Error> {
        let mut out = String::from("{");
        self.put_record(&mut out, &item.latest)?;
        let mut more = Map::new();
        more.insert("context".to_owned(), Json::from(item.context));
        let vanished = item.vanished.as_ref().map_or(Json::Null, |vanished| {
            json!({ "noticed_at": vanished.noticed_at.map(|time| self.clock.exact(time)), "code": vanished.code })
        });
        more.insert("vanished".to_owned(), vanished);
        for (name, value) in more {
            out.push_str(&format!(",\"{name}\":{value}"));
        }
        out.push_str(",\"earlier\":[");
        for (n, earlier) in item.earlier.iter().enumerate() {
            out.push_str(if n > 0 { ",{" } else { "{" });
            self.put_record(&mut out, earlier)?;
            out.push('}');
        }
        out.push_str("]}\n");
        Ok(out)
    }
}

impl Transcript for Lines {
    fn write(&mut self, item: &Item, _output: &mut Output) -> Result<(), ExportError> {
        let written = self.line(item).map_err(std::io::Error::from);
        let Some(file) = &mut self.file else { return Ok(()) };
        self.rows += 1;
        written
            .and_then(|line| file.write_all(line.as_bytes()))
            .map_err(|error| ExportError::failed(format!("writing {FILE}"), error))
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), ExportError> {
        match self.file.take() {
            Some(file) => output.close(file, self.rows),
            None => Ok(()),
        }
    }
}
