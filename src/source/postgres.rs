//! Queries on Postgres.

use std::fmt::Write as _;

use bytes::BytesMut;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{self, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Row, Statement};

use super::intake::Intake;
use super::query::{Cells, CursorKind, Shape, Tracker, connect, drain, pieces, require_cursor};
use super::reading::Reading;
use super::settings::{Begin, Query};
use super::value::Value;
use super::{Checkpoint, CursorValue, SourceError};
use crate::sql::Dialect;

mod session;
mod tls;

use session::{PgError, Place, Session};

/// Postgres counts from 2000-01-01: this many seconds after the epoch.
const EPOCH_SECONDS: i64 = 946_684_800;

pub(super) async fn begin(
    url: SecretString,
    query: Query,
    checkpoint: Option<Checkpoint>,
    from: Option<Begin>,
    mut intake: Intake,
) -> Result<Reading, SourceError> {
    require_cursor(&query, from.as_ref())?;
    let place = Place::new(&url)
        .map_err(|error| SourceError::Unusable(format!("the Postgres URL cannot be read, or does not fit: {error}")))?;
    let mut cells = PgCells { server: place.name(), kinds: Vec::new() };
    let session = connect(|| place.connect(), PgError::is_passing).await.map_err(|error| cells.explain(error))?;
    let dialect = Dialect::Postgres { backslashes: session.backslashes };
    let parts = pieces(&query, dialect)?;
    let columns = describe(&session, &parts).await.map_err(|error| cells.explain(error))?;
    let header = columns.iter().map(|(name, _)| name.clone()).collect();
    let shape = Shape::new(&intake.names(), header, &query, dialect)?;
    for (place, (_, column)) in columns.iter().enumerate() {
        let kind = Kind::of(column);
        if kind == Kind::Unknown && shape.uses(place) {
            return Err(shape.unusable(place, &name(column)));
        }
        cells.kinds.push(kind);
    }
    let mut tracker = match (&query.cursor, shape.cursor) {
        (Some(cursor), Some(place)) => {
            let kind = cells.kinds[place].cursor();
            let kind = kind.ok_or_else(|| shape.unusable(place, &name(&columns[place].1)))?;
            Some(Tracker::new(cursor, kind, checkpoint, from.as_ref(), intake.times(), Timestamp::now())?)
        }
        _ => None,
    };
    let is_date = shape.cursor.is_some_and(|place| cells.kinds[place] == Kind::Date);
    let after: Vec<(Bound, Type)> = tracker.iter().filter_map(|tracker| bind(&tracker.after, is_date)).collect();
    let sql = parts.join("$1");
    Ok(Reading::on_task(move |outlet| async move {
        let ended = match session.client.query_typed_raw(&sql, after).await {
            Ok(rows) => drain(rows.map_err(PgError::from), &cells, &shape, &mut tracker, &mut intake, &outlet).await,
            Err(error) => Err(cells.explain(error.into()).into()),
        };
        if ended.is_ok() {
            session.end().await;
        }
        (outlet, ended.map(|()| tracker.and_then(Tracker::checkpoint)))
    }))
}

/// Begins the transaction in which everything happens, and learns names and types of the columns. The type of `:after` is
/// the type of one of them, so it cannot be given yet; where an untyped null leaves the statement ambiguous, a null of
/// each type is tried.
async fn describe(session: &Session, parts: &[&str]) -> Result<Vec<(String, Type)>, PgError> {
    let (mut first_error, mut begin) = (None, "begin transaction read only");
    for after in ["null", "null::bigint", "null::timestamptz", "null::timestamp", "null::date"] {
        match prepare(session, &mut begin, &parts.join(&format!("({after})"))).await {
            Ok(statement) if !statement.params().is_empty() => {
                return Err(PgError::Other("query: a `$1` in it is no parameter of this program".to_owned()));
            }
            Ok(statement) => {
                let columns = statement.columns().iter();
                return Ok(columns.map(|column| (column.name().to_owned(), column.type_().clone())).collect());
            }
            Err(error) if parts.len() > 1 && !error.code().is_empty() => first_error = first_error.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first_error.unwrap_or_else(|| PgError::Other("query: it cannot be asked".to_owned())))
}

async fn prepare(session: &Session, begin: &mut &str, sql: &str) -> Result<Statement, PgError> {
    /// How many names may be taken by what other clients of a pooler left in the connection.
    const TAKEN: usize = 100;
    for _ in 0..TAKEN {
        session.client.batch_execute(begin).await?;
        *begin = "rollback; begin transaction read only";
        match session.client.prepare(sql).await {
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_PSTATEMENT) => {}
            result => return Ok(result?),
        }
    }
    Err(PgError::Other(
        "other clients of the pooler left their prepared statements: use `pool_mode = session`".to_owned(),
    ))
}

