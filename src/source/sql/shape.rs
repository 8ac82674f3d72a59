//! The columns of a query.

use super::cursor::CursorKind;
use super::database::Column;
use crate::source::error::SourceError;
use crate::source::mapping::names::{Columns, Names, find};
use crate::source::settings::Query;
use crate::sql::{self, Dialect};

/// The columns of a query.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) header: Vec<String>,
    pub(super) columns: Columns,
    /// The cursor's column and its kind.
    pub(super) cursor: Option<(usize, CursorKind)>,
    /// How many rows the query itself lets through.
    pub(super) limit: Option<u64>,
}

impl Shape {
    /// Finds the fields and the cursor among the columns, and checks their types.
    pub(super) fn new(names: &Names, found: &[Column], query: &Query, dialect: Dialect) -> Result<Self, SourceError> {
        if found.is_empty() {
            return Err(SourceError::Unusable("query: it is no query that gives rows".to_owned()));
        }
        let header: Vec<String> = found.iter().map(|column| column.name.clone()).collect();
        let mut shape = Self {
            columns: names.columns("query", &header)?,
            header,
            cursor: None,
            limit: sql::limit(&query.sql, dialect),
        };
        if let Some(cursor) = &query.cursor {
            let place = find("query", &shape.header, std::slice::from_ref(&cursor.column))?.ok_or_else(|| {
                SourceError::Unusable(format!(
                    "query: the cursor's column {:?} is not among its columns {}; select it too",
                    cursor.column,
                    shape.header.join(", ")
                ))
            })?;
            let Column { name, type_name, cursor, .. } = &found[place];
            let kind = cursor.ok_or_else(|| {
                SourceError::Unusable(format!(
                    "query: the cursor's column {name:?} is of type {type_name}, whose order is the database's own: rows would \
                     be passed over. Compare and select an integer or a timestamp instead, for example by a cast. If the \
                     cursor was on this column before, go on with `--from start` or `--from VALUE`: what is archived costs no \
                     request"
                ))
            })?;
            shape.cursor = Some((place, kind));
        }
        let unusable = found.iter().enumerate().find(|(place, column)| !column.is_readable && shape.uses(*place));
        if let Some((_, Column { name, type_name, .. })) = unusable {
            return Err(SourceError::Unusable(format!(
                "query: column {name:?} is of type {type_name}, which a field cannot be; cast it to an integer, a \
                 timestamp or text"
            )));
        }
        Ok(shape)
    }

    /// Whether anything depends on a column.
    pub(super) fn uses(&self, column: usize) -> bool {
        self.cursor.is_some_and(|(place, _)| place == column) || self.columns.used().any(|place| place == column)
    }
}
