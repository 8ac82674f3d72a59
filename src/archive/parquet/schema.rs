//! The columns of the archive in Parquet. The only file of this room that says which types and names there are.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::model::{Column, ColumnType};

/// The version of the schema, which files have in their metadata. Columns are only ever appended.
pub const VERSION: &str = "1";

/// The names of the columns, in order.
pub fn names(raw: bool) -> impl Iterator<Item = &'static str> {
    Column::all(raw).iter().map(|column| column.name)
}

/// The Arrow type of a column. The item of a list is called `element`, as in the Parquet format.
pub(super) fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Text | ColumnType::Account | ColumnType::Receiver | ColumnType::Json => DataType::Utf8,
        ColumnType::TextList => DataType::List(element()),
        ColumnType::Int64 => DataType::Int64,
        ColumnType::Int32 => DataType::Int32,
        ColumnType::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        ColumnType::Boolean => DataType::Boolean,
    }
}

/// The name of that type in the documentation.
pub fn type_name(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text | ColumnType::Account | ColumnType::Receiver | ColumnType::Json => "Utf8",
        ColumnType::TextList => "List<Utf8>",
        ColumnType::Int64 => "Int64",
        ColumnType::Int32 => "Int32",
        ColumnType::Time => "Timestamp(ms, UTC)",
        ColumnType::Boolean => "Boolean",
    }
}

/// The item of a list.
pub(super) fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, true))
}

/// The Arrow schema of every file of messages.
pub fn arrow(raw: bool) -> SchemaRef {
    let fields = Column::all(raw).iter().map(|column| Field::new(column.name, data_type(column.kind), column.nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns of a file of notes of what vanished: name, type and meaning. None is ever null.
const VANISHED: [(&str, ColumnType, &str); 9] = [
    ("app_key", ColumnType::Text, "the AppKey that the message was asked for with"),
    ("conversation_key", ColumnType::Text, "the dialogue, as in the archive"),
    ("conversation_id", ColumnType::Text, "the conversation as it was asked last"),
    ("conversation_type", ColumnType::Int32, "1 one-to-one, 2 team, 3 super team"),
    ("message_server_id", ColumnType::Int64, "the message's ID"),
    ("create_time", ColumnType::Time, "when it was sent"),
    ("code", ColumnType::Int32, "what the API answered"),
    ("run_id", ColumnType::Text, "the run that noticed"),
    ("noticed_at", ColumnType::Time, "when it was noticed"),
];

/// The Arrow schema of a file of notes of what vanished.
pub(super) fn vanished() -> SchemaRef {
    let fields = VANISHED.iter().map(|(name, kind, _)| Field::new(*name, data_type(*kind), false));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The schema for people to read: for each column a line with its name, its type, `!` if it is never null, and its
/// meaning.
pub fn text() -> String {
    let mut text = String::from("# Columns of a Parquet archive, in order. `!`: never null. Schema version 1.\n");
    for column in Column::all(true) {
        let kind = format!("{}{}", type_name(column.kind), if column.nullable { "" } else { "!" });
        let _ = writeln!(text, "{:<31}{kind:<21}{}", column.name, column.meaning);
    }
    text.push_str(
        "# Directories: Hive style, by partition_by: date=YYYY-MM-DD, month=YYYY-MM, conversation_type=N, app_key=KEY.\n\
         # date and month are only there; they are those of create_time in the sink's time zone.\n\
         # Beside the archive, in PATH-vanished/date=YYYY-MM-DD: messages that the service no longer has.\n",
    );
    for (name, kind, meaning) in VANISHED {
        let kind = format!("{}!", type_name(kind));
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
