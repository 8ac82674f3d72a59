//! Message copy events: which of them are about a message in a conversation.

use crate::model::reference::ConversationType;
use crate::source::value::{Value, digits};

/// What a copy event is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A message in a conversation of this type.
    Message(ConversationType),
    /// Something else; the row is skipped.
    Other,
}

/// What an event is about, by its `eventType` and `convType`. An event without a type is a message. A type that makes no
/// sense is an error, because skipping the row could lose a message.
pub(super) fn subject(event_type: &Value<'_>, conversation_type: &Value<'_>) -> Result<Subject, String> {
    let is_message = match event_type {
        Value::Integer(number) => *number == 1,
        _ if event_type.lack().is_some() => true,
        Value::Text(bytes) if let Some(number) = digits(bytes.trim_ascii()) => number == 1,
        _ => return Err(format!("eventType {event_type} is no event type")),
    };
    if !is_message {
        return Ok(Subject::Other);
    }
    if let Some(lack) = conversation_type.lack() {
        return Err(format!("convType {lack}"));
    }
    match conversation_type {
        Value::Text(bytes) if bytes.iter().any(u8::is_ascii_alphabetic) => {
            Ok(word(bytes.trim_ascii()).map_or(Subject::Other, Subject::Message))
        }
        _ => Err(format!("convType {conversation_type} is no conversation type, such as PERSON, TEAM or SUPER_TEAM")),
    }
}

/// The conversation type that events call by this name, in any case.
pub(super) fn word(text: &[u8]) -> Option<ConversationType> {
    match text.to_ascii_uppercase().as_slice() {
        b"PERSON" => Some(ConversationType::OneToOne),
        b"TEAM" => Some(ConversationType::Team),
        b"SUPER_TEAM" | b"SUPERTEAM" => Some(ConversationType::SuperTeam),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(event_type: &str, conversation_type: &str) -> Result<Subject, String> {
        subject(&Value::text(event_type), &Value::text(conversation_type))
    }

    #[test]
    fn messages_of_the_three_conversation_types_are_references() {
        assert_eq!(of("1", "PERSON"), Ok(Subject::Message(ConversationType::OneToOne)));
        assert_eq!(of("1", "TEAM"), Ok(Subject::Message(ConversationType::Team)));
        assert_eq!(of("1", "SUPER_TEAM"), Ok(Subject::Message(ConversationType::SuperTeam)));
        assert_eq!(of("1", "SUPERTEAM"), Ok(Subject::Message(ConversationType::SuperTeam)));
        assert_eq!(of(" 1 ", " person "), Ok(Subject::Message(ConversationType::OneToOne)));
        assert_eq!(subject(&Value::Integer(1), &Value::text("TEAM")), Ok(Subject::Message(ConversationType::Team)));
    }

    #[test]
    fn an_event_without_a_type_is_a_message() {
        assert_eq!(subject(&Value::Null, &Value::text("TEAM")), Ok(Subject::Message(ConversationType::Team)));
        assert_eq!(of("", "TEAM"), Ok(Subject::Message(ConversationType::Team)));
    }

    #[test]
    fn other_events_and_other_conversations_are_passed_over() {
        assert_eq!(of("2", ""), Ok(Subject::Other));
        assert_eq!(subject(&Value::Integer(5), &Value::Null), Ok(Subject::Other));
        assert_eq!(of("1", "CUSTOM_PERSON"), Ok(Subject::Other));
        assert_eq!(of("1", "CUSTOM_TEAM"), Ok(Subject::Other));
        assert_eq!(of("1", "CHATROOM"), Ok(Subject::Other));
    }

    #[test]
    fn what_is_no_type_is_a_mistake_and_not_passed_over() {
        for (event_type, conversation_type) in [("TEXT", "PERSON"), ("1.0", "TEAM"), ("1", "1"), ("", "2"), ("1", "?")]
        {
            assert!(of(event_type, conversation_type).is_err(), "{event_type} {conversation_type}");
        }
    }

    #[test]
    fn a_message_without_a_conversation_type_is_a_mistake() {
        assert!(of("1", " ").is_err());
        assert!(subject(&Value::Null, &Value::Null).is_err());
        assert!(subject(&Value::Null, &Value::Integer(1)).is_err());
    }
}
