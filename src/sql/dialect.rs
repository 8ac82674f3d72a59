//! The dialects of SQL.

/// Which database reads the SQL, and how the session reads its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Postgres.
    Postgres {
        /// Whether `\` escapes in every literal and not only in `E'…'`, because `standard_conforming_strings` is off.
        backslashes: bool,
    },
    /// MySQL and MariaDB.
    Mysql {
        /// Whether `\` escapes in literals. It does not with the SQL mode `NO_BACKSLASH_ESCAPES`.
        backslashes: bool,
        /// Whether `"…"` is a name. It is with the SQL mode `ANSI_QUOTES`.
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
