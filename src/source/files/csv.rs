//! CSV with a header line.

mod records;

use std::io::Read;

use self::records::Records;
use super::lines::Lines;
use crate::source::error::SourceError;
use crate::source::mapping::object::Broken;
use crate::source::read_ahead::ChunkSender;
use crate::source::rows::RowCollector;
use crate::source::value::Value;

/// Reads all records of a file.
pub(super) fn read(
    text: impl Read,
    delimiter: u8,
    name: &str,
    rows: &mut RowCollector,
    sender: &ChunkSender,
) -> Result<(), SourceError> {
    let fail = |error| SourceError::of_file(name, error);
    let unusable = |message: String| SourceError::Unusable(format!("{name}: {message}"));
    let mut records = Records::begin(Lines::new(text), delimiter).map_err(fail)?;
    let header: Vec<String> = match records.next().map_err(fail)? {
        None => return Ok(()),
        Some(Err(message)) => return Err(unusable(format!("its header {message}"))),
        Some(Ok(())) => records.fields().iter().map(|field| String::from_utf8_lossy(field).trim().to_owned()).collect(),
    };
    let mapping = rows.mapping();
    let names = &mapping.names;
    let hint = header_hint(&header, records.delimiter());
    let columns = match names.columns(name, &header) {
        Err(SourceError::Unusable(message)) => return Err(SourceError::Unusable(message + &hint.unwrap_or_default())),
        // Copy events are taken from the only column by default, but not from one that is no column.
        Ok(columns) if columns.event.is_some() && names.event.is_none() && header.len() == 1 => match hint {
            Some(hint) => return Err(unusable(format!("its header is the one column {:?}{hint}", header[0]))),
            None => columns,
        },
        columns => columns?,
    };
    let needed = columns.used().max().map_or(0, |last| last + 1);
    let mut is_bare = true;
    while let Some(record) = records.next().map_err(fail)? {
        is_bare = false;
        let line = records.line();
        let position = || format!("{name}:{line}");
        let is_reference = |fields: &[&[u8]]| {
            rows.is_reference(&columns, |place| fields.get(place).map_or(Value::Null, |field| Value::bytes(field)))
        };
        match record.and_then(|()| records.check(header.len(), needed, is_reference)) {
            Ok(()) => {
                let cell = |place| records.fields().get(place).map_or(Value::Null, Value::bytes);
                rows.cells(&columns, &header, cell, position);
            }
            Err(message) => {
                let raw = || vec![("line".to_owned(), records.first_line())];
                rows.row(Err(Broken { message, has_field: true }), position, raw);
            }
        }
        if rows.is_full() {
            sender.send_blocking(rows.take())?;
        }
    }
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if is_bare && header.iter().any(|column| column.contains(breaks)) {
        return Err(unusable(
            "is all one line, its header, which holds control characters: end the lines with line feeds".to_owned(),
        ));
    }
    rows.end_columns(name, &columns, &header)
}

/// The most likely reason why a header lacks columns.
fn header_hint(header: &[String], delimiter: u8) -> Option<String> {
    let others = [(';', "';'"), ('\t', "tab"), ('|', "'|'"), (',', "','")];
    let is_other = |other: char| other != char::from(delimiter) && matches!(header, [only] if only.contains(other));
    if matches!(header, [first, ..] if first.starts_with('{')) {
        return Some("; its first line is data: a CSV file begins with a line of column names".to_owned());
    }
    if header.iter().any(|column| column.contains('\u{fffd}')) {
        return Some("; its first line is not UTF-8: is it GBK? Save the file as UTF-8".to_owned());
    }
    others.iter().find(|(other, _)| is_other(*other)).map(|(_, shown)| format!("; did you mean `delimiter: {shown}`?"))
}
