//! The records of a CSV file.
//!
//! The `csv` crate does not split them: a quote that is never closed costs only the row in which it stands, not the rest
//! of the file.

use std::io::{self, Read};

use csv::ByteRecord;
use memchr::{memchr, memchr_iter, memchr2};

use crate::source::files::lines::{Found, LONGEST, Lines};

/// The records of a file, one at a time.
pub(super) struct Records<R> {
    lines: Lines<R>,
    delimiter: u8,
    /// What ends a line: a line feed, or a carriage return alone.
    end: u8,
    /// The fields of the record.
    fields: ByteRecord,
    /// The line on which the record begins, counted from 1.
    line: u64,
    /// The bytes of the record and its last line end; `None` if its line is longer than any that is looked at.
    length: Option<usize>,
    /// The bytes of the record's first line and its end.
    first_line: usize,
}

impl<R: Read> Records<R> {
    /// Begins before the first record. A line `sep=;`, as Excel writes it, names the delimiter and is no record.
    pub(super) fn begin(mut lines: Lines<R>, delimiter: u8) -> io::Result<Self> {
        let end = line_end(&mut lines)?;
        let mut records =
            Self { lines, delimiter, end, fields: ByteRecord::new(), line: 1, length: Some(0), first_line: 0 };
        if let Found::At(place) = records.lines.find(0, |rest| memchr(end, rest))? {
            let line = records.lines.window(place);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
            if let [key @ .., named] = line
                && key.eq_ignore_ascii_case(b"sep=")
                && named.is_ascii()
                && *named != b'"'
            {
                (records.delimiter, records.length) = (*named, Some(place + 1));
            }
        }
        Ok(records)
    }

    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    pub(super) fn fields(&self) -> &ByteRecord {
        &self.fields
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The first line of the record as it stands.
    pub(super) fn first_line(&self) -> String {
        String::from_utf8_lossy(self.lines.window(self.first_line).trim_ascii()).into_owned()
    }

    /// Goes to the next record; an inner error says what is wrong with it. Empty lines are none.
    pub(super) fn next(&mut self) -> io::Result<Option<Result<(), String>>> {
        loop {
            if let Some(length) = self.length.take() {
                self.line += memchr_iter(self.end, self.lines.window(length)).count() as u64;
                self.lines.consume(length);
            } else {
                self.line += 1;
                self.lines.skip_line(self.end)?;
            }
            self.fields.clear();
            self.first_line = match self.lines.find(0, |rest| memchr(self.end, rest))? {
                Found::At(place) => place + 1,
                Found::End(0) => return Ok(None),
                Found::End(length) => length,
                Found::TooFar => {
                    self.first_line = 0;
                    return Ok(Some(Err(format!("is longer than {LONGEST} bytes"))));
                }
            };
            self.length = Some(self.first_line);
            match self.split()? {
                Err(message) => return Ok(Some(Err(message.to_owned()))),
                Ok(length) => self.length = Some(length),
            }
            if self.fields.len() > 1 || !self.lines.window(self.first_line).trim_ascii().is_empty() {
                return Ok(Some(Ok(())));
            }
        }
    }

    /// Splits the record that begins here into its fields; returns its length with its last line end.
    fn split(&mut self) -> io::Result<Result<usize, &'static str>> {
        let mut at = 0;
        loop {
            let mut end = if self.lines.byte(at)? == Some(b'"') {
                let Some(end) = self.push_quoted(at)? else { return Ok(Err("has a quote that is never closed")) };
                end
            } else {
                match self.lines.find(at, |rest| memchr2(self.delimiter, self.end, rest))? {
                    Found::At(end) | Found::End(end) => self.push_bare(at, end)?,
                    Found::TooFar => return Ok(Err("is too long")),
                }
            };
            // A carriage return before a line feed, or before the end of the file, belongs to the end of the line.
            if self.end == b'\n'
                && self.lines.byte(end)? == Some(b'\r')
                && matches!(self.lines.byte(end + 1)?, Some(b'\n') | None)
            {
                end += 1;
            }
            match self.lines.byte(end)? {
                None => return Ok(Ok(end)),
                Some(byte) if byte == self.end => return Ok(Ok(end + 1)),
                Some(byte) if byte == self.delimiter => at = end + 1,
                Some(_) => return Ok(Err("has something between a closing quote and the next delimiter")),
            }
        }
    }

