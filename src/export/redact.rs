//! Removes what is redacted before any format sees a message.
//!
//! Every version of every message passes through here, including thread context and edit history, so no format can show what
//! was removed. `raw` is the whole message, and `extra` is whatever was not understood: any redaction removes both.

use std::collections::{BTreeSet, HashMap, HashSet};

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde::de::IgnoredAny;
use sha2::Sha256;

use crate::model::columns::Definition;
use crate::model::record::{Record, Value};
use crate::model::reference::{ConversationId, ConversationType};
use crate::model::selection::sides;
use crate::model::{Column, ColumnType};

/// What replaces a text.
pub const REDACTED: &str = "[redacted]";
/// What replaces an attachment.
const REDACTED_JSON: &str = r#"{"redacted":true}"#;
/// JSON numbers with fewer digits are never taken for an account.
const DIGITS: usize = 5;
/// What can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The text, including that of earlier versions and quotes.
    Text,
    /// The attachment: names, links, custom content.
    Attachment,
    /// The sender's own free text.
    Extension,
    /// Fields that the archive does not know. Removed by any redaction.
    Extra,
    /// The message's own JSON text. Removed by any redaction.
    Raw,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 5] = [Self::Text, Self::Attachment, Self::Extension, Self::Extra, Self::Raw];

    /// The word for it, and what it is.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("text", "The text"),
            Self::Attachment => ("attachment", "The attachment"),
            Self::Extension => ("extension", "The sender's own free text"),
            Self::Extra => ("extra", "Unknown fields; removed by any redaction"),
            Self::Raw => ("raw", "The message's own JSON text; removed by any redaction"),
        }
    }
}

/// Whether a column holds an account, in a one-to-one conversation or in a team.
fn is_account(kind: ColumnType, one_to_one: bool) -> bool {
    kind == ColumnType::Account || one_to_one && kind == ColumnType::Receiver
}

/// What is removed from an export.
#[derive(Debug, Default)]
pub struct Redaction {
    fields: BTreeSet<Field>,
    pseudonyms: Option<Pseudonyms>,
}

impl Redaction {
    /// Removes these fields, and accounts if there are pseudonyms for them.
    pub fn new(fields: impl IntoIterator<Item = Field>, pseudonyms: Option<Pseudonyms>) -> Self {
        let mut fields: BTreeSet<Field> = fields.into_iter().collect();
        if !fields.is_empty() || pseudonyms.is_some() {
            fields.extend([Field::Extra, Field::Raw]);
        }
        Self { fields, pseudonyms }
    }

    /// The fields that are removed.
    pub fn fields(&self) -> &BTreeSet<Field> {
        &self.fields
    }

    /// The pseudonyms.
    pub fn pseudonyms(&self) -> Option<&Pseudonyms> {
        self.pseudonyms.as_ref()
    }

    /// Notes an account that the selection names.
    pub(super) fn learn_account(&mut self, account: &str) {
        if let Some(pseudonyms) = &mut self.pseudonyms {
            pseudonyms.learn(account);
        }
    }

    /// The name of an account in the export.
    pub(super) fn account(&mut self, account: &str) -> String {
        match &mut self.pseudonyms {
            Some(pseudonyms) => pseudonyms.name(account),
            None => account.to_owned(),
        }
    }

    /// The name of a conversation in the export.
    pub(super) fn conversation(&mut self, key: &str) -> String {
        match &mut self.pseudonyms {
            Some(pseudonyms) => pseudonyms.key(key),
            None => key.to_owned(),
        }
    }

    /// Notes the accounts of a message, so that they are also found in texts.
    pub(super) fn learn(&mut self, record: &Record) {
        let Some(pseudonyms) = &mut self.pseudonyms else { return };
        let one_to_one = record.conversation_type() == 1;
        for column in Column::all(true).iter().filter(|column| is_account(column.kind, one_to_one)) {
            if let Some(account) = record.text(column.column) {
                pseudonyms.learn(account);
            }
        }
        for account in record.list(Column::ReceiverAccountIds) {
            pseudonyms.learn(account);
        }
        if let Ok(id) = ConversationId::parse(record.text(Column::ConversationId).unwrap_or_default()) {
            pseudonyms.learn(&id.owner);
        }
        if let Some((one, other)) = sides(record.conversation_key()) {
            pseudonyms.learn(one);
            pseudonyms.learn(other);
        }
    }

