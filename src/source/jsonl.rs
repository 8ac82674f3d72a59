//! JSON lines and other files of JSON objects, and copy events that are JSON within another source's column.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::SourceError;
use super::intake::{Broken, Intake};
use super::lines::{LONGEST, Lines, failed};
use super::mapping::{FIELDS, Fields, Names};
use super::reading::{Outlet, Stop};
use super::value::{Value, trim};
use super::values::{Next, Values};

/// Reads all objects of a file. One without a single object that has a field is not what it is taken for.
pub(super) fn read<R: Read>(lines: Lines<R>, name: &str, intake: &mut Intake, outlet: &Outlet) -> Result<(), Stop> {
    let fail = |error| Stop::Error(failed(name, error));
    let names = intake.names();
    let mut values = Values::new(lines);
    let mut beginning = None;
    while let Some(next) = values.next(name)? {
        let (mut length, is_line) = match next {
            Next::Line(length) => (length, true),
            Next::Object(length) => (length, false),
            Next::TooLong => {
                let broken = Broken { message: format!("is longer than {LONGEST} bytes"), has_field: false };
                intake.broken(values.position(name), broken, Vec::new);
                values.skip_line().map_err(fail)?;
                continue;
            }
        };
        let mut parsed = line_fields(&names, trim(values.window(length)));
        if is_line && parsed.is_err() {
            drop(parsed);
            length = values.beyond(length).map_err(fail)?.unwrap_or(length);
            parsed = line_fields(&names, trim(values.window(length)));
        }
        let text = trim(values.window(length));
        let position = || values.position(name);
        match parsed {
            Ok(fields) => intake.row(&fields, position, || shown(text)),
            Err(broken) => intake.broken(position(), broken, || shown(text)),
        }
        if beginning.is_none() && !intake.has_field() {
            beginning = Some((Value::bytes(text).to_string(), within(&names, text)));
        }
        values.consume(length);
        if intake.is_full() {
            if !intake.has_field() {
                break;
            }
            outlet.send_blocking(intake.take())?;
        }
    }
    if intake.end().is_none() {
        return Ok(());
    }
    let place = names.event().map_or_else(String::new, |event| format!(" within {event:?}"));
    let (beginning, hint) =
        beginning.unwrap_or_else(|| (format!("more than {LONGEST} bytes without a line feed"), None));
    let hint = hint.unwrap_or_else(|| "`columns` maps fields to other names".to_owned());
    Err(SourceError::Unusable(format!(
        "{name}: no JSON object in it has{place} any of the members {}; it begins with {beginning}; {hint}",
        names.expected()
    ))
    .into())
}

/// Where the fields stand within an object that has none of its own, and how they are read there.
fn within(names: &Names, text: &[u8]) -> Option<String> {
    let path = path_to_id(names, &serde_json::from_slice(text).ok()?)?;
    let event = path.strip_suffix(FROM_JSON).unwrap_or(&path).trim_start_matches('.');
    Some(if names.may_have_event() && names.event().is_none() && !event.contains(['.', '[', '|']) {
        format!("they stand inside `{event}`: set `columns: {{ event: {event} }}`")
    } else {
        format!("they stand deeper in it: take them out first, such as by `jq -c '{path}'`")
    })
}

/// What `jq` calls the parsing of a text.
const FROM_JSON: &str = "|fromjson";

/// Where the object with the message's ID stands in a value, as `jq` writes it: `.data[]`.
fn path_to_id(names: &Names, value: &serde_json::Value) -> Option<String> {
    use serde_json::Value::{Array, Object, String};
    match value {
        Object(members) if members.keys().any(|name| names.is_id(name)) => Some(std::string::String::new()),
        Object(members) => members.iter().find_map(|(name, value)| {
            // Others would have to be quoted, for `jq` and for the shell.
            let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let rest = is_plain.then(|| path_to_id(names, value))??;
            Some(format!(".{name}{rest}"))
        }),
        Array(items) => Some(format!("[]{}", path_to_id(names, items.first()?)?)),
        String(text) if text.starts_with('{') => {
            Some(format!("{FROM_JSON}{}", path_to_id(names, &serde_json::from_str(text).ok()?)?))
        }
        _ => None,
    }
}

