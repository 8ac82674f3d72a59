//! A selection of messages: whose, and of what time.

use std::collections::BTreeSet;

use super::Column;
use super::record::Record;

/// Whose messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Dialogues, by their keys.
    Conversations(BTreeSet<String>),
    /// What these accounts, lower-cased, sent or were addressed in: their one-to-one dialogues whole, and of teams what
    /// they sent and what was targeted at them.
    Accounts(BTreeSet<String>),
}

/// Which messages are selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Whose messages.
    pub scope: Scope,
    /// Created at this time or later; milliseconds since the epoch.
    pub from: Option<i64>,
    /// Created before this time; milliseconds since the epoch.
    pub to: Option<i64>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Value;

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
