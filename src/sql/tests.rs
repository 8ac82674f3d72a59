//! Tests of what is understood of SQL.

use proptest::prelude::*;

use super::*;

const POSTGRES: Dialect = Dialect::POSTGRES[0];
const MYSQL: Dialect = Dialect::MYSQL[0];

fn every() -> Vec<Dialect> {
    [Dialect::POSTGRES, Dialect::MYSQL, Dialect::SQLITE].concat()
}

fn joined(sql: &str, dialect: Dialect) -> String {
    split_at_after(sql, dialect).expect("one statement").join("?")
}

#[test]
fn every_placeholder_is_found() {
    for dialect in every() {
        assert_eq!(joined(":after", dialect), "?");
        assert_eq!(joined("a>:after and(b>:after)or c>=:after;", dialect), "a>? and(b>?)or c>=?");
        assert_eq!(joined("select 1", dialect), "select 1");
        assert_eq!(joined("where ü > :after -- ü", dialect), "where ü > ? -- ü");
    }
    assert_eq!(joined("id > :after::bigint", POSTGRES), "id > ?::bigint");
}

#[test]
fn a_limit_is_that_of_the_whole_statement() {
    for dialect in every() {
        for (sql, expected) in [
            ("select 1", None),
            ("select 1 limit 100;", Some(100)),
            ("select 1 LIMIT /* x */ 5 , 100 -- limit 7", Some(100)),
            ("select 1 limit 100 offset 5", Some(100)),
            ("select 1 offset 5 rows fetch first 100 rows only", Some(100)),
            ("select (select 2 limit 1), \"limit\", 'limit 3', a limit", None),
            ("select * from (select 1 limit 5) limit 6", Some(6)),
            ("select 1 limit :after", None),
        ] {
            assert_eq!(limit(sql, dialect), expected, "{sql} {dialect:?}");
        }
    }
}

#[test]
fn what_only_looks_like_one_is_left_alone() {
    for dialect in every() {
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
    for sql in [
        "$$ :after $$",
        "$q$ $$ :after $q$",
        "E'\\' :after'",
        "e'a''\\' :after'",
        "E'a'\n  '\\' :after'",
        "E'a' -- '\n '\\' :after'",
        "/* /* */ :after */",
        "$a$ :after",
    ] {
        assert_eq!(joined(sql, POSTGRES), sql);
    }
    for sql in ["'\\' :after'", "\"\\\" :after\"", "`:after`", "# :after", "/*+ :after */"] {
        assert_eq!(joined(sql, MYSQL), sql);
    }
    for sql in ["[:after]", "`:after`"] {
        assert_eq!(joined(sql, Dialect::Sqlite), sql);
    }
}

#[test]
fn what_only_looks_opaque_hides_nothing() {
    let [no_escapes, ansi] = [
        Dialect::Mysql { backslashes: false, ansi_quotes: false },
        Dialect::Mysql { backslashes: true, ansi_quotes: true },
    ];
    for (dialect, sql, expected) in [
        (POSTGRES, "'\\' > :after", "'\\' > ?"),
        (POSTGRES, "type'\\' > :after", "type'\\' > ?"),
        (POSTGRES, "E'a' '\\' > :after", "E'a' '\\' > ?"),
        (POSTGRES, "$1 > :after and $2", "$1 > ? and $2"),
        (POSTGRES, "a$b$ > :after", "a$b$ > ?"),
        (POSTGRES, "j ?| '{a}' and a # :after", "j ?| '{a}' and a # ?"),
        (MYSQL, "5--:after", "5--?"),
        (MYSQL, "/* /* */ :after", "/* /* */ ?"),
        (MYSQL, "/*!50000 and id > :after */", "/*!50000 and id > ? */"),
        (MYSQL, "/*M! and id > :after */", "/*M! and id > ? */"),
        (no_escapes, "'\\' > :after", "'\\' > ?"),
        (ansi, "\"\\\" > :after", "\"\\\" > ?"),
        (Dialect::Sqlite, "'\\' > :after", "'\\' > ?"),
    ] {
        assert_eq!(joined(sql, dialect), expected);
    }
}

#[test]
fn a_statement_ends_with_its_semicolon() {
    for dialect in every() {
        assert_eq!(joined("select ';' ; -- done; \n ;/* ; */", dialect), "select ';' ");
        for sql in ["select 1; select 2", "select 1;;x", "; ':after'", "select 1; :after"] {
            assert_eq!(split_at_after(sql, dialect), Err(SecondStatement), "{sql}");
        }
    }
}

/// Pieces of SQL in which only ` :after ` is a placeholder.
fn fragments(dialect: Dialect) -> Vec<&'static str> {
    let mut fragments = vec![
        " :after ",
        " id>= :after ",
        " 'a :after '' :after' ",
        " \"b :after \"\" :after \" ",
        " -- it's :after \n ",
        " /* \" ' :after */ ",
        " c::after ",
        " coalesce(x1, (y + 2)) ",
        " \u{8868} ",
    ];
    fragments.extend(match dialect {
        Dialect::Postgres { backslashes: false } => {
            &[" '\\' ", " u&'\\' ", " E'\\'' || E'a''\\' :after ' ", " E'a'\n'\\' :after ' "][..]
        }
        Dialect::Postgres { backslashes: true } => &[" '\\' :after ' ", " E'\\' :after ' "],
        Dialect::Mysql { backslashes: true, ansi_quotes: false } => &[" '\\' :after ' ", " \"\\\" :after \" "],
        Dialect::Mysql { backslashes: true, ansi_quotes: true } => &[" '\\' :after ' ", " \"\\\" "],
        Dialect::Mysql { backslashes: false, .. } => &[" '\\' ", " \"\\\" "],
        Dialect::Sqlite => &[" '\\' ", " [' :after ] ", " `' :after \\` ", " x'35' "],
    });
    fragments.extend(match dialect {
        Dialect::Postgres { .. } => &[
            " $x$ ' :after $x$ ",
            " $$ $x$ :after $$ ",
            " /* /* ' */ :after */ ",
            " j #>> '{:after }' ",
            " j @> '{}' and j ? 'k' ",
            " t[1:after] ",
            " U&\"\\0061 :after \" ",
        ][..],
        Dialect::Mysql { .. } => {
            &[" # ' :after \n ", " `' :after ` ", " j->>'$.:after ' ", " 5--3 ", " /*!50000 x */ ", " /*+ ' :after */ "]
        }
        Dialect::Sqlite => &[" j ->> '$.:after ' "],
    });
    fragments
}

proptest! {
    #[test]
    fn placeholders_are_found_among_all_that_hides_them(
        (dialect, fragments) in proptest::sample::select(every()).prop_flat_map(|dialect| {
            (Just(dialect), proptest::collection::vec(proptest::sample::select(fragments(dialect)), 0..12))
        })
    ) {
        let expected: String = fragments
            .iter()
            .map(|text| match *text {
                " :after " | " id>= :after " => text.replace(":after", "?"),
                text => text.to_owned(),
            })
            .collect();
        prop_assert_eq!(joined(&fragments.concat(), dialect), expected);
    }

    #[test]
    fn nothing_is_lost_whatever_the_statement(sql in "([-a:fter'\"`$\\[\\]/*#!E\\\\\nü ]|:after|E'){0,40}") {
        for dialect in every() {
            prop_assert_eq!(split_at_after(&sql, dialect).expect("one statement").join(":after"), sql.clone());
        }
    }
}