/// The fields of a line, which may hold its event in a field of its own.
fn line_fields<'a>(names: &Names, text: &'a [u8]) -> Result<Fields<'a>, Broken> {
    let object = parse(names, text)?;
    match (names.event(), object.event) {
        (None, _) => Ok(object.fields),
        (Some(event), None) => Err(nothing(format!("has no {event:?}"))),
        (Some(event), Some(raw)) => {
            let raw = raw.get();
            if !raw.starts_with('"') {
                return parse(names, raw.as_bytes()).map(|object| object.fields);
            }
            let text: String =
                serde_json::from_str(raw).map_err(|error| nothing(format!("{event:?} {}", explain(&error))))?;
            let fields = parse(names, text.as_bytes())?.fields;
            Ok(fields.map(into_owned))
        }
    }
}

/// The fields of a copy event that stands as JSON in a column.
pub(super) fn event<'a>(names: &Names, value: &'a Value<'_>) -> Result<Fields<'a>, Broken> {
    match value {
        _ if value.lack().is_some() => Err(nothing("the event is empty".to_owned())),
        Value::Text(bytes) => parse(names, bytes).map(|object| object.fields),
        other => Err(nothing(format!("the event {other} is no JSON text"))),
    }
}

/// A row in which no field is found.
fn nothing(message: String) -> Broken {
    Broken { message, has_field: false }
}

/// A JSON object as far as it matters.
struct Object<'a> {
    fields: Fields<'a>,
    event: Option<&'a RawValue>,
}

fn parse<'a>(names: &Names, text: &'a [u8]) -> Result<Object<'a>, Broken> {
    let has_field = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let parsed = ObjectOf { names, has_field: &has_field }.deserialize(&mut deserializer).and_then(|object| {
        deserializer.end()?;
        Ok(object)
    });
    parsed.map_err(|error| Broken { message: explain(&error), has_field: has_field.get() })
}

fn explain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    // The line that the parser counts is always its first.
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("is no JSON object of references: {message} at column {}", error.column())
}

fn into_owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Text(bytes) => Value::Text(Cow::Owned(bytes.into_owned())),
        Value::Decimal(text) => Value::Decimal(Cow::Owned(text.into_owned())),
        Value::Missing => Value::Missing,
        Value::Null => Value::Null,
        Value::Integer(number) => Value::Integer(number),
        Value::Unsigned(number) => Value::Unsigned(number),
        Value::Float(number) => Value::Float(number),
        Value::Timestamp { micros, zoned } => Value::Timestamp { micros, zoned },
        Value::Date(days) => Value::Date(days),
        Value::Other(kind) => Value::Other(kind),
    }
}

/// A line's members for a sample.
fn shown(text: &[u8]) -> Vec<(String, String)> {
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(members) => members.into_iter().map(|(name, value)| (name, value.to_string())).collect(),
        Err(_) => vec![("line".to_owned(), String::from_utf8_lossy(text).into_owned())],
    }
}

struct ObjectOf<'n> {
    names: &'n Names,
    /// Set when anything is found in a field: what follows may be broken.
    has_field: &'n Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for ObjectOf<'_> {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectOf<'_> {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut object = Object { fields: Fields::default(), event: None };
        let mut exactly = [false; FIELDS];
        while let Some(member) = members.next_key_seed(MemberOf(self.names))? {
            match member {
                // A name that fits but for case gives way to one that fits exactly.
                Member::Field(place, exact) if exact || !exactly[place] => {
                    object.fields[place] = members.next_value::<Scalar<'de>>()?.0;
                    exactly[place] = exact;
                    self.has_field.set(self.has_field.get() || object.fields[place].lack().is_none());
                }
                Member::Event => object.event = Some(members.next_value()?),
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(object)
    }
}

/// What the name of a member stands for.
enum Member {
    Field(usize, bool),
    Event,
    Unknown,
}

struct MemberOf<'n>(&'n Names);

