//! JSON lines, and other files of JSON objects.

use std::io::Read;

use super::json_values::{JsonValues, Next};
use super::lines::{LONGEST, Lines};
use crate::source::error::SourceError;
use crate::source::mapping::names::Names;
use crate::source::mapping::object::{self, Broken};
use crate::source::read_ahead::ChunkSender;
use crate::source::rows::RowCollector;
use crate::source::settings::Format;
use crate::source::value::Value;

/// Reads all objects of a file. A file in which no object has a field is not what it is taken for.
pub(super) fn read(
    text: impl Read,
    name: &str,
    rows: &mut RowCollector,
    sender: &ChunkSender,
) -> Result<(), SourceError> {
    let mapping = rows.mapping();
    let names = &mapping.names;
    let mut values = JsonValues::new(Lines::new(text));
    let mut first = None;
    while let Some(next) = values.next(name)? {
        let position = || values.position(name);
        match next {
            Next::Value(length) => {
                let text = values.window(length).trim_ascii();
                rows.row(object::fields(names, text), position, || raw(text));
                if first.is_none() && !rows.has_field() {
                    first = Some((Value::bytes(text).to_string(), hint(names, text)));
                }
                values.consume(length);
            }
            Next::TooLong => {
                rows.row(Err(Broken::empty(format!("is longer than {LONGEST} bytes"))), position, Vec::new);
                values.skip_line().map_err(|error| SourceError::of_file(name, error))?;
            }
        }
        if rows.is_full() {
            if !rows.has_field() {
                break;
            }
            sender.send_blocking(rows.take())?;
        }
    }
    if rows.end().is_none() {
        return Ok(());
    }
    let place = names.event.as_ref().map_or_else(String::new, |event| format!(" within {event:?}"));
    let (beginning, hint) = first.unwrap_or_else(|| (format!("more than {LONGEST} bytes without a line feed"), None));
    let hint = hint.unwrap_or_else(|| "`columns` maps fields to other names".to_owned());
    Err(SourceError::Unusable(format!(
        "{name}: no JSON object in it has{place} any of the members {}; it begins with {beginning}; {hint}",
        names.expected()
    )))
}

/// Where the fields of an object stand that has none of its own, and how they can be read.
fn hint(names: &Names, text: &[u8]) -> Option<String> {
    let path = path_to_id(names, &serde_json::from_slice(text).ok()?)?;
    let event = path.strip_suffix(FROM_JSON).unwrap_or(&path).trim_start_matches('.');
    let may_be_event = names.format == Format::CopyEvent && names.event.is_none();
    Some(if may_be_event && !event.contains(['.', '[', '|']) {
        format!("they stand inside `{event}`: set `columns: {{ event: {event} }}`")
    } else {
        format!("they stand deeper in it: take them out first, such as by `jq -c '{path}'`")
    })
}

/// How `jq` parses a text as JSON.
const FROM_JSON: &str = "|fromjson";

/// Where the object with the message's ID stands in a value, as `jq` writes it: `.data[]`.
fn path_to_id(names: &Names, value: &serde_json::Value) -> Option<String> {
    use serde_json::Value::{Array, Object, String as Text};
    match value {
        Object(members) if members.keys().any(|name| names.is_id(name)) => Some(String::new()),
        Object(members) => members.iter().find_map(|(name, value)| {
            // Other names would have to be quoted, for `jq` and for the shell.
            let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let rest = is_plain.then(|| path_to_id(names, value))??;
            Some(format!(".{name}{rest}"))
        }),
        Array(items) => Some(format!("[]{}", path_to_id(names, items.first()?)?)),
        Text(text) if text.starts_with('{') => {
            Some(format!("{FROM_JSON}{}", path_to_id(names, &serde_json::from_str(text).ok()?)?))
        }
        _ => None,
    }
}

/// The members of an object, for a sample.
fn raw(text: &[u8]) -> Vec<(String, String)> {
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(members) => members.into_iter().map(|(name, value)| (name, value.to_string())).collect(),
        Err(_) => vec![("line".to_owned(), String::from_utf8_lossy(text).into_owned())],
    }
}
