//! From references to the fewest batches.
//!
//! References of one dialogue form common batches whatever owner they name, so the number of requests over a whole
//! source is the sum over dialogues of ⌈references ÷ batch size⌉. A batch that is full leaves the [`Window`] at once;
//! the rest of a dialogue is carried until the source ends, or until more references are carried than the window holds.

mod carried;
mod follow_up;
mod owner;
mod window;

use std::sync::Arc;

use crate::model::reference::{ConversationKey, ConversationType, same_account};

pub use carried::CarriedIds;
pub use follow_up::{Attempt, Candidates, Final, FollowUp, History, MOST_OWNERS, Miss, Remedy, follow_up};
pub use owner::TeamOwner;
pub use window::Window;

/// Why a batch is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Purpose {
    /// The source names its messages.
    #[default]
    Reference,
    /// Threads need its messages, and no reference names them.
    Thread {
        /// How many links they are away from a message that a reference names, 1 or more.
        depth: u16,
    },
    /// The archive holds its messages: were they edited since, or did they vanish?
    Refetch {
        /// An owner asked before could not say whether the messages exist: that another does not see them says nothing.
        doubt: bool,
    },
}

impl Purpose {
    /// How many links the messages are away from one that a reference names, 0 for one that a reference names; nothing
    /// for those that are in the archive, whose links were followed when they came.
    pub fn depth(self) -> Option<u16> {
        match self {
            Self::Reference => Some(0),
            Self::Thread { depth } => Some(depth),
            Self::Refetch { .. } => None,
        }
    }

    /// The purpose of messages so many links away.
    pub fn at_depth(depth: u16) -> Self {
        if depth == 0 { Self::Reference } else { Self::Thread { depth } }
    }

    /// Whether threads need the messages, and no reference names them.
    pub fn is_extra(self) -> bool {
        matches!(self, Self::Thread { .. })
    }

    /// Whether the archive holds the messages already.
    pub fn is_refetch(self) -> bool {
        matches!(self, Self::Refetch { .. })
    }

    /// As a number: the depth, or less than 0 for what is asked for again.
    pub fn number(self) -> i64 {
        match self {
            Self::Refetch { doubt: false } => -1,
            Self::Refetch { doubt: true } => -2,
            Self::Reference => 0,
            Self::Thread { depth } => i64::from(depth),
        }
    }

    /// The purpose of this number; nothing for a number that is none.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            -1 => Some(Self::Refetch { doubt: false }),
            -2 => Some(Self::Refetch { doubt: true }),
            depth => u16::try_from(depth).ok().map(Self::at_depth),
        }
    }
}

/// One reference of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchRef {
    /// The message's ID.
    pub message_server_id: i64,
    /// When it was created, milliseconds since the epoch.
    pub create_time: i64,
    /// Its own owner: an index into [`Batch::owners`].
    pub owner: u16,
}

/// The references of one request, all of one dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The dialogue.
    pub key: ConversationKey,
    /// The account in whose name the request asks.
    pub asked: String,
    /// Why it is asked.
    pub purpose: Purpose,
    /// The owners that the references name, as they spell them; each once, or once for each history.
    pub owners: Vec<String>,
    /// For each of `owners` what was done before about the references that name it; empty when nothing was.
    pub histories: Vec<Arc<History>>,
    /// The references.
    pub refs: Vec<BatchRef>,
}

impl Batch {
    /// The owner that a reference of this batch names; the asked one should the index be out of range.
    pub fn owner_of(&self, reference: &BatchRef) -> &str {
        self.owners.get(usize::from(reference.owner)).map_or(&self.asked, String::as_str)
    }

    /// What was done before about a reference of this batch; nothing when it is asked for the first time.
    pub fn history_of(&self, reference: &BatchRef) -> Option<&Arc<History>> {
        self.histories.get(usize::from(reference.owner))
    }

    /// Whether it is of a team, in which every member may ask.
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

    /// The same dialogue, purpose and account with only the references that `keep` picks by position.
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

/// Whether two histories are the same, which those of one follow-up are without being compared.
fn is_same(a: &Arc<History>, b: &Arc<History>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}
