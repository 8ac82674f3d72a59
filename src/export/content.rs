//! What a message shows to people, whatever its type.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::indented::indented;
use crate::model::Column;
use crate::model::message::type_name;
use crate::model::record::Record;
use crate::page::figures::size;

/// A file that a message names. Only its description is in the archive.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Attached {
    /// Its name, with the extension if there is one.
    pub(super) name: String,
    /// Where it was, if that is an http or https link.
    pub(super) link: Option<String>,
    /// Size, dimensions and duration, for people.
    pub(super) facts: Vec<String>,
}

/// What a message shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Content {
    /// The kind of message.
    pub(super) kind: String,
    /// Its text.
    pub(super) text: Option<String>,
    /// The file that it names.
    pub(super) attached: Option<Attached>,
    /// A place.
    pub(super) place: Option<String>,
    /// An attachment that has no simpler form: JSON, indented.
    pub(super) json: Option<String>,
}

/// A place's coordinates, as they are written.
#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow)]
    lat: &'a RawValue,
    #[serde(borrow)]
    lng: &'a RawValue,
}

/// The kind of a message.
fn kind(record: &Record) -> String {
    let sub_type = record.integer(Column::SubType).unwrap_or_default();
    match record.integer(Column::MessageType) {
        Some(100) if sub_type != 0 => format!("custom {sub_type}"),
        Some(number) => {
            let name = i32::try_from(number).ok().and_then(type_name);
            name.map_or_else(|| format!("type {number}"), ToOwned::to_owned)
        }
        None => "message".to_owned(),
    }
}

impl Content {
    /// What this version of a message shows.
    pub(super) fn of(record: &Record) -> Self {
        let mut content = Self { kind: kind(record), ..Self::default() };
        content.text = record.text(Column::Text).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        let Some(written) = record.text(Column::Attachment) else { return content };
        let Ok(attachment) = serde_json::from_str::<Value>(written) else {
            content.json = Some(written.to_owned());
            return content;
        };
        if attachment.get("redacted") == Some(&Value::Bool(true)) {
            content.json = Some("[attachment redacted]".to_owned());
            return content;
        }
        match record.integer(Column::MessageType) {
            Some(1 | 2 | 3 | 6) if attachment.get("url").is_some() || attachment.get("name").is_some() => {
                content.attached = Some(attached(&attachment, &content.kind));
            }
            Some(4) => match serde_json::from_str::<Place<'_>>(written) {
                Ok(Place { lat, lng }) => {
                    content.place = Some(match attachment.get("title").and_then(Value::as_str) {
                        Some(title) if !title.is_empty() => format!("{title} ({lat}, {lng})"),
                        _ => format!("{lat}, {lng}"),
                    });
                }
                Err(_) => content.json = indented(written),
            },
            _ => content.json = indented(written),
        }
        content
    }

    /// Everything as plain text.
    pub(super) fn plain(&self) -> String {
        let mut parts = Vec::new();
        if self.kind != "text" {
            parts.push(format!("[{}]", self.kind));
        }
        parts.extend(self.text.clone());
        if let Some(attached) = &self.attached {
            parts.push(attached.plain());
        }
        parts.extend(self.place.clone());
        parts.extend(self.json.clone());
        parts.join(" ")
    }

    /// The beginning in one line, for a quote.
    pub(super) fn line(&self, longest: usize) -> String {
        let plain = match (&self.text, &self.attached, &self.place) {
            (Some(text), ..) => text.clone(),
            (None, Some(attached), _) => format!("[{}] {}", self.kind, attached.name),
            (None, None, Some(place)) => format!("[{}] {place}", self.kind),
            (None, None, None) => format!("[{}]", self.kind),
        };
        let mut words = String::new();
        for word in plain.split_whitespace() {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
            if words.len() > longest * 4 {
                break;
            }
        }
        if words.chars().count() > longest {
            words = words.chars().take(longest).collect();
            words.push('…');
        }
        words
    }
}

impl Attached {
    /// Name, facts and link in one line.
    pub(super) fn plain(&self) -> String {
        let mut text = self.name.clone();
        if !self.facts.is_empty() {
            text.push_str(&format!(" ({})", self.facts.join(", ")));
        }
        if let Some(link) = &self.link {
            text.push(' ');
            text.push_str(link);
        }
        text
    }
}

fn attached(attachment: &Value, kind: &str) -> Attached {
    let text = |name: &str| attachment.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let number = |name: &str| attachment.get(name).and_then(Value::as_u64);
    let mut name = text("name").map_or_else(|| kind.to_owned(), ToOwned::to_owned);
    if let Some(extension) = text("ext").map(|ext| ext.trim_start_matches('.'))
        && !name.to_lowercase().ends_with(&format!(".{}", extension.to_lowercase()))
    {
        name.push('.');
        name.push_str(extension);
    }
    let mut facts = Vec::new();
    facts.extend(number("size").map(size));
    if let (Some(width), Some(height)) = (number("w"), number("h")) {
        facts.push(format!("{width} × {height}"));
    }
    if let Some(duration) = number("dur") {
        let seconds = duration.div_ceil(1000);
        facts.push(format!("{}:{:02}", seconds / 60, seconds % 60));
    }
    let link = text("url").and_then(|url| url::Url::parse(url).ok());
    let link = link.filter(|url| matches!(url.scheme(), "http" | "https")).map(|url| url.to_string());
    Attached { name, link, facts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Value as Cell;

    fn content(kind: i64, text: Option<&str>, attachment: Option<&str>) -> Content {
        let mut record = Record::new();
        record.set(Column::MessageType, Cell::Integer(kind));
        for (column, value) in [(Column::Text, text), (Column::Attachment, attachment)] {
            if let Some(value) = value {
                record.set(column, Cell::Text(value.to_owned()));
            }
        }
        Content::of(&record)
    }

    #[test]
    fn a_file_is_its_name_size_and_link() {
        let image = r#"{"name":"a","ext":"jpg","url":"https://x.example/y","size":120000,"w":3,"h":4}"#;
        let image = content(1, None, Some(image));
        assert_eq!(image.plain(), "[image] a.jpg (120.0 kB, 3 × 4) https://x.example/y");
        let script = content(6, None, Some(r#"{"name":"a.txt","ext":"txt","url":"javascript:alert(1)"}"#));
        assert_eq!(script.attached.unwrap_or_default().link, None);
    }

    #[test]
    fn what_has_no_simpler_form_is_json() {
        assert_eq!(content(100, None, Some(r#"{"a":[1]}"#)).json.as_deref(), Some("{\n  \"a\": [\n    1\n  ]\n}"));
        assert_eq!(content(1, None, Some("{")).json.as_deref(), Some("{"));
    }

    #[test]
    fn a_quote_is_one_short_line() {
        assert_eq!(content(0, Some("a\n\n b  c"), None).line(10), "a b c");
        assert_eq!(content(0, Some("中文中文中文"), None).line(4), "中文中文…");
        assert_eq!(
            content(4, None, Some(r#"{"lat":1.5,"lng":2,"title":"西湖"}"#)).line(40),
            "[location] 西湖 (1.5, 2)"
        );
    }

    #[test]
    fn no_number_changes() {
        let place = content(4, None, Some(r#"{"lat":30.250,"lng":1.2012345678901234567e2}"#));
        assert_eq!(place.place.as_deref(), Some("30.250, 1.2012345678901234567e2"));
        let custom = content(100, None, Some(r#"{"id":12345678901234567890123,"a":1e3}"#));
        assert_eq!(custom.json.as_deref(), Some("{\n  \"id\": 12345678901234567890123,\n  \"a\": 1e3\n}"));
    }
}
