//! A scanner of JSON text. It accepts exactly what RFC 8259 calls JSON, at any depth, and hands out slices of the text, so
//! that every value can be copied as it came.

#![expect(
    clippy::inline_always,
    reason = "five short functions read every byte: as calls they make decoding a tenth slower"
)]

use std::borrow::Cow;

use memchr::memchr;
use wide::u8x16;

/// Values nested deeper than this are marked [`Json::deep`]: most readers of JSON refuse them.
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

/// A value as it stands in the text. Its grammar has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Json<'a> {
    /// The text, without white space around it.
    pub(super) text: &'a str,
    /// There are escapes in its strings.
    escaped: bool,
    /// It is nested deeper than [`MAX_DEPTH`].
    deep: bool,
}

impl<'a> Json<'a> {
    /// The value null.
    pub(super) const NULL: Self = Self::plain("null");

    /// A value that is written like this, without escapes.
    pub(super) const fn plain(text: &'a str) -> Self {
        Self { text, escaped: false, deep: false }
    }

    pub(super) fn is_null(self) -> bool {
        self.text == "null"
    }

    pub(super) fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    pub(super) fn boolean(self) -> Option<bool> {
        self.text.parse().ok()
    }

    /// The number, when it is an integer that 64 bits hold.
    pub(super) fn integer(self) -> Option<i64> {
        self.text.parse().ok()
    }

    /// [`Self::integer`], or the integer that a string of digits spells.
    pub(super) fn integer_or_digits(self) -> Option<i64> {
        match self.between_quotes() {
            Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten(),
            None => self.integer(),
        }
    }

    pub(super) fn is_string(self) -> bool {
        self.text.starts_with('"')
    }

    /// A string's text, its escapes not yet resolved.
    fn between_quotes(self) -> Option<&'a str> {
        self.text.strip_prefix('"')?.strip_suffix('"')
    }

    /// What a string holds. Half of a surrogate pair becomes U+FFFD.
    #[inline]
    pub(super) fn content(self) -> Option<Cow<'a, str>> {
        let text = self.between_quotes()?;
        Some(if self.escaped { Cow::Owned(self.unescaped()) } else { Cow::Borrowed(text) })
    }

    fn unescaped(self) -> String {
        let (mut content, mut end) = (String::with_capacity(self.text.len()), 1);
        for (at, length, character) in self.escapes() {
            content.push_str(&self.text[end..at]);
            content.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            end = at + length;
        }
        content.push_str(&self.text[end..self.text.len() - 1]);
        content
    }

    /// The text as every reader of JSON takes it: halves of surrogate pairs replaced by U+FFFD, and what is nested too deep
    /// as a string of itself.
    pub(super) fn readable(self) -> Cow<'a, str> {
        if self.deep { Cow::Owned(quoted(&self.repaired())) } else { self.repaired() }
    }

    /// Whether an escape in its strings is half of a surrogate pair, which is no character.
    pub(super) fn is_lone(self) -> bool {
        self.escaped && self.escapes().any(|(.., character)| character.is_none())
    }

    /// The text with every half of a surrogate pair replaced.
    fn repaired(self) -> Cow<'a, str> {
        if !self.is_lone() {
            return Cow::Borrowed(self.text);
        }
        let (mut repaired, mut end) = (String::with_capacity(self.text.len()), 0);
        for (at, length, _) in self.escapes().filter(|(.., character)| character.is_none()) {
            repaired.push_str(&self.text[end..at]);
            repaired.push_str("\\ufffd");
            end = at + length;
        }
        repaired.push_str(&self.text[end..]);
        Cow::Owned(repaired)
    }

    /// The place and length of each escape, and what it stands for, see [`escape`].
    fn escapes(self) -> impl Iterator<Item = (usize, usize, Option<char>)> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let at = from + memchr(b'\\', &self.text.as_bytes()[from..])?;
            let (length, character) = escape(&self.text.as_bytes()[at..])?;
            from = at + length;
            Some((at, length, character))
        })
    }
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The one value that `text` holds.
pub(super) fn parse(text: &str) -> Result<Json<'_>, Broken> {
    let mut scanner = Scanner::new(text);
    let value = scanner.value()?;
    scanner.end()?;
    Ok(value)
}

