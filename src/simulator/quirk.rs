//! The ways in which an item can be strange.

use serde::Deserialize;

use super::message::{Message, quoted};

/// One way in which an item can be strange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// IDs are strings of digits.
    StringIds,
    /// The sender's client type is a string of digits.
    StringClientType,
    /// The sender's client type is a word.
    NamedClientType,
    /// The attachment is a string that holds JSON.
    AttachmentString,
    /// The attachment is a string that holds no JSON.
    AttachmentText,
    /// The attachment is an empty object.
    EmptyAttachment,
    /// The attachment is an object 300 deep.
    DeepAttachment,
    /// Integer fields are floating-point numbers.
    Floats,
    /// Known fields have types that do not fit.
    Garbage,
    /// Every optional field is null.
    Nulls,
    /// Only the ID is there.
    Sparse,
    /// The text holds `\u0000`.
    NulText,
    /// The text ends in half of an emoji.
    LoneSurrogate,
    /// The attachment and an unknown field hold half of an emoji.
    HiddenSurrogate,
    /// The text is 100 KiB long.
    LongText,
    /// The text holds every character that JSON escapes, and JSON.
    EscapedText,
    /// Unknown fields, nested, with numbers beyond 64 bits.
    UnknownFields,
    /// The message type is unknown.
    UnknownType,
    /// The message was edited.
    Edited,
    /// The time of the edit is 0: never edited.
    NeverEdited,
    /// It starts a thread and answers a message; their IDs are strings.
    Thread,
    /// As `Thread`, but the IDs are integers.
    ThreadIntegers,
    /// Only `thread_reply` is there.
    ThreadReplyOnly,
    /// Only some see it.
    Targeted,
    /// The ID is an object: the item cannot be read as a message.
    Undecodable,
}

impl Message {
    /// Makes the message strange in one way.
    #[must_use]
    pub fn quirk(mut self, quirk: Quirk) -> Self {
        quirk.apply(&mut self);
        self
    }
}

impl Quirk {
    /// Every quirk.
    pub const ALL: [Self; 25] = [
        Self::StringIds,
        Self::StringClientType,
        Self::NamedClientType,
        Self::AttachmentString,
        Self::AttachmentText,
        Self::EmptyAttachment,
        Self::DeepAttachment,
        Self::Floats,
        Self::Garbage,
        Self::Nulls,
        Self::Sparse,
        Self::NulText,
        Self::LoneSurrogate,
        Self::HiddenSurrogate,
        Self::LongText,
        Self::EscapedText,
        Self::UnknownFields,
        Self::UnknownType,
        Self::Edited,
        Self::NeverEdited,
        Self::Thread,
        Self::ThreadIntegers,
        Self::ThreadReplyOnly,
        Self::Targeted,
        Self::Undecodable,
    ];

