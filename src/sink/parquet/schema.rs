//! The columns of the archive: names, order, types, nulls, and where each value comes from.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::message::{Row, TextColumn};

/// The version of the schema, as files name it in their metadata. Columns are only ever appended.
pub const VERSION: &str = "1";

/// Where a column's values come from, and of what type they are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    /// The `AppKey`, the same in every row.
    AppKey,
    /// The run, the same in every row.
    RunId,
    /// A text column.
    Text(TextColumn),
    /// A text column that holds a JSON array of strings.
    Accounts(TextColumn),
    /// A 64-bit integer.
    Integer(fn(&Row) -> Option<i64>),
    /// A 32-bit integer.
    Number(fn(&Row) -> Option<i32>),
    /// Milliseconds since the epoch.
    Time(fn(&Row) -> Option<i64>),
    /// A boolean.
    Flag(fn(&Row) -> Option<bool>),
}

/// What is known of a column's values, which decides how they are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// Few distinct values: a dictionary.
    Few,
    /// Integers near their neighbours.
    Near,
    /// Everything else.
    Free,
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: &'static str,
    /// Where its values come from.
    pub(super) value: Value,
    /// Whether it may be null.
    pub(super) nullable: bool,
    /// What its values are like.
    pub(super) habit: Habit,
    /// What it means, in a line.
    meaning: &'static str,
}

const fn some(name: &'static str, value: Value, habit: Habit, meaning: &'static str) -> Column {
    Column { name, value, nullable: true, habit, meaning }
}

const fn always(name: &'static str, value: Value, habit: Habit, meaning: &'static str) -> Column {
    Column { name, value, nullable: false, habit, meaning }
}

use Habit::{Few, Free, Near};
use TextColumn as T;
use Value::{Accounts, AppKey, Flag, Integer, Number, RunId, Text, Time};

static COLUMNS: [Column; 38] = [
    always("app_key", AppKey, Few, "the AppKey that the message was fetched with"),
    always(
        "conversation_key",
        Text(T::ConversationKey),
        Few,
        "the dialogue itself: 1|lesser|greater, 2|team or 3|team, lower-cased",
    ),
    always("conversation_id", Text(T::ConversationId), Few, "the conversation as it was asked and answered"),
    always("conversation_type", Number(|row| Some(row.conversation_type)), Few, "1 one-to-one, 2 team, 3 super team"),
    always("message_server_id", Integer(|row| Some(row.message_server_id)), Near, "the message's ID"),
    always("revision", Number(|row| Some(row.revision)), Few, "0 for the first version met, counting up"),
    some("message_client_id", Text(T::MessageClientId), Free, "the client's own ID of the message"),
    some("sender_id", Text(T::SenderId), Few, "who sent it"),
    some("receiver_id", Text(T::ReceiverId), Few, "who got it; one-to-one only"),
    some("team_id", Integer(|row| row.team_id), Few, "the team; teams only"),
    always("create_time", Time(|row| Some(row.create_time)), Near, "when it was sent"),
    some("message_type", Number(|row| row.message_type), Few, "0 text, 1 image, 2 audio, 3 video, … 100 custom"),
    some("sub_type", Number(|row| row.sub_type), Few, "the custom subtype"),
    some("sender_client_type", Number(|row| row.sender_client_type), Few, "the kind of client it was sent with"),
    some("text", Text(T::Text), Free, "the text"),
    some("attachment", Text(T::Attachment), Free, "JSON text, as it came"),
    some("extension", Text(T::Extension), Free, "free text, usually JSON"),
    some("modify_account_id", Text(T::ModifyAccountId), Few, "who edited it"),
    some("modify_time", Time(|row| row.modify_time), Near, "when it was edited; null when never"),
    some("receiver_account_ids", Accounts(T::ReceiverAccountIds), Free, "targeted message: the listed receivers"),
    some("inclusive", Flag(|row| row.inclusive), Free, "targeted message: whether those listed are those who see it"),
    some("new_member_visible", Flag(|row| row.new_member_visible), Free, "targeted message: whether later members do"),
    some("thread_root_sender_id", Text(T::ThreadRootSenderId), Few, "who sent the message that started the thread"),
    some("thread_root_receiver_id", Text(T::ThreadRootReceiverId), Few, "its receiver, or its team's ID"),
    some("thread_root_create_time", Time(|row| row.thread_root_create_time), Near, "when that message was sent"),
    some("thread_root_message_server_id", Integer(|row| row.thread_root_message_server_id), Near, "its ID"),
    some("thread_root_message_client_id", Text(T::ThreadRootMessageClientId), Free, "the client's own ID of it"),
    some("thread_reply_sender_id", Text(T::ThreadReplySenderId), Few, "who sent the message that this one answers"),
    some("thread_reply_receiver_id", Text(T::ThreadReplyReceiverId), Few, "its receiver, or its team's ID"),
    some("thread_reply_create_time", Time(|row| row.thread_reply_create_time), Near, "when that message was sent"),
    some("thread_reply_message_server_id", Integer(|row| row.thread_reply_message_server_id), Near, "its ID"),
    some("thread_reply_message_client_id", Text(T::ThreadReplyMessageClientId), Free, "the client's own ID of it"),
    some("extra", Text(T::Extra), Free, "JSON object of unknown fields and of fields whose type surprised"),
    always(
        "substituted",
        Flag(|row| Some(row.substituted)),
        Free,
        "whether a character no store can hold became U+FFFD",
    ),
    always("requested", Flag(|row| Some(row.requested)), Free, "false when fetched to complete a thread"),
    always("run_id", RunId, Few, "the run that wrote the row"),
    always("fetched_at", Time(|row| Some(row.fetched_at)), Few, "when the message was fetched"),
    some("raw", Text(T::Raw), Free, "the item's own JSON text; only with raw: true"),
];