/// What is bound to `:after`, in the column's own type.
fn bind(after: &CursorValue, is_date: bool) -> Option<(Bound, Type)> {
    let since = |micros: i64| micros.saturating_sub(EPOCH_SECONDS * 1_000_000);
    let (bytes, kind) = match after {
        CursorValue::Integer(number) => (number.to_be_bytes().to_vec(), Type::INT8),
        CursorValue::Timestamp { micros, .. } if is_date => {
            ((since(*micros).div_euclid(86_400_000_000) as i32).to_be_bytes().to_vec(), Type::DATE)
        }
        CursorValue::Timestamp { micros, zoned } => {
            (since(*micros).to_be_bytes().to_vec(), if *zoned { Type::TIMESTAMPTZ } else { Type::TIMESTAMP })
        }
        CursorValue::Text(_) => return None,
    };
    Some((Bound(bytes), kind))
}

/// A value in Postgres's binary form, to be sent.
#[derive(Debug)]
struct Bound(Vec<u8>);

impl ToSql for Bound {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The same as it arrives.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A type as SQL names it.
fn name(kind: &Type) -> String {
    match kind.kind() {
        types::Kind::Array(item) => format!("{}[]", item.name().to_uppercase()),
        _ => kind.name().to_uppercase(),
    }
}

/// The types that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Jsonb,
    Timestamp { zoned: bool },
    Date,
    Unknown,
}

impl Kind {
    fn of(kind: &Type) -> Self {
        match *kind {
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::NUMERIC => Self::Numeric,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::CHAR | Type::NAME | Type::UNKNOWN | Type::JSON => {
                Self::Text
            }
            Type::JSONB => Self::Jsonb,
            Type::TIMESTAMP => Self::Timestamp { zoned: false },
            Type::TIMESTAMPTZ => Self::Timestamp { zoned: true },
            Type::DATE => Self::Date,
            _ if kind.name() == "citext" || matches!(kind.kind(), types::Kind::Enum(_)) => Self::Text,
            _ => Self::Unknown,
        }
    }

    fn cursor(self) -> Option<CursorKind> {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Numeric => Some(CursorKind::Integer),
            Self::Timestamp { zoned } => Some(CursorKind::Timestamp { zoned }),
            Self::Date => Some(CursorKind::Date),
            Self::Float4 | Self::Float8 | Self::Text | Self::Jsonb | Self::Unknown => None,
        }
    }
}

struct PgCells {
    server: String,
    kinds: Vec<Kind>,
}

impl Cells for PgCells {
    type Row = Row;
    type Error = PgError;

    fn cell<'r>(&self, row: &'r Row, column: usize) -> Value<'r> {
        let (Ok(Some(Raw(bytes))), Some(kind)) = (row.try_get(column), self.kinds.get(column)) else {
            return Value::Null;
        };
        decode(*kind, bytes).unwrap_or(Value::Other("an unreadable value"))
    }

    fn explain(&self, error: PgError) -> SourceError {
        let server = &self.server;
        match error.code() {
            "42501" => SourceError::Denied(format!("{server}: {error}")),
            "25006" => SourceError::Unusable(format!("{server}: query: it must only read: {error}")),
            "0A000" => SourceError::Unusable(format!("{server}: query: {error}")),
            "3D000" => SourceError::Unusable(format!("{server}: {error}")),
            code if code.starts_with("28") => SourceError::Denied(format!("{server}: {error}")),
            code if code.starts_with("42") => SourceError::Unusable(format!("{server}: query: {error}")),
            "" => match error {
                PgError::Other(what) => SourceError::Unusable(format!("{server}: {what}")),
                error => {
                    SourceError::Failed { context: format!("{server}: the connection failed"), source: error.into() }
                }
            },
            _ => SourceError::Failed { context: format!("{server}: query failed"), source: error.into() },
        }
    }
}

