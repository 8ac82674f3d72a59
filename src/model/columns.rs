//! The columns of the archive: the one table that stores, decoder, export and documentation follow.
//!
//! A further column is an entry of [`Column`]'s table, before `raw`, and a migration of the Postgres tables. Columns are
//! only ever appended.

use self::Habit::{Few, Free, Near};
use self::Origin::{Archiver, Item, ThreadReply, ThreadRoot};
use self::Reading::{Digits, Plain, Within, ZeroIsNull};
use super::span::Span;

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    Text,
    /// Text: an account.
    Account,
    /// Text: an account in one-to-one dialogues, and else a team.
    Receiver,
    /// The text of a JSON value.
    Json,
    /// Texts. A row holds them as a JSON array of strings without white space.
    TextList,
    /// A 64-bit integer.
    Int64,
    /// A 32-bit integer.
    Int32,
    /// A time, in milliseconds since the epoch.
    Time,
    /// A boolean.
    Boolean,
}

/// What is known of a column's values, which decides how they are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Few distinct values: a dictionary.
    Few,
    /// Integers near their neighbours.
    Near,
    /// Everything else.
    Free,
}

/// Where a column's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the archiver: from what it asked, or what it made of the answer.
    Archiver,
    /// From the field of that name of an item of the answer.
    Item(Reading),
    /// From a field of the item's `thread_config.thread_root`, which lacks the column's prefix `thread_root_`.
    ThreadRoot(Reading),
    /// From a field of the item's `thread_config.thread_reply`, which lacks the column's prefix `thread_reply_`.
    ThreadReply(Reading),
}

/// How a field is read. What a column cannot hold is null there, and kept in `extra`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As the JSON type that goes with the column's type.
    Plain,
    /// As an integer, or as a string that spells one.
    Digits,
    /// As an integer from the first to the last of these.
    Within(i64, i64),
    /// As an integer of which 0 means null.
    ZeroIsNull,
}

/// Where a message keeps the values of a column.
#[derive(Debug, Clone, Copy)]
pub enum Storage {
    /// Nowhere: all messages of a run have the same value.
    Run,
    /// In [`Row::text`].
    Text(TextColumn),
    /// In a field of [`Row`].
    Int64(Access<i64>),
    /// In a field of [`Row`].
    Int32(Access<i32>),
    /// In a field of [`Row`].
    Boolean(Access<bool>),
}

/// A field of [`Row`]. One that is never null takes null as zero or false.
#[derive(Debug, Clone, Copy)]
pub struct Access<T> {
    /// Reads it.
    pub get: fn(&Row) -> Option<T>,
    /// Writes it.
    pub set: fn(&mut Row, Option<T>),
}

/// What is known of a column.
#[derive(Debug)]
pub struct Definition {
    /// The column.
    pub column: Column,
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: ColumnType,
    /// Whether it may be null.
    pub nullable: bool,
    /// What its values are like.
    pub habit: Habit,
    /// Where its values come from.
    pub origin: Origin,
    /// Where a message keeps them.
    pub storage: Storage,
    /// What it means, in a few words.
    pub meaning: &'static str,
    /// What it means, in Markdown.
    pub description: &'static str,
}

impl Origin {
    /// How its field is read.
    pub fn reading(self) -> Reading {
        match self {
            Archiver => Plain,
            Item(reading) | ThreadRoot(reading) | ThreadReply(reading) => reading,
        }
    }
}

impl Definition {
    /// The key of its field in an answer.
    pub fn key(&self) -> &'static str {
        let prefix = match self.origin {
            Archiver | Item(_) => "",
            ThreadRoot(_) => "thread_root_",
            ThreadReply(_) => "thread_reply_",
        };
        self.name.strip_prefix(prefix).unwrap_or(self.name)
    }
}

impl Column {
    /// How many there are.
    pub const COUNT: usize = DEFINITIONS.len();

    /// The columns in order, with `raw`, which is the last, or without.
    pub fn all(raw: bool) -> &'static [Definition] {
        &DEFINITIONS[..DEFINITIONS.len() - usize::from(!raw)]
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        DEFINITIONS[self as usize].name
    }
}

/// The type of a field of [`Row`].
macro_rules! field {
    (required Int64) => { i64 };
    (required Time) => { i64 };
    (required Int32) => { i32 };
    (required Boolean) => { bool };
    (optional $kind:ident) => { Option<field!(required $kind)> };
}