/// Reads JSON text from its beginning to its end.
#[derive(Debug)]
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

    /// What was read since the scanner stood at `start`.
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    fn broken<T>(&self, what: &'static str) -> Result<T, Broken> {
        let what = if self.at >= self.text.len() { "the text ends too early" } else { what };
        Err(Broken { what, at: self.at })
    }

    fn is_at(&self, byte: u8) -> bool {
        self.text.as_bytes().get(self.at) == Some(&byte)
    }

    /// The next byte that is no white space, without taking it; 0 at the end.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> u8 {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    /// Takes `byte` if it is next after white space.
    #[inline(always)]
    fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == byte;
        self.at += usize::from(next);
        next
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Broken> {
        if self.take(byte) { Ok(()) } else { self.broken(what) }
    }

    /// Checks that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        self.peek();
        if self.at < self.text.len() { self.broken("something follows the JSON text") } else { Ok(()) }
    }

    /// Takes an object. `field` is called before each key and takes it and its value.
    pub(super) fn object(&mut self, mut field: impl FnMut(&mut Self) -> Result<(), Broken>) -> Result<(), Broken> {
        self.expect(b'{', "an object was expected")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            field(self)?;
            if !self.take(b',') {
                return self.expect(b'}', "a comma or closing brace was expected");
            }
        }
    }

    /// Takes a list. `element` is called for each of its elements and takes it.
    pub(super) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Broken>) -> Result<(), Broken> {
        self.expect(b'[', "a list was expected")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.take(b',') {
                return self.expect(b']', "a comma or closing bracket was expected");
            }
        }
    }

    /// Takes `text` if it is what follows.
    pub(super) fn take_text(&mut self, text: &str) -> bool {
        let follows = self.text.as_bytes()[self.at..].starts_with(text.as_bytes());
        self.at += if follows { text.len() } else { 0 };
        follows
    }

    /// Takes a key and its colon.
    pub(super) fn key(&mut self) -> Result<Json<'a>, Broken> {
        if self.peek() != b'"' {
            return self.broken("a key was expected");
        }
        let key = self.value()?;
        self.expect(b':', "a colon was expected")?;
        Ok(key)
    }

    /// Takes the next value.
    #[inline(always)]
    pub(super) fn value(&mut self) -> Result<Json<'a>, Broken> {
        let first = self.peek();
        let start = self.at;
        let (escaped, depth) = match first {
            b'{' | b'[' => self.nested()?,
            _ => (self.scalar()?, 0),
        };
        Ok(Json { text: self.since(start), escaped, deep: depth > MAX_DEPTH })
    }

    /// Takes an object or a list of any depth, without recursion. Returns whether there are escapes in it, and its depth.
    fn nested(&mut self) -> Result<(bool, usize), Broken> {
        // The brackets that close what is open.
        let mut open = Vec::new();
        let (mut escaped, mut depth) = (false, 0);
        loop {
            // A value is next.
            let first = self.peek();
            if let b'{' | b'[' = first {
                let closing = if first == b'{' { b'}' } else { b']' };
                self.at += 1;
                open.push(closing);
                depth = depth.max(open.len());
                if self.peek() != closing {
                    if closing == b'}' {
                        escaped |= self.key()?.escaped;
                    }
                    continue;
                }
            } else {
                escaped |= self.scalar()?;
            }
            // A value has ended, or what was opened is empty.
            loop {
                let Some(&closing) = open.last() else { return Ok((escaped, depth)) };
                if self.take(closing) {
                    open.pop();
                    continue;
                }
                self.expect(b',', "a comma or closing bracket was expected")?;
                if closing == b'}' {
                    escaped |= self.key()?.escaped;
                }
                break;
            }
        }
    }

    /// Takes a string, number, boolean or null, which is next. Returns whether it is a string with escapes.
    #[inline(always)]
    fn scalar(&mut self) -> Result<bool, Broken> {
        match self.text.as_bytes().get(self.at) {
            Some(b'"') => return self.string(),
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => self.word("null")?,
            _ => self.number()?,
        }
        Ok(false)
    }

    fn word(&mut self, word: &'static str) -> Result<(), Broken> {
        if !self.text[self.at..].starts_with(word) {
            return self.broken("a value was expected");
        }
        self.at += word.len();
        Ok(())
    }

    #[inline(always)]
    fn string(&mut self) -> Result<bool, Broken> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at = end_of_plain(bytes, self.at);
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {}
                _ => return self.broken("a string holds a raw control character"),
            }
            let Some((length, _)) = escape(&bytes[self.at..]) else {
                return self.broken("a string holds an unknown escape");
            };
            self.at += length;
            escaped = true;
        }
    }

    fn number(&mut self) -> Result<(), Broken> {
        self.at += usize::from(self.is_at(b'-'));
        if self.is_at(b'0') {
            self.at += 1;
        } else {
            self.digits("a value was expected")?;
        }
        if self.is_at(b'.') {
            self.at += 1;
            self.digits("a digit was expected")?;
        }
        if self.is_at(b'e') || self.is_at(b'E') {
            self.at += 1;
            self.at += usize::from(self.is_at(b'+') || self.is_at(b'-'));
            self.digits("a digit was expected")?;
        }
        Ok(())
    }

    fn digits(&mut self, what: &'static str) -> Result<(), Broken> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { self.broken(what) } else { Ok(()) }
    }
}

/// The first quote, backslash or control character at or after `at`, or the end.
fn end_of_plain(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let block = u8x16::new(*block);
        let control = block.min(u8x16::splat(0x1f)).simd_eq(block);
        let ends = block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\')) | control;
        let ends = ends.to_bitmask();
        if ends != 0 {
            return at + ends.trailing_zeros() as usize;
        }
        at += 16;
    }
    while text.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | ..0x20)) {
        at += 1;
    }
    at
}

/// The length of the escape that `bytes` begin with, both halves of a surrogate pair together, and the character that it
/// stands for: none for half of such a pair alone.
fn escape(bytes: &[u8]) -> Option<(usize, Option<char>)> {
    let character = match bytes.get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        plain @ (b'"' | b'\\' | b'/') => char::from(*plain),
        b'u' => {
            let first = unicode(bytes)?;
            return Some(match (first, bytes.get(6..).and_then(unicode)) {
                (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
                    (12, char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)))
                }
                _ => (6, char::from_u32(first)),
            });
        }
        _ => return None,
    };
    Some((2, Some(character)))
}

/// The number that the escape spells, such as `\u4f60`, that `bytes` begin with.
fn unicode(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
