//! The fields of a message that are known: in which object each stands, and which column its value goes to.

use std::sync::LazyLock;

use crate::model::columns::{Column, Definition, Origin};

/// An object of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The message itself.
    Item,
    /// Its `thread_config`.
    Thread,
    /// The message that started the thread, in `thread_config`.
    Root,
    /// The message that this one answers, in `thread_config`.
    Reply,
}

/// A known field.
#[derive(Debug)]
pub(super) struct Field {
    /// Its key.
    pub(super) name: &'static str,
    /// Its key as it is usually written, with quotes and colon.
    pub(super) written: String,
    /// What it holds.
    pub(super) holds: Holds,
}

/// What a known field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holds {
    /// The value of a column.
    Column(&'static Definition),
    /// An object of further fields.
    Object(Scope),
}

/// The known fields of each object.
static FIELDS: LazyLock<[Vec<Field>; 4]> = LazyLock::new(|| {
    Scope::ALL.map(|scope| {
        let columns = Column::all(true).iter().filter(|column| scope.is_of(column.origin));
        let columns = columns.map(|column| (column.key(), Holds::Column(column)));
        let objects = scope.objects().iter().map(|(name, inner)| (*name, Holds::Object(*inner)));
        let fields = columns.chain(objects);
        fields.map(|(name, holds)| Field { name, written: format!("\"{name}\":"), holds }).collect()
    })
});

impl Scope {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Item, Self::Thread, Self::Root, Self::Reply];

    /// The known fields of this object.
    pub(super) fn fields(self) -> &'static [Field] {
        &FIELDS[self as usize]
    }

    /// The objects in it.
    pub(super) fn objects(self) -> &'static [(&'static str, Self)] {
        match self {
            Self::Item => &[("thread_config", Self::Thread)],
            Self::Thread => &[("thread_root", Self::Root), ("thread_reply", Self::Reply)],
            Self::Root | Self::Reply => &[],
        }
    }

    fn is_of(self, origin: Origin) -> bool {
        match origin {
            Origin::Archiver => false,
            Origin::Item(_) => self == Self::Item,
            Origin::ThreadRoot(_) => self == Self::Root,
            Origin::ThreadReply(_) => self == Self::Reply,
        }
    }
}