impl<'de> DeserializeSeed<'de> for MemberOf<'_> {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberOf<'_> {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        if self.0.event() == Some(name) {
            return Ok(Member::Event);
        }
        Ok(self.0.place(name).map_or(Member::Unknown, |(place, exact)| Member::Field(place, exact)))
    }
}

/// A member's value: a number, text, or what it is instead.
struct Scalar<'a>(Value<'a>);

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Self)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(number).map_or(Value::Unsigned(number), Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::text(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.as_bytes().to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other("a boolean"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value<'de>, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("a JSON object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other("a JSON array"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::source::settings::Format;

    fn names(format: Format, columns: &[(&str, &str)]) -> Names {
        let columns: BTreeMap<_, _> =
            columns.iter().map(|&(field, input)| (field.to_owned(), input.to_owned())).collect();
        Names::new(format, &columns).unwrap()
    }

    fn fields<'a>(names: &Names, text: &'a str) -> Result<Fields<'a>, String> {
        line_fields(names, text.as_bytes()).map_err(|broken| broken.message)
    }

    #[test]
    fn members_are_taken_as_what_they_are() {
        let text = r#"{"x":[1,{"create_time":5}],"conversation_id":"a|1|\u0062","message_server_id":9223372036854775808,
            "create_time":1.0,"owner_id":null,"other_id":true,"conversation_type":{"a":1}}"#;
        let found = fields(&names(Format::Reference, &[]), text).unwrap();
        assert_eq!(
            found,
            [
                Value::text("a|1|b"),
                Value::Null,
                Value::Other("a JSON object"),
                Value::Other("a boolean"),
                Value::Unsigned(1 << 63),
                Value::Float(1.0),
            ]
        );
    }

    #[test]
    fn a_name_that_fits_exactly_wins() {
        let names = names(Format::Reference, &[]);
        for text in [r#"{"Create_Time":1,"create_time":2}"#, r#"{"create_time":2,"Create_Time":1}"#] {
            assert_eq!(fields(&names, text).unwrap()[5], Value::Integer(2));
        }
        assert_eq!(fields(&names, r#"{"CREATE_TIME":3}"#).unwrap()[5], Value::Integer(3));
    }

    #[test]
    fn an_event_may_be_nested_or_be_text_of_its_own() {
        let names = names(Format::CopyEvent, &[("event", "payload")]);
        for text in [
            r#"{"id":1,"payload":{"to":"b","msgidServer":"5"}}"#,
            r#"{"id":1,"payload":"{\"to\":\"b\",\"msgid_server\":\"5\"}"}"#,
        ] {
            let found = fields(&names, text).unwrap();
            assert_eq!((&found[3], &found[4]), (&Value::text("b"), &Value::text("5")));
        }
        assert!(fields(&names, r#"{"to":"b"}"#).unwrap_err().contains("has no \"payload\""));
        assert!(fields(&names, r#"{"payload":5}"#).unwrap_err().contains("no JSON object"));
    }

    #[test]
    fn what_is_no_object_is_said_where_it_goes_wrong() {
        let names = names(Format::Reference, &[]);
        for text in ["[]", "5", "\"a\"", "null", "{", "{\"a\":1", "{} {}", "{\"a\":\"\u{1}\"}"] {
            let message = fields(&names, text).unwrap_err();
            assert!(
                message.starts_with("is no JSON object of references: ") && message.contains(" at column "),
                "{message}"
            );
            assert!(!message.contains("line"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn text_arrives_as_it_was_written(text: String, id: i64) {
            let line = serde_json::json!({"conversation_id": text, "message_server_id": id}).to_string();
            let names = names(Format::Reference, &[]);
            let found = fields(&names, &line).unwrap();
            prop_assert_eq!(&found[0], &Value::text(&text));
            prop_assert_eq!(&found[4], &Value::Integer(id));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "[{}\\[\\]\":,0-9ab ]{0,40}") {
            let names = names(Format::CopyEvent, &[]);
            let _ = line_fields(&names, &bytes);
            let _ = line_fields(&names, text.as_bytes());
        }
    }
}