macro_rules! storage {
    (Time $null:ident $name:ident) => { storage!(Int64 $null $name) };
    ($kind:ident required $name:ident) => {
        Storage::$kind(Access {
            get: |row| Some(row.$name),
            set: |row, value| row.$name = value.unwrap_or_default(),
        })
    };
    ($kind:ident optional $name:ident) => {
        Storage::$kind(Access { get: |row| row.$name, set: |row, value| row.$name = value })
    };
}

macro_rules! nullable {
    (required) => {
        false
    };
    (optional) => {
        true
    };
}

/// Makes [`Column`], [`TextColumn`], [`Row`] and the definitions from a table.
///
/// An entry has the column's name in both spellings; where a message keeps it (`run`, `text` or `cell`, see [`Storage`]) and
/// its type; whether it may be null; its habit; its origin; what it means in a few words; and what the documentation says,
/// where that is more.
macro_rules! columns {
    ($(
        $column:ident $name:ident: $(run $run:ident)? $(text $text:ident)? $(cell $cell:ident)?,
        $null:ident, $habit:expr, $origin:expr, $meaning:literal $(, $description:literal)?;
    )+) => {
        /// A column of the archive.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Column {
            $(#[doc = concat!("`", stringify!($name), "`: ", $meaning)] $column),+
        }

        /// The columns that hold text, in the order of [`Row::text`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum TextColumn {
            $($(#[doc = concat!($meaning, " (", stringify!($text), ")")] $column,)?)+
        }

        /// The number of text columns.
        pub const TEXT_COLUMNS: usize = [$($(ColumnType::$text,)?)+].len();

        /// One message. Times are milliseconds since the epoch.
        #[derive(Debug, Clone, Copy, Default)]
        pub struct Row {
            $($(#[doc = $meaning] pub $name: field!($null $cell),)?)+
            /// The text columns, by [`TextColumn`].
            pub text: [Span; TEXT_COLUMNS],
        }

        static DEFINITIONS: [Definition; [$(Column::$column),+].len()] = [$(Definition {
            column: Column::$column,
            name: stringify!($name),
            $(kind: ColumnType::$run, storage: Storage::Run,)?
            $(kind: ColumnType::$text, storage: Storage::Text(TextColumn::$column),)?
            $(kind: ColumnType::$cell, storage: storage!($cell $null $name),)?
            nullable: nullable!($null),
            habit: $habit,
            origin: $origin,
            meaning: $meaning,
            description: [$($description,)? $meaning][0],
        }),+];
    };
}

columns! {
    AppKey app_key: run Text, required, Few, Archiver,
        "the AppKey that the message was fetched with";
    ConversationKey conversation_key: text Text, required, Few, Archiver,
        "the dialogue itself: 1|lesser|greater, 2|team or 3|team, lower-cased",
        "the dialogue itself, whoever looks at it: `1|lesser|greater`, `2|team` or `3|team`, accounts lower-cased";
    ConversationId conversation_id: text Text, required, Few, Archiver,
        "the conversation as it was asked and answered",
        "the conversation as it was asked and answered: `owner|type|other`";
    ConversationType conversation_type: cell Int32, required, Few, Item(Within(1, 3)),
        "1 one-to-one, 2 team, 3 super team";
    MessageServerId message_server_id: cell Int64, required, Near, Item(Digits),
        "the message's ID";
    Revision revision: cell Int32, required, Few, Archiver,
        "0 for the first version met, counting up",
        "0 for the first version met, counting up with every change that was fetched later";
    MessageClientId message_client_id: text Text, optional, Free, Item(Plain),
        "the client's own ID of the message";
    SenderId sender_id: text Account, optional, Few, Item(Plain),
        "who sent it";
    ReceiverId receiver_id: text Receiver, optional, Few, Item(Plain),
        "who got it; one-to-one only";
    TeamId team_id: cell Int64, optional, Few, Item(Digits),
        "the team; teams only";
    CreateTime create_time: cell Time, required, Near, Item(Within(1, i64::MAX)),
        "when it was sent",
        "when it was sent: as answered, else as the reference said";
    MessageType message_type: cell Int32, optional, Few, Item(Plain),
        "0 text, 1 image, 2 audio, 3 video, … 100 custom",
        "0 text, 1 image, 2 audio, 3 video, 4 location, 5 notification, 6 file, 10 tip, 11 robot, 12 call record, 100 custom; others as they come";
    SubType sub_type: cell Int32, optional, Few, Item(Plain),
        "the custom subtype";
    SenderClientType sender_client_type: cell Int32, optional, Few, Item(Digits),
        "the kind of client it was sent with",
        "1 Android, 2 iOS, 4 PC, 16 Web, 32 REST, 64 macOS, 65 HarmonyOS; others as they come";
    Text text: text Text, optional, Free, Item(Plain),
        "the text";
    Attachment attachment: text Json, optional, Free, Item(Plain),
        "JSON text, as it came",
        "the attachment, JSON; an empty object is null";
    Extension extension: text Text, optional, Free, Item(Plain),
        "free text, usually JSON",
        "free text of the sender's, usually JSON";
    ModifyAccountId modify_account_id: text Account, optional, Few, Item(Plain),
        "who edited it",
        "who edited the message";
    ModifyTime modify_time: cell Time, optional, Near, Item(ZeroIsNull),
        "when it was edited; null when never";
    ReceiverAccountIds receiver_account_ids: text TextList, optional, Free, Item(Plain),
        "targeted message: the listed receivers",
        "targeted message: the receivers it lists";
    Inclusive inclusive: cell Boolean, optional, Free, Item(Plain),
        "targeted message: whether those listed are those who see it";
    NewMemberVisible new_member_visible: cell Boolean, optional, Free, Item(Plain),
        "targeted message: whether later members do",
        "targeted message: whether members who join later see it";
    ThreadRootSenderId thread_root_sender_id: text Account, optional, Few, ThreadRoot(Plain),
        "who sent the message that started the thread";
    ThreadRootReceiverId thread_root_receiver_id: text Receiver, optional, Few, ThreadRoot(Plain),
        "its receiver, or its team's ID",
        "its receiver; for a team, the team's ID";
    ThreadRootCreateTime thread_root_create_time: cell Time, optional, Near, ThreadRoot(Plain),
        "when that message was sent";
    ThreadRootMessageServerId thread_root_message_server_id: cell Int64, optional, Near, ThreadRoot(Digits),
        "its ID";
    ThreadRootMessageClientId thread_root_message_client_id: text Text, optional, Free, ThreadRoot(Plain),
        "the client's own ID of it";
    ThreadReplySenderId thread_reply_sender_id: text Account, optional, Few, ThreadReply(Plain),
        "who sent the message that this one answers";
    ThreadReplyReceiverId thread_reply_receiver_id: text Receiver, optional, Few, ThreadReply(Plain),
        "its receiver, or its team's ID",
        "its receiver; for a team, the team's ID";
    ThreadReplyCreateTime thread_reply_create_time: cell Time, optional, Near, ThreadReply(Plain),
        "when that message was sent";
    ThreadReplyMessageServerId thread_reply_message_server_id: cell Int64, optional, Near, ThreadReply(Digits),
        "its ID";
    ThreadReplyMessageClientId thread_reply_message_client_id: text Text, optional, Free, ThreadReply(Plain),
        "the client's own ID of it";
    Extra extra: text Json, optional, Free, Archiver,
        "JSON object of unknown fields and of fields whose type surprised",
        "JSON object of fields this version does not know, and of known fields whose type surprised; null when there are none";
    Substituted substituted: cell Boolean, required, Free, Archiver,
        "whether a character no store can hold became U+FFFD",
        "whether a character that the store cannot hold became U+FFFD";
    Requested requested: cell Boolean, required, Free, Archiver,
        "false when fetched to complete a thread",
        "whether a reference asked for the message; false when it was fetched to complete a [thread](configuration.md#threads), and then it stays false";
    RunId run_id: run Text, required, Few, Archiver,
        "the run that wrote the row",
        "the run that wrote the row, a UUIDv7";
    FetchedAt fetched_at: cell Time, required, Few, Archiver,
        "when the message was fetched";
    Raw raw: text Text, optional, Free, Archiver,
        "the item's own JSON text; only with raw: true",
        "the message's own JSON text as it was answered; the column is there only with `raw: true`";
}