    /// Takes a field without quotes; returns where it ends, before the carriage return of a line end.
    fn push_bare(&mut self, at: usize, end: usize) -> io::Result<usize> {
        let is_last = self.lines.byte(end)? != Some(self.delimiter);
        let field = &self.lines.window(end)[at..];
        let field = field.strip_suffix(b"\r").filter(|_| is_last && self.end == b'\n').unwrap_or(field);
        self.fields.push_field(field);
        Ok(at + field.len())
    }

    /// Takes a field in quotes, in which a doubled quote stands for one; returns where it ends, behind the closing quote.
    fn push_quoted(&mut self, at: usize) -> io::Result<Option<usize>> {
        let (mut field, mut from) = (Vec::new(), at + 1);
        while let Found::At(quote) = self.lines.find(from, |rest| memchr(b'"', rest))? {
            field.extend_from_slice(&self.lines.window(quote)[from..]);
            if self.lines.byte(quote + 1)? != Some(b'"') {
                self.fields.push_field(&field);
                return Ok(Some(quote + 1));
            }
            field.push(b'"');
            from = quote + 2;
        }
        Ok(None)
    }

    /// Checks that the record is one row: it has as many fields as the header or, because spreadsheets leave out empty
    /// fields at the end, at least `needed`; and it holds no other row. Of a record that fails only the first line is
    /// given up, and the next record begins on the line behind it.
    pub(super) fn check(
        &mut self,
        header: usize,
        needed: usize,
        is_reference: impl Fn(&[&[u8]]) -> bool,
    ) -> Result<(), String> {
        let found = self.fields.len();
        let wrong = if found != header && (!(needed..header).contains(&found) || self.swallows_row(needed)) {
            format!("has {found} fields where the header has {header}{}", self.stray_ends().unwrap_or_default())
        } else if self.swallows_reference(is_reference) {
            let why = self.stray_ends().unwrap_or("; a quote is not closed, or stands where none belongs");
            format!("holds a further reference{why}")
        } else {
            return Ok(());
        };
        self.length = Some(self.first_line);
        Err(wrong)
    }

    fn record(&self) -> &[u8] {
        self.lines.window(self.length.unwrap_or_default())
    }

    /// Whether a further line of the record has as many fields as a row needs: the record began with a stray quote.
    fn swallows_row(&self, needed: usize) -> bool {
        let lines = self.record().split(|byte| *byte == self.end).skip(1);
        lines
            .filter(|line| !line.trim_ascii().is_empty())
            .any(|line| memchr_iter(self.delimiter, line).count() + 1 >= needed)
    }

    /// Whether a further line of the record, whatever ends it, is a reference by itself: a stray quote, or a line end
    /// unlike the header's, swallowed it.
    fn swallows_reference(&self, is_reference: impl Fn(&[&[u8]]) -> bool) -> bool {
        let lines = self.record().trim_ascii().split(|byte| matches!(byte, b'\r' | b'\n')).skip(1);
        let mut rows = lines.map(|line| line.split(|byte| *byte == self.delimiter).map(bare).collect::<Vec<_>>());
        rows.any(|fields| is_reference(&fields))
    }

    /// What stands in the first line and would end lines elsewhere.
    fn stray_ends(&self) -> Option<&'static str> {
        let line = self.lines.window(self.first_line).trim_ascii();
        match self.end {
            b'\n' if line.contains(&b'\r') => {
                Some("; carriage returns stand in it, which end no line where the header ends with a line feed")
            }
            b'\r' if line.contains(&b'\n') => {
                Some("; line feeds stand in it, which end no line where the header ends with a carriage return")
            }
            _ => None,
        }
    }
}

/// A field without white space and quotes around it.
fn bare(field: &[u8]) -> &[u8] {
    let field = field.trim_ascii();
    let field = field.strip_prefix(b"\"").unwrap_or(field);
    field.strip_suffix(b"\"").unwrap_or(field)
}

/// What ends the lines of a file, told by its first. Carriage returns before a line feed belong to the line feed.
fn line_end<R: Read>(lines: &mut Lines<R>) -> io::Result<u8> {
    let mut is_quoted = false;
    for at in 0..LONGEST {
        match lines.byte(at)? {
            Some(b'"') => is_quoted = !is_quoted,
            Some(b'\r') if !is_quoted => {
                let mut behind = at;
                while lines.byte(behind)? == Some(b'\r') {
                    behind += 1;
                }
                return Ok(if matches!(lines.byte(behind)?, Some(b'\n') | None) { b'\n' } else { b'\r' });
            }
            Some(b'\n') if !is_quoted => break,
            Some(_) => {}
            None => break,
        }
    }
    Ok(b'\n')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
