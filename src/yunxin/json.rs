//! A scanner of JSON text: one pass, no allocation, no recursion.
//!
//! It accepts exactly what RFC 8259 calls JSON, whatever the depth, and hands out slices of the text.

#![expect(
    clippy::inline_always,
    reason = "what is short is read at a dozen instructions: a call, and a result that goes through memory, cost as much again"
)]

mod nested;
mod number;
mod plain;
mod spelt;
mod string;

pub(super) use self::spelt::Spelt;
use super::escape::{quote_into, repair_into, unescape};

/// Values nested deeper than this are marked [`Traits::deep`]: most readers of JSON refuse them.
pub(super) const MAX_DEPTH: usize = 100;

/// Why a text is no JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(crate) struct Broken {
    /// What is wrong.
    pub(super) what: &'static str,
    /// The byte at which it was noticed.
    pub(super) at: usize,
}

/// A string's text between its quotes, escapes not yet resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// The text as it stands.
    pub(super) raw: &'a str,
    /// Whether it holds escapes.
    pub(super) escaped: bool,
    /// Whether one of its escapes is half of a surrogate pair.
    pub(super) lone: bool,
}

/// What copying a value's text verbatim has to mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traits {
    /// Some string in it has an escape that is half of a surrogate pair.
    pub(super) lone: bool,
    /// It is nested deeper than [`MAX_DEPTH`].
    pub(super) deep: bool,
}

/// A value. Objects, arrays and numbers that 64 bits may not hold are their text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Number(&'a str),
    String(Text<'a>),
    Object(&'a str, Traits),
    Array(&'a str, Traits),
}

impl Value<'_> {
    /// The number, when it is an integer that 64 bits hold.
    pub(super) fn integer(self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(integer),
            // JSON's grammar was checked, so what parses here has neither fraction nor exponent.
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// [`Self::integer`], or the integer that a string of digits spells.
    pub(super) fn integer_or_digits(self) -> Option<i64> {
        match self {
            Self::String(text) if text.raw.bytes().all(|b| b.is_ascii_digit()) => text.raw.parse().ok(),
            other => other.integer(),
        }
    }
}

impl Text<'_> {
    /// Whether the string is exactly `plain`.
    #[cfg(test)]
    pub(super) fn is(&self, plain: &str) -> bool {
        let mut text = String::new();
        self.resolve_into(&mut text);
        text == plain
    }

    /// Appends the string with its escapes resolved. Half a surrogate pair becomes U+FFFD.
    pub(super) fn resolve_into(&self, out: &mut String) {
        if !self.escaped {
            out.push_str(self.raw);
            return;
        }
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            out.push_str(&rest[..at]);
            let (character, length) = unescape(&rest.as_bytes()[at..]);
            out.push(character);
            rest = &rest[at + length..];
        }
        out.push_str(rest);
    }
}

/// Appends a value's JSON text so that any reader of JSON takes it: lone surrogates replaced, and what is nested too
/// deep as a string of itself.
pub(super) fn value_into(out: &mut String, json: &str, traits: Traits) {
    match (traits.deep, traits.lone) {
        (true, false) => quote_into(out, json),
        (true, true) => {
            let mut repaired = String::with_capacity(json.len());
            repair_into(&mut repaired, json);
            quote_into(out, &repaired);
        }
        (false, true) => repair_into(out, json),
        (false, false) => out.push_str(json),
    }
}

/// Whether `text` is one JSON value; its traits, and the text without the white space around it.
pub(super) fn parse(text: &str) -> Result<(Value<'_>, &str, Traits), Broken> {
    let mut scanner = Scanner::new(text);
    let (value, json, traits) = scanner.value_text()?;
    scanner.end()?;
    Ok((value, json, traits))
}

