//! The time up to which a source was read.

use jiff::Timestamp;

use super::checkpoint::{Checkpoint, CursorValue};
use super::mapping::names::time_names;
use super::mapping::time::Times;
use super::value::Value;
use crate::config::Source;

/// The time that a cursor has reached; none for files, and for numbers other than the create times of messages.
pub fn reached(source: &Source, checkpoint: &Checkpoint) -> Option<Timestamp> {
    let Checkpoint::Value(reached) = checkpoint else { return None };
    let rows = source.rows();
    let times = Times { unit: rows.time_unit, zone: rows.timezone.clone() };
    let value = match reached {
        CursorValue::Timestamp { micros, zoned } => Value::Timestamp { micros: *micros, zoned: *zoned },
        CursorValue::Text(text) => Value::text(text),
        CursorValue::Integer(number) => {
            let column = &source.query()?.cursor.as_ref()?.column;
            time_names(rows.format, &rows.columns).contains(&column.as_str()).then_some(Value::Integer(*number))?
        }
    };
    Timestamp::from_millisecond(times.read(&value).ok()?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    /// The time of a cursor of a query whose source has these further keys.
    fn of(keys: &str, reached_value: CursorValue) -> Option<String> {
        let text = format!(
            "version: 1\napps: {{ main: {{ app_key: k, app_secret: env:S }} }}\njobs: {{ night: {{ app: main, \
             sink: {{ parquet: {{}} }}, source: {{ sqlite: {{ path: refs.db, query: 'select * from refs where at > :after', \
             cursor: {{ column: at }}{keys} }} }} }} }}"
        );
        let config = Config::parse(&text, Path::new("jobs.yaml"), Path::new("/"), |_| None).unwrap();
        reached(&config.jobs[0].source, &Checkpoint::Value(reached_value)).map(|time| time.to_string())
    }

    #[test]
    fn a_cursor_is_a_time_if_its_column_is_one() {
        let at = Some("2026-01-31T00:00:00Z".to_owned());
        let micros = 1_769_817_600_000_000;
        assert_eq!(of("", CursorValue::Timestamp { micros, zoned: true }), at);
        let local = CursorValue::Timestamp { micros: micros + 8 * 3_600_000_000, zoned: false };
        assert_eq!(of(", timezone: Asia/Shanghai", local), at);
        assert_eq!(of("", CursorValue::Text("2026-01-31 00:00:00".to_owned())), at);
        assert_eq!(of("", CursorValue::Integer(micros / 1_000)), None, "any number");
        assert_eq!(of(", columns: { create_time: at }", CursorValue::Integer(micros / 1_000)), at);
        assert_eq!(of(", columns: { create_time: at }, time_unit: s", CursorValue::Integer(micros / 1_000_000)), at);
        assert_eq!(of(", columns: { create_time: at }", CursorValue::Integer(7)), None, "no time of a message");
    }
}