    fn apply(self, message: &mut Message) {
        let mut set = |name: &str, json: &str| message.set(name, json.to_owned());
        match self {
            Self::StringIds => {
                for name in ["message_server_id", "team_id"] {
                    if let Some(id) = message.get(name).filter(|id| !id.starts_with('"')).map(quoted) {
                        message.set(name, id);
                    }
                }
            }
            Self::StringClientType => set("sender_client_type", "\"16\""),
            Self::NamedClientType => set("sender_client_type", "\"Web\""),
            Self::AttachmentString => set("attachment", r#""{\"md5\":\"00ff\",\"size\":12,\"名\":\"图\"}""#),
            Self::AttachmentText => set("attachment", "\"not {json\""),
            Self::EmptyAttachment => set("attachment", "{}"),
            Self::DeepAttachment => set("attachment", &format!("{}1{}", "{\"a\":".repeat(300), "}".repeat(300))),
            Self::Floats => {
                set("message_type", "0.0");
                set("sub_type", "1.5");
                set("modify_time", "1.7e12");
            }
            Self::Garbage => {
                set("text", "17");
                set("sender_id", "{\"name\":\"a\"}");
                set("message_client_id", "[1]");
                set("receiver_account_ids", "\"everyone\"");
                set("inclusive", "\"yes\"");
                set("thread_config", "[]");
                set("message_type", "99999999999999999999");
            }
            Self::Nulls => {
                for (_, json) in message.fields.iter_mut().filter(|(name, _)| name != "message_server_id") {
                    "null".clone_into(json);
                }
                for name in ["text", "attachment", "extension", "thread_config", "modify_time", "inclusive"] {
                    message.set(name, "null".to_owned());
                }
            }
            Self::Sparse => message.fields.retain(|(name, _)| name == "message_server_id"),
            Self::NulText => set("text", r#""before\u0000after""#),
            Self::LoneSurrogate => set("text", r#""cut \ud83d""#),
            Self::HiddenSurrogate => {
                set("attachment", r#"{"name":"\ud83d.png","size":3}"#);
                set("client_note", r#"{"half":"\udc00"}"#);
            }
            Self::LongText => set("text", &quoted(&"长文 long ".repeat(8_534))),
            Self::EscapedText => {
                set("text", r#""{\"a\":\"\\n\"} \b\f\n\r\t\/\u001f\u2028 \ud83d\ude00 \u00e9 é""#);
            }
            Self::UnknownFields => {
                set("pin_state", "1");
                set("yidun_config", r#"{"level":[1,{"x":null}],"hit":false}"#);
                set("checksum", "123456789012345678901234567890");
                set("ratio", "1.2300e-400");
                set("", "\"a field without a name\"");
            }
            Self::UnknownType => set("message_type", "9999"),
            Self::Edited => {
                let edited_at = (message.create_time + 60_000).to_string();
                message.set("modify_account_id", quoted(&message.conversation.owner));
                message.set("modify_time", edited_at);
                message.set("text", quoted("edited 已修改"));
            }
            Self::NeverEdited => set("modify_time", "0"),
            Self::Thread => {
                let (root, reply) = links(message, "\"");
                message.set("thread_config", format!("{{\"thread_root\":{root},\"thread_reply\":{reply}}}"));
            }
            Self::ThreadIntegers => {
                let (root, reply) = links(message, "");
                message.set("thread_config", format!("{{\"thread_reply\":{reply},\"thread_root\":{root}}}"));
            }
            Self::ThreadReplyOnly => {
                let (_, reply) = links(message, "\"");
                message.set("thread_config", format!("{{\"thread_reply\":{reply},\"thread_root\":null}}"));
            }
            Self::Targeted => {
                set("receiver_account_ids", r#"["u1","U2","用户三"]"#);
                set("inclusive", "true");
                set("new_member_visible", "false");
            }
            Self::Undecodable => set("message_server_id", "{\"id\":1}"),
        }
    }
}

/// Root and reply of a message with a `Thread` quirk: the messages 2 and 1 before it in ID, 2 and 1 seconds in time.
fn links(message: &Message, quote: &str) -> (String, String) {
    let link = |back: i64| {
        let (id, time) = (message.id - back, message.create_time - 1_000 * back);
        let (sender, receiver) = (quoted(&message.conversation.owner), quoted(&message.conversation.other));
        format!(
            "{{\"sender_id\":{sender},\"receiver_id\":{receiver},\"create_time\":{time},\
             \"message_server_id\":{quote}{id}{quote},\"message_client_id\":\"client-{id}\"}}"
        )
    };
    (link(2), link(1))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn every_quirk_leaves_json_and_changes_the_item() {
        for conversation in ["a|1|b", "a|2|77"] {
            let plain = Message::text(conversation, 158_844_553_334_358_018, 1_753_951_805_248, "hi");
            for quirk in Quirk::ALL {
                let item = plain.clone().quirk(quirk).item();
                assert!(serde_json::from_str::<&RawValue>(&item).is_ok(), "{quirk:?}: {item}");
                assert_ne!(item, plain.item(), "{quirk:?}");
            }
        }
    }
}