/// A value in Postgres's binary form.
fn decode(kind: Kind, bytes: &[u8]) -> Option<Value<'_>> {
    Some(match kind {
        Kind::Int2 => Value::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Int4 => Value::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Int8 => Value::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        Kind::Numeric => numeric(bytes)?,
        Kind::Float4 => Value::Float(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Float8 => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        Kind::Text => Value::bytes(bytes),
        // One byte of version stands before the text.
        Kind::Jsonb => Value::bytes(bytes.get(1..)?),
        Kind::Timestamp { zoned } => match i64::from_be_bytes(bytes.try_into().ok()?) {
            i64::MAX | i64::MIN => Value::Other("infinity"),
            micros => Value::Timestamp { micros: micros.checked_add(EPOCH_SECONDS * 1_000_000)?, zoned },
        },
        Kind::Date => match i32::from_be_bytes(bytes.try_into().ok()?) {
            i32::MAX | i32::MIN => Value::Other("infinity"),
            days => Value::Date(days.checked_add((EPOCH_SECONDS / 86_400) as i32)?),
        },
        Kind::Unknown => return None,
    })
}

/// A numeric: digits in base 10,000, the power of the first of them, a sign, and how many decimals are shown.
fn numeric(bytes: &[u8]) -> Option<Value<'static>> {
    let (header, digits) = bytes.split_at_checked(8)?;
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    let (weight, sign, scale) = (i32::from(word(&header[2..]) as i16), word(&header[4..]), word(&header[6..]));
    if sign & 0x8000 != 0 {
        return Some(Value::Other("not a number"));
    }
    // Beyond 38 digits nothing is an ID or a time, and 128 bits are not enough.
    if weight > 8 {
        return Some(Value::Other("a number of too many digits"));
    }
    let digit = |power: i32| match usize::try_from(weight - power).map(|place| digits.chunks_exact(2).nth(place)) {
        Ok(Some(digit)) => word(digit),
        _ => 0,
    };
    let mut whole = 0_i128;
    for power in (0..=weight).rev() {
        whole = whole * 10_000 + i128::from(digit(power));
    }
    let mut decimals = String::new();
    for power in 1..=i32::from(scale.div_ceil(4)) {
        write!(decimals, "{:04}", digit(-power)).ok()?;
    }
    let decimals = &decimals[..usize::from(scale).min(decimals.len())];
    if decimals.bytes().all(|decimal| decimal == b'0') {
        return Some(Value::decimal(if sign == 0x4000 { -whole } else { whole }, 0));
    }
    let sign = if sign == 0x4000 { "-" } else { "" };
    Some(Value::Decimal(format!("{sign}{whole}.{decimals}").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(digits: &[u16], weight: i16, sign: u16, scale: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [digits.len() as u16, weight as u16, sign, scale].iter().chain(digits) {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn numerics_are_read_exactly() {
        for (bytes, expected) in [
            (encoded(&[], 0, 0, 0), Value::Integer(0)),
            (encoded(&[15, 8844, 5533, 3435, 8018], 4, 0, 0), Value::Integer(158_844_553_334_358_018)),
            (encoded(&[1], 1, 0, 2), Value::Integer(10_000)),
            (encoded(&[5], 0, 0x4000, 0), Value::Integer(-5)),
            (encoded(&[17, 5395, 1805, 2480], 2, 0, 3), Value::Decimal("1753951805.248".into())),
            (encoded(&[500], -1, 0, 2), Value::Decimal("0.05".into())),
            (encoded(&[922, 3372, 368, 5477, 5808], 4, 0, 0), Value::Unsigned(1 << 63)),
            (encoded(&[], 0, 0xC000, 0), Value::Other("not a number")),
            (encoded(&[15, 8844, 5533, 3435, 8018], 4, 0, 18), Value::Integer(158_844_553_334_358_018)),
            (encoded(&[5], 0, 0, 16_000), Value::Integer(5)),
            (encoded(&[5, 0, 0, 0, 100], 0, 0, 18), Value::Decimal("5.000000000000010000".into())),
            (encoded(&[5], 0, 0x4000, 3), Value::Integer(-5)),
            (encoded(&[9999; 9], 8, 0, 0), Value::Decimal("9".repeat(36).into())),
            (encoded(&[1], 9, 0, 0), Value::Other("a number of too many digits")),
        ] {
            assert_eq!(numeric(&bytes), Some(expected));
        }
    }

    #[test]
    fn what_is_not_what_it_says_is_unreadable() {
        assert_eq!(decode(Kind::Int8, &[1, 2]), None);
        assert_eq!(decode(Kind::Jsonb, &[]), None);
        assert_eq!(numeric(&[0, 1]), None);
        assert_eq!(decode(Kind::Timestamp { zoned: true }, &i64::MAX.to_be_bytes()), Some(Value::Other("infinity")));
    }
}
