//! The fields of a JSON object, and of a copy event that stands as JSON within another input.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::names::{FIELDS, Fields, Names};
use crate::source::value::Value;

/// Why a row has no fields.
#[derive(Debug)]
pub(in crate::source) struct Broken {
    pub(in crate::source) message: String,
    /// Whether it holds something of a field all the same.
    pub(in crate::source) has_field: bool,
}

impl Broken {
    pub(in crate::source) fn empty(message: String) -> Self {
        Self { message, has_field: false }
    }
}

/// The fields of a JSON object, or of the copy event in the member that `columns` names.
pub(in crate::source) fn fields(names: &Names, text: &[u8]) -> Result<Fields<'static>, Broken> {
    let object = parse(names, text)?;
    let Some(name) = &names.event else { return Ok(object.fields) };
    let event = object.event.ok_or_else(|| Broken::empty(format!("has no {name:?}")))?.get();
    if !event.starts_with('"') {
        return Ok(parse(names, event.as_bytes())?.fields);
    }
    let text: String =
        serde_json::from_str(event).map_err(|error| Broken::empty(format!("{name:?} {}", explain(&error))))?;
    Ok(parse(names, text.as_bytes())?.fields)
}

/// The fields of a copy event that stands as JSON in a column.
pub(super) fn event(names: &Names, value: &Value<'_>) -> Result<Fields<'static>, Broken> {
    match value {
        _ if value.lack().is_some() => Err(Broken::empty("the event is empty".to_owned())),
        Value::Text(bytes) => Ok(parse(names, bytes)?.fields),
        other => Err(Broken::empty(format!("the event {other} is no JSON text"))),
    }
}

/// What matters of a JSON object.
struct Object<'a> {
    fields: Fields<'static>,
    event: Option<&'a RawValue>,
}

fn parse<'a>(names: &Names, text: &'a [u8]) -> Result<Object<'a>, Broken> {
    let has_field = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let parsed = ObjectOf { names, has_field: &has_field }.deserialize(&mut deserializer);
    parsed
        .and_then(|object| deserializer.end().map(|()| object))
        .map_err(|error| Broken { message: explain(&error), has_field: has_field.get() })
}

fn explain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    // The parser counts lines from the object's first, which says nothing of the file.
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("is no JSON object of references: {message} at column {}", error.column())
}

struct ObjectOf<'n> {
    names: &'n Names,
    /// Set when a field holds something, even if the object turns out to be broken behind it.
    has_field: &'n Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for ObjectOf<'_> {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// The name of a member, borrowed where it holds no escape.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for ObjectOf<'_> {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut object = Object { fields: Fields::default(), event: None };
        let mut is_exact = [false; FIELDS];
        while let Some(Name(name)) = members.next_key()? {
            if self.names.event.as_deref() == Some(&name) {
                object.event = Some(members.next_value()?);
                continue;
            }
            match self.names.place(&name) {
                // A name whose case fits wins over one whose case does not.
                Some((place, exact)) if exact || !is_exact[place] => {
                    object.fields[place] = value(members.next_value()?);
                    is_exact[place] = exact;
                    self.has_field.set(self.has_field.get() || object.fields[place].lack().is_none());
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(object)
    }
}

fn value(value: serde_json::Value) -> Value<'static> {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(_) => Value::Other("a boolean"),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Integer(number),
            (_, Some(number)) => Value::Unsigned(number),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::owned(text),
        serde_json::Value::Array(_) => Value::Other("a JSON array"),
        serde_json::Value::Object(_) => Value::Other("a JSON object"),
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

    fn fields(names: &Names, text: &str) -> Result<Fields<'static>, String> {
        super::fields(names, text.as_bytes()).map_err(|broken| broken.message)
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
            let _ = super::fields(&names, &bytes);
            let _ = super::fields(&names, text.as_bytes());
        }
    }
}
