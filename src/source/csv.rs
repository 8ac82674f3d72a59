//! CSV with a header line.
//!
//! Records are told apart here rather than by a general parser, for two reasons: a quote that is never closed must
//! cost the one row it stands in and not the rest of the file, and rows without quotes, nearly all there are, are
//! split at the speed of a byte search.

use std::borrow::Cow;
use std::io::{self, Read};

use super::SourceError;
use super::intake::{Broken, Intake};
use super::lines::{Found, LONGEST, Lines, failed};
use super::reading::{Outlet, Stop};
use super::value::{Value, trim};

/// Reads all records of a file.
pub(super) fn read<R: Read>(
    lines: Lines<R>,
    delimiter: u8,
    name: &str,
    intake: &mut Intake,
    outlet: &Outlet,
) -> Result<(), Stop> {
    let fail = |error| Stop::Error(failed(name, error));
    let unusable = |message: String| Stop::Error(SourceError::Unusable(format!("{name}: {message}")));
    let mut records = Records::begin(lines, delimiter).map_err(fail)?;
    let header: Vec<String> = match records.next().map_err(fail)? {
        None => return Ok(()),
        Some(Err(message)) => return Err(unusable(format!("its header {message}"))),
        Some(Ok(())) => (0..records.len()).map(|place| records.name(place)).collect(),
    };
    let names = intake.names();
    let hint = header_hint(&header, records.delimiter);
    let columns = match names.columns(name, &header) {
        Err(SourceError::Unusable(message)) => {
            return Err(SourceError::Unusable(message + hint.as_deref().unwrap_or_default()).into());
        }
        Err(error) => return Err(error.into()),
        // An event in the only column is taken unasked, but not for whatever that column is.
        Ok(columns) if columns.event.is_some() && names.event().is_none() && header.len() == 1 => match hint {
            Some(hint) => return Err(unusable(format!("its header is the one column {:?}{hint}", header[0]))),
            None => columns,
        },
        Ok(columns) => columns,
    };
    let (texts, needed) = (columns.texts(), columns.needed());
    let mut is_bare = true;
    while let Some(record) = records.next().map_err(fail)? {
        is_bare = false;
        let line = records.line;
        let position = || format!("{name}:{line}");
        let alone = record.and_then(|()| records.expect(header.len(), needed)).and_then(|()| {
            records.expect_alone(|cells| intake.is_reference(&columns, |place| cells.get(place).copied()))
        });
        match alone {
            Ok(()) => {
                let plain = texts.and_then(|places| records.texts(places));
                if !plain.is_some_and(|texts| intake.texts(texts)) {
                    intake.cells(&columns, &header, |place| records.cell(place), position);
                }
            }
            Err(message) => {
                let broken = Broken { message, has_field: true };
                intake.broken(position(), broken, || vec![("line".to_owned(), records.shown())]);
            }
        }
        if intake.is_full() {
            outlet.send_blocking(intake.take())?;
        }
    }
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if is_bare && header.iter().any(|column| column.contains(breaks)) {
        return Err(unusable(
            "is all one line, its header, which holds control characters: end the lines with line feeds".to_owned(),
        ));
    }
    Ok(intake.end_columns(name, &columns, &header)?)
}

/// What a header that lacks columns most likely suffers from.
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

/// A field within its record.
#[derive(Debug, Clone, Copy)]
struct Cell {
    start: usize,
    end: usize,
    /// Whether it holds doubled quotes.
    doubled: bool,
}

/// The records of a file, one at a time.
struct Records<R> {
    lines: Lines<R>,
    delimiter: u8,
    /// What ends a line: a line feed, or a carriage return alone.
    end: u8,
    cells: Vec<Cell>,
    /// The line on which the record begins.
    line: u64,
    /// What to consume before the next record: bytes, and ends of lines among them.
    done: (usize, u64),
    /// Whether something stands in the record that ends lines here or elsewhere.
    stray: bool,
    /// The bytes of the record's first line, its end included.
    first_line: usize,
}

impl<R: Read> Records<R> {
    /// Begins with the first record, by the delimiter that a line `sep=;` names if there is one, as Excel has it.
    fn begin(mut lines: Lines<R>, delimiter: u8) -> io::Result<Self> {
        let end = end_of_lines(&mut lines)?;
        let mut records =
            Self { lines, delimiter, end, cells: Vec::new(), line: 1, done: (0, 0), stray: false, first_line: 0 };
        if let Found::At(place) = records.lines.find(end, 0)? {
            let line = records.lines.window(place);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
            if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', named] = *line
                && named.is_ascii()
                && named != b'"'
            {
                (records.delimiter, records.done) = (named, (place + 1, 1));
            }
        }
        Ok(records)
    }

