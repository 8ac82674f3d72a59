//! Instants, whatever the session's time zone is. Only the server knows that zone and its history.

use chrono::{NaiveDateTime, TimeDelta};
use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlConnection;

use super::session::statement;
use crate::source::value::Value;

/// The user's query, with its TIMESTAMP columns as seconds since the epoch. Columns keep their places.
///
/// A TIMESTAMP arrives as the session's zone shows it, in which two instants look alike when clocks go back.
pub(super) async fn with_instants(
    connection: &mut MySqlConnection,
    sql: &str,
    header: &[String],
    instants: &[bool],
) -> Result<String, sqlx::Error> {
    let quoted: Vec<String> = header.iter().map(|name| format!("`{}`", name.replace('`', "``"))).collect();
    let derived = format!("select {} from (\n{sql}\n) archived_references", list(&quoted, instants));
    let Err(error) = statement(connection, &derived).await else { return Ok(derived) };
    // Columns of the same name, and names that only a query can have, need new names. Old servers have no `with`.
    let names: Vec<String> = (0..header.len()).map(|place| format!("c{place}")).collect();
    let common = format!(
        "with archived_references ({}) as (\n{sql}\n) select {} from archived_references",
        names.join(", "),
        list(&names, instants)
    );
    statement(connection, &common).await.map(|_| common).map_err(|_| error)
}

fn list(names: &[String], instants: &[bool]) -> String {
    let of = |(name, is_instant): (&String, &bool)| {
        if *is_instant { format!("unix_timestamp({name})") } else { name.clone() }
    };
    names.iter().zip(instants).map(of).collect::<Vec<_>>().join(", ")
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

/// The time that the session's zone shows at an instant. If clocks go back afterwards, it is the earliest time that the
/// zone shows from then on. `None` beyond what a TIMESTAMP holds.
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
            (Value::decimal("1753951805.248"), Value::Timestamp { micros: 1_753_951_805_248_000, zoned: true }),
            (Value::decimal("1753951805.248001"), Value::Timestamp { micros: 1_753_951_805_248_001, zoned: true }),
            (Value::Null, Value::Null),
            (Value::Integer(0), Value::Other("an unreadable value")),
            (Value::decimal("1.0000001"), Value::Other("an unreadable value")),
        ] {
            assert_eq!(instant(&value), expected);
        }
    }
}
