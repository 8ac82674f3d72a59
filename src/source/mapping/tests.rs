//! Tests of names, columns and rows.

use proptest::prelude::*;

use super::*;

fn mapping(format: Format, columns: &[(&str, &str)]) -> Result<Mapping, SourceError> {
    let columns = columns.iter().map(|&(field, input)| (field.to_owned(), input.to_owned())).collect();
    Mapping::new(&Rows { format, columns, ..Rows::default() }, false)
}

fn columns(format: Format, mapped: &[(&str, &str)], found: &[&str]) -> Result<Columns, String> {
    let found: Vec<String> = found.iter().map(|&name| name.to_owned()).collect();
    mapping(format, mapped).unwrap().names.columns("refs.csv", &found).map_err(|error| error.to_string())
}

fn read(format: Format, fields: &Fields<'_>) -> (Outcome, ReferenceChunk) {
    let mut chunk = ReferenceChunk::default();
    let outcome = mapping(format, &[]).unwrap().row(fields, &mut chunk, || "refs.csv:17".to_owned());
    assert_eq!(chunk.read(), 1);
    (outcome, chunk)
}

fn whole<'a>(conversation: &'a str, id: &'a str, time: &'a str) -> Fields<'a> {
    let mut fields = Fields::default();
    fields[WHOLE] = Value::text(conversation);
    fields[ID] = Value::text(id);
    fields[TIME] = Value::text(time);
    fields
}

fn complaint(fields: &Fields<'_>) -> String {
    let (outcome, chunk) = read(Format::Reference, fields);
    assert_eq!(outcome, Outcome::Invalid);
    chunk.invalid[0].message.clone()
}

/// A row of CSV.
fn read_csv(fields: &Fields<'_>) -> ReferenceChunk {
    let mut chunk = ReferenceChunk::default();
    let mapping = Mapping::new(&Rows::default(), true).unwrap();
    assert_eq!(mapping.row(fields, &mut chunk, String::new), Outcome::Reference);
    chunk
}

#[test]
fn an_apostrophe_that_keeps_a_cell_of_csv_text_is_no_part_of_it() {
    for (conversation, id) in [("'@bob|1|carol", "'158844553334358018"), ("@bob|1|carol", " '158844553334358018 ")] {
        let chunk = read_csv(&whole(conversation, id, "1753951805248"));
        let reference = chunk.get(0).unwrap();
        assert_eq!(reference.conversation_id().to_string(), "@bob|1|carol");
        assert_eq!(reference.message_server_id, 158_844_553_334_358_018);
    }
    assert!(complaint(&whole("a|1|b", "'x", "1753951805248")).contains("is no integer above 0"));
}

#[test]
fn an_account_that_begins_with_an_apostrophe_is_itself_wherever_nothing_guards_cells() {
    for owner in ["'=bob", "'@bob", "'-", "''+1"] {
        let conversation = format!("{owner}|1|carol");
        let (_, chunk) = read(Format::Reference, &whole(&conversation, "5", "1753951805248"));
        assert_eq!(chunk.get(0).unwrap().owner, owner);
        // In CSV the program guards such an account with one more.
        let guarded = format!("'{conversation}");
        assert_eq!(read_csv(&whole(&guarded, "5", "1753951805248")).get(0).unwrap().owner, owner);
    }
    let chunk = read_csv(&whole("'bob|1|carol", "5", "1753951805248"));
    assert_eq!(chunk.get(0).unwrap().owner, "'bob");
}

#[test]
fn columns_are_found_by_name_then_but_for_case() {
    let found =
        columns(Format::Reference, &[], &["x", "CREATE_TIME", "Conversation_ID", "create_time", "message_server_id"]);
    assert_eq!(found.unwrap().places, [Some(2), None, None, None, Some(4), Some(3)]);
    let mapped = [("message_server_id", "id"), ("create_time", "at")];
    let found = columns(Format::Reference, &mapped, &["ID", "At", "owner_id", "conversation_type", "other_id"]);
    assert_eq!(found.unwrap().places, [None, Some(2), Some(3), Some(4), Some(0), Some(1)]);
}

