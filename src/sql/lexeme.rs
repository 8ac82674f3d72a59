//! Splits SQL into lexemes.

use super::dialect::Dialect;

const AFTER: &[u8] = b":after";

/// What a lexeme is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lexeme {
    /// White space, or a comment.
    Blank,
    /// `:after`.
    Placeholder,
    /// `;`.
    End,
    /// Anything else.
    Other,
}

/// The lexeme that begins here, and where it ends.
pub(super) fn next(bytes: &[u8], at: usize, dialect: Dialect) -> (Lexeme, usize) {
    let rest = &bytes[at..];
    let mysql = matches!(dialect, Dialect::Mysql { .. });
    match rest {
        [b'\'', ..] => (Lexeme::Other, literal(bytes, at, dialect)),
        [b'"', ..] => {
            let backslashes = matches!(dialect, Dialect::Mysql { backslashes: true, ansi_quotes: false });
            (Lexeme::Other, quoted(bytes, at, backslashes))
        }
        [b'`', ..] if !matches!(dialect, Dialect::Postgres { .. }) => (Lexeme::Other, quoted(bytes, at, false)),
        [b'[', ..] if dialect == Dialect::Sqlite => (Lexeme::Other, behind(bytes, at, b']')),
        [b'#', ..] if mysql => (Lexeme::Blank, behind(bytes, at, b'\n')),
        // MySQL takes two dashes for a comment only before white space: `5--3` is 8.
        [b'-', b'-', tail @ ..] if !mysql || tail.first().is_none_or(|byte| *byte <= b' ') => {
            (Lexeme::Blank, behind(bytes, at, b'\n'))
        }
        // MySQL executes what stands in `/*! … */` and `/*M! … */`.
        [b'/', b'*', b'!', ..] if mysql => (Lexeme::Other, at + 3),
        [b'/', b'*', b'M', b'!', ..] if mysql => (Lexeme::Other, at + 4),
        [b'/', b'*', ..] => (Lexeme::Blank, block_comment(bytes, at, matches!(dialect, Dialect::Postgres { .. }))),
        [b':', b':', ..] => (Lexeme::Other, at + 2),
        [b':', ..] if is_placeholder(bytes, at) => (Lexeme::Placeholder, at + AFTER.len()),
        [b';', ..] => (Lexeme::End, at + 1),
        [byte, ..] if byte.is_ascii_whitespace() => (Lexeme::Blank, at + 1),
        [b'$', ..] if matches!(dialect, Dialect::Postgres { .. }) => {
            (Lexeme::Other, dollar_quoted(bytes, at).unwrap_or_else(|| word(bytes, at)))
        }
        _ => (Lexeme::Other, word(bytes, at)),
    }
}

fn is_placeholder(bytes: &[u8], at: usize) -> bool {
    // `x[1:after]` is a slice of an array.
    let glued = at > 0 && (is_word(bytes[at - 1]) || matches!(bytes[at - 1], b'"' | b'`' | b']' | b')'));
    bytes[at..].starts_with(AFTER) && !glued && !bytes.get(at + AFTER.len()).copied().is_some_and(is_word)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// The end of the word that begins here, or of this byte.
fn word(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count().max(1)
}

/// The end of a literal.
fn literal(bytes: &[u8], at: usize, dialect: Dialect) -> usize {
    match dialect {
        Dialect::Mysql { backslashes, .. } => quoted(bytes, at, backslashes),
        Dialect::Sqlite => quoted(bytes, at, false),
        Dialect::Postgres { backslashes } => {
            let escapes = at > 0 && matches!(bytes[at - 1], b'e' | b'E') && (at < 2 || !is_word(bytes[at - 2]));
            let mut end = quoted(bytes, at, backslashes || escapes);
            // A literal may continue behind a line break, and escapes go on with it.
            while let Some(further) = continuation(bytes, end).filter(|_| escapes) {
                end = quoted(bytes, further, true);
            }
            end
        }
    }
}

/// The end of a quoted text, in which a doubled quote stands for one.
fn quoted(bytes: &[u8], at: usize, backslashes: bool) -> usize {
    let quote = bytes[at];
    let mut place = at + 1;
    while place < bytes.len() {
        match bytes[place] {
            b'\\' if backslashes => place += 2,
            byte if byte == quote && bytes.get(place + 1) == Some(&quote) => place += 2,
            byte if byte == quote => return place + 1,
            _ => place += 1,
        }
    }
    bytes.len()
}

/// Where a literal of Postgres continues: behind white space and comments, if there is a line break among them.
fn continuation(bytes: &[u8], end: usize) -> Option<usize> {
    let (mut place, mut is_next_line) = (end, false);
    loop {
        match bytes.get(place..)? {
            [b'\'', ..] => return is_next_line.then_some(place),
            [b'-', b'-', ..] => {
                place = behind(bytes, place, b'\n');
                is_next_line = true;
            }
            [byte, ..] if byte.is_ascii_whitespace() => {
                is_next_line |= matches!(byte, b'\n' | b'\r');
                place += 1;
            }
            _ => return None,
        }
    }
}

fn behind(bytes: &[u8], at: usize, end: u8) -> usize {
    memchr::memchr(end, &bytes[at..]).map_or(bytes.len(), |place| at + place + 1)
}

fn block_comment(bytes: &[u8], at: usize, nests: bool) -> usize {
    let (mut depth, mut place) = (1, at + 2);
    while place < bytes.len() {
        if bytes[place..].starts_with(b"*/") {
            depth -= 1;
            place += 2;
            if depth == 0 {
                return place;
            }
        } else if nests && bytes[place..].starts_with(b"/*") {
            depth += 1;
            place += 2;
        } else {
            place += 1;
        }
    }
    bytes.len()
}

/// The end of `$tag$ … $tag$`, if one begins here. `$1` does not begin one.
fn dollar_quoted(bytes: &[u8], at: usize) -> Option<usize> {
    let tag = memchr::memchr(b'$', &bytes[at + 1..])? + 2;
    let name = &bytes[at + 1..at + tag - 1];
    if name.first().is_some_and(u8::is_ascii_digit) || !name.iter().all(|&byte| is_word(byte)) {
        return None;
    }
    let delimiter = &bytes[at..at + tag];
    let body = &bytes[at + tag..];
    Some(memchr::memmem::find(body, delimiter).map_or(bytes.len(), |place| at + tag + place + tag))
}