/// The columns in order; `raw` is the last, and there only when asked for.
pub(super) fn columns(raw: bool) -> &'static [Column] {
    &COLUMNS[..COLUMNS.len() - usize::from(!raw)]
}

/// The columns' names in order.
pub fn names(raw: bool) -> impl Iterator<Item = &'static str> {
    columns(raw).iter().map(|column| column.name)
}

impl Value {
    /// The Arrow type of such values. Lists name their item `element`, as the Parquet format does.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::AppKey | Self::RunId | Self::Text(_) => DataType::Utf8,
            Self::Accounts(_) => DataType::List(element()),
            Self::Integer(_) => DataType::Int64,
            Self::Number(_) => DataType::Int32,
            Self::Time(_) => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Flag(_) => DataType::Boolean,
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::AppKey | Self::RunId | Self::Text(_) => "Utf8",
            Self::Accounts(_) => "List<Utf8>",
            Self::Integer(_) => "Int64",
            Self::Number(_) => "Int32",
            Self::Time(_) => "Timestamp(ms, UTC)",
            Self::Flag(_) => "Boolean",
        }
    }
}

/// The item of a list.
pub(super) fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, true))
}

/// The Arrow schema of every file.
pub fn arrow(raw: bool) -> SchemaRef {
    let fields = columns(raw).iter().map(|column| Field::new(column.name, column.value.data_type(), column.nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The schema to be read by people: a line per column with name, type, `!` where it is never null, and meaning.
pub fn text() -> String {
    let mut text = String::from("# Columns of a Parquet archive, in order. `!`: never null. Schema version 1.\n");
    for column in columns(true) {
        let kind = format!("{}{}", column.value.type_name(), if column.nullable { "" } else { "!" });
        let _ = writeln!(text, "{:<31}{kind:<21}{}", column.name, column.meaning);
    }
    text.push_str(
        "# Directories: Hive style, by partition_by: date=YYYY-MM-DD, month=YYYY-MM, conversation_type=N, app_key=KEY.\n\
         # date and month are only there; they are those of create_time in the sink's time zone.\n\
         # Beside the archive, in PATH-vanished/date=YYYY-MM-DD: messages that the service no longer has.\n",
    );
    for (name, kind, meaning) in super::vanished::COLUMNS {
        let kind = match kind {
            DataType::Timestamp(..) => "Timestamp(ms, UTC)!".to_owned(),
            kind => format!("{kind}!"),
        };
        let _ = writeln!(text, "{name:<31}{kind:<21}{meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_what_was_promised() {
        insta::assert_snapshot!(text(), @r"
        # Columns of a Parquet archive, in order. `!`: never null. Schema version 1.
        app_key                        Utf8!                the AppKey that the message was fetched with
        conversation_key               Utf8!                the dialogue itself: 1|lesser|greater, 2|team or 3|team, lower-cased
        conversation_id                Utf8!                the conversation as it was asked and answered
        conversation_type              Int32!               1 one-to-one, 2 team, 3 super team
        message_server_id              Int64!               the message's ID
        revision                       Int32!               0 for the first version met, counting up
        message_client_id              Utf8                 the client's own ID of the message
        sender_id                      Utf8                 who sent it
        receiver_id                    Utf8                 who got it; one-to-one only
        team_id                        Int64                the team; teams only
        create_time                    Timestamp(ms, UTC)!  when it was sent
        message_type                   Int32                0 text, 1 image, 2 audio, 3 video, … 100 custom
        sub_type                       Int32                the custom subtype
        sender_client_type             Int32                the kind of client it was sent with
        text                           Utf8                 the text
        attachment                     Utf8                 JSON text, as it came
        extension                      Utf8                 free text, usually JSON
        modify_account_id              Utf8                 who edited it
        modify_time                    Timestamp(ms, UTC)   when it was edited; null when never
        receiver_account_ids           List<Utf8>           targeted message: the listed receivers
        inclusive                      Boolean              targeted message: whether those listed are those who see it
        new_member_visible             Boolean              targeted message: whether later members do
        thread_root_sender_id          Utf8                 who sent the message that started the thread
        thread_root_receiver_id        Utf8                 its receiver, or its team's ID
        thread_root_create_time        Timestamp(ms, UTC)   when that message was sent
        thread_root_message_server_id  Int64                its ID
        thread_root_message_client_id  Utf8                 the client's own ID of it
        thread_reply_sender_id         Utf8                 who sent the message that this one answers
        thread_reply_receiver_id       Utf8                 its receiver, or its team's ID
        thread_reply_create_time       Timestamp(ms, UTC)   when that message was sent
        thread_reply_message_server_id Int64                its ID
        thread_reply_message_client_id Utf8                 the client's own ID of it
        extra                          Utf8                 JSON object of unknown fields and of fields whose type surprised
        substituted                    Boolean!             whether a character no store can hold became U+FFFD
        requested                      Boolean!             false when fetched to complete a thread
        run_id                         Utf8!                the run that wrote the row
        fetched_at                     Timestamp(ms, UTC)!  when the message was fetched
        raw                            Utf8                 the item's own JSON text; only with raw: true
        # Directories: Hive style, by partition_by: date=YYYY-MM-DD, month=YYYY-MM, conversation_type=N, app_key=KEY.
        # date and month are only there; they are those of create_time in the sink's time zone.
        # Beside the archive, in PATH-vanished/date=YYYY-MM-DD: messages that the service no longer has.
        app_key                        Utf8!                the AppKey that the message was asked for with
        conversation_key               Utf8!                the dialogue, as in the archive
        conversation_id                Utf8!                the conversation as it was asked last
        conversation_type              Int32!               1 one-to-one, 2 team, 3 super team
        message_server_id              Int64!               the message's ID
        create_time                    Timestamp(ms, UTC)!  when it was sent
        code                           Int32!               what the API answered
        run_id                         Utf8!                the run that noticed
        noticed_at                     Timestamp(ms, UTC)!  when it was noticed
        ");
    }

    #[test]
    fn raw_is_a_column_only_when_asked_for() {
        assert_eq!(arrow(false).fields().len() + 1, arrow(true).fields().len());
        assert!(names(false).all(|name| name != "raw"));
        assert_eq!(names(true).last(), Some("raw"));
    }
}
