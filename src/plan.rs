//! From references to the fewest batches.
//!
//! A request asks for messages of one conversation. References of one conversation share batches whatever owner they
//! name, so a whole source takes Σ ⌈references ÷ batch size⌉ requests, summed over conversations. A full batch leaves the
//! [`Window`] at once. The rest of a conversation is carried until the source ends, or until the window is full.

mod follow_up;
mod owner;
mod retention;
mod window;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::reference::{ConversationKey, ConversationType, same_account};

pub use follow_up::{Attempt, Candidates, Final, FollowUp, History, MOST_OWNERS, Miss, Remedy, follow_up};
pub use owner::TeamOwner;
pub use retention::{Forecast, Foreseen, Urgency, Watch};
pub use window::Window;

/// Why a batch is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Purpose {
    /// The source names its messages.
    #[default]
    Reference,
    /// Archived messages link to its messages, and no reference names them.
    Thread {
        /// How many links away they are from a message that a reference names, 1 or more.
        depth: u16,
    },
    /// The archive has its messages. They are asked for again to see whether they were edited or have vanished.
    Refetch {
        /// Whether an owner asked before could not say if the messages exist. An owner who does not see them is then no
        /// proof that they vanished.
        doubt: bool,
    },
}

impl Purpose {
    /// How many links away the messages are from one that a reference names, 0 if references name them. `None` for
    /// archived messages, whose links were followed when they were archived.
    pub fn depth(self) -> Option<u16> {
        match self {
            Self::Reference => Some(0),
            Self::Thread { depth } => Some(depth),
            Self::Refetch { .. } => None,
        }
    }

    /// The purpose of messages at this depth.
    pub fn at_depth(depth: u16) -> Self {
        if depth == 0 { Self::Reference } else { Self::Thread { depth } }
    }

    /// Whether the messages are asked for only because archived ones link to them.
    pub fn is_extra(self) -> bool {
        matches!(self, Self::Thread { .. })
    }

    /// Whether the archive has the messages already.
    pub fn is_refetch(self) -> bool {
        matches!(self, Self::Refetch { .. })
    }

    /// The purpose as the ledger stores it: the depth, or a negative number for a refetch.
    pub fn number(self) -> i64 {
        match self {
            Self::Refetch { doubt: false } => -1,
            Self::Refetch { doubt: true } => -2,
            Self::Reference => 0,
            Self::Thread { depth } => i64::from(depth),
        }
    }

    /// The purpose that the ledger stored as this number, if it is one.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            -1 => Some(Self::Refetch { doubt: false }),
            -2 => Some(Self::Refetch { doubt: true }),
            depth => u16::try_from(depth).ok().map(Self::at_depth),
        }
    }
}

/// One reference of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchRef {
    /// The message's ID.
    pub message_server_id: i64,
    /// When it was created, milliseconds since the epoch.
    pub create_time: i64,
    /// Its own owner: an index into [`Batch::owners`].
    pub owner: u16,
}

/// The references of one request, all of one conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The conversation.
    pub key: ConversationKey,
    /// The account in whose name the request is made.
    pub asked: String,
    /// Why it is asked for.
    pub purpose: Purpose,
    /// The owners that the references name, as they spell them: each account once, or once for each history.
    pub owners: Vec<String>,
    /// For each of `owners`, what was done before about the references that name it. Empty if this is the first time.
    pub histories: Vec<Arc<History>>,
    /// The references.
    pub refs: Vec<BatchRef>,
}

impl Batch {
    /// The owner that a reference of this batch names, or the asked one if the index is out of range.
    pub fn owner_of(&self, reference: &BatchRef) -> &str {
        self.owners.get(usize::from(reference.owner)).map_or(&self.asked, String::as_str)
    }

    /// What was done before about a reference of this batch. `None` if it is asked for the first time.
    pub fn history_of(&self, reference: &BatchRef) -> Option<&Arc<History>> {
        self.histories.get(usize::from(reference.owner))
    }

    /// Whether the conversation is a team, for whose messages any member may ask.
    pub fn is_of_team(&self) -> bool {
        self.key.conversation_type() != ConversationType::OneToOne
    }

    /// Appends a reference that names `owner`, with what was done about it before.
    pub fn push(&mut self, reference: BatchRef, owner: &str, history: Option<&Arc<History>>) {
        let known = (0..self.owners.len()).find(|at| {
            same_account(&self.owners[*at], owner)
                && history.is_none_or(|history| self.histories.get(*at).is_some_and(|other| is_same(other, history)))
        });
        let index = known.unwrap_or_else(|| {
            self.owners.push(owner.to_owned());
            self.histories.extend(history.map(Arc::clone));
            self.owners.len() - 1
        });
        self.refs.push(BatchRef { owner: u16::try_from(index).unwrap_or(u16::MAX), ..reference });
    }

    /// The same batch with only the references whose positions `keep` accepts.
    pub fn subset(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut subset = Self { refs: Vec::new(), owners: Vec::new(), histories: Vec::new(), ..self.clone() };
        for reference in self.refs.iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, r)| r) {
            subset.push(*reference, self.owner_of(reference), self.history_of(reference));
        }
        subset
    }

    /// Two halves that together are this batch.
    pub fn halves(&self) -> [Self; 2] {
        self.split_at(self.refs.len() / 2)
    }

    /// The first `middle` references, and the others.
    pub fn split_at(&self, middle: usize) -> [Self; 2] {
        [self.subset(|index| index < middle), self.subset(|index| index >= middle)]
    }
}

/// Whether two histories are equal. Those of one follow-up are shared, which spares the comparison.
fn is_same(a: &Arc<History>, b: &Arc<History>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}
