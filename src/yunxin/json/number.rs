//! Numbers.

#![expect(clippy::inline_always, reason = "see the scanner, which these are part of")]

use super::{Broken, Scanner, Value};
use crate::model::digits;

impl<'a> Scanner<'a> {
    fn digits(&mut self) -> Result<(), Broken> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { self.broken("a digit was expected") } else { Ok(()) }
    }

    /// Takes an integer without a sign that is next, without white space before it. `None` takes nothing, also where such
    /// an integer is next that only [`Self::value`] can tell.
    #[inline(always)]
    pub(in crate::yunxin) fn plain_integer(&mut self) -> Option<i64> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let (integer, length) = leading_integer(rest)?;
        let ends = !matches!(rest.get(length), Some(b'.' | b'e' | b'E'));
        let led = length > 1 && rest.first() == Some(&b'0');
        (ends && !led).then(|| {
            self.at += length;
            integer
        })
    }

    /// The same of an integer that a string spells.
    #[inline(always)]
    pub(in crate::yunxin) fn quoted_integer(&mut self) -> Option<i64> {
        let rest = self.text.as_bytes().get(self.at..)?.strip_prefix(b"\"")?;
        let (integer, length) = leading_integer(rest)?;
        (rest.get(length) == Some(&b'"')).then(|| {
            self.at += length + 2;
            integer
        })
    }

    pub(super) fn number(&mut self) -> Result<Value<'a>, Broken> {
        if let Some(integer) = self.plain_integer() {
            return Ok(Value::Integer(integer));
        }
        let bytes = self.text.as_bytes();
        let start = self.at;
        if bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            None => return self.broken("the text ends too early"),
            Some(_) => return self.broken("a value was expected"),
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Number(&self.text[start..self.at]))
    }
}

/// The integer that the digits spell that `text` begins with, and their number; `None` when there is none, or when it
/// is none that an `i64` holds for certain.
#[inline(always)]
fn leading_integer(text: &[u8]) -> Option<(i64, usize)> {
    let (value, count) = digits::leading(text);
    if count == 0 || count > digits::MOST {
        return None;
    }
    Some((i64::try_from(value).ok()?, count))
}
