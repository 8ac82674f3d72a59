//! A reference that did not become a message, and why.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The API says that the message, or its whole conversation, is not there.
    Unavailable,
    /// The API's answer named the message in neither of its lists.
    Unanswered,
    /// The API refused the request, even with this reference alone in it.
    Refused,
    /// Attempts were used up by the network, a gateway or a busy service.
    Transport,
    /// The API answered with something that cannot be read as a message.
    Undecodable,
    /// The input row is no reference.
    Invalid,
}

impl Class {
    /// Every class, in the order in which they are reported.
    pub const ALL: [Self; 6] =
        [Self::Unavailable, Self::Unanswered, Self::Refused, Self::Transport, Self::Undecodable, Self::Invalid];

    /// The class's name in configuration, ledger and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Unanswered => "unanswered",
            Self::Refused => "refused",
            Self::Transport => "transport",
            Self::Undecodable => "undecodable",
            Self::Invalid => "invalid",
        }
    }

    /// The class in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Unavailable => "the API says that the message, or its whole conversation, does not exist",
            Self::Unanswered => "the API's answer names the message in neither of its lists",
            Self::Refused => "the API refused the request, even with this reference alone in it",
            Self::Transport => "the attempts were used up by the network, a gateway or a busy service",
            Self::Undecodable => "the API's answer cannot be read as a message",
            Self::Invalid => "the input row is not a valid reference",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no failure class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no failure class: one of unavailable, unanswered, refused, transport, undecodable, invalid")]
pub struct UnknownClass(pub String);

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or_else(|| UnknownClass(text.to_owned()))
    }
}

/// Why one reference of a batch did not become a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The kind of failure.
    pub class: Class,
    /// The API's code, when it gave one.
    pub code: Option<i64>,
    /// What the API, the network or the decoder said.
    pub message: String,
    /// Whether asking again later may help.
    pub retryable: bool,
}

/// The failures that do not make a job exit with 3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// By the API's code.
    pub codes: Vec<i64>,
    /// By class.
    pub classes: Vec<Class>,
}

impl Tolerance {
    /// Whether a failure is tolerated, by its class or its code.
    pub fn covers(&self, class: Class, code: Option<i64>) -> bool {
        self.classes.contains(&class) || code.is_some_and(|code| self.codes.contains(&code))
    }
}