#[test]
fn missing_columns_are_named_with_those_that_were_found() {
    let message = columns(Format::Reference, &[], &["conversation_id", "id", "create_time"]).unwrap_err();
    assert_eq!(
        message,
        "refs.csv: missing message_server_id; found conversation_id, id, create_time; `columns` maps fields to other names"
    );
    let message = columns(Format::Reference, &[], &["a", "b"]).unwrap_err();
    assert!(
        message
            .contains("conversation_id (or owner_id, conversation_type and other_id), message_server_id, create_time")
    );
    let message = columns(Format::Reference, &[], &["owner_id", "message_server_id", "create_time"]).unwrap_err();
    assert!(message.contains("missing conversation_id (or owner_id, conversation_type and other_id);"), "{message}");
    let message =
        columns(Format::Reference, &[("create_time", "ts")], &["conversation_id", "message_server_id"]).unwrap_err();
    assert!(message.contains("missing \"ts\", which `columns` names"), "{message}");
    let message =
        columns(Format::Reference, &[], &["conversation_id", "message_server_id", "create_time", "create_time"]);
    assert!(message.unwrap_err().contains("more than one column \"create_time\""));
    let message = mapping(Format::Reference, &[("msg", "x")]).unwrap_err().to_string();
    assert!(message.contains("\"msg\" is no field: there are conversation_id, owner_id"), "{message}");
}

#[test]
fn parts_that_are_named_win_over_a_conversation_id_that_happens_to_be_there() {
    let mapped = [("owner_id", "a"), ("other_id", "b"), ("conversation_type", "t")];
    let found = ["conversation_id", "a", "t", "b", "message_server_id", "create_time"];
    assert_eq!(columns(Format::Reference, &mapped, &found).unwrap().places[..2], [None, Some(1)]);
    assert_eq!(columns(Format::Reference, &[], &found).unwrap().places[..2], [Some(0), None]);
}

#[test]
fn a_copy_event_stands_in_columns_or_in_one_json_column() {
    let found = ["eventType", "convType", "from_account", "to", "msgidserver", "msg_timestamp", "body"];
    let found = columns(Format::CopyEvent, &[], &found).unwrap();
    assert_eq!((found.places[ID], found.event), (Some(4), None));
    assert_eq!(columns(Format::CopyEvent, &[], &["anything"]).unwrap().event, Some(0));
    assert_eq!(columns(Format::CopyEvent, &[], &["id", "payload"]).unwrap().event, Some(1));
    assert_eq!(columns(Format::CopyEvent, &[("event", "doc")], &["id", "payload", "Doc"]).unwrap().event, Some(2));
    assert!(columns(Format::CopyEvent, &[("event", "doc")], &["id", "payload"]).unwrap_err().contains("\"doc\""));
    let message = columns(Format::CopyEvent, &[], &["id", "convType"]).unwrap_err();
    assert!(message.contains("missing fromAccount, to, msgidServer, msgTimestamp;"), "{message}");
}

#[test]
fn an_id_may_be_as_large_as_they_get() {
    let (outcome, chunk) = read(Format::Reference, &whole("A|1|b", "9223372036854775807", "1753951805248"));
    assert_eq!(outcome, Outcome::Reference);
    let reference = chunk.get(0).unwrap();
    assert_eq!((reference.owner, reference.message_server_id), ("A", i64::MAX));
    assert!(complaint(&whole("a|1|b", "9223372036854775808", "1753951805248")).contains("above 2^63 - 1"));
    assert!(complaint(&whole("a|1|b", "0", "1753951805248")).contains("not positive"));
    assert!(complaint(&whole("a|1|b", "-5", "1753951805248")).contains("is no integer above 0"));
}

#[test]
fn a_floating_point_id_is_refused_and_never_rounded() {
    for damaged in ["1.58844553334358E+17", "158844553334358018.0", "1e5"] {
        assert!(complaint(&whole("a|1|b", damaged, "1753951805248")).contains("2^53"), "{damaged}");
    }
    let mut fields = whole("a|1|b", "", "1753951805248");
    fields[ID] = Value::Float(1.0);
    assert!(complaint(&fields).contains("message_server_id 1.0 is a floating-point number"));
}

#[test]
fn an_invalid_row_says_all_that_is_wrong_and_keeps_what_could_be_read() {
    let (_, chunk) = read(Format::Reference, &whole("a|1|b", "x", ""));
    assert_eq!(
        chunk.invalid[0],
        Invalid {
            position: "refs.csv:17".to_owned(),
            message: "message_server_id \"x\" is no integer above 0; create_time is empty".to_owned(),
            conversation_id: Some("a|1|b".to_owned()),
            message_server_id: None,
            create_time: None,
        }
    );
    let (_, chunk) = read(Format::Reference, &whole("a|4|b", "5", "1753951805248"));
    assert_eq!((chunk.invalid[0].message_server_id, chunk.invalid[0].create_time), (Some(5), Some(1_753_951_805_248)));
    assert!(chunk.invalid[0].conversation_id.is_none());
}

