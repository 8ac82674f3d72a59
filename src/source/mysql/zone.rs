//! Instants, whatever the session's time zone is: the server alone knows it, and how its clocks went.

use std::fmt::Write as _;

use chrono::{NaiveDateTime, TimeDelta};
use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlConnection;

use super::prepare;
use crate::source::value::Value;

/// The user's query, with its TIMESTAMP columns as seconds since the epoch.
///
/// A TIMESTAMP arrives as the session's zone shows it, and so shows two instants alike when clocks go back. Seconds are
/// told by the server from what it holds. Columns keep their places.
pub(super) async fn with_instants(
    connection: &mut MySqlConnection,
    sql: &str,
    header: &[String],
    instants: &[bool],
) -> Result<String, sqlx::Error> {
    let quoted: Vec<String> = header.iter().map(|name| format!("`{}`", name.replace('`', "``"))).collect();
    let derived = format!("select {} from (\n{sql}\n) archived_references", list(&quoted, instants));
    let Err(error) = prepare(connection, &derived).await else { return Ok(derived) };
    // Two columns of one name, or a name that only a query can have, need names of ours. Old servers have no `with`.
    let names: Vec<String> = (0..header.len()).map(|place| format!("c{place}")).collect();
    let common = format!(
        "with archived_references ({}) as (\n{sql}\n) select {} from archived_references",
        names.join(", "),
        list(&names, instants)
    );
    prepare(connection, &common).await.map(|_| common).map_err(|_| error)
}

fn list(names: &[String], instants: &[bool]) -> String {
    let mut list = String::new();
    for (name, is_instant) in names.iter().zip(instants) {
        let comma = if list.is_empty() { "" } else { ", " };
        let _ = match is_instant {
            true => write!(list, "{comma}unix_timestamp({name})"),
            false => write!(list, "{comma}{name}"),
        };
    }
    list
}

/// The instant of a number of seconds since the epoch.
pub(super) fn instant(seconds: &Value<'_>) -> Value<'static> {
    let micros = match seconds {
        Value::Null => return Value::Null,
        Value::Integer(seconds) => seconds.checked_mul(1_000_000),
        Value::Decimal(text) => text.split_once('.').and_then(|(whole, fraction)| {
            let digits = format!("{whole}{fraction:0<6}");
            (fraction.len() <= 6).then(|| digits.parse().ok()).flatten()
        }),
        _ => None,
    };
    // The zero date is second zero.
    match micros.filter(|micros| *micros > 0) {
        Some(micros) => Value::Timestamp { micros, zoned: true },
        None => Value::Other("an unreadable value"),
    }
}

/// The time that the session's zone shows at an instant, or an earlier one if it shows less than that later on, when
/// clocks go back; `None` beyond what a TIMESTAMP holds.
pub(super) async fn at_or_before(
    connection: &mut MySqlConnection,
    micros: i64,
) -> Result<Option<NaiveDateTime>, sqlx::Error> {
    // Clocks go back by less than this.
    const AHEAD: i64 = 3 * 3600;
    let (seconds, fraction) = (micros.max(0) / 1_000_000, micros.max(0) % 1_000_000);
    let sql = format!(
        "select from_unixtime({seconds}.{fraction:06}), from_unixtime({}.{fraction:06})",
        seconds.saturating_add(AHEAD)
    );
    let (now, later): (Option<NaiveDateTime>, Option<NaiveDateTime>) =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok(now.map(|now| later.map_or(now, |later| now.min(later - TimeDelta::seconds(AHEAD)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_to_the_microsecond() {
        for (value, expected) in [
            (Value::Integer(1_753_951_805), Value::Timestamp { micros: 1_753_951_805_000_000, zoned: true }),
            (Value::decimal_text("1753951805.248"), Value::Timestamp { micros: 1_753_951_805_248_000, zoned: true }),
            (Value::decimal_text("1753951805.248001"), Value::Timestamp { micros: 1_753_951_805_248_001, zoned: true }),
            (Value::Null, Value::Null),
            (Value::Integer(0), Value::Other("an unreadable value")),
            (Value::decimal_text("1.0000001"), Value::Other("an unreadable value")),
        ] {
            assert_eq!(instant(&value), expected);
        }
    }
}