    /// Goes to the next record; an inner error says what is wrong with it. Empty lines are none.
    fn next(&mut self) -> io::Result<Option<Result<(), String>>> {
        loop {
            self.lines.consume(self.done.0);
            self.line += self.done.1;
            self.done = (0, 0);
            self.stray = false;
            self.cells.clear();
            let (length, whole) = match self.lines.find(self.end, 0)? {
                Found::At(place) => (place, place + 1),
                Found::End(0) => return Ok(None),
                Found::End(length) => (length, length),
                Found::TooFar => {
                    self.lines.skip_line(self.end)?;
                    self.done = (0, 1);
                    self.first_line = 0;
                    return Ok(Some(Err(format!("is longer than {LONGEST} bytes"))));
                }
            };
            self.first_line = whole;
            self.done = (whole, 1);
            let line = self.lines.window(length);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (mut start, mut quotes) = (0, false);
            let stray = if self.end == b'\n' { b'\r' } else { b'\n' };
            for end in memchr::memchr3_iter(self.delimiter, b'"', stray, line) {
                if line[end] == b'"' {
                    quotes = true;
                    break;
                }
                if line[end] == stray {
                    self.stray = true;
                    continue;
                }
                self.cells.push(Cell { start, end, doubled: false });
                start = end + 1;
            }
            if quotes {
                self.cells.clear();
                return Ok(Some(self.quoted()?.map_err(|message| {
                    self.done = (self.first_line, 1);
                    message.to_owned()
                })));
            }
            if start == 0 && trim(line).is_empty() {
                continue;
            }
            let end = line.len();
            self.cells.push(Cell { start, end, doubled: false });
            return Ok(Some(Ok(())));
        }
    }

