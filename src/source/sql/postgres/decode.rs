//! Values in Postgres's binary form.

use std::fmt::Write as _;

use tokio_postgres::types::{self, Type};

use crate::source::sql::cursor::CursorKind;
use crate::source::value::Value;

/// Postgres counts from 2000-01-01: this many seconds after the epoch.
pub(super) const EPOCH_SECONDS: i64 = 946_684_800;

/// The types that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
    pub(super) fn of(kind: &Type) -> Self {
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

    /// The kind of cursor that can run on such a column.
    pub(super) fn cursor(self) -> Option<CursorKind> {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Numeric => Some(CursorKind::Integer),
            Self::Timestamp { zoned } => Some(CursorKind::Timestamp { zoned }),
            Self::Date => Some(CursorKind::Date),
            Self::Float4 | Self::Float8 | Self::Text | Self::Jsonb | Self::Unknown => None,
        }
    }
}

/// `None` if the bytes are no value of this type.
pub(super) fn decode(kind: Kind, bytes: &[u8]) -> Option<Value<'static>> {
    Some(match kind {
        Kind::Int2 => Value::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Int4 => Value::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Int8 => Value::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        Kind::Numeric => numeric(bytes)?,
        Kind::Float4 => Value::Float(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Float8 => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        Kind::Text => Value::owned(bytes),
        // One byte of version stands before the text.
        Kind::Jsonb => Value::owned(bytes.get(1..)?),
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
    // No ID and no time has so many digits, and a message should not quote them.
    if weight > 8 {
        return Some(Value::Other("a number of too many digits"));
    }
    let digit = |power: i32| match usize::try_from(weight - power).map(|place| digits.chunks_exact(2).nth(place)) {
        Ok(Some(digit)) => word(digit),
        _ => 0,
    };
    let whole = (0..=weight).rev().fold(0_i128, |whole, power| whole * 10_000 + i128::from(digit(power)));
    let mut text = format!("{}{whole}", if sign == 0x4000 { "-" } else { "" });
    if scale > 0 {
        text.push('.');
        let end = text.len() + usize::from(scale);
        for power in 1..=i32::from(scale.div_ceil(4)) {
            write!(text, "{:04}", digit(-power)).ok()?;
        }
        text.truncate(end);
    }
    Some(Value::decimal(&text))
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
            (encoded(&[9999; 9], 8, 0, 0), Value::Decimal("9".repeat(36))),
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
