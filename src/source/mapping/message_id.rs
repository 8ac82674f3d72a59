//! Message IDs, which no floating-point number can hold.

use crate::source::value::{Value, digits};

/// Why a floating-point number is refused.
pub(super) const DAMAGED: &str =
    "it may have lost digits beyond 2^53 already, and is never rounded; export the column as an integer or as text";

/// A message's ID: 1 to 2^63 - 1.
pub(super) fn message_id(value: &Value<'_>) -> Result<i64, String> {
    if let Some(lack) = value.lack() {
        return Err(lack.to_owned());
    }
    let id = match value {
        Value::Integer(number) => *number,
        Value::Text(bytes) => {
            let text = bytes.trim_ascii();
            // Files for spreadsheets put an apostrophe before a number that is to stay text.
            let text = text.strip_prefix(b"'").unwrap_or(text);
            match digits(text) {
                Some(number) => number,
                None if text.is_empty() => return Err("is empty".to_owned()),
                None if text.iter().all(u8::is_ascii_digit) => return Err(format!("{value} is above 2^63 - 1")),
                None if is_float(text) => return Err(format!("{value} is a floating-point number: {DAMAGED}")),
                None => return Err(format!("{value} is no integer above 0")),
            }
        }
        Value::Unsigned(_) => return Err(format!("{value} is above 2^63 - 1")),
        Value::Float(_) => return Err(format!("{value} is a floating-point number: {DAMAGED}")),
        other => return Err(format!("{other} is no integer")),
    };
    if id > 0 { Ok(id) } else { Err(format!("{value} is not positive")) }
}

/// Whether text is a number with a point or an exponent, the form in which spreadsheets write damaged integers.
fn is_float(text: &[u8]) -> bool {
    // Letters would let `inf` and `nan` through.
    text.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
        && std::str::from_utf8(text).is_ok_and(|text| text.contains(['.', 'e', 'E']) && text.parse::<f64>().is_ok())
}
