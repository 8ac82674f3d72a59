//! Messages that a world holds one by one, each with its own fate.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::conversation::Conversation;
use super::generated::Dialogue;

/// What becomes of a reference to a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is answered.
    #[default]
    Found,
    /// It is listed as failed with code 107404: message not exist.
    Missing,
    /// It is listed as failed with this code.
    Failed(i64),
    /// It is in neither list.
    Unanswered,
    /// Any request that holds it is refused with code 414.
    Poison,
    /// Any request that holds it is refused with this code.
    Refused(i64),
}

/// What else an answer holds because of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Echo {
    /// The message once more.
    Twice,
    /// A message of the same conversation that nobody asked for. Its ID is one higher.
    Stranger,
    /// The same reference in `failed_list` as well.
    BothLists,
}

/// One message of a world.
#[derive(Debug, Clone)]
pub struct Message {
    pub(super) conversation: Conversation,
    pub(super) id: i64,
    pub(super) create_time: i64,
    pub(super) fields: Vec<(String, String)>,
    pub(super) fate: Fate,
    pub(super) seen_by: Option<Vec<String>>,
    pub(super) hidden_as: Fate,
    /// Its fate at first, and how many times more it has it when it is asked for.
    pub(super) at_first: (Fate, u32),
    pub(super) echo: Option<Echo>,
}

impl Message {
    /// A plain text message, sent by the owner that `conversation_id` names.
    ///
    /// # Panics
    ///
    /// When `conversation_id` is not of the form `owner|type|other`.
    pub fn text(conversation_id: &str, id: i64, create_time: i64, text: &str) -> Self {
        let mut message = Self::bare(conversation_id, id, create_time);
        let conversation = message.conversation.clone();
        message.set("message_server_id", id.to_string());
        message.set("message_client_id", quoted(&format!("client-{id}")));
        message.set("conversation_type", conversation.kind.to_string());
        message.set("sender_id", quoted(&conversation.owner));
        if conversation.kind == 1 {
            message.set("receiver_id", quoted(&conversation.other));
        } else {
            message.set("team_id", conversation.other);
        }
        message.set("message_type", "0".to_owned());
        message.set("create_time", create_time.to_string());
        message.set("sender_client_type", "1".to_owned());
        message.set("text", quoted(text));
        message
    }

    /// A message as the generated world would hold it, of any type.
    ///
    /// # Panics
    ///
    /// When `conversation_id` is not of the form `owner|type|other`.
    pub fn generated(conversation_id: &str, id: i64, create_time: i64) -> Self {
        Self::generated_from(0, conversation_id, id, create_time)
    }

    /// As [`Self::generated`], the content derived from `seed`.
    pub(super) fn generated_from(seed: u64, conversation_id: &str, id: i64, create_time: i64) -> Self {
        let mut message = Self::bare(conversation_id, id, create_time);
        let item = Dialogue::new(seed, &message.conversation).item(id, create_time);
        message.fields = fields_of(&item).expect("a generated item is a JSON object");
        message
    }

    fn bare(conversation_id: &str, id: i64, create_time: i64) -> Self {
        let conversation = Conversation::parse(conversation_id)
            .unwrap_or_else(|| panic!("{conversation_id:?} is not of the form owner|type|other"));
        Self {
            conversation,
            id,
            create_time,
            fields: Vec::new(),
            fate: Fate::Found,
            seen_by: None,
            hidden_as: Fate::Missing,
            at_first: (Fate::Found, 0),
            echo: None,
        }
    }

    /// Sets a field to this JSON text, exactly as it is.
    ///
    /// # Panics
    ///
    /// When `json` is no JSON.
    #[must_use]
    pub fn field(mut self, name: &str, json: &str) -> Self {
        assert!(serde_json::from_str::<&RawValue>(json).is_ok(), "{json:?} is no JSON");
        self.set(name, json.to_owned());
        self
    }

    /// Leaves out a field.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(field, _)| field != name);
        self
    }

    /// Sets what becomes of references to the message.
    #[must_use]
    pub fn fate(mut self, fate: Fate) -> Self {
        self.fate = fate;
        self
    }

    /// Lets only these owners see the message; for all others its fate is `hidden_as`.
    #[must_use]
    pub fn seen_by<'a>(mut self, owners: impl IntoIterator<Item = &'a str>, hidden_as: Fate) -> Self {
        self.seen_by = Some(owners.into_iter().map(str::to_lowercase).collect());
        self.hidden_as = hidden_as;
        self
    }

    /// Sets the fate of the first `times` references to the message, whoever asks.
    #[must_use]
    pub fn at_first(mut self, fate: Fate, times: u32) -> Self {
        self.at_first = (fate, times);
        self
    }

    /// Sets what else an answer holds because of the message.
    #[must_use]
    pub fn echo(mut self, echo: Echo) -> Self {
        self.echo = Some(echo);
        self
    }

    pub(super) fn set(&mut self, name: &str, json: String) {
        match self.fields.iter_mut().find(|(field, _)| field == name) {
            Some((_, value)) => *value = json,
            None => self.fields.push((name.to_owned(), json)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, json)| json.as_str())
    }

    /// The item's JSON text, as an answer holds it.
    pub fn item(&self) -> String {
        let mut out = String::new();
        self.push_item(&mut out);
        out
    }

    pub(super) fn push_item(&self, out: &mut String) {
        out.push('{');
        for (n, (name, json)) in self.fields.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            out.push_str(&quoted(name));
            out.push(':');
            out.push_str(json);
        }
        out.push('}');
    }

    /// What becomes of a reference to the message under this owner.
    pub(super) fn fate_for(&self, owner: &str) -> Fate {
        match &self.seen_by {
            _ if self.at_first.1 > 0 => self.at_first.0,
            Some(owners) if !owners.iter().any(|seen| seen == owner) => self.hidden_as,
            _ => self.fate,
        }
    }
}

/// Text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The fields of a JSON object in order, each with its text as it stands there.
pub(super) fn fields_of(object: &str) -> Result<Vec<(String, String)>, serde_json::Error> {
    struct Fields(Vec<(String, String)>);

    impl<'de> Deserialize<'de> for Fields {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Collect;

            impl<'de> Visitor<'de> for Collect {
                type Value = Fields;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                    let mut fields = Vec::new();
                    while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                        fields.push((name, value.get().to_owned()));
                    }
                    Ok(Fields(fields))
                }
            }
            deserializer.deserialize_map(Collect)
        }
    }
    serde_json::from_str::<Fields>(object).map(|fields| fields.0)
}
