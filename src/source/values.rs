//! The values of a JSON text, wherever one ends: one a line, over several lines, one after the other, or in arrays.
//!
//! Lines come first: what is wrong with one costs that line and nothing behind it. Only what is no value as a line is
//! looked at as something longer or shorter.

use std::io::{self, Read};

use serde::de::IgnoredAny;

use super::SourceError;
use super::lines::{Found, LONGEST, Lines, failed};

/// How many lines that begin a value and never end it are looked at beyond their end: each may cost a look at all that
/// follows.
const UNENDED: u32 = 64;

/// The values of a file, one at a time.
pub(super) struct Values<R> {
    lines: Lines<R>,
    /// Where the window begins, counted from 1.
    line: u64,
    column: u64,
    /// Whether a value ended on this line already.
    follows: bool,
    /// Whether the window begins within an array.
    in_array: bool,
    /// Whether nothing but arrays was read so far, so that a bracket begins one.
    only_arrays: bool,
    unended: u32,
}

/// A value, or what stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// So many bytes: a whole line, which may be a value.
    Line(usize),
    /// So many bytes: an object beyond doubt.
    Object(usize),
    /// A line that is longer than any is looked at.
    TooLong,
}

impl<R: Read> Values<R> {
    pub(super) fn new(lines: Lines<R>) -> Self {
        Self { lines, line: 1, column: 1, follows: false, in_array: false, only_arrays: true, unended: 0 }
    }

    /// Where the value stands: its line, and its column if another ends on that line before it.
    pub(super) fn position(&self, name: &str) -> String {
        if self.follows { format!("{name}:{}:{}", self.line, self.column) } else { format!("{name}:{}", self.line) }
    }

    /// Goes to the next value. What is wrong with an array is wrong with the file.
    pub(super) fn next(&mut self, name: &str) -> Result<Option<Next>, SourceError> {
        let fail = |error| failed(name, error);
        loop {
            match self.lines.byte(0).map_err(fail)? {
                None if self.in_array => return Err(fail(io::ErrorKind::UnexpectedEof.into())),
                None => return Ok(None),
                Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b'\x1E') => self.consume(1),
                Some(b']') if self.in_array => {
                    self.in_array = false;
                    self.consume(1);
                }
                Some(b'[') if !self.in_array && self.only_arrays && self.opens_array().map_err(fail)? => {
                    self.in_array = true;
                    self.consume(1);
                }
                Some(_) => break,
            }
        }
        if self.in_array || self.follows {
            match self.object(1).map_err(fail)? {
                Ok(length) => return Ok(Some(Next::Object(length))),
                Err(why) if self.in_array && why.is_eof() => return Err(fail(io::ErrorKind::UnexpectedEof.into())),
                Err(why) if self.in_array => {
                    let place = format!("{name}:{}:{}", self.line, self.column);
                    return Err(SourceError::Unusable(format!("{place}: is no JSON array of objects: {why}")));
                }
                Err(_) => {}
            }
        }
        self.only_arrays &= self.in_array;
        Ok(Some(match self.lines.find(b'\n', 0).map_err(fail)? {
            Found::At(length) | Found::End(length) => Next::Line(length),
            Found::TooFar => match self.object(1).map_err(fail)? {
                Ok(length) => Next::Object(length),
                Err(_) => Next::TooLong,
            },
        }))
    }

    /// The length of the object that begins where a line of this length does, but ends elsewhere.
    pub(super) fn beyond(&mut self, line: usize) -> io::Result<Option<usize>> {
        if self.unended > UNENDED {
            return Ok(None);
        }
        let length = self.object(line)?.ok();
        self.unended += u32::from(length.is_none());
        Ok(length)
    }

    /// The first `length` bytes.
    pub(super) fn window(&self, length: usize) -> &[u8] {
        self.lines.window(length)
    }

    /// Moves on behind a value, or behind white space.
    pub(super) fn consume(&mut self, length: usize) {
        let window = self.lines.window(length);
        if let Some(last) = memchr::memrchr(b'\n', window) {
            self.line += memchr::memchr_iter(b'\n', window).count() as u64;
            self.column = (length - last) as u64;
            self.follows = last + 1 < length;
        } else {
            self.column += length as u64;
            self.follows |= length > 1;
        }
        self.lines.consume(length);
    }

    /// Moves on to the next line.
    pub(super) fn skip_line(&mut self) -> io::Result<()> {
        (self.line, self.column, self.follows) = (self.line + 1, 1, false);
        self.lines.skip_line(b'\n')
    }

    /// Whether a bracket opens an array of objects, and not a line of something else, such as a log.
    fn opens_array(&mut self) -> io::Result<bool> {
        let mut at = 1;
        while let Some(byte) = self.lines.byte(at)? {
            if !byte.is_ascii_whitespace() {
                return Ok(matches!(byte, b'{' | b']'));
            }
            at += 1;
        }
        Ok(false)
    }

    /// The length of the object that begins here, of which `length` bytes are looked at first; or why there is none.
    fn object(&mut self, mut length: usize) -> io::Result<Result<usize, serde_json::Error>> {
        loop {
            let window = self.lines.whole(length)?;
            if !window.starts_with(b"{") {
                return Ok(Err(serde::de::Error::custom("something other than an object")));
            }
            let mut values = serde_json::Deserializer::from_slice(window).into_iter::<IgnoredAny>();
            match values.next() {
                Some(Err(error)) if error.is_eof() && window.len() >= LONGEST => {
                    return Ok(Err(serde::de::Error::custom(format!("an object longer than {LONGEST} bytes"))));
                }
                Some(Err(error)) if error.is_eof() && window.len() >= length => length = window.len() * 2,
                Some(Err(error)) => return Ok(Err(error)),
                Some(Ok(_)) | None => return Ok(Ok(values.byte_offset())),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The values of a text, as a reader of it takes them.
    fn values(text: &[u8]) -> Result<Vec<String>, SourceError> {
        let mut values = Values::new(Lines::new(text));
        let mut found = Vec::new();
        while let Some(next) = values.next("x")? {
            let mut length = match next {
                Next::Line(length) | Next::Object(length) => length,
                Next::TooLong => panic!(),
            };
            if serde_json::from_slice::<IgnoredAny>(values.window(length)).is_err() {
                length = values.beyond(length).unwrap().unwrap_or(length);
            }
            found.push(String::from_utf8_lossy(values.window(length)).trim().to_owned());
            values.consume(length);
        }
        Ok(found)
    }

    proptest! {
        #[test]
        fn every_object_is_found_whatever_stands_between(
            texts in proptest::collection::vec("[a-z\\[\\]{},\"\\\\\n ü]{0,12}", 1..12),
            between in "[ \n\r\t]{0,3}",
            comma: bool,
            array: bool,
            pretty: bool,
        ) {
            let write = |text: &String| {
                let value = serde_json::json!({"a": text, "b": [{"c": text}, 5]});
                if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() }
            };
            let objects: Vec<String> = texts.iter().map(write).collect();
            let joined = objects.join(&(if comma { "," } else { "" }.to_owned() + &between));
            let text = if array { format!("[{between}{joined}{between}]\n") } else { joined };
            prop_assert_eq!(values(text.as_bytes()).unwrap(), objects);
        }

        #[test]
        fn no_bytes_make_it_panic_or_stay(text in "[\\[\\]{}\",:\n 1a]{0,60}", bytes: Vec<u8>) {
            let _ = values(text.as_bytes());
            let _ = values(&bytes);
        }
    }
}
