//! A user's SQL, as far as it must be understood: where `:after` is a placeholder, and where the statement ends.

mod lexeme;

use lexeme::{Lexeme, next};

const AFTER: &[u8] = b":after";

/// Whose SQL it is, and how the session reads its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Postgres.
    Postgres {
        /// Whether `\` escapes in every literal (`standard_conforming_strings` is off), not only in `E'…'`.
        backslashes: bool,
    },
    /// MySQL and MariaDB.
    Mysql {
        /// Whether `\` escapes in literals: not with the SQL mode `NO_BACKSLASH_ESCAPES`.
        backslashes: bool,
        /// Whether `"…"` is a name: with the SQL mode `ANSI_QUOTES`.
        ansi_quotes: bool,
    },
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// The ways in which a session of Postgres may read SQL.
    pub(crate) const POSTGRES: &[Self] = &[Self::Postgres { backslashes: false }, Self::Postgres { backslashes: true }];
    /// The ways in which a session of MySQL may read SQL.
    pub(crate) const MYSQL: &[Self] = &[
        Self::Mysql { backslashes: true, ansi_quotes: false },
        Self::Mysql { backslashes: true, ansi_quotes: true },
        Self::Mysql { backslashes: false, ansi_quotes: false },
        Self::Mysql { backslashes: false, ansi_quotes: true },
    ];
    /// The one way in which SQLite reads SQL.
    pub(crate) const SQLITE: &[Self] = &[Self::Sqlite];
}

/// Something stands behind the `;` that ends the statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecondStatement;

/// Cuts a statement at every `:after` that is a placeholder: one that stands in no literal, quoted name, comment or cast.
/// The pieces joined by a parameter are the statement, without the `;` at its end.
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

/// How many rows a statement itself lets through: `limit 100`, `limit 5, 100`, `fetch first 100 rows only`.
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
