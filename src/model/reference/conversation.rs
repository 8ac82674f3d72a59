//! Conversations: what references name them, and the key that both sides share.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a conversation, as the API numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ConversationType {
    /// Between two accounts.
    OneToOne = 1,
    /// An advanced team.
    Team = 2,
    /// A super team.
    SuperTeam = 3,
}

impl ConversationType {
    /// The type with this number, or `None` when the API knows no such type.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::OneToOne),
            2 => Some(Self::Team),
            3 => Some(Self::SuperTeam),
            _ => None,
        }
    }

    /// The number that the API uses.
    pub fn number(self) -> i32 {
        i32::from(self as u8)
    }
}

/// A conversation as one account sees it: `owner|type|other`.
///
/// The spelling is kept as given: the API lower-cases accounts itself, and compares them lower-cased.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConversationId {
    /// The account in whose name a request asks.
    pub owner: String,
    /// One-to-one, team or super team.
    pub conversation_type: ConversationType,
    /// The other account, or the team's ID.
    pub other: String,
}

/// Why a text is not a conversation ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversationIdError {
    /// It does not have three parts.
    #[error("conversation ID {0:?} is not of the form owner|type|other")]
    Form(String),
    /// Its middle part is none of 1, 2, 3.
    #[error("conversation type {0:?} is none of 1 (one-to-one), 2 (team), 3 (super team)")]
    Type(String),
    /// An account or team is empty.
    #[error("conversation ID {0:?} has an empty {1}")]
    Empty(String, &'static str),
}

/// Splits `owner|type|other` without copying.
pub fn split_conversation_id(text: &str) -> Result<(&str, ConversationType, &str), ConversationIdError> {
    let mut parts = text.split('|').map(str::trim);
    let (Some(owner), Some(kind), Some(other), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(ConversationIdError::Form(text.to_owned()));
    };
    let kind = match kind {
        "1" => ConversationType::OneToOne,
        "2" => ConversationType::Team,
        "3" => ConversationType::SuperTeam,
        _ => return Err(ConversationIdError::Type(kind.to_owned())),
    };
    match (owner, other) {
        ("", _) => Err(ConversationIdError::Empty(text.to_owned(), "owner")),
        (_, "") => Err(ConversationIdError::Empty(text.to_owned(), "other side")),
        _ => Ok((owner, kind, other)),
    }
}

impl ConversationId {
    /// Reads `owner|type|other`.
    pub fn parse(text: &str) -> Result<Self, ConversationIdError> {
        let (owner, conversation_type, other) = split_conversation_id(text)?;
        Ok(Self { owner: owner.to_owned(), conversation_type, other: other.to_owned() })
    }

    /// The conversation itself, whichever side sees it.
    pub fn key(&self) -> ConversationKey {
        ConversationKey::new(&self.owner, self.conversation_type, &self.other)
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}", self.owner, self.conversation_type.number(), self.other)
    }
}

/// The conversation itself, whichever side sees it: `1|lesser|greater`, `2|team` or `3|team`, accounts lower-cased.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConversationKey(String);

impl ConversationKey {
    /// The key of the conversation between `owner` and `other`.
    pub fn new(owner: &str, conversation_type: ConversationType, other: &str) -> Self {
        let mut key = String::new();
        write_key(&mut key, owner, conversation_type, other);
        Self(key)
    }

    /// The key of a text that [`Self::as_str`] gave.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The type that the key begins with.
    pub fn conversation_type(&self) -> ConversationType {
        match self.0.as_bytes().first() {
            Some(b'1') => ConversationType::OneToOne,
            Some(b'3') => ConversationType::SuperTeam,
            _ => ConversationType::Team,
        }
    }

    /// The conversation as `owner` sees it. The owner's spelling is kept; the other side is as in the key.
    pub fn seen_by(&self, owner: &str) -> ConversationId {
        let conversation_type = self.conversation_type();
        let rest = self.0.get(2..).unwrap_or_default();
        let other = match conversation_type {
            ConversationType::OneToOne => {
                let (lesser, greater) = rest.split_once('|').unwrap_or((rest, rest));
                if same_account(owner, lesser) { greater } else { lesser }
            }
            ConversationType::Team | ConversationType::SuperTeam => rest,
        };
        ConversationId { owner: owner.to_owned(), conversation_type, other: other.to_owned() }
    }

    /// The other side of a one-to-one conversation. An account's conversation with itself has none.
    pub fn other_side(&self, owner: &str) -> Option<String> {
        if self.conversation_type() != ConversationType::OneToOne {
            return None;
        }
        let other = self.seen_by(owner).other;
        (!same_account(&other, owner)).then_some(other)
    }
}

impl fmt::Display for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether two spellings name the same account.
#[inline]
pub fn same_account(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    if a.is_ascii() && b.is_ascii() { a.eq_ignore_ascii_case(b) } else { a.to_lowercase() == b.to_lowercase() }
}

/// Appends the key of a conversation to `out`; does not allocate for ASCII accounts once `out` has room.
pub fn write_key(out: &mut String, owner: &str, conversation_type: ConversationType, other: &str) {
    out.push(char::from(b'0' + conversation_type as u8));
    out.push('|');
    let start = out.len();
    push_lower(out, other);
    if conversation_type != ConversationType::OneToOne {
        return;
    }
    let middle = out.len();
    out.push('|');
    push_lower(out, owner);
    if out[start..middle] > out[middle + 1..] {
        out.truncate(start);
        push_lower(out, owner);
        out.push('|');
        push_lower(out, other);
    }
}

fn push_lower(out: &mut String, account: &str) {
    if account.is_ascii() {
        let start = out.len();
        out.push_str(account);
        out[start..].make_ascii_lowercase();
    } else {
        out.push_str(&account.to_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z0-9_.-]{1,40}", "[@A-Z\\[`a-z{]{1,40}", "[a-zA-Z0-9äÖß用İ]{1,12}", "\\PC{1,10}"]
    }

    proptest! {
        #[test]
        fn a_key_holds_the_accounts_in_lower_case_and_in_order(owner in account(), other in account()) {
            let (a, b) = (owner.to_lowercase(), other.to_lowercase());
            let (lesser, greater) = if a <= b { (&a, &b) } else { (&b, &a) };
            let one_to_one = ConversationKey::new(&owner, ConversationType::OneToOne, &other);
            prop_assert_eq!(one_to_one.as_str(), format!("1|{lesser}|{greater}"));
            let team = ConversationKey::new(&owner, ConversationType::Team, &other);
            prop_assert_eq!(team.as_str(), format!("2|{b}"));
        }
    }
}
