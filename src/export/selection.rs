//! Which messages are exported.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::record::{Column, Record};
use crate::model::reference::ConversationId;

/// Whose messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Conversations, by their keys.
    Conversations(BTreeSet<String>),
    /// What these accounts (in lower case) sent or received: their one-to-one conversations as a whole, and in teams what
    /// they sent and what was targeted at them.
    Accounts(BTreeSet<String>),
}

/// Which messages: whose, and of what time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Whose messages.
    pub scope: Scope,
    /// Created at this time or later; milliseconds since the epoch.
    pub from: Option<i64>,
    /// Created before this time; milliseconds since the epoch.
    pub to: Option<i64>,
}

/// Which end of a time range a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first moment that belongs to it.
    From,
    /// The first moment that no longer belongs to it; for a day, the end of that day.
    To,
}

/// The key of a conversation, from either spelling of its ID or from the key itself.
///
/// # Errors
///
/// What is wrong with it, and what would be right.
pub fn conversation_key(text: &str) -> Result<String, String> {
    let text = text.trim();
    if let Ok(id) = ConversationId::parse(text) {
        return Ok(id.key().as_str().to_owned());
    }
    let mut parts = text.split('|');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("1"), Some(one), Some(other), None) if !one.is_empty() && !other.is_empty() => {
            Ok(ConversationId::parse(&format!("{one}|1|{other}")).map_err(|error| error.to_string())?.key().to_string())
        }
        (Some("2" | "3"), Some(team), None, None) if !team.is_empty() => Ok(text.to_lowercase()),
        _ => Err(format!(
            "{text:?} is not a conversation: give its ID (alice|1|bob, alice|2|4400000001) or its key (1|alice|bob, \
             2|4400000001)"
        )),
    }
}

/// A moment from RFC 3339, or from a date or a local time in `zone`, in milliseconds since the epoch. A date as the end
/// of a range means the end of that day.
///
/// # Errors
///
/// What is wrong with it, and what would be right.
pub fn moment(text: &str, zone: &TimeZone, end: End) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let wrong = || {
        format!("{text:?} is not a time: give a date such as 2026-11-22, or a time such as 2026-11-22T18:00:00+08:00")
    };
    let is_date = text.len() == 10;
    let local = if is_date {
        let date: Date = text.parse().map_err(|_| wrong())?;
        let date = if end == End::To { date.tomorrow().map_err(|_| wrong())? } else { date };
        date.at(0, 0, 0, 0)
    } else {
        text.parse::<DateTime>().map_err(|_| wrong())?
    };
    Ok(local.to_zoned(zone.clone()).map_err(|_| wrong())?.timestamp().as_millisecond())
}

impl Selection {
    /// Whether a moment lies in the range.
    pub fn holds_time(&self, time: i64) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }

    /// Whether a message is selected.
    pub fn holds(&self, record: &Record) -> bool {
        if !self.holds_time(record.create_time()) {
            return false;
        }
        match &self.scope {
            Scope::All => true,
            Scope::Conversations(keys) => keys.contains(record.conversation_key()),
            Scope::Accounts(accounts) => {
                let named = |account: &str| accounts.contains(&account.to_lowercase());
                if record.conversation_type() == 1 {
                    return sides(record.conversation_key()).is_some_and(|(one, other)| named(one) || named(other));
                }
                let excluded = record.flag(Column::Inclusive) == Some(false);
                record.text(Column::SenderId).is_some_and(named)
                    || (!excluded && record.list(Column::ReceiverAccountIds).iter().any(|account| named(account)))
            }
        }
    }
}

/// The two accounts of a one-to-one dialogue.
pub fn sides(conversation_key: &str) -> Option<(&str, &str)> {
    conversation_key.strip_prefix("1|")?.split_once('|')
}

/// A conversation's name, from its key.
pub(super) fn title(conversation_key: &str) -> String {
    match (sides(conversation_key), conversation_key.split_once('|')) {
        (Some((one, other)), _) => format!("{one} and {other}"),
        (None, Some(("3", team))) => format!("super team {team}"),
        (None, parts) => format!("team {}", parts.map_or(conversation_key, |(_, team)| team)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::export::record::Value;

    #[test]
    fn a_conversation_is_called_by_its_sides_or_its_team() {
        for (key, name) in [("1|alice|bob", "alice and bob"), ("2|77", "team 77"), ("3|77", "super team 77")] {
            assert_eq!(title(key), name);
        }
    }

    #[test]
    fn every_spelling_of_a_conversation_is_its_key() {
        for text in ["Bob|1|alice", "alice|1|BOB", "1|alice|bob", "1|Bob|Alice"] {
            assert_eq!(conversation_key(text).unwrap(), "1|alice|bob", "{text}");
        }
        assert_eq!(conversation_key("anyone|2|77").unwrap(), "2|77");
        assert_eq!(conversation_key("3|77").unwrap(), "3|77");
        for text in ["", "alice", "alice|bob", "1|alice", "2|", "a|4|b", "a|1|b|c"] {
            assert!(conversation_key(text).unwrap_err().contains("not a conversation"), "{text}");
        }
    }

    #[test]
    fn a_date_is_one_of_the_zone_and_whole() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(moment("2026-11-22", &zone, End::From).unwrap(), at("2026-11-21T16:00:00Z"));
        assert_eq!(moment("2026-11-22", &zone, End::To).unwrap(), at("2026-11-22T16:00:00Z"));
        assert_eq!(moment("2026-11-22T10:00", &zone, End::To).unwrap(), at("2026-11-22T02:00:00Z"));
        assert_eq!(moment("2026-11-22T10:00:00Z", &zone, End::From).unwrap(), at("2026-11-22T10:00:00Z"));
        assert!(moment("yesterday", &zone, End::From).unwrap_err().contains("2026-11-22"));
    }

    #[test]
    fn an_account_has_its_dialogues_whole_and_of_teams_what_it_sent_or_was_targeted_at() {
        let selection = Selection { scope: Scope::Accounts(BTreeSet::from(["bob".to_owned()])), from: None, to: None };
        let message = |kind: i64, key: &str, sender: &str, receivers: &[&str], inclusive: Option<bool>| {
            let mut record = Record::new();
            record.set(Column::ConversationType, Value::Integer(kind));
            record.set(Column::ConversationKey, Value::Text(key.to_owned()));
            record.set(Column::SenderId, Value::Text(sender.to_owned()));
            if !receivers.is_empty() {
                let receivers = receivers.iter().map(|account| (*account).to_owned()).collect();
                record.set(Column::ReceiverAccountIds, Value::List(receivers));
            }
            if let Some(inclusive) = inclusive {
                record.set(Column::Inclusive, Value::Flag(inclusive));
            }
            selection.holds(&record)
        };
        assert!(message(1, "1|alice|bob", "alice", &[], None));
        assert!(!message(1, "1|alice|bobby", "alice", &[], None));
        assert!(message(2, "2|77", "BOB", &[], None));
        assert!(!message(2, "2|77", "alice", &[], None));
        assert!(message(2, "2|77", "alice", &["carol", "Bob"], Some(true)));
        assert!(!message(2, "2|77", "alice", &["Bob"], Some(false)));
    }
}
