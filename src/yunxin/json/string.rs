//! Strings.

#![expect(clippy::inline_always, reason = "see the scanner, which these are part of")]

use super::plain::end_of_plain;
use super::{Broken, Scanner, Text};
use crate::yunxin::escape::{hex4, low_surrogate, unescape};

impl<'a> Scanner<'a> {
    /// Takes a string, whose opening quote is next, and appends it with its escapes resolved; whether half a surrogate
    /// pair was replaced by U+FFFD. `None`, which unlike an error is returned in a register, stays where it is broken:
    /// [`Self::broken_string`] says why.
    #[inline(always)]
    pub(in crate::yunxin) fn string_into(&mut self, out: &mut String) -> Option<bool> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        let mut start = self.at;
        let mut lone = false;
        loop {
            self.at = end_of_plain(bytes, self.at);
            out.push_str(&self.text[start..self.at]);
            match bytes.get(self.at) {
                Some(b'"') => break,
                // What stands for itself is the first of the plain text after it.
                Some(b'\\') if matches!(bytes.get(self.at + 1), Some(b'"' | b'\\' | b'/')) => {
                    start = self.at + 1;
                    self.at += 2;
                }
                Some(b'\\') => {
                    let escape = self.at;
                    lone |= self.escape().ok()?;
                    out.push(unescape(&bytes[escape..]).0);
                    start = self.at;
                }
                _ => return None,
            }
        }
        self.at += 1;
        Some(lone)
    }

    /// Why the string cannot be read in which the scanner stands.
    #[cold]
    pub(in crate::yunxin) fn broken_string(&mut self) -> Broken {
        let why = if self.is_at(b'\\') { self.escape().err() } else { self.unended::<()>().err() };
        why.unwrap_or(Broken { what: "a string cannot be read", at: self.at })
    }

    /// Takes a string, whose opening quote is next.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Text<'a>, Broken> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        let start = self.at;
        let (mut escaped, mut lone) = (false, false);
        loop {
            self.at = end_of_plain(bytes, self.at);
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    lone |= self.escape()?;
                }
                _ => return self.unended(),
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Text { raw, escaped, lone })
    }

    #[cold]
    fn unended<T>(&self) -> Result<T, Broken> {
        let ends = self.at >= self.text.len();
        self.broken(if ends { "the text ends inside a string" } else { "a string holds a raw control character" })
    }

    /// Takes an escape; true for half a surrogate pair.
    fn escape(&mut self) -> Result<bool, Broken> {
        let bytes = &self.text.as_bytes()[self.at..];
        match bytes.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(false)
            }
            Some(b'u') => {
                let Some(code) = hex4(&bytes[2..]) else {
                    return self.broken("an escape is not of four hexadecimal digits");
                };
                let (length, lone) = match code {
                    0xd800..=0xdbff if low_surrogate(&bytes[6..]).is_some() => (12, false),
                    0xd800..=0xdfff => (6, true),
                    _ => (6, false),
                };
                self.at += length;
                Ok(lone)
            }
            _ => self.broken("an unknown escape"),
        }
    }
}
