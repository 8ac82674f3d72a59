//! As much of a user's SQL as must be understood: where `:after` is a placeholder, where the statement ends, and its limit.

mod dialect;
mod lexeme;

use self::lexeme::{Lexeme, next};

pub(crate) use self::dialect::Dialect;

/// The error of SQL with something behind the `;` that ends its statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecondStatement;

/// Cuts a statement at every `:after` that is a placeholder, which it is not in a literal, a quoted name, a comment or a
/// cast. The pieces, joined by a parameter, are the statement without the `;` at its end.
pub(crate) fn split_at_after(sql: &str, dialect: Dialect) -> Result<Vec<&str>, SecondStatement> {
    let bytes = sql.as_bytes();
    let (mut pieces, mut start, mut at, mut end) = (Vec::new(), 0, 0, None);
    while at < bytes.len() {
        let (lexeme, behind) = next(bytes, at, dialect);
        match lexeme {
            Lexeme::Blank => {}
            Lexeme::End => end = end.or(Some(at)),
            _ if end.is_some() => return Err(SecondStatement),
            Lexeme::Placeholder => {
                pieces.push(&sql[start..at]);
                start = behind;
            }
            Lexeme::Other => {}
        }
        at = behind;
    }
    pieces.push(&sql[start..end.unwrap_or(bytes.len())]);
    Ok(pieces)
}

/// The limit on rows that a statement itself sets: `limit 100`, `limit 5, 100`, `fetch first 100 rows only`.
pub(crate) fn limit(sql: &str, dialect: Dialect) -> Option<u64> {
    let (mut at, mut depth, mut found) = (0, 0_i32, None);
    let (mut is_expected, mut was_number) = (false, false);
    while at < sql.len() {
        let (lexeme, behind) = next(sql.as_bytes(), at, dialect);
        let text = sql.get(at..behind).unwrap_or_default();
        at = behind;
        if lexeme == Lexeme::Blank {
            continue;
        }
        depth += i32::from(text == "(") - i32::from(text == ")");
        let number = text.parse().ok().filter(|_| is_expected && depth == 0);
        is_expected = ["limit", "first", "next"].iter().any(|word| text.eq_ignore_ascii_case(word))
            || (text == "," && was_number);
        was_number = number.is_some();
        found = number.or(found);
    }
    found
}

#[cfg(test)]
mod tests;