#[test]
fn a_conversation_in_parts_may_hold_numbers_and_words() {
    for kind in [Value::Integer(2), Value::text("2"), Value::text("TEAM"), Value::text("team")] {
        let mut fields = whole("", "5", "1753951805248");
        fields[WHOLE] = Value::Null;
        fields[OWNER] = Value::text(" Ünï code@. ");
        fields[TYPE] = kind;
        fields[OTHER] = Value::Integer(99);
        let (_, chunk) = read(Format::Reference, &fields);
        assert_eq!(chunk.get(0).unwrap().conversation_id().to_string(), "Ünï code@.|2|99");
    }
}

#[test]
fn a_part_with_the_separator_in_it_is_refused() {
    let mut fields = Fields::default();
    fields[OWNER] = Value::text("a|b");
    fields[TYPE] = Value::Integer(1);
    fields[OTHER] = Value::text("c");
    assert!(complaint(&fields).contains("owner_id \"a|b\" holds a '|'"));
    fields[OWNER] = Value::text("a");
    fields[TYPE] = Value::Integer(7);
    assert!(complaint(&fields).contains("conversation_type 7 is none of"));
}

#[test]
fn a_copy_event_names_its_conversation() {
    let fields = [
        Value::text("1"),
        Value::text("a1"),
        Value::text("PERSON"),
        Value::text("b2"),
        Value::text("3456789"),
        Value::text("1441977355557"),
    ];
    let (outcome, chunk) = read(Format::CopyEvent, &fields);
    assert_eq!(outcome, Outcome::Reference);
    assert_eq!(chunk.get(0).unwrap().conversation_id().to_string(), "a1|1|b2");
    let mut other = fields.clone();
    other[TYPE] = Value::text("CUSTOM_PERSON");
    assert_eq!(read(Format::CopyEvent, &other).0, Outcome::Skipped);
    let mut lacking = fields;
    lacking[OTHER] = Value::Null;
    lacking[ID] = Value::Null;
    let (_, chunk) = read(Format::CopyEvent, &lacking);
    assert_eq!(chunk.invalid[0].message, "to is null; msgidServer is null");
}

#[test]
fn an_account_longer_than_any_is_refused() {
    let long = format!("{}|1|b", "a".repeat(70_000));
    assert!(complaint(&whole(&long, "5", "1753951805248")).contains("longer"));
    let wrong = "a|".repeat(1_000_000);
    assert!(complaint(&whole(&wrong, "5", "1753951805248")).len() < 500);
}

proptest! {
    #[test]
    fn every_row_is_counted_once_and_every_reference_is_as_given(
        owner in "('?[=+@-]?[^|]{0,10})?", kind in 0..5_i32, other in "[^|]{0,12}", id: i64,
        time in prop_oneof![any::<i64>(), 1_200_000_000_000..1_750_000_000_000_i64],
    ) {
        let conversation = format!("{owner}|{kind}|{other}");
        let fields = whole(&conversation, "", "");
        let mut fields = fields;
        fields[ID] = Value::Integer(id);
        fields[TIME] = Value::Integer(time);
        let (outcome, chunk) = read(Format::Reference, &fields);
        let valid = !owner.trim().is_empty() && !other.trim().is_empty() && (1..=3).contains(&kind)
            && id > 0 && (1_262_304_000_000..=jiff::Timestamp::now().as_millisecond()).contains(&time);
        prop_assert_eq!(outcome == Outcome::Reference, valid);
        if valid {
            let reference = chunk.get(0).unwrap();
            prop_assert_eq!(reference.owner, owner.trim());
            prop_assert_eq!(reference.other, other.trim());
            prop_assert_eq!(reference.message_server_id, id);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(conversation: Vec<u8>, id: Vec<u8>, time: Vec<u8>) {
        let mut fields = Fields::default();
        fields[WHOLE] = Value::bytes(&conversation);
        fields[ID] = Value::bytes(&id);
        fields[TIME] = Value::bytes(&time);
        read(Format::Reference, &fields);
        fields[TYPE] = Value::bytes(&conversation);
        read(Format::CopyEvent, &fields);
    }
}
