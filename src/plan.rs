//! From references to the fewest batches.
//!
//! References of one dialogue form common batches whatever owner they name, so the number of requests over a whole
//! source is the sum over dialogues of ⌈references ÷ batch size⌉. A batch that is full leaves the [`Window`] at once;
//! the rest of a dialogue is carried until the source ends, or until more references are carried than the window holds.

mod carried;
mod owner;
mod window;

use crate::reference::ConversationKey;

pub use carried::CarriedIds;
pub use owner::{TeamOwner, second_asks};
pub use window::Window;

/// In which of its two asks a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Under the owner that most of its references name.
    First,
    /// Once more, under the reference's own owner or the other side of the dialogue. Failures are final now.
    Second,
}

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
    /// First or second ask.
    pub ask: Ask,
    /// Why it is asked.
    pub purpose: Purpose,
    /// The owners that the references name, as they spell them, each once.
    pub owners: Vec<String>,
    /// The references.
    pub refs: Vec<BatchRef>,
}

impl Batch {
    /// The owner that a reference of this batch names; the asked one should the index be out of range.
    pub fn owner_of(&self, reference: &BatchRef) -> &str {
        self.owners.get(usize::from(reference.owner)).map_or(&self.asked, String::as_str)
    }

    /// The same dialogue, ask and account with only the references that `keep` picks by position.
    pub fn subset(&self, keep: impl Fn(usize) -> bool) -> Self {
        let refs = self.refs.iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, r)| *r);
        let mut subset = Self { refs: Vec::new(), owners: Vec::new(), ..self.clone() };
        for reference in refs {
            let owner = self.owner_of(&reference);
            let index = owner::index_of(&mut subset.owners, owner);
            subset.refs.push(BatchRef { owner: index, ..reference });
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