/// Reads JSON text from its beginning to its end.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the beginning of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The text between two positions, both of which the scanner stood at.
    pub(super) fn slice(&self, start: usize, end: usize) -> &'a str {
        &self.text[start..end]
    }

    fn broken<T>(&self, what: &'static str) -> Result<T, Broken> {
        Err(Broken { what, at: self.at })
    }

    /// The next byte that is no white space, without taking it; 0 at the end.
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(&byte) => return byte,
                None => return 0,
            }
        }
    }

    /// Takes `byte`, after white space, or says that `what` was expected.
    #[inline]
    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Broken> {
        if self.peek() == byte {
            self.at += 1;
            return Ok(());
        }
        self.broken(if self.at >= self.text.len() { "the text ends too early" } else { what })
    }

    /// Checks that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        self.peek();
        if self.at < self.text.len() { self.broken("something follows the JSON text") } else { Ok(()) }
    }

    /// Enters an object.
    pub(super) fn enter_object(&mut self) -> Result<(), Broken> {
        self.expect(b'{', "an object was expected")
    }

    /// The next key of an object, its colon taken; `None` takes the closing brace. `first` says that none was read yet.
    #[inline(always)]
    pub(super) fn key(&mut self, first: &mut bool) -> Result<Option<Text<'a>>, Broken> {
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(None);
        }
        if !std::mem::take(first) {
            self.expect(b',', "a comma or closing brace was expected")?;
        }
        self.key_and_colon().map(Some)
    }

    #[inline(always)]
    fn key_and_colon(&mut self) -> Result<Text<'a>, Broken> {
        if self.peek() != b'"' {
            return self.broken("a key was expected");
        }
        let key = self.string()?;
        self.expect(b':', "a colon was expected")?;
        Ok(key)
    }

    /// Enters an array.
    pub(super) fn enter_array(&mut self) -> Result<(), Broken> {
        self.expect(b'[', "a list was expected")
    }

    /// Whether a list has another element, its comma taken; `false` takes the closing bracket.
    pub(super) fn element(&mut self, first: &mut bool) -> Result<bool, Broken> {
        if self.peek() == b']' {
            self.at += 1;
            return Ok(false);
        }
        if *first {
            *first = false;
        } else {
            self.expect(b',', "a comma or closing bracket was expected")?;
            if self.peek() == b']' {
                return self.broken("a value was expected");
            }
        }
        Ok(true)
    }

    /// Takes the next value.
    pub(super) fn value(&mut self) -> Result<Value<'a>, Broken> {
        let byte = self.peek();
        let start = self.at;
        match byte {
            b'"' => Ok(Value::String(self.string()?)),
            b'{' | b'[' => {
                let traits = self.skip_nested()?;
                let json = &self.text[start..self.at];
                Ok(if byte == b'{' { Value::Object(json, traits) } else { Value::Array(json, traits) })
            }
            b't' => self.literal("true").map(|()| Value::Bool(true)),
            b'f' => self.literal("false").map(|()| Value::Bool(false)),
            b'n' => self.literal("null").map(|()| Value::Null),
            _ => self.number(),
        }
    }

    /// Takes the next value, and gives its own text and traits as well.
    pub(super) fn value_text(&mut self) -> Result<(Value<'a>, &'a str, Traits), Broken> {
        self.peek();
        let start = self.at;
        let value = self.value()?;
        let traits = match value {
            Value::String(text) => Traits { lone: text.lone, deep: false },
            Value::Object(_, traits) | Value::Array(_, traits) => traits,
            _ => Traits::default(),
        };
        Ok((value, &self.text[start..self.at], traits))
    }

    fn literal(&mut self, word: &'static str) -> Result<(), Broken> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        self.broken("a value was expected")
    }

    /// Whether `byte` is next, without white space before it.
    #[inline(always)]
    pub(super) fn is_at(&self, byte: u8) -> bool {
        self.text.as_bytes().get(self.at) == Some(&byte)
    }

    /// Takes what `spelt` spells, if it is next, after a comma when it has one to be after.
    #[inline(always)]
    pub(super) fn take_spelt(&mut self, after_comma: bool, spelt: &Spelt) -> bool {
        let start = self.at + usize::from(after_comma);
        let next = self.text.as_bytes().get(start..).and_then(<[u8]>::first_chunk);
        let is_next = (!after_comma || self.is_at(b',')) && next.is_some_and(|next| spelt.begins(next));
        if is_next {
            self.at = start + spelt.length;
        }
        is_next
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
