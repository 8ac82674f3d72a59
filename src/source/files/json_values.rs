//! The objects of a JSON text: one a line, over several lines, one after the other, or in arrays.
//!
//! Something that is no object costs the line it stands on, and nothing behind it.

use std::io::{self, ErrorKind, Read};

use serde::de::{Error as _, IgnoredAny};

use super::lines::{Found, LONGEST, Lines};
use crate::source::error::SourceError;

/// How many lines may begin an object that never ends. Each may cost a look at all that follows; of those after them, the
/// line alone is looked at.
const UNENDED: u32 = 64;

/// The values of a text, one at a time.
pub(super) struct JsonValues<R> {
    lines: Lines<R>,
    /// Where the window begins, counted from 1.
    line: u64,
    column: u64,
    /// Whether a value has ended on this line already.
    follows: bool,
    /// Whether the window begins within an array.
    in_array: bool,
    /// Whether everything so far was arrays, so that a bracket begins one.
    only_arrays: bool,
    unended: u32,
}

/// A value, or what stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// An object, or else a line without one, of so many bytes.
    Value(usize),
    /// A line longer than any that is looked at.
    TooLong,
}

impl<R: Read> JsonValues<R> {
    pub(super) fn new(lines: Lines<R>) -> Self {
        Self { lines, line: 1, column: 1, follows: false, in_array: false, only_arrays: true, unended: 0 }
    }

    /// Where the value stands: its line, and its column if it is not the first on that line.
    pub(super) fn position(&self, name: &str) -> String {
        if self.follows { format!("{name}:{}:{}", self.line, self.column) } else { format!("{name}:{}", self.line) }
    }

    /// Goes to the next value. Anything but objects in an array is an error.
    pub(super) fn next(&mut self, name: &str) -> Result<Option<Next>, SourceError> {
        let fail = |error: io::Error| SourceError::of_file(name, error);
        loop {
            match self.lines.byte(0).map_err(fail)? {
                None if self.in_array => return Err(fail(ErrorKind::UnexpectedEof.into())),
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
        self.only_arrays &= self.in_array;
        if self.in_array || self.follows {
            match self.object(1).map_err(fail)? {
                Ok(length) => return Ok(Some(Next::Value(length))),
                // It may be a line all the same.
                Err(_) if !self.in_array => {}
                Err(why) if why.is_eof() => return Err(fail(ErrorKind::UnexpectedEof.into())),
                Err(why) => {
                    let place = format!("{name}:{}:{}", self.line, self.column);
                    return Err(SourceError::Unusable(format!("{place}: is no JSON array of objects: {why}")));
                }
            }
        }
        let line = match self.lines.find(0, |rest| memchr::memchr(b'\n', rest)).map_err(fail)? {
            Found::At(length) | Found::End(length) => Some(length),
            Found::TooFar => None,
        };
        let object = match line {
            Some(length) if self.unended > UNENDED => object_in(self.lines.window(length)),
            _ => self.object(line.unwrap_or(1)).map_err(fail)?,
        };
        if let Err(error) = &object {
            // An error on the first line cost a look at that line alone.
            self.unended += u32::from(error.line() != 1);
        }
        Ok(Some(object.ok().or(line).map_or(Next::TooLong, Next::Value)))
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

    /// The length of the object that begins here, or why there is none. `length` is how much to look at first.
    fn object(&mut self, mut length: usize) -> io::Result<Result<usize, serde_json::Error>> {
        loop {
            let window = self.lines.at_least(length)?;
            match object_in(window) {
                Err(error) if error.is_eof() && window.len() >= LONGEST => {
                    return Ok(Err(serde_json::Error::custom(format!("an object longer than {LONGEST} bytes"))));
                }
                Err(error) if error.is_eof() && window.len() >= length => length = window.len() * 2,
                object => return Ok(object),
            }
        }
    }
}

/// The length of the object that begins a text, or why there is none.
fn object_in(text: &[u8]) -> Result<usize, serde_json::Error> {
    if !text.starts_with(b"{") {
        return Err(serde_json::Error::custom("something other than an object"));
    }
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    values.next().transpose()?;
    Ok(values.byte_offset())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The values of a text.
    fn values(text: &[u8]) -> Result<Vec<String>, SourceError> {
        let mut values = JsonValues::new(Lines::new(text));
        let mut found = Vec::new();
        while let Some(next) = values.next("x")? {
            let Next::Value(length) = next else { panic!() };
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
