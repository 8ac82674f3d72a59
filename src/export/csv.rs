//! Tables for spreadsheets, in which no cell is a formula.

use csv::{QuoteStyle, Terminator, Writer, WriterBuilder};

use super::clock::Clock;
use super::error::ExportError;
use super::item::Item;
use super::output::{Output, OutputFile};
use super::transcript::Transcript;
use crate::model::columns::Definition;
use crate::model::record::{Record, Value};
use crate::model::{Column, ColumnType};

/// Spreadsheets take UTF-8 for what it is only when it begins with this.
const MARK: &[u8] = "\u{feff}".as_bytes();
const MESSAGES: &str = "messages.csv";
const EARLIER: &str = "earlier.csv";

/// `messages.csv` with the latest version of every message, and `earlier.csv` with the earlier ones, if there are any.
pub(super) struct Tables {
    clock: Clock,
    messages: Option<Table>,
    earlier: Option<Table>,
}

struct Table {
    writer: Writer<OutputFile>,
    name: &'static str,
    rows: u64,
}

/// All columns but `raw`, which does not belong into a spreadsheet.
fn columns() -> &'static [Definition] {
    Column::all(false)
}

impl Table {
    fn create(name: &'static str, more: &[&str], output: &Output) -> Result<Self, ExportError> {
        let mut file = output.file(name)?;
        file.put(MARK)?;
        let writer =
            WriterBuilder::new().quote_style(QuoteStyle::Necessary).terminator(Terminator::CRLF).from_writer(file);
        let mut table = Self { writer, name, rows: 0 };
        let header: Vec<String> =
            columns().iter().map(|column| column.name).chain(more.iter().copied()).map(ToOwned::to_owned).collect();
        table.put(&header)?;
        Ok(table)
    }

    fn put(&mut self, cells: &[String]) -> Result<(), ExportError> {
        let written = self.writer.write_record(cells);
        written.map_err(|error| ExportError::failed(format!("writing {}", self.name), error))
    }

    fn close(self, output: &mut Output) -> Result<(), ExportError> {
        let failed = |error| ExportError::failed(format!("writing {}", self.name), error);
        let file = self.writer.into_inner().map_err(|error| failed(error.into_error()))?;
        output.close(file, self.rows)
    }
}

impl Tables {
    pub(super) fn new(clock: Clock, output: &Output) -> Result<Self, ExportError> {
        let messages = Table::create(MESSAGES, &["context", "vanished_noticed_at", "vanished_code"], output)?;
        Ok(Self { clock, messages: Some(messages), earlier: None })
    }

    fn cells(&self, record: &Record) -> Vec<String> {
        columns()
            .iter()
            .map(|column| match (record.get(column.column), column.kind) {
                (Value::Null, _) => String::new(),
                (Value::Integer(time), ColumnType::Time) => self.clock.exact(*time),
                // As text, because a spreadsheet keeps every digit of that.
                (Value::Integer(id), ColumnType::Int64) => format!("'{id}"),
                (Value::Integer(number), _) => number.to_string(),
                (Value::Flag(flag), _) => flag.to_string(),
                (Value::Text(text), _) => harmless(text),
                (Value::List(list), _) => harmless(&list.join(" ")),
            })
            .collect()
    }
}

impl Transcript for Tables {
    fn write(&mut self, item: &Item, output: &mut Output) -> Result<(), ExportError> {
        let mut cells = self.cells(&item.latest);
        let vanished = item.vanished.as_ref();
        cells.push(item.context.to_string());
        let noticed = vanished.and_then(|vanished| vanished.noticed_at);
        cells.push(noticed.map(|time| self.clock.exact(time)).unwrap_or_default());
        cells.push(vanished.and_then(|vanished| vanished.code).map(|code| code.to_string()).unwrap_or_default());
        if let Some(table) = &mut self.messages {
            table.rows += 1;
            table.put(&cells)?;
        }
        for earlier in &item.earlier {
            let cells = self.cells(earlier);
            if self.earlier.is_none() {
                self.earlier = Some(Table::create(EARLIER, &[], output)?);
            }
            if let Some(table) = &mut self.earlier {
                table.rows += 1;
                table.put(&cells)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), ExportError> {
        for table in [self.messages.take(), self.earlier.take()].into_iter().flatten() {
            table.close(output)?;
        }
        Ok(())
    }
}

/// A text that no spreadsheet takes for a formula. An apostrophe precedes whatever would begin one, at the beginning of
/// the cell and wherever a program that splits at semicolons, tabs or line ends would begin another cell.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    let mut beginning = true;
    for (at, character) in text.char_indices() {
        let first = at == 0;
        match character {
            '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' if beginning => {
                out.push('\'');
                beginning = false;
            }
            '\t' | '\r' | '\n' if first => {
                out.push('\'');
            }
            ';' | '\t' | '\r' | '\n' => beginning = true,
            ' ' | '"' | '\'' | '\u{feff}' => {}
            _ => beginning = false,
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_a_formula() {
        for (text, written) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("＝1", "'＝1"),
            ("\t=1", "'\t'=1"),
            ("\r\n=1", "'\r\n'=1"),
            ("a;=1", "a;'=1"),
            ("a; \"=1", "a; \"'=1"),
            ("\"=1", "\"'=1"),
            ("a=1;b", "a=1;b"),
            ("中文 - ok", "中文 - ok"),
        ] {
            assert_eq!(harmless(text), written, "{text:?}");
        }
    }
}