    /// Tells the fields of a record apart that has quotes and may span lines.
    fn quoted(&mut self) -> io::Result<Result<(), &'static str>> {
        let mut at = 0;
        let mut ends_of_lines = 0;
        loop {
            let (start, end, doubled) = if self.lines.byte(at)? == Some(b'"') {
                let (mut from, mut doubled) = (at + 1, false);
                let close = loop {
                    match self.lines.find(b'"', from)? {
                        Found::At(place) if self.lines.byte(place + 1)? == Some(b'"') => {
                            (from, doubled) = (place + 2, true);
                        }
                        Found::At(place) => break place,
                        Found::End(_) | Found::TooFar => return Ok(Err("has a quote that is never closed")),
                    }
                };
                let within = &self.lines.window(close)[at + 1..];
                ends_of_lines += memchr::memchr_iter(self.end, within).count() as u64;
                (at + 1, close, doubled)
            } else {
                let Some(end) = self.end_of_plain(at)? else { return Ok(Err("is too long")) };
                (at, end, false)
            };
            let quoted = start > at;
            let mut after = if quoted { end + 1 } else { end };
            self.cells.push(Cell { start, end, doubled });
            match self.lines.byte(after)? {
                Some(byte) if byte == self.delimiter => at = after + 1,
                next => {
                    if next == Some(b'\r') && matches!(self.lines.byte(after + 1)?, Some(b'\n') | None) {
                        after += usize::from(self.end == b'\n');
                    }
                    match self.lines.byte(after)? {
                        Some(byte) if byte == self.end => self.done = (after + 1, ends_of_lines + 1),
                        None => self.done = (after, ends_of_lines + 1),
                        Some(_) => return Ok(Err("has something between a closing quote and the next delimiter")),
                    }
                    let record = trim(self.lines.window(self.done.0));
                    self.stray = memchr::memchr2(b'\r', b'\n', record).is_some();
                    return Ok(Ok(()));
                }
            }
        }
    }

    /// The end of a field without quotes: where a delimiter or an end of line stands.
    fn end_of_plain(&mut self, from: usize) -> io::Result<Option<usize>> {
        let end = match self.lines.find(self.end, from)? {
            Found::At(place) | Found::End(place) => place,
            Found::TooFar => return Ok(None),
        };
        let rest = &self.lines.window(end)[from..];
        let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
        Ok(Some(from + memchr::memchr(self.delimiter, rest).unwrap_or(rest.len())))
    }

    /// Insists on as many fields as the header has, or on the first `needed`: spreadsheets leave out those at the end
    /// that are empty. A record over several lines with another number began with a stray quote, unless none of its
    /// further lines could be a record: only its first line is given up.
    fn expect(&mut self, fields: usize, needed: usize) -> Result<(), String> {
        let found = self.cells.len();
        if found == fields || ((needed..fields).contains(&found) && !self.swallows(needed)) {
            return Ok(());
        }
        let stray = self.stray_ends();
        self.done = (self.first_line, 1);
        Err(format!("has {found} fields where the header has {fields}{stray}"))
    }

    /// Insists that no further line of a record is a reference by itself, whatever ends it: a stray quote, or another
    /// end of line than the header's, would swallow it. Only the first line is given up.
    fn expect_alone(&mut self, is_reference: impl Fn(&[&[u8]]) -> bool) -> Result<(), String> {
        if !self.stray {
            return Ok(());
        }
        let lines = self.lines.window(self.done.0).split(|byte| matches!(byte, b'\r' | b'\n')).skip(1);
        let bare = |cell| {
            let cell: &[u8] = trim(cell);
            let cell = cell.strip_prefix(b"\"").unwrap_or(cell);
            cell.strip_suffix(b"\"").unwrap_or(cell)
        };
        let mut lines = lines.map(|line| line.split(|byte| *byte == self.delimiter).map(bare).collect::<Vec<_>>());
        if !lines.any(|cells| is_reference(&cells)) {
            return Ok(());
        }
        let why = match self.stray_ends() {
            "" => "; a quote is not closed, or stands where none belongs",
            stray => stray,
        };
        let message = format!("holds a further reference{why}");
        self.done = (self.first_line, 1);
        Err(message)
    }

    /// What stands in the first line and ends none.
    fn stray_ends(&self) -> &'static str {
        let line = trim(self.lines.window(self.first_line));
        match self.end {
            b'\n' if memchr::memchr(b'\r', line).is_some() => {
                "; carriage returns stand in it, which end no line where the header ends with a line feed"
            }
            b'\r' if memchr::memchr(b'\n', line).is_some() => {
                "; line feeds stand in it, which end no line where the header ends with a carriage return"
            }
            _ => "",
        }
    }

    /// Whether a line of the record but its first has as many fields as a record needs.
    fn swallows(&self, needed: usize) -> bool {
        let lines = self.lines.window(self.done.0).split(|byte| *byte == self.end).skip(1);
        lines
            .filter(|line| !trim(line).is_empty())
            .any(|line| memchr::memchr_iter(self.delimiter, line).count() + 1 >= needed)
    }

    fn len(&self) -> usize {
        self.cells.len()
    }

    fn cell(&self, place: usize) -> Value<'_> {
        let Some(&Cell { start, end, doubled }) = self.cells.get(place) else { return Value::Null };
        let bytes = &self.lines.window(end)[start..];
        if !doubled {
            return Value::bytes(bytes);
        }
        let mut plain = Vec::with_capacity(bytes.len());
        let mut rest = bytes.iter();
        while let Some(&byte) = rest.next() {
            plain.push(byte);
            if byte == b'"' {
                rest.next();
            }
        }
        Value::Text(Cow::Owned(plain))
    }

    /// These fields as they stand; `None` when one of them holds doubled quotes.
    fn texts<const N: usize>(&self, places: [usize; N]) -> Option<[&[u8]; N]> {
        let mut texts = [[].as_slice(); N];
        for (text, place) in texts.iter_mut().zip(places) {
            let Cell { start, end, doubled } = *self.cells.get(place)?;
            if doubled {
                return None;
            }
            *text = &self.lines.window(end)[start..];
        }
        Some(texts)
    }

    /// A field of the header as a column's name.
    fn name(&self, place: usize) -> String {
        match self.cell(place) {
            Value::Text(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
            _ => String::new(),
        }
    }

    /// The first line as it stands, for a sample.
    fn shown(&self) -> String {
        String::from_utf8_lossy(trim(self.lines.window(self.first_line))).into_owned()
    }
}

/// What ends the lines of a file, by what ends its first. Carriage returns before a line feed belong to it.
fn end_of_lines<R: Read>(lines: &mut Lines<R>) -> io::Result<u8> {
    let (mut quoted, mut at) = (false, 0);
    while at < LONGEST {
        match lines.byte(at)? {
            Some(b'"') => quoted = !quoted,
            Some(b'\r') if !quoted => {
                while lines.byte(at)? == Some(b'\r') {
                    at += 1;
                }
                return Ok(if matches!(lines.byte(at)?, Some(b'\n') | None) { b'\n' } else { b'\r' });
            }
            Some(b'\n') if !quoted => break,
            Some(_) => {}
            None => break,
        }
        at += 1;
    }
    Ok(b'\n')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "csv_tests.rs"]
mod tests;
