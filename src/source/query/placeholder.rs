//! Where `:after` stands in a statement: never in a literal, a name, a comment, or a cast.

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Dialect {
    Postgres,
    Mysql,
    Sqlite,
}

const AFTER: &[u8] = b":after";

/// Cuts a statement at every `:after` that is a placeholder. The pieces joined by a parameter are the statement.
pub(in crate::source) fn split_at_after(sql: &str, dialect: Dialect) -> Vec<&str> {
    let bytes = sql.as_bytes();
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        if let Some(end) = opaque(bytes, at, dialect) {
            at = end;
        } else if bytes[at..].starts_with(b"::") {
            at += 2;
        } else if is_placeholder(bytes, at) {
            pieces.push(&sql[start..at]);
            at += AFTER.len();
            start = at;
        } else {
            at += 1;
        }
    }
    pieces.push(&sql[start..]);
    pieces
}

fn is_placeholder(bytes: &[u8], at: usize) -> bool {
    // `x[1:after]` is a slice of an array.
    let glued = at > 0 && (is_word(bytes[at - 1]) || matches!(bytes[at - 1], b'"' | b'`' | b']' | b')'));
    bytes[at..].starts_with(AFTER) && !glued && !bytes.get(at + AFTER.len()).copied().is_some_and(is_word)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// The end of the literal, quoted name or comment that begins here, if one does.
fn opaque(bytes: &[u8], at: usize, dialect: Dialect) -> Option<usize> {
    let rest = &bytes[at..];
    match rest[0] {
        b'\'' => Some(quoted(bytes, at, has_backslashes(bytes, at, dialect))),
        b'"' => Some(quoted(bytes, at, dialect == Dialect::Mysql)),
        b'`' if dialect != Dialect::Postgres => Some(quoted(bytes, at, false)),
        b'[' if dialect == Dialect::Sqlite => Some(behind(bytes, at, b']')),
        b'#' if dialect == Dialect::Mysql => Some(behind(bytes, at, b'\n')),
        b'-' if rest.starts_with(b"--") => {
            // MySQL takes two dashes for a comment only before white space: `5--3` is 8.
            let comment = dialect != Dialect::Mysql || rest.get(2).is_none_or(|byte| *byte <= b' ');
            comment.then(|| behind(bytes, at, b'\n'))
        }
        b'/' if rest.starts_with(b"/*") => Some(block_comment(bytes, at, dialect == Dialect::Postgres)),
        b'$' if dialect == Dialect::Postgres && (at == 0 || !is_word(bytes[at - 1])) => dollar_quoted(bytes, at),
        _ => None,
    }
}

/// Whether a backslash escapes within the literal that begins here.
fn has_backslashes(bytes: &[u8], at: usize, dialect: Dialect) -> bool {
    match dialect {
        Dialect::Mysql => true,
        Dialect::Sqlite => false,
        Dialect::Postgres => at > 0 && matches!(bytes[at - 1], b'e' | b'E') && (at < 2 || !is_word(bytes[at - 2])),
    }
}

/// Behind a quoted text. A doubled quote ends one and begins another, which comes to the same.
fn quoted(bytes: &[u8], at: usize, backslashes: bool) -> usize {
    let quote = bytes[at];
    let mut place = at + 1;
    while place < bytes.len() {
        match bytes[place] {
            b'\\' if backslashes => place += 2,
            byte if byte == quote => return place + 1,
            _ => place += 1,
        }
    }
    bytes.len()
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

/// Behind `$tag$ … $tag$`, if that is what begins here; `$1` is not.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];

    fn joined(sql: &str, dialect: Dialect) -> String {
        split_at_after(sql, dialect).join("?")
    }

    #[test]
    fn every_placeholder_is_found() {
        for dialect in ALL {
            assert_eq!(joined(":after", dialect), "?");
            assert_eq!(
                joined("a>:after and(b>:after)or c>=:after;", dialect),
                "a>?and(b>?)or c>=?;".replace("?and", "? and")
            );
            assert_eq!(joined("select 1", dialect), "select 1");
            assert_eq!(joined("where ü > :after -- ü", dialect), "where ü > ? -- ü");
        }
        assert_eq!(joined("id > :after::bigint", Dialect::Postgres), "id > ?::bigint");
    }

    #[test]
    fn what_only_looks_like_one_is_left_alone() {
        for dialect in ALL {
            for sql in [
                "':after'",
                "'it''s :after'",
                "\":after\"",
                "-- :after\n",
                "-- :after",
                "/* :after */",
                "x::after",
                ":afterwards",
                ":after_all",
                ":afterü",
                "a[1:after]",
                "::after",
                "'",
                "/*",
                "\"",
            ] {
                assert_eq!(joined(sql, dialect), sql, "{dialect:?}");
            }
        }
        for sql in ["$$ :after $$", "$q$ $$ :after $q$", "E'\\' :after'", "/* /* */ :after */", "$a$ :after"] {
            assert_eq!(joined(sql, Dialect::Postgres), sql);
        }
        for sql in ["'\\' :after'", "\"\\\" :after\"", "`:after`", "# :after"] {
            assert_eq!(joined(sql, Dialect::Mysql), sql);
        }
        for sql in ["[:after]", "`:after`"] {
            assert_eq!(joined(sql, Dialect::Sqlite), sql);
        }
    }

    #[test]
    fn what_only_looks_opaque_hides_nothing() {
        for (dialect, sql, expected) in [
            (Dialect::Postgres, "'\\' > :after", "'\\' > ?"),
            (Dialect::Postgres, "type'\\' > :after", "type'\\' > ?"),
            (Dialect::Postgres, "$1 > :after and $2", "$1 > ? and $2"),
            (Dialect::Postgres, "a$b$ > :after", "a$b$ > ?"),
            (Dialect::Postgres, "j ?| '{a}' and a # :after", "j ?| '{a}' and a # ?"),
            (Dialect::Mysql, "5--:after", "5--?"),
            (Dialect::Mysql, "/* /* */ :after", "/* /* */ ?"),
            (Dialect::Sqlite, "'\\' > :after", "'\\' > ?"),
        ] {
            assert_eq!(joined(sql, dialect), expected);
        }
    }

    /// A fragment, and whether it is a placeholder.
    fn fragment(dialect: Dialect) -> impl Strategy<Value = (String, bool)> {
        let opaque = |text: &str| (text.to_owned(), false);
        let mut fragments = vec![
            (" :after ".to_owned(), true),
            opaque(" 'a :after '' :after' "),
            opaque(" \"b :after\" "),
            opaque(" -- it's :after\n "),
            opaque(" /* \" :after */ "),
            opaque(" c::after "),
            opaque(" select x1, (y + 2) "),
        ];
        match dialect {
            Dialect::Postgres => fragments.extend([opaque(" $x$ ' :after $x$ "), opaque(" E'\\' :after' ")]),
            Dialect::Mysql => {
                fragments.extend([opaque(" '\\' :after' "), opaque(" # ' :after\n "), opaque(" `' :after` ")]);
            }
            Dialect::Sqlite => fragments.extend([opaque(" [' :after] "), opaque(" `' :after` ")]),
        }
        proptest::sample::select(fragments)
    }

    proptest! {
        #[test]
        fn placeholders_are_found_among_all_that_hides_them(
            (dialect, fragments) in proptest::sample::select(ALL.to_vec())
                .prop_flat_map(|dialect| (Just(dialect), proptest::collection::vec(fragment(dialect), 0..12)))
        ) {
            let sql: String = fragments.iter().map(|(text, _)| text.as_str()).collect();
            let expected: String = fragments
                .iter()
                .map(|(text, placeholder)| if *placeholder { text.replace(":after", "?") } else { text.clone() })
                .collect();
            prop_assert_eq!(joined(&sql, dialect), expected);
        }

        #[test]
        fn nothing_is_lost_whatever_the_statement(sql in "[-a:fter'\"`$\\[\\]/*#\\\\\nü ]{0,40}") {
            for dialect in ALL {
                prop_assert_eq!(split_at_after(&sql, dialect).join(":after"), sql.clone());
            }
        }
    }
}