    /// Redacts a message.
    pub(super) fn apply(&mut self, record: &mut Record) {
        for field in &self.fields {
            let (column, mark) = match field {
                Field::Text => (Column::Text, Value::Text(REDACTED.to_owned())),
                Field::Attachment => (Column::Attachment, Value::Text(REDACTED_JSON.to_owned())),
                Field::Extension => (Column::Extension, Value::Text(REDACTED.to_owned())),
                Field::Extra => (Column::Extra, Value::Null),
                Field::Raw => (Column::Raw, Value::Null),
            };
            if *record.get(column) != Value::Null {
                record.set(column, mark);
            }
        }
        if let Some(pseudonyms) = &mut self.pseudonyms {
            pseudonyms.apply(record);
        }
    }
}

/// Names that replace accounts. An account has the same name throughout an export, and only whoever has the key can find
/// out which account it is.
pub struct Pseudonyms {
    key: [u8; 32],
    known: HashSet<String>,
    beginnings: HashSet<char>,
    longest: usize,
    given: HashMap<String, String>,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pseudonyms").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// Pseudonyms made with this key.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, known: HashSet::new(), beginnings: HashSet::new(), longest: 0, given: HashMap::new() }
    }

    /// Notes an account.
    pub fn learn(&mut self, account: &str) {
        let account = account.to_lowercase();
        if let Some(first) = account.chars().next()
            && !self.known.contains(&account)
        {
            self.beginnings.insert(first);
            self.longest = self.longest.max(account.len());
            self.known.insert(account);
        }
    }

    /// The name of an account, whatever its case.
    pub fn name(&mut self, account: &str) -> String {
        if account.is_empty() {
            return String::new();
        }
        let account = account.to_lowercase();
        if let Some(name) = self.given.get(&account) {
            return name.clone();
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(account.as_bytes());
        let name = format!("p_{}", hex::encode(&mac.finalize().into_bytes()[..10]));
        self.given.insert(account, name.clone());
        name
    }

    /// A conversation's key with pseudonyms for its accounts.
    pub fn key(&mut self, key: &str) -> String {
        match sides(key) {
            Some((one, other)) => {
                let id = ConversationId {
                    owner: self.name(one),
                    conversation_type: ConversationType::OneToOne,
                    other: self.name(other),
                };
                id.key().as_str().to_owned()
            }
            None => key.to_owned(),
        }
    }

    fn id(&mut self, text: &str) -> String {
        match ConversationId::parse(text) {
            Ok(mut id) => {
                id.owner = self.name(&id.owner);
                if id.conversation_type == ConversationType::OneToOne {
                    id.other = self.name(&id.other);
                }
                id.to_string()
            }
            Err(_) => REDACTED.to_owned(),
        }
    }

    fn apply(&mut self, record: &mut Record) {
        let one_to_one = record.conversation_type() == 1;
        for &Definition { column, kind, .. } in Column::all(true) {
            let value = match record.get(column) {
                Value::Text(text) => Value::Text(match column {
                    Column::ConversationKey => self.key(&text.clone()),
                    Column::ConversationId => self.id(&text.clone()),
                    Column::AppKey | Column::RunId => continue,
                    _ if is_account(kind, one_to_one) => self.name(&text.clone()),
                    _ if kind == ColumnType::Json => self.json(&text.clone()),
                    _ => self.scrub(&text.clone()),
                }),
                Value::List(list) => Value::List(list.clone().iter().map(|account| self.name(account)).collect()),
                _ => continue,
            };
            record.set(column, value);
        }
    }

    /// A text in which pseudonyms replace the known accounts, also inside JSON.
    fn scrub(&mut self, text: &str) -> String {
        let begins = text.trim_start();
        if begins.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok() {
            self.json(text)
        } else {
            self.words(text)
        }
    }

    /// JSON text whose strings and long numbers are searched. Everything else stays as it is written.
    fn json(&mut self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            match bytes[at] {
                b'"' => {
                    at += 1;
                    while at < bytes.len() && bytes[at] != b'"' {
                        at += if bytes[at] == b'\\' { 2 } else { 1 };
                    }
                    at = (at + 1).min(bytes.len());
                    let written = text.get(start..at).unwrap_or_default();
                    match serde_json::from_str::<String>(written) {
                        Ok(string) => {
                            let scrubbed = self.scrub(&string);
                            if scrubbed == string {
                                out.push_str(written);
                            } else {
                                out.push_str(&serde_json::Value::from(scrubbed).to_string());
                            }
                        }
                        Err(_) => out.push_str(&self.words(written)),
                    }
                }
                b'0'..=b'9' | b'-' => {
                    at += 1;
                    while at < bytes.len() && matches!(bytes[at], b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-') {
                        at += 1;
                    }
                    let number = &text[start..at];
                    if number.len() >= DIGITS && self.known.contains(number) {
                        out.push_str(&serde_json::Value::from(self.name(number)).to_string());
                    } else {
                        out.push_str(number);
                    }
                }
                _ => {
                    while at < bytes.len() && !matches!(bytes[at], b'"' | b'0'..=b'9' | b'-') {
                        at += 1;
                    }
                    out.push_str(&text[start..at]);
                }
            }
        }
        out
    }

    /// A text in which pseudonyms replace the known accounts where they are whole words: between characters that are not
    /// ASCII letters or digits.
    fn words(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let (mut done, mut before) = (0, None);
        for (start, character) in text.char_indices() {
            let inside = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            let lower = character.to_lowercase().next().unwrap_or(character);
            let begins = start >= done
                && !(inside(before) && character.is_ascii_alphanumeric())
                && self.beginnings.contains(&lower);
            before = Some(character);
            if !begins {
                continue;
            }
            let window = &text[start..];
            let ends = window.char_indices().map(|(at, c)| (at, c, at + c.len_utf8()));
            let ends = ends.take_while(|(.., end)| *end <= self.longest + 8).filter_map(|(_, last, end)| {
                let next = window[end..].chars().next();
                (!(inside(next) && last.is_ascii_alphanumeric())).then_some(end)
            });
            let found = ends.filter(|end| self.known.contains(&window[..*end].to_lowercase())).last();
            if let Some(end) = found {
                out.push_str(&text[done..start]);
                out.push_str(&self.name(&window[..end]));
                done = start + end;
            }
        }
        out.push_str(&text[done..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonyms() -> Pseudonyms {
        let mut pseudonyms = Pseudonyms::new([7; 32]);
        for account in ["Alice", "bob", "team.lead", "13800138000", "李雷"] {
            pseudonyms.learn(account);
        }
        pseudonyms
    }

    #[test]
    fn an_account_has_one_name_whatever_its_case() {
        let mut pseudonyms = pseudonyms();
        let name = pseudonyms.name("alice");
        assert_eq!(name, pseudonyms.name("ALICE"));
        assert_ne!(name, pseudonyms.name("bob"));
        assert_ne!(name, Pseudonyms::new([8; 32]).name("alice"));
        assert_eq!(pseudonyms.key("1|alice|bob"), pseudonyms.key("1|bob|alice"));
        assert_eq!(pseudonyms.key("2|77"), "2|77");
    }

    #[test]
    fn accounts_are_found_in_texts_as_words() {
        let mut pseudonyms = pseudonyms();
        let text = pseudonyms.words("请ALICE看, @bob: team.lead. bobby 李雷! x13800138000 13800138000");
        let (alice, bob) = (pseudonyms.name("alice"), pseudonyms.name("bob"));
        let (lead, phone, li) = (pseudonyms.name("team.lead"), pseudonyms.name("13800138000"), pseudonyms.name("李雷"));
        assert_eq!(text, format!("请{alice}看, @{bob}: {lead}. bobby {li}! x13800138000 {phone}"));
    }

    #[test]
    fn accounts_are_found_in_json_and_in_json_inside_json() {
        let mut pseudonyms = pseudonyms();
        let json = r#"{"a": "\u0061lice", "n":[1.50, 13800138000, 99], "in":"{\"who\":\"b\\u006fb\"}","bob":true}"#;
        let out = pseudonyms.scrub(json);
        let (alice, bob, phone) = (pseudonyms.name("alice"), pseudonyms.name("bob"), pseudonyms.name("13800138000"));
        let expected =
            format!(r#"{{"a": "{alice}", "n":[1.50, "{phone}", 99], "in":"{{\"who\":\"{bob}\"}}","{bob}":true}}"#);
        assert_eq!(out, expected);
    }
}
